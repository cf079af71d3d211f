"""Simulates an example with cocotb: ``python -m examples.simulate fir_filter``, or ``... --simulator verilator``."""

from __future__ import annotations

import argparse
import logging
import sys
from importlib import import_module
from pathlib import Path

from cocotb_tools.check_results import get_results
from cocotb_tools.runner import get_runner

from mixq.errors import CheckFailed
from rtl_gen.dsp import Target
from sim.cocotb_run import SIMULATORS, build
from sim.verilog_source import library_sources

EXAMPLES = ("fir_filter", "matrix_vector")

_ROOT = Path(__file__).resolve().parent.parent
_LAST_LINES = 25


def simulate(name: str, *, simulator: str, folder: Path, target: Target = "dsp48e2") -> int:
    """Write the Verilog of an example, run its bench on it in ``folder``, and return how many tests passed.

    Raises CheckFailed, with the end of the log, where a test fails.
    """
    folder.mkdir(parents=True, exist_ok=True)
    source = folder / f"{name}.v"
    import_module(f"examples.{name}.write_verilog").write(source, target=target)
    # The model of the DSP primitive, where the Verilog has one.
    build([source, *library_sources([source.read_text()])], top=name, simulator=simulator, folder=folder)
    log = folder / "log"
    runner = get_runner(simulator)
    runner.log.setLevel(logging.ERROR)
    path = sys.path[:]
    sys.path.append(str(_ROOT))  # the simulator's Python must find the bench wherever the caller was started
    try:
        results = runner.test(
            test_module=f"examples.{name}.bench",
            hdl_toplevel=name,
            hdl_toplevel_lang="verilog",
            build_dir=folder,
            test_dir=folder,
            results_xml=str(folder / "results.xml"),
            log_file=log,
        )
        tests, failures = get_results(results)
    except (RuntimeError, SystemExit):
        tests, failures = 0, 1  # it ended before its time
    finally:
        sys.path[:] = path
    if failures or not tests:
        lines = log.read_text(errors="replace").strip().splitlines() if log.is_file() else []
        raise CheckFailed(f"{name} fails in {simulator}:\n" + "\n".join(lines[-_LAST_LINES:]))
    return tests


def main() -> None:
    """Simulate the example that the command line names."""
    parser = argparse.ArgumentParser(prog="python -m examples.simulate", description=__doc__.splitlines()[0])
    parser.add_argument("example", choices=EXAMPLES)
    parser.add_argument("--simulator", choices=SIMULATORS, default="icarus")
    parser.add_argument("--folder", type=Path, help="for what is built; by default build/examples/EXAMPLE")
    arguments = parser.parse_args()
    folder = arguments.folder or Path("build") / "examples" / arguments.example
    tests = simulate(arguments.example, simulator=arguments.simulator, folder=folder.resolve())
    print(f"{arguments.example}: {tests} tests passed in {arguments.simulator}")


if __name__ == "__main__":
    main()
