"""``mixq verify``: simulates the emitted Verilog and compares every integer that comes out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import numpy.typing as npt
import typer

from mixq.build_folder import BuildFolder
from mixq.cli import explaining
from mixq.cli.arrays import read_frames
from mixq.cli.explaining import make_case
from mixq.cli.models import converted_outputs, has_torch, load_build_model
from mixq.cli.options import BuildDir, Simulator, Stalls
from mixq.cli.progress import progress
from mixq.cli.tables import show_facts, show_table
from mixq.cli.verification import Integers, Verification, check_simulator, is_hang, verify_frames, write_outputs
from mixq.errors import CheckFailed, UserError
from mixq.execute import checked_input, run
from mixq.graph import Graph

#: Frames of the reference that are simulated where nothing else was asked for.
FRAMES = 10
#: Differing integers that are shown.
SHOWN = 10


def register(app: typer.Typer) -> None:
    """Adds the verb."""
    app.command()(verify)


def verify(
    build_dir: BuildDir,
    simulator: Annotated[Simulator, typer.Option(help="The simulator.")] = Simulator.verilator,
    frames: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Frames, the first of the file; 10 of the reference or all of --inputs."),
    ] = None,
    stalls: Annotated[Stalls, typer.Option(help="Whether both sides stall at random.")] = Stalls.none,
    seed: Annotated[int, typer.Option(metavar="N", min=0, max=2**31 - 1, help="Seed of the stalls.")] = 0,
    inputs: Annotated[
        Path | None,
        typer.Option(metavar="FILE.npy", help="Integers (frames, C, H, W); reference/codes.npy by default."),
    ] = None,
    outputs: Annotated[
        Path | None,
        typer.Option(metavar="FILE.npy", help="Where the simulated integers go, int64 (frames, C, H, W)."),
    ] = None,
    expect: Annotated[
        Path | None, typer.Option(metavar="FILE.npy", help="What must come out, instead of the reference.")
    ] = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Compare every stage with the interpreter, too (Verilator).")
    ] = False,
) -> None:
    """Simulate the Verilog in rtl/, as it stands there, and compare every integer that comes out.

    Frames go in back to back. What must come out is, in this order: --expect; reference/expected.npy, for the
    reference's own frames; what the converted PyTorch model computes, where the build has a checkpoint and PyTorch is
    installed; what the interpreter computes. Cycles per frame are measured in a run without stalls, and must be the
    plan's from 4 frames on. Exit status 1 for any difference, broken rule of the streams or hang; --outputs is written
    on a difference, too. Writes report/rtlsim_performance.json and, under Verilator, report/activity.json.

    --explain simulates once more and names the first stage whose inputs are right and whose output is not; writes
    report/mismatch.json and sim/mismatch.vcd. Exit status 1 for a stage that is wrong, whatever comes out in the end.
    """
    folder = BuildFolder(build_dir)
    graph = folder.load_graph()
    folder.check_rtl()
    if explain and simulator is not Simulator.verilator:
        raise UserError(f"--explain looks into Verilator's simulation, not {simulator.value}'s; leave out --simulator")
    check_simulator(simulator.value)
    codes = _codes(folder, graph, inputs, frames)
    expected, reference = _expected(folder, graph, codes, given=inputs is not None, expect=expect)
    case = make_case(folder, graph, codes, stalls=stalls.value, seed=seed) if explain else None
    try:
        found = verify_frames(folder, graph, codes, expected, simulator=simulator.value, stalls=stalls.value, seed=seed)
    except CheckFailed as error:
        if case is not None and is_hang(error):
            explaining.show(folder, explaining.explain(folder, graph, codes, case, frames=len(codes)))
        raise
    write_outputs(outputs, found)
    show(folder, found, reference)
    if case is not None:
        frames = int(found.places[0, 0]) + 1 if len(found.places) else len(codes)
        explanation = explaining.explain(folder, graph, codes, case, frames=frames)
        explaining.show(folder, explanation, other=reference if len(found.places) else None)
        explanation.check()
    found.check()


def _codes(folder: BuildFolder, graph: Graph, inputs: Path | None, frames: int | None) -> npt.NDArray[Any]:
    """The frames to send."""
    path = folder.codes if inputs is None else inputs
    if inputs is None and not path.is_file():
        raise UserError(f"{path} is missing; name a file of frames with --inputs")
    codes = checked_input(graph, read_frames(path))
    _check_count(path, len(codes), frames)
    if frames is None:
        frames = len(codes) if inputs is not None else min(FRAMES, len(codes))
    return codes[:frames]


def _check_count(path: Path, available: int, frames: int | None) -> None:
    if frames is not None and available < frames:
        raise UserError(f"{path} holds {available} frames, not {frames}; ask for {available} with --frames, or fewer")


def _expected(
    folder: BuildFolder, graph: Graph, codes: npt.NDArray[Any], *, given: bool, expect: Path | None
) -> tuple[Integers, str]:
    """What must come out, and who says so."""
    shape = graph.tensor(graph.output).shape
    if expect is not None or (not given and folder.expected.is_file()):
        path = folder.expected if expect is None else expect
        expected = read_frames(path)
        if expected.shape[1:] != shape:
            raise UserError(f"{path} must have the shape (frames, {', '.join(map(str, shape))}), not {expected.shape}")
        _check_count(path, len(expected), len(codes))
        return expected[: len(codes)], f"the converted PyTorch model ({path})" if expect is None else str(path)
    if folder.checkpoint.is_file() and has_torch():
        from mixq.converted import ConvertedModel

        model = ConvertedModel(load_build_model(folder, graph))
        return converted_outputs(model, codes), "the converted PyTorch model"
    with progress("running the interpreter", len(codes)) as update:
        return run(graph, codes, progress=update), "the interpreter"


def show(folder: BuildFolder, found: Verification, reference: str) -> None:
    """Write the result, and the first integers that differ."""
    performance = found.performance
    places = found.places
    if len(places):
        rows = [
            (*map(int, place), int(found.found[tuple(place)]), int(found.expected[tuple(place)])) for place in places
        ]
        show_table(("frame", "channel", "row", "column", "got", "want"), rows[:SHOWN])
        if len(places) > SHOWN:
            typer.echo(f"... and {len(places) - SHOWN:,} more")
    for error in found.protocol_errors[:SHOWN]:
        typer.echo(error)
    cycles = "not measured: it takes 3 frames"
    if performance.cycles_per_frame is not None:
        verdict = ""
        if found.planned_cycles is not None:
            equal = performance.cycles_per_frame == found.planned_cycles
            verdict = ", as planned" if equal else f", the plan says {found.planned_cycles:,}"
        cycles = f"{performance.cycles_per_frame:,}{verdict}"
    show_facts(
        [
            ("simulator", f"{performance.simulator}, stalls {performance.stalls}, seed {performance.seed}"),
            ("reference", reference),
            ("frames", performance.frames),
            ("mismatches", f"{performance.mismatches} of {found.expected.size:,} integers"),
            ("cycles per frame", cycles),
            ("latency", f"{performance.latency_cycles:,} cycles"),
            ("simulation", f"{performance.sim_seconds:.1f} s"),
            ("report", folder.report / f"rtlsim_performance_{performance.simulator}.json"),
        ]
    )
