"""Builds Verilog for cocotb in Icarus Verilog or Verilator and runs the bench of :mod:`sim.bench` on it."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import cocotb_tools.config
from cocotb_tools.runner import get_runner

from mixq.errors import CheckFailed
from sim.streams import StreamPorts
from sim.tools import find_icarus, find_verilator
from sim.verilator_config import write_public

SIMULATORS = ("icarus", "verilator")

_LAST_LINES = 15
_POLL_SECONDS = 0.2
_ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Vector:
    """Frames to drive and what is known of the frames to come out.

    ``input_frames``, ``output_frames``: beats of each frame. ``inputs``: their payloads, one after the other.
    ``expected``: payloads that must come out, or None where only the rules are checked. ``masks``: payload bits
    that matter, for each beat of an output frame, or None. ``input_keeps``, ``output_keeps``: a TKEEP for each
    beat, or None.
    """

    inputs: Sequence[int]
    input_frames: tuple[int, ...]
    output_frames: tuple[int, ...]
    expected: Sequence[int] | None = None
    masks: Sequence[int] | None = None
    input_keeps: Sequence[int] | None = None
    output_keeps: Sequence[int] | None = None

    def as_json(self) -> dict[str, Any]:
        """Integers as hexadecimal strings: a wide payload exceeds what JSON readers take for a number."""

        def digits(values: Sequence[int] | None) -> list[str] | None:
            return None if values is None else [f"{value:x}" for value in values]

        return {
            "inputs": digits(self.inputs),
            "input_frames": list(self.input_frames),
            "output_frames": list(self.output_frames),
            "expected": digits(self.expected),
            "masks": digits(self.masks),
            "input_keeps": digits(self.input_keeps),
            "output_keeps": digits(self.output_keeps),
        }


@dataclass(frozen=True)
class Settings:
    """How one scenario runs.

    ``vector`` is an index into the vectors of the run; ``stop`` ends the scenario at its first error;
    ``probe`` turns ready over within cycles to see that valid does not follow.
    """

    vector: int
    driver: str
    sink: str
    seed: int
    resets: int
    tail_cycles: int
    stall_limit: int
    stop: bool
    probe: bool


@dataclass(frozen=True)
class Outcome:
    """What happened in one scenario.

    ``inputs``, ``outputs``: the cycle after reset in which each beat was accepted. ``payloads`` of the output
    beats. ``errors``: broken rules and wrong beats, at most a few dozen. ``hang`` says how things stood when
    nothing moved any more, else it is empty; ``streams``, the bits of :class:`sim.deadlock.Handshakes` then, None where
    the design names no streams. ``handshakes``: see :class:`sim.streams.StreamMonitor`.
    """

    errors: list[str]
    hang: str
    streams: dict[str, str] | None
    inputs: list[int]
    outputs: list[int]
    payloads: list[int]
    handshakes: dict[str, int]
    cycles: int


@dataclass(frozen=True)
class Interface:
    """The names that the bench has to know of the top module; ``constants`` are values for other inputs.

    ``fast_clock`` has two cycles in each of ``clock``, the first of which starts with it; ``fast_reset`` is driven like
    ``reset``. None where there is no such port. ``streams``: instances on the way to the signals of
    :mod:`rtl_gen.handshakes`, None where there are none.
    """

    clock: str
    reset: str
    active_low: bool
    input: StreamPorts
    output: StreamPorts
    constants: Mapping[str, int] = field(default_factory=dict)
    fast_clock: str | None = None
    fast_reset: str | None = None
    streams: tuple[str, ...] | None = None


def build(
    sources: Sequence[Path], *, top: str, simulator: str, folder: Path, streams_module: str | None = None
) -> None:
    """Compile ``sources`` in ``folder``; ``streams_module`` has the signals of :mod:`rtl_gen.handshakes`.

    Raises:
        UserError: the simulator is missing.
        CheckFailed: it refuses the Verilog; the message ends with its last lines.
        ValueError: ``simulator`` is not one of :data:`SIMULATORS`.
    """
    if simulator not in SIMULATORS:
        raise ValueError(f"simulator must be one of {', '.join(SIMULATORS)}, not {simulator!r}")
    folder.mkdir(parents=True, exist_ok=True)
    files = [str(source) for source in sources]
    if simulator == "icarus":
        icarus = find_icarus()
        command = [str(icarus.iverilog), "-g2005", "-s", top, "-o", str(folder / "sim.vvp"), *files]
        _execute([command], folder, icarus.environment)
        return
    verilator = find_verilator()
    libraries = cocotb_tools.config.libs_dir
    main = cocotb_tools.config.share_dir / "lib" / "verilator" / "verilator.cpp"
    translate = [str(verilator.executable), "--cc", "--exe", "-Mdir", ".", "--prefix", "Vtop", "-o", top]
    translate += ["--top-module", top, "--vpi", "--public-depth", "1", "--no-timing", "--timescale", "1ns/1ps"]
    # Uninitialised state starts at random: a result that depends on it is not repeatable and shows.
    translate += ["-O3", "--x-assign", "fast", "--x-initial", "unique", "-Wno-fatal", "-Wno-lint", "-Wno-style"]
    if streams_module is not None:
        files.insert(0, str(write_public(folder, streams_module)))
    translate += ["-LDFLAGS", f"-Wl,-rpath,{libraries} -L{libraries} -lcocotbvpi_verilator", str(main), *files]
    make = [str(verilator.make), "-j2", "-f", "Vtop.mk", "OPT_FAST=-O1", "OPT_SLOW=-O0", "OPT_GLOBAL=-O1"]
    _execute([translate, make], folder, verilator.environment)


def _execute(commands: Sequence[Sequence[str]], folder: Path, environment: Mapping[str, str]) -> None:
    for command in commands:
        done = subprocess.run(
            command, cwd=folder, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        if done.returncode != 0:
            lines = done.stdout.strip().splitlines()[-_LAST_LINES:]
            raise CheckFailed(f"{Path(command[0]).name} refuses the Verilog:\n" + "\n".join(lines))


def run(
    folder: Path,
    *,
    top: str,
    simulator: str,
    interface: Interface,
    vectors: Sequence[Vector],
    scenarios: Sequence[Settings],
    run_folder: Path | None = None,
    progress: Callable[[int], None] | None = None,
) -> list[Outcome]:
    """Run scenarios, one after the other in one simulator process, on what :func:`build` left in ``folder``.

    ``run_folder`` is the working folder of the simulation, where memory images are read; ``folder`` by default.
    ``progress`` is called with the number of frames that came out so far.

    Raises:
        CheckFailed: the simulation ended without a result; the message ends with the last lines of its log.
    """
    with tempfile.TemporaryDirectory(prefix="mixq-bench-") as name:
        scratch = Path(name)
        told = scratch / "progress" if progress is not None else None
        job = {
            "clock": interface.clock,
            "reset": interface.reset,
            "active_low": interface.active_low,
            "fast_clock": interface.fast_clock,
            "fast_reset": interface.fast_reset,
            "streams": interface.streams,
            "input": asdict(interface.input),
            "output": asdict(interface.output),
            "constants": dict(interface.constants),
            "vectors": [vector.as_json() for vector in vectors],
            "scenarios": [asdict(settings) for settings in scenarios],
            "result": str(scratch / "result.json"),
            "progress": str(told) if told else None,
        }
        (scratch / "job.json").write_text(json.dumps(job))
        with _Progress(told, progress):
            _simulate(folder, scratch, top=top, simulator=simulator, run_folder=run_folder or folder)
        results = json.loads((scratch / "result.json").read_text())
    return [
        Outcome(**{**result, "payloads": [int(payload, 16) for payload in result["payloads"]]}) for result in results
    ]


def _simulate(folder: Path, scratch: Path, *, top: str, simulator: str, run_folder: Path) -> None:
    runner = get_runner(simulator)
    runner.log.setLevel(logging.ERROR)
    log = scratch / "log"
    seeds = ["+verilator+rand+reset+2", "+verilator+seed+1"] if simulator == "verilator" else []
    # The simulator's Python must find this package wherever the caller was started.
    path = sys.path[:]
    if str(_ROOT) not in sys.path:
        sys.path.append(str(_ROOT))
    try:
        runner.test(
            test_module="sim.bench",
            hdl_toplevel=top,
            hdl_toplevel_lang="verilog",
            build_dir=folder,
            test_dir=run_folder,
            results_xml=str(scratch / "results.xml"),
            log_file=log,
            plusargs=seeds,
            extra_env={"MIXQ_BENCH_JOB": str(scratch / "job.json"), "COCOTB_LOG_LEVEL": "WARNING"},
        )
    except (RuntimeError, SystemExit):
        pass  # said better by what is, or is not, in the scratch folder
    finally:
        sys.path[:] = path
    if not (scratch / "result.json").is_file():
        lines = log.read_text(errors="replace").strip().splitlines() if log.is_file() else []
        raise CheckFailed(f"{simulator} ended without a result:\n" + "\n".join(lines[-_LAST_LINES:]))


class _Progress:
    """Calls back with the number in a file, from a thread of its own, while a simulation runs."""

    def __init__(self, path: Path | None, callback: Callable[[int], None] | None) -> None:
        self._path, self._callback = path, callback
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._poll, daemon=True)

    def __enter__(self) -> None:
        if self._path is not None:
            self._thread.start()

    def __exit__(self, *_: object) -> None:
        if self._path is not None:
            self._over.set()
            self._thread.join()
            self._tell()

    def _poll(self) -> None:
        while not self._over.wait(_POLL_SECONDS):
            self._tell()

    def _tell(self) -> None:
        if self._path is not None and self._callback is not None and self._path.is_file():
            text = self._path.read_text()
            if text:
                self._callback(int(text))
