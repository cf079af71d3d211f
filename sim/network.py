"""Sends frames through a generated accelerator: module ``mixq_top`` with its two AXI4-Streams.

>>> from sim.network import simulate
>>> run = simulate(                                                            # doctest: +SKIP
...     build / "rtl", frames, simulator="verilator", stalls="random", seed=1, output_frame_bytes=40
... )
>>> assert run.outputs == expected and not run.protocol_errors                 # doctest: +SKIP
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mixq.errors import UserError
from sim import cocotb_run, verilated
from sim.deadlock import Handshakes, Hang, Streams, deadlock, find_streams
from sim.stalls import DRIVER_MODES, SINK_MODES
from sim.streams import StreamPorts
from sim.verilog_source import library_sources, module_ports

TOP = "mixq_top"

#: "verilator" runs free in C++; "icarus" and "verilator-cocotb" run the cocotb bench.
SIMULATORS = ("verilator", "icarus", "verilator-cocotb")

#: Above so many frames, "auto" compiles for speed; that takes about twice as long to compile.
_MANY_FRAMES = 1000

_INPUT, _OUTPUT = "s_axis_0", "m_axis_0"

#: Where there is such a port, two cycles of it are one of ap_clk, and it rises with either edge of that.
_FAST_CLOCK = "ap_clk2x"


@dataclass(frozen=True)
class NetworkRun:
    """What came out of the accelerator, and when; cycles count from the end of reset.

    ``outputs``: bytes of each output frame. ``input_start_cycles``: cycle of the first accepted input beat of
    each input frame; ``first_beat_cycles``, ``last_beat_cycles``: of the output frames' beats.
    ``protocol_errors``: broken rules of AXI4-Stream, at most a few dozen; a result with any is worth nothing.
    ``window``: the handshakes between the stages through one frame, see :class:`sim.verilated.Report`; Verilator's
    alone, of a run that nothing outside stalls. ``streams``: those that the Verilog names. ``sim_seconds`` is the wall
    time of the simulation alone, ``build_seconds`` that of compiling, near 0 where the compiled model was kept.
    """

    simulator: str
    outputs: list[bytes] = field(repr=False)
    input_start_cycles: list[int]
    first_beat_cycles: list[int]
    last_beat_cycles: list[int]
    cycles: int
    build_seconds: float
    sim_seconds: float
    protocol_errors: list[str]
    window: verilated.Window | None = field(default=None, repr=False)
    streams: Streams | None = field(default=None, repr=False)

    @property
    def first_input_cycle(self) -> int:
        """Cycle of the very first accepted input beat."""
        return self.input_start_cycles[0]

    @property
    def latency(self) -> int:
        """Cycles from the first input beat to the last output beat of the first frame."""
        return self.last_beat_cycles[0] - self.input_start_cycles[0]

    @property
    def cycles_per_frame(self) -> int:
        """Cycles between the last beats of the two frames before the last one; the steady rate when nothing stalls.

        The very last frame has none behind it that shares the stages, so it may be through a little earlier.

        Raises:
            ValueError: fewer than three frames came out.
        """
        if len(self.last_beat_cycles) < 3:
            raise ValueError(f"frames must be at least 3 to measure a rate, not {len(self.last_beat_cycles)!r}")
        return self.last_beat_cycles[-2] - self.last_beat_cycles[-3]


@dataclass(frozen=True)
class Design:
    """The Verilog of one accelerator: its files, the bytes of its two buses, other inputs and the named streams."""

    rtl_dir: Path
    sources: tuple[Path, ...]
    input_bytes: int
    output_bytes: int
    other_inputs: tuple[str, ...]
    fast_clock: bool
    streams: Streams | None

    def compile(self, folder: Path, **options: Any) -> Path:
        """The compiled model in ``folder``; options: further ones of :func:`sim.verilated.build`, errors its own."""
        return verilated.build(
            self.sources,
            input_bytes=self.input_bytes,
            output_bytes=self.output_bytes,
            other_inputs=self.other_inputs,
            fast_clock=self.fast_clock,
            folder=folder,
            **options,
        )


def simulate(
    rtl_dir: Path,
    frames: Sequence[bytes],
    *,
    output_frame_bytes: int,
    simulator: str = "verilator",
    stalls: str | tuple[str, str] = "none",
    seed: int = 0,
    resets: int = 0,
    output_frames: int | None = None,
    stall_limit: int = 1_000_000,
    tail_cycles: int = 256,
    work_dir: Path | None = None,
    optimise: str = "auto",
    progress: Callable[[int], None] | None = None,
) -> NetworkRun:
    """Send ``frames`` back to back and return what came out.

    Parameters
    ----------
    rtl_dir : folder with ``mixq_top.v``, the files that ``files.f`` names, and the memory images
    frames : bytes of each input frame; lengths may differ, to send short and long ones
    output_frame_bytes : of one output frame, all containers counted whole
    simulator : one of :data:`SIMULATORS`
    stalls : a mode for both sides, or one for the driver and one for the sink, see :mod:`sim.stalls`
    seed : of stalls, noise between beats, uninitialised state (Verilator) and resets
    resets : so often, frames are begun and reset at a random cycle, before all frames run unbroken
    output_frames : frames that must come out; as many as go in by default
    stall_limit : cycles without a beat on either side that count as a hang
    tail_cycles : idle cycles after the last frame, in which nothing more may come out
    work_dir : folder for compiled models, kept for the next run; ``sim`` beside ``rtl_dir`` by default
    optimise : "run" for many frames, "compile" for few, "auto" to choose by the number of frames
    progress : called with the number of frames that came out so far

    Raises
    ------
    UserError : a tool or a source is missing, the folder's path is none that the simulator takes, or a port of
        ``mixq_top`` is not as it must be.
    Deadlock : the accelerator hangs for a full FIFO, with the join that starves and the FIFO.
    Hang : it hangs for another reason.
    CheckFailed : the simulator refuses the Verilog.
    ValueError : a parameter is none of those allowed.
    """
    driver, sink = (stalls, stalls) if isinstance(stalls, str) else stalls
    if simulator not in SIMULATORS:
        raise ValueError(f"simulator must be one of {', '.join(SIMULATORS)}, not {simulator!r}")
    if driver not in DRIVER_MODES or sink not in SINK_MODES:
        raise ValueError(f"stalls must be a mode of a driver and one of a sink, not {stalls!r}")
    if not frames or not all(frames):
        raise ValueError(f"frames must hold at least one frame of at least one byte, not {list(frames)[:3]!r}")
    if output_frame_bytes < 1:
        raise ValueError(f"output_frame_bytes must be at least 1, not {output_frame_bytes!r}")
    request = verilated.Request(
        frames=tuple(frames),
        output_frame_bytes=output_frame_bytes,
        output_frames=len(frames) if output_frames is None else output_frames,
        driver=driver,
        sink=sink,
        seed=seed,
        resets=resets,
        stall_limit=stall_limit,
        tail_cycles=tail_cycles,
    )
    design = read_design(Path(rtl_dir).resolve())
    folder = (design.rtl_dir.parent / "sim" if work_dir is None else Path(work_dir)).resolve()
    check_path(folder, simulator)
    folder.mkdir(parents=True, exist_ok=True)
    if simulator == "verilator":
        return _run_free(design, request, folder, optimise=optimise, progress=progress)
    return _run_cocotb(design, request, folder, simulator=simulator, progress=progress)


def read_design(rtl_dir: Path) -> Design:
    """What stands in a folder of Verilog, whose path is absolute. Raises UserError as :func:`simulate`."""
    listing = rtl_dir / "files.f"
    if listing.is_file():
        lines = (line.split("//")[0].strip() for line in _text(listing).splitlines())
        sources = [rtl_dir / line for line in lines if line]
    else:
        sources = sorted(rtl_dir.glob("*.v"))
    missing = [path.name for path in sources if not path.is_file()]
    if missing or not sources:
        raise UserError(f"{rtl_dir} must hold {', '.join(missing) or f'{TOP}.v'}; generate the build again")
    texts = [_text(path) for path in sources]
    holder = next((text for text in texts if f"module {TOP}" in text), "")
    ports = module_ports(holder, TOP)
    required = ("tdata", "tvalid", "tready", "tlast", "tkeep")
    streams = [f"{prefix}_{name}" for prefix in (_INPUT, _OUTPUT) for name in required]
    absent = [name for name in ("ap_clk", "ap_rst_n", *streams) if name not in ports]
    if absent:
        raise UserError(f"module {TOP} must have port {absent[0]}; generate the build again")
    for prefix in (_INPUT, _OUTPUT):
        width, keep = ports[f"{prefix}_tdata"].width, ports[f"{prefix}_tkeep"].width
        if width % 8 or keep != width // 8:
            raise UserError(
                f"{prefix}_tdata must be whole bytes with a bit of tkeep each, not {width} and {keep} bits; "
                "generate the build again"
            )
    others = [
        name
        for name, port in ports.items()
        if port.direction == "input" and name not in streams and name not in ("ap_clk", _FAST_CLOCK, "ap_rst_n")
    ]
    return Design(
        rtl_dir=rtl_dir,
        sources=(*sources, *library_sources(texts)),
        input_bytes=ports[f"{_INPUT}_tdata"].width // 8,
        output_bytes=ports[f"{_OUTPUT}_tdata"].width // 8,
        other_inputs=tuple(others),
        fast_clock=_FAST_CLOCK in ports,
        streams=find_streams(holder, TOP),
    )


def check_path(folder: Path, simulator: str) -> None:
    """UserError for a folder whose name a tool below would misread: make takes no blanks, Icarus no double quotes."""
    unfit = '"' if simulator == "icarus" else '" \t'
    if any(character in unfit for character in str(folder)) or not str(folder).isprintable():
        raise UserError(
            f"{folder} cannot be used by {simulator}: blanks (Verilator), double quotes and control characters in its "
            "path are not taken; rename the folder"
        )


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is no text (byte {error.start}); generate the build again") from None


def _run_free(
    design: Design,
    request: verilated.Request,
    folder: Path,
    *,
    optimise: str,
    progress: Callable[[int], None] | None,
) -> NetworkRun:
    started = time.monotonic()
    if optimise == "auto":
        optimise = "run" if len(request.frames) > _MANY_FRAMES else "compile"
    model = design.compile(folder, streams=design.streams, optimise=optimise)
    built = time.monotonic()
    report = verilated.run(model, request, run_folder=design.rtl_dir, progress=progress)
    _refuse_hang("verilator", request, design, report.hang, report.streams, report.errors)
    return NetworkRun(
        simulator="verilator",
        outputs=split(report.output, request.output_frame_bytes),
        input_start_cycles=report.starts,
        first_beat_cycles=report.firsts,
        last_beat_cycles=report.lasts,
        cycles=report.cycles,
        build_seconds=built - started,
        sim_seconds=time.monotonic() - built,
        protocol_errors=report.errors,
        window=report.window,
        streams=design.streams,
    )


def _run_cocotb(
    design: Design,
    request: verilated.Request,
    folder: Path,
    *,
    simulator: str,
    progress: Callable[[int], None] | None,
) -> NetworkRun:
    engine = "icarus" if simulator == "icarus" else "verilator"
    model = folder / f"cocotb-{engine}"
    started = time.monotonic()
    public = design.streams.module if design.streams else None
    cocotb_run.build(design.sources, top=TOP, simulator=engine, folder=model, streams_module=public)
    built = time.monotonic()
    vector = _vector(design, request)
    [outcome] = cocotb_run.run(
        model,
        top=TOP,
        simulator=engine,
        interface=cocotb_run.Interface(
            clock="ap_clk",
            reset="ap_rst_n",
            active_low=True,
            input=StreamPorts.axi(_INPUT),
            output=StreamPorts.axi(_OUTPUT),
            constants=dict.fromkeys(design.other_inputs, 0),
            fast_clock=_FAST_CLOCK if design.fast_clock else None,
            streams=design.streams.path if design.streams else None,
        ),
        vectors=[vector],
        scenarios=[
            cocotb_run.Settings(
                vector=0,
                driver=request.driver,
                sink=request.sink,
                seed=request.seed,
                resets=request.resets,
                tail_cycles=request.tail_cycles,
                stall_limit=request.stall_limit,
                stop=False,
                probe=request.sink != "none",
            )
        ],
        run_folder=design.rtl_dir,
        progress=progress,
    )
    seen = None if outcome.streams is None else Handshakes(**outcome.streams)
    _refuse_hang(simulator, request, design, outcome.hang, seen, outcome.errors)
    beats = vector.output_frames[0] if vector.output_frames else 1
    data = [payload.to_bytes(design.output_bytes, "little") for payload in outcome.payloads]
    outputs = [
        b"".join(data[start : start + beats])[: request.output_frame_bytes] for start in range(0, len(data), beats)
    ]
    starts, first = [], 0
    for count in vector.input_frames:
        starts.append(outcome.inputs[first])
        first += count
    return NetworkRun(
        simulator=simulator,
        outputs=outputs,
        input_start_cycles=starts,
        first_beat_cycles=outcome.outputs[::beats],
        last_beat_cycles=outcome.outputs[beats - 1 :: beats],
        cycles=outcome.cycles,
        build_seconds=built - started,
        sim_seconds=time.monotonic() - built,
        protocol_errors=outcome.errors,
    )


def _vector(design: Design, request: verilated.Request) -> cocotb_run.Vector:
    """The frames as beats of the two buses."""
    payloads, keeps, counts = [], [], []
    for frame in request.frames:
        parts = split(frame, design.input_bytes)
        counts.append(len(parts))
        payloads += [int.from_bytes(part, "little") for part in parts]
        keeps += [(1 << len(part)) - 1 for part in parts]
    sizes = [len(part) for part in split(bytes(request.output_frame_bytes), design.output_bytes)]
    return cocotb_run.Vector(
        inputs=payloads,
        input_frames=tuple(counts),
        input_keeps=keeps,
        output_frames=(len(sizes),) * request.output_frames,
        output_keeps=[(1 << size) - 1 for size in sizes] * request.output_frames,
        masks=[(1 << (8 * size)) - 1 for size in sizes],
    )


def _refuse_hang(
    simulator: str,
    request: verilated.Request,
    design: Design,
    hang: str,
    seen: Handshakes | None,
    errors: Sequence[str],
) -> None:
    """CheckFailed where nothing moved any more; Deadlock where the streams between the stages say why."""
    if not hang:
        return
    before = f"; before that, {errors[0]}" if errors else ""
    said = f"{TOP} in {simulator}, {request.label}: {hang}{before}"
    if design.streams is not None and seen is not None:
        found = deadlock(design.streams.labels, seen, said)
        if found is not None:
            raise found
    raise Hang(said)


def split(data: bytes, size: int) -> list[bytes]:
    """Pieces of ``size`` bytes, the last one what is left."""
    return [data[start : start + size] for start in range(0, len(data), size)]
