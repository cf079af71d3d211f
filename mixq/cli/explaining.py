"""Which stage of the simulated Verilog is the first that is wrong: ``mixq verify --explain``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy.typing as npt
import typer

from mixq.build_folder import BuildFolder
from mixq.cli.progress import progress
from mixq.cli.tables import show_facts, show_table
from mixq.cli.verification import frames_bytes, optimisation, quiet_cycles
from mixq.containers import frame_bytes
from mixq.errors import CheckFailed
from mixq.files import write_json
from mixq.graph import Graph

if TYPE_CHECKING:
    from sim.mismatch import Comparison, Difference
    from sim.parts import Part
    from sim.tap import Case

#: The report, and the waveforms in the folder of simulations.
MISMATCH_FILE, WAVES_FILE = "mismatch.json", "mismatch.vcd"
#: Cycles of waveforms before the first wrong beat and behind it.
CYCLES_BEFORE, CYCLES_BEHIND = 64, 32
#: Differing integers that are told one by one.
TOLD = 10


@dataclass(frozen=True)
class Explanation:
    """What was found: ``document`` as report/mismatch.json holds it, None where all stages are right."""

    document: dict[str, Any] | None
    frames: int

    def check(self) -> None:
        """CheckFailed, with the part that is wrong, unless all are right."""
        if self.document is not None:
            raise CheckFailed(_sentence(self.document))


def remove_explanation(folder: BuildFolder) -> None:
    """Remove what an earlier run left: it is of other Verilog."""
    for path in (folder.report / MISMATCH_FILE, folder.sim / WAVES_FILE):
        path.unlink(missing_ok=True)


def make_case(folder: BuildFolder, graph: Graph, codes: npt.NDArray[Any], *, stalls: str, seed: int) -> Case:
    """The simulation of frames (N, C, H, W) that is looked into, the same as that of ``verify_frames``.

    UserError for Verilog that does not name its streams.
    """
    from sim.tap import Case

    target = graph.tensor(graph.output)
    plan = folder.load_plan() if folder.plan_file.is_file() else None
    case = Case(
        rtl_dir=folder.rtl,
        frames=tuple(frames_bytes(codes, graph)),
        output_frame_bytes=frame_bytes(target.shape, target.format),
        stalls=stalls,
        seed=seed,
        stall_limit=quiet_cycles(plan),
        work_dir=folder.sim,
        optimise=optimisation(len(codes)),
    )
    case.design()
    return case


def explain(folder: BuildFolder, graph: Graph, codes: npt.NDArray[Any], case: Case, *, frames: int) -> Explanation:
    """Simulate again, hold the first ``frames`` frames on every stream to the interpreter, and write what is wrong.

    Writes report/mismatch.json, and sim/mismatch.vcd where the first wrong beat is known; both are removed where all is
    right. codes: the frames of ``case``.
    """
    from sim.mismatch import compare
    from sim.tap import record, write_waves

    remove_explanation(folder)
    with progress("comparing every stage", 2) as update:
        recording = record(case, graph, frames=frames)
        update(1)
        found = compare(recording, graph, codes)
        update(2)
    part = found.culprits[0] if found.culprits else found.stuck
    if part is None:
        if not recording.hang:
            return Explanation(None, frames)
        document = _head(case, frames) | {"part": None, "hang": recording.hang}
    else:
        document = _head(case, frames) | _part(found, part)
        if recording.hang:
            document["hang"] = recording.hang
        cycle = document["cycle"] if document["cycle"] is not None else found.last_cycle(part)
        first, last = max(0, cycle - CYCLES_BEFORE), cycle + CYCLES_BEHIND
        path = folder.sim / WAVES_FILE
        with progress("writing waveforms", 1) as update:
            write_waves(case, part.name, path, first=first, last=last, frames=frames + 1)
            update(1)
        document["waves"] = _waves(path, folder, first, last)
    write_json(folder.report_file(MISMATCH_FILE), document)
    return Explanation(document, frames)


def _head(case: Case, frames: int) -> dict[str, Any]:
    return {"simulator": "verilator", "stalls": case.stalls, "seed": case.seed, "frames": frames}


def _waves(path: Path, folder: BuildFolder, first: int, last: int) -> dict[str, Any]:
    from sim.tap import UNITS_OF_CYCLE

    return {
        "file": str(path.relative_to(folder.path)),
        "first_cycle": first,
        "last_cycle": last,
        "units_of_cycle": UNITS_OF_CYCLE,
    }


def _part(found: Comparison, part: Part) -> dict[str, Any]:
    """What is told of the part that is wrong, or that stands still."""
    own = found.wrong(part)
    told: dict[str, Any] = {
        "part": {"name": part.name, "kind": part.kind, "node": part.node, "tensor": part.tensor},
        "signal": _signal(found, part, own),
        "cycle": None,
    }
    if own is not None:
        told |= _difference(own)
    told["fed_by"] = [
        {"name": giver.name, "tensor": giver.tensor, "stage": stage.name} for giver, stage in found.feeders(part)
    ]
    told["follows"] = [other.name for other in found.consequences(part)]
    told["others"] = [other.name for other in found.culprits if other is not part]
    return told


def _signal(found: Comparison, part: Part, own: Difference | None) -> str | None:
    """The payload in the Verilog that is wrong, None at the bus, which has none."""
    from rtl_gen.handshakes import payload_name

    if not part.outputs:
        return None
    number = next((number for number in part.outputs if found.streams[number] is own), part.outputs[0])
    return payload_name(number, part.name if part.kind != "bus" else found.recording.taps[number].label.source)


def _difference(own: Difference) -> dict[str, Any]:
    """The first integer that differs, how many do, and what they have in common."""
    channel, row, column = own.places[0].tolist()
    got = [None] * len(own.places) if own.got is None else own.got.tolist()
    want = own.want.tolist()
    channels, height, width = own.shape
    return {
        "cycle": own.cycle,
        "frame": own.frame,
        "channel": channel,
        "row": row,
        "column": column,
        "got": got[0],
        "want": want[0],
        "differ": len(own.places),
        "integers": channels * height * width,
        "wrong_frames": own.frames,
        "missing_beats": own.missing,
        "hints": own.hints,
        "first": [[*own.places[at].tolist(), got[at], want[at]] for at in range(min(TOLD, len(want)))],
    }


def _named(part: dict[str, Any]) -> str:
    kind = {"stage": "stage", "converter": "converter", "fifo": "FIFO", "bus": "bus side"}[part["kind"]]
    node = f" (layer {part['node']})" if part["node"] is not None and part["node"] != part["name"] else ""
    return f"{kind} {part['name']}{node}"


def _feeder(given: dict[str, str]) -> str:
    through = "" if given["name"] == given["stage"] else f" through {given['name']}"
    return f"{given['stage']}{through} (tensor {given['tensor']})"


def _sentence(document: dict[str, Any]) -> str:
    if document["part"] is None:
        return f"every beat is right until nothing moves any more, and no part is to blame alone: {document['hang']}"
    name = _named(document["part"])
    if "frame" not in document:
        return f"{name} has all that it needs and gives nothing: {document['hang']}"
    place = f"frame {document['frame']}, channel {document['channel']}, row {document['row']}, column "
    got = "nothing" if document["got"] is None else document["got"]
    return f"{name} is the first that is wrong: {place}{document['column']}: got {got}, want {document['want']}"


def show(folder: BuildFolder, found: Explanation, *, other: str | None = None) -> None:
    """Write what was found; ``other``: who wanted other integers than those that came out, if any."""
    document = found.document
    if document is None:
        ending = "" if other is None else f": it is {other} that differs from the interpreter"
        typer.echo(f"every stage gives what the interpreter computes, in {found.frames} frames{ending}")
        return
    facts: list[tuple[str, object]] = []
    if document["part"] is not None:
        facts.append(("first wrong", _named(document["part"])))
    if "frame" in document:
        rows = [(document["frame"], *row) for row in document["first"]]
        show_table(("frame", "channel", "row", "column", "got", "want"), rows)
        facts += [
            ("differ", f"{document['differ']:,} of {document['integers']:,} integers: {'; '.join(document['hints'])}"),
            ("wrong frames", f"{document['wrong_frames']} of {document['frames']}"),
        ]
    if document.get("cycle") is not None:
        facts.append(("cycle", f"{document['cycle']:,}, signal {document['signal'] or 'm_axis_0_tdata'}"))
    if document.get("fed_by"):
        facts.append(("fed by", f"{', '.join(map(_feeder, document['fed_by']))}: all right"))
    facts += [(name, ", ".join(document[key])) for key, name in _LISTS.items() if document.get(key)]
    if "waves" in document:
        waves = document["waves"]
        facts.append(
            ("waveforms", f"{folder.path / waves['file']}, cycles {waves['first_cycle']:,} to {waves['last_cycle']:,}")
        )
    facts.append(("explanation", folder.report / MISMATCH_FILE))
    show_facts(facts)


_LISTS = {"follows": "wrong behind it", "others": "wrong besides"}
