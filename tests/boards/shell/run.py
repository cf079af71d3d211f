"""Runs a cocotb bench of this folder on a top level, under Icarus Verilog."""

from __future__ import annotations

import json
import logging
from contextlib import suppress
from pathlib import Path
from typing import Any

from cocotb_tools.check_results import get_results
from cocotb_tools.runner import get_runner

from boards.axis import AxisTop
from sim import cocotb_run
from sim.network import TOP, read_design
from tests.boards.stand_in import write_rtl


def run_bench(top: AxisTop, bench: str, folder: Path, *, tests: int, **job: Any) -> None:
    """Build ``top`` in ``folder`` and run the ``tests`` cocotb tests of ``tests.boards.shell.<bench>``.

    ``job`` goes to the bench as JSON, with the bytes of frames and buses.

    Raises: AssertionError with the end of the log for a test that failed, or another number of tests.
    """
    rtl = write_rtl(top, folder)
    design = read_design(rtl)
    cocotb_run.build(design.sources, top=TOP, simulator="icarus", folder=folder)
    sizes = (top.input_frame_bytes, design.input_bytes, top.output_frame_bytes, design.output_bytes)
    (folder / "job.json").write_text(json.dumps({"sizes": sizes, "build_hash": top.build_hash, **job}))
    runner = get_runner("icarus")
    runner.log.setLevel(logging.ERROR)
    log = folder / "log"
    # What is wrong is said better by the log.
    with suppress(RuntimeError, SystemExit):
        runner.test(
            test_module=f"tests.boards.shell.{bench}",
            hdl_toplevel=TOP,
            hdl_toplevel_lang="verilog",
            build_dir=folder,
            test_dir=rtl,
            results_xml=str(folder / "results.xml"),
            log_file=log,
            extra_env={
                "SHELL_BENCH_JOB": str(folder / "job.json"),
                "COCOTB_LOG_LEVEL": "WARNING",
                # The buses of cocotbext-axi use names of cocotb that 2.1 would rather see go.
                "PYTHONWARNINGS": "ignore::DeprecationWarning",
            },
        )
    said = log.read_text(errors="replace")[-6000:]
    assert (folder / "results.xml").is_file(), said
    assert get_results(folder / "results.xml") == (tests, 0), said
