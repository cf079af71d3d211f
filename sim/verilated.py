"""Compiles an accelerator with Verilator around a program of ``sim/cpp`` and runs it, free of Python."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mixq.errors import CheckFailed
from sim.deadlock import SIGNALS, Handshakes, Streams
from sim.tools import Verilator, find_verilator
from sim.verilator_config import traced, write_public

_CPP = Path(__file__).resolve().parent / "cpp"
_HEADERS = (_CPP / "bus.h", _CPP / "stream_watch.h")

#: Main programs: one that sends frames and ends, and one that stands for a board and does as it is told.
NETWORK, BOARD = _CPP / "network_main.cpp", _CPP / "board_main.cpp"

_LAST_LINES = 15

_FLAGS = (
    *("--cc", "--exe", "--prefix", "Vmixq_top", "--top-module", "mixq_top", "--no-timing", "-O3"),
    *("--x-assign", "fast", "--x-initial", "unique", "--output-split", "20000"),
    *("-Wno-fatal", "-Wno-lint", "-Wno-style"),
)

#: Options of the C++ compiler for the model's fast and slow code; slow code runs once, at the start.
_OPTIMISATIONS = {
    "compile": ("OPT_FAST=-O1", "OPT_SLOW=-O0", "OPT_GLOBAL=-O1"),
    "run": ("OPT_FAST=-O2", "OPT_SLOW=-O0", "OPT_GLOBAL=-O1"),
}


@dataclass(frozen=True)
class Watch:
    """What is kept of a run besides its output, and until when it runs.

    ``folder``: for files. ``tap_beats``: of each stream's accepted beats, how many are kept at most, in files of the
    folder called "0" and so on, see ``sim/cpp/stream_watch.h``. ``stop_frames``: the run ends with so many frames out.
    ``waves``: a file and the first and last cycle of its waveforms.
    """

    folder: Path
    tap_beats: tuple[int, ...] = ()
    stop_frames: int | None = None
    waves: tuple[Path, int, int] | None = None

    @property
    def lines(self) -> dict[str, object]:
        """Lines of the request to the compiled model."""
        lines: dict[str, object] = {}
        if self.tap_beats:
            lines |= {"tap": self.folder, "tap_beats": " ".join(map(str, self.tap_beats))}
        if self.stop_frames is not None:
            lines["stop_frames"] = self.stop_frames
        if self.waves is not None:
            lines |= dict(zip(("trace", "trace_first", "trace_last"), self.waves, strict=True))
        return lines


@dataclass(frozen=True)
class Window:
    """The handshakes of all streams in each cycle from ``start`` to ``end - 1``, between the last beats of two frames.

    ``rows``: uint8 (cycles, 2, B): bits of valid and of ready, the first stream's lowest.
    """

    start: int
    end: int
    rows: npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Request:
    """What to send and how; the parameters of :func:`sim.network.simulate`."""

    frames: tuple[bytes, ...]
    output_frame_bytes: int
    output_frames: int
    driver: str
    sink: str
    seed: int
    resets: int
    stall_limit: int
    tail_cycles: int

    @property
    def steady(self) -> bool:
        """Whether nothing stalls from outside."""
        return self.driver == self.sink == "none"

    @property
    def label(self) -> str:
        """What it takes to run the same again."""
        return f"stalls {self.driver}/{self.sink}, seed {self.seed}"


@dataclass(frozen=True)
class Report:
    """What the compiled model wrote down; ``hang`` is empty where all frames came out.

    ``streams``: the handshakes at the hang, None where there is none or the design names no streams. ``window``: those
    of a frame during which the whole accelerator worked and more came in, the last such frame; None without one.
    """

    output: bytes
    starts: list[int]
    firsts: list[int]
    lasts: list[int]
    cycles: int
    errors: list[str]
    hang: str
    streams: Handshakes | None
    window: Window | None = None


def build(
    sources: Sequence[Path],
    *,
    input_bytes: int,
    output_bytes: int,
    other_inputs: Sequence[str] = (),
    fast_clock: bool = False,
    streams: Streams | None = None,
    payloads: bool = False,
    traced_scopes: Sequence[tuple[str, int]] = (),
    folder: Path,
    optimise: str,
    main: Path = NETWORK,
) -> Path:
    """Compile ``mixq_top`` and return the executable, kept in ``folder`` under a hash of all that it is made of.

    ``other_inputs`` are ports besides clocks, reset and the two streams; they are held at 0. ``fast_clock``: there is
    ``ap_clk2x`` beside ``ap_clk``. ``streams``: those that the Verilog names, whose handshakes a hang is explained by.
    ``payloads``: whether what they carry can be read too. ``traced_scopes``: what there are waveforms of, see
    :func:`sim.verilator_config.traced`; the model must then be run with them. ``main``: the program around it; that of
    a board drives AXI4-Lite and knows nothing of streams between the stages and waveforms.

    Raises:
        UserError: Verilator or the compiler is missing.
        CheckFailed: they refuse the Verilog; the message ends with the last lines.
        ValueError: ``optimise`` is neither "compile" nor "run".
    """
    if optimise not in _OPTIMISATIONS:
        raise ValueError(f"optimise must be one of {', '.join(_OPTIMISATIONS)}, not {optimise!r}")
    tool = find_verilator()
    names = " ".join(f"X({name})" for name in other_inputs)
    config = (
        f"#define INPUT_BYTES {input_bytes}\n#define OUTPUT_BYTES {output_bytes}\n#define OTHER_INPUTS(X) {names}\n"
        f"#define FAST_CLOCK {int(fast_clock)}\n"
    )
    if streams is not None:
        scope = ".".join(("mixq_top", *streams.path))
        names = " ".join(f'X("{kind}", "{name}")' for kind, name in SIGNALS.items())
        config += (
            f'#define STREAMS {len(streams.labels)}\n#define STREAMS_SCOPE "{scope}"\n#define SIGNALS(X) {names}\n'
        )
        pairs = zip(streams.payload_names, streams.payloads, strict=True) if payloads else ()
        carried = " ".join(f'X("{name}", {label.bits})' for name, label in pairs)
        config += f"#define PAYLOADS(X) {carried}\n"
    scopes = traced(traced_scopes) if traced_scopes else ""
    config += "#define TRACE\n" if scopes else ""
    key = hashlib.sha256()
    for part in (tool.version, *_FLAGS, *_OPTIMISATIONS[optimise], config, scopes):
        key.update(part.encode() + b"\0")
    for path in (main, *_HEADERS, *sources):
        key.update(hashlib.sha256(path.read_bytes()).digest())
    kept = folder / f"verilator-{key.hexdigest()[:16]}"
    if not kept.is_file():
        with tempfile.TemporaryDirectory(prefix="verilator-", dir=folder) as scratch:
            (Path(scratch) / "network_config.h").write_text(config)
            more = streams.payload_names if streams is not None and payloads else ()
            options = [] if streams is None else [write_public(Path(scratch), streams.module, more=more).name]
            if scopes:
                (Path(scratch) / "traced.vlt").write_text(scopes)
                options += ["--trace-vcd", "traced.vlt"]
            made = _compile(tool, main, sources, Path(scratch), optimise, options)
            os.replace(made, kept)
    return kept


def _compile(
    tool: Verilator, main: Path, sources: Sequence[Path], scratch: Path, optimise: str, options: list[str]
) -> Path:
    # Copies under their bare names: neither the folder's name nor the time ends up in the C++, so that the
    # compiler cache recognises it.
    for path in (*sources, main, *_HEADERS):
        shutil.copyfile(path, scratch / path.name)
    flags = [*_FLAGS, "-Mdir", ".", "-o", "mixq_top"]
    files = [main.name, *options, *(path.name for path in sources)]
    make = [str(tool.make), "-j2", "-f", "Vmixq_top.mk", *_OPTIMISATIONS[optimise]]
    for command in ([str(tool.executable), *flags, *files], make):
        done = subprocess.run(
            command,
            cwd=scratch,
            env=tool.environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        if done.returncode != 0:
            lines = done.stdout.strip().splitlines()[-_LAST_LINES:]
            raise CheckFailed(f"{Path(command[0]).name} refuses the Verilog:\n" + "\n".join(lines))
    return scratch / "mixq_top"


def run(
    model: Path,
    request: Request,
    *,
    run_folder: Path,
    watch: Watch | None = None,
    progress: Callable[[int], None] | None = None,
) -> Report:
    """Run the compiled model in ``run_folder``, where it reads its memory images; ``watch``: what else is kept.

    Raises:
        CheckFailed: it ended without a report, or warned, e.g. of a memory image that is not there.
    """
    with tempfile.TemporaryDirectory(prefix="mixq-network-") as name:
        scratch = Path(name)
        (scratch / "input").write_bytes(b"".join(request.frames))
        lines = {
            "input": scratch / "input",
            "output": scratch / "output",
            "report": scratch / "report",
            "lengths": " ".join(str(len(frame)) for frame in request.frames),
            "output_frame_bytes": request.output_frame_bytes,
            "output_frames": request.output_frames,
            "driver": request.driver,
            "sink": request.sink,
            "seed": request.seed,
            "resets": request.resets,
            "reset_span": 32 + 2 * max(len(frame) for frame in request.frames),
            "stall_limit": request.stall_limit,
            "tail_cycles": request.tail_cycles,
            **({} if watch is None else watch.lines),
            **({"activity": scratch / "activity"} if request.steady else {}),
        }
        (scratch / "request").write_text("".join(f"{key} {value}\n" for key, value in lines.items()))
        said = _execute([str(model), str(scratch / "request")], run_folder, progress)
        if not (scratch / "report").is_file() or any(line.startswith("%") for line in said):
            raise CheckFailed("the compiled model ended with:\n" + "\n".join(said[-_LAST_LINES:]))
        activity = scratch / "activity"
        handshakes = activity.read_bytes() if activity.is_file() else b""
        return _read_report((scratch / "report").read_text(), (scratch / "output").read_bytes(), said, handshakes)


def _execute(command: list[str], folder: Path, progress: Callable[[int], None] | None) -> list[str]:
    """Run, pass on progress, and return what else the model said."""
    said = []
    with subprocess.Popen(command, cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        assert process.stdout is not None
        for line in process.stdout:
            word, _, rest = line.strip().partition(" ")
            if word == "frame" and rest.isdigit():
                if progress is not None:
                    progress(int(rest))
            else:
                said.append(line.rstrip())
    if process.returncode != 0:
        raise CheckFailed(
            f"the compiled model ended with status {process.returncode}:\n" + "\n".join(said[-_LAST_LINES:])
        )
    return said


def _read_report(text: str, output: bytes, said: list[str], handshakes: bytes) -> Report:
    errors, hang, lists, streams = [], "", {}, {}
    for line in text.splitlines():
        key, _, rest = line.partition(" ")
        if key == "error":
            errors.append(rest)
        elif key == "hang":
            hang = "\n".join([rest, *said[-_LAST_LINES:]])
        elif key == "streams":
            kind, _, bits = rest.partition(" ")
            streams[kind] = bits
        else:
            lists[key] = [int(value) for value in rest.split()]
    return Report(
        output=output,
        starts=lists["starts"],
        firsts=lists["firsts"],
        lasts=lists["lasts"],
        cycles=lists["cycles"][0],
        errors=errors,
        hang=hang,
        streams=Handshakes(**streams) if streams else None,
        window=_window(lists["activity"], handshakes) if "activity" in lists else None,
    )


def _window(cycles: list[int], handshakes: bytes) -> Window:
    start, end = cycles
    return Window(start, end, np.frombuffer(handshakes, np.uint8).reshape(end - start, 2, -1))
