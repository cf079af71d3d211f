"""The simulated Verilog against the integers that must come out: what ``verify`` and the quickstart do."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mixq.build_folder import BuildFolder
from mixq.cli.progress import progress
from mixq.containers import frame_bytes, from_bytes, to_bytes
from mixq.errors import CheckFailed
from mixq.files import write_atomic, write_json
from mixq.graph import Graph
from mixq.plan import Plan
from mixq.plan.fifos import CYCLES_OF_STAGE, least_beats
from mixq.plan.units import units

if TYPE_CHECKING:
    from sim.deadlock import Deadlock
    from sim.network import NetworkRun

Integers = npt.NDArray[np.int64]

#: Frames of the extra run without stalls that measures the speed, by simulator; Verilator's also fills the accelerator,
#: to see what the stages do.
SPEED_FRAMES = {"icarus": 6, "verilator": 10}
#: The report of what the stages do.
ACTIVITY_FILE = "activity.json"
#: From so many frames on, the measured cycles must be the planned ones.
STEADY_FRAMES = 4
#: Without a plan so many cycles without a beat are a hang; with one, they follow from how fast its stages are.
UNPLANNED_QUIET, LEAST_QUIET, QUIET_OF_STAGE = 1_000_000, 1_000, 4 * CYCLES_OF_STAGE
#: From more frames on, a model that is quicker to run but slower to compile is the better one.
MANY_FRAMES = 100


@dataclass(frozen=True, kw_only=True)
class Performance:
    """What ``report/rtlsim_performance.json`` says of a run.

    ``cycles_per_frame``: between the last beats of two frames that are each followed by another, without stalls; None
    for fewer than three frames. ``latency_cycles``: from the first input beat to the last output beat of the first
    frame, without stalls. ``mismatches``: output integers that differ.
    """

    simulator: str
    frames: int
    cycles_per_frame: int | None
    latency_cycles: int
    mismatches: int
    sim_seconds: float
    stalls: str
    seed: int


@dataclass(frozen=True)
class Verification:
    """A run and its comparison: ``found`` and ``expected``, int64 (frames, C, H, W); rules of the streams broken.

    ``measured_frames``: of the run without stalls. ``planned_cycles``: the plan's, None where there is no plan.
    """

    performance: Performance
    found: Integers
    expected: Integers
    protocol_errors: tuple[str, ...]
    measured_frames: int
    planned_cycles: int | None

    @property
    def places(self) -> npt.NDArray[np.int64]:
        """Frame, channel, row and column of each integer that differs, of frames that came out; (n, 4)."""
        return np.argwhere(self.found != self.expected[: len(self.found)])

    @property
    def steady(self) -> bool:
        """Whether enough frames were measured for the speed to be the plan's exactly."""
        return self.measured_frames >= STEADY_FRAMES and self.planned_cycles is not None

    def check(self) -> None:
        """CheckFailed, with the numbers, unless all is as it must be."""
        what = f"{self.performance.simulator}, stalls {self.performance.stalls}, seed {self.performance.seed}"
        if self.performance.mismatches:
            wrong = len(np.unique(self.places[:, 0])) + len(self.expected) - len(self.found)
            raise CheckFailed(
                f"{self.performance.mismatches} mismatches in {wrong} of {len(self.expected)} frames ({what})"
            )
        if self.protocol_errors:
            raise CheckFailed(
                f"{len(self.protocol_errors)} broken rules of the streams ({what}), first: {self.protocol_errors[0]}"
            )
        if self.steady and self.performance.cycles_per_frame != self.planned_cycles:
            raise CheckFailed(
                f"the Verilog takes {self.performance.cycles_per_frame} cycles a frame, the plan says "
                f"{self.planned_cycles} ({what}); where the plan is newer than the Verilog, run mixq generate"
            )


def verify_frames(
    folder: BuildFolder,
    graph: Graph,
    codes: npt.NDArray[Any],
    expected: Integers,
    *,
    simulator: str,
    stalls: str,
    seed: int,
) -> Verification:
    """Simulate ``folder.rtl`` as it stands on the disk and write ``report/rtlsim_performance*.json``.

    codes: frames (N, C, H, W) that the graph takes; expected: what must come out. Nothing is raised for a difference:
    see :meth:`Verification.check`. Raises CheckFailed for Verilog that no simulator takes, or that hangs.
    """
    folder.check_rtl()
    names = ("rtlsim_performance.json", f"rtlsim_performance_{simulator}.json")
    reports = [folder.report_file(name) for name in names]
    # A run that hangs leaves no report of an earlier one; only Verilator's runs show what the stages do.
    for path in (*reports, *([folder.report_file(ACTIVITY_FILE)] if simulator == "verilator" else [])):
        path.unlink(missing_ok=True)
    count = len(codes)
    extra = min(SPEED_FRAMES[simulator], count) if stalls != "none" else 0
    plan = folder.load_plan() if folder.plan_file.is_file() else None
    send = partial(_simulate, folder, graph, simulator=simulator, seed=seed, plan=plan)
    with progress(f"simulating under {simulator}", count + extra) as update:
        run = send(codes, stalls=stalls, update=update)
        speed = run
        if extra:
            speed = send(codes[:extra], stalls="none", update=lambda done: update(count + done))
    found = decoded(run.outputs, graph)[:count]
    missing = (count - len(found)) * int(np.prod(expected.shape[1:]))
    performance = Performance(
        simulator=simulator,
        frames=count,
        cycles_per_frame=speed.cycles_per_frame if len(speed.last_beat_cycles) >= 3 else None,
        latency_cycles=speed.latency,
        mismatches=int((found != expected[: len(found)]).sum()) + missing,
        sim_seconds=round(run.sim_seconds, 3),
        stalls=stalls,
        seed=seed,
    )
    for path in reports:
        write_json(path, asdict(performance))
    _write_activity(folder, graph, speed)
    return Verification(
        performance=performance,
        found=found,
        expected=expected,
        protocol_errors=(*run.protocol_errors, *(speed.protocol_errors if extra else ())),
        measured_frames=extra or count,
        planned_cycles=plan.cycles if plan else None,
    )


def _write_activity(folder: BuildFolder, graph: Graph, run: NetworkRun) -> None:
    """What the stages do in a frame of a run that nothing stalls, where enough frames were sent to see that."""
    from sim.activity import activity

    if run.window is not None and run.streams is not None and run.streams.payloads:
        # On one line: an indented interval takes five.
        document = activity(run.window, run.streams, graph)
        write_atomic(folder.report_file(ACTIVITY_FILE), json.dumps(document) + "\n")


def _simulate(
    folder: BuildFolder,
    graph: Graph,
    codes: npt.NDArray[Any],
    *,
    simulator: str,
    stalls: str,
    seed: int,
    plan: Plan | None,
    update: Callable[[int], None],
) -> NetworkRun:
    from sim.deadlock import Deadlock
    from sim.network import simulate

    target = graph.tensor(graph.output)
    try:
        return simulate(
            folder.rtl,
            frames_bytes(codes, graph),
            output_frame_bytes=frame_bytes(target.shape, target.format),
            simulator=simulator,
            stalls=stalls,
            seed=seed,
            stall_limit=quiet_cycles(plan),
            work_dir=folder.sim,
            optimise=optimisation(len(codes)),
            progress=update,
        )
    except Deadlock as error:
        if plan is None:
            raise
        raise error.advised(_deeper(error, graph, plan)) from None


def is_hang(error: CheckFailed) -> bool:
    """Whether a simulation failed because nothing moved any more."""
    from sim.deadlock import Hang

    return isinstance(error, Hang)


def frames_bytes(codes: npt.NDArray[Any], graph: Graph) -> list[bytes]:
    """The frames (N, C, H, W) as the accelerator gets them."""
    format = graph.tensor(graph.input).format
    return [to_bytes(codes[at : at + 1], format) for at in range(len(codes))]


def optimisation(frames: int) -> str:
    """What a model that runs so many frames is compiled for."""
    return "compile" if frames <= MANY_FRAMES else "run"


def quiet_cycles(plan: Plan | None) -> int:
    """Cycles without a beat on either side that no network takes which goes on.

    A frame is in all stages for no longer than they take one after the other, with their pipelines, as long as both
    sides go on.
    """
    if plan is None:
        return UNPLANNED_QUIET
    return LEAST_QUIET + sum(4 * layer.cycles + QUIET_OF_STAGE for layer in plan.layers)


def _deeper(error: Deadlock, graph: Graph, plan: Plan) -> str:
    """What to do about a FIFO that is too shallow."""
    found = units(graph)
    if not {unit.node.name for unit in found} <= {layer.name for layer in plan.layers}:
        return "plan again, for the plan is of another graph"
    needed = {unit.node.name: least for unit, least in zip(found, least_beats(found, graph, plan), strict=True)}
    fifos = plan.layer(error.node).fifos if error.node in needed else ()
    if error.number >= len(fifos):
        return "plan again"
    if fifos[error.number] > error.depth:
        return f"the plan gives it {fifos[error.number]}, so run mixq generate"
    beats = max(needed[error.node][error.number] or 0, error.depth + 1)
    return f"give it {beats} in the plan, under fifos of {error.node}"


def decoded(outputs: list[bytes], graph: Graph) -> Integers:
    """The integers (frames, C, H, W) of the output frames, as far as they are whole."""
    target = graph.tensor(graph.output)
    size = frame_bytes(target.shape, target.format)
    whole = [data for data in outputs if len(data) == size]
    return from_bytes(b"".join(whole), target.format, target.shape)


def check_simulator(simulator: str) -> None:
    """UserError, with the command that installs it, where a simulator is missing."""
    from sim.tools import find_icarus, find_verilator

    {"icarus": find_icarus, "verilator": find_verilator}[simulator]()


def write_outputs(path: Path | None, verification: Verification) -> None:
    """Write what came out, where that is wanted."""
    from mixq.cli.arrays import write_array

    if path is not None:
        write_array(path, verification.found)
