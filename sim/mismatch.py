"""Which stage of a simulated accelerator is the first that computes something else than the interpreter.

What every stage gives was kept by :mod:`sim.tap`; what it must give is the graph's tensor of the same name. A part
whose inputs are all right and one of whose outputs is not is at fault itself; what is wrong behind it follows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from mixq.containers import frame_bytes, from_bytes
from mixq.execute import run_all
from mixq.graph import Graph
from sim.parts import Part, parts
from sim.tap import Recording, Tap

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Difference:
    """What is wrong of a tensor on its way, from the first frame with anything wrong on.

    ``frame``, and ``places``, the channel, row and column of each integer of it that differs, in the order of the
    stream (n, 3), with what was ``got`` and ``want``-ed (n,). ``cycle``: in which the first of them was taken, None
    where that is not known. ``shape`` of the tensor; ``frames``, how many have something wrong. ``missing``: so many
    beats never came; where nothing else is wrong the places are theirs, and nothing was got.
    """

    frame: int
    places: IntArray
    got: IntArray | None
    want: IntArray
    cycle: int | None
    shape: tuple[int, int, int]
    frames: int
    missing: int = 0

    @property
    def hints(self) -> list[str]:
        """What the places have in common: which channels, rows and columns, where not all of them."""
        if len(self.places) == 1:
            return ["one integer"]
        found = [
            _hint(name, np.unique(self.places[:, axis]), self.shape[axis])
            for axis, name in enumerate(("channel", "row", "column"))
        ]
        return [hint for hint in found if hint] or ["all over the tensor"]


@dataclass(frozen=True)
class Comparison:
    """Everything that was compared: the parts in the order of the data, and what each stream has wrong.

    ``output``: what differs in the frames that came out, as the bus brought them.
    """

    recording: Recording
    parts: tuple[Part, ...]
    streams: tuple[Difference | None, ...]
    output: Difference | None

    @cached_property
    def culprits(self) -> list[Part]:
        """Parts that are wrong themselves, the first one first."""
        return [part for part in self.parts if self.wrong(part) and not any(self.streams[i] for i in part.inputs)]

    def wrong(self, part: Part) -> Difference | None:
        """What a part gives that is wrong, on the first of its streams that has anything."""
        if part.kind == "bus" and not part.outputs:
            return self.output
        found = [own for number in part.outputs if (own := self.streams[number])]
        return min(found, key=lambda own: own.frame, default=None)

    def consequences(self, part: Part) -> list[Part]:
        """Parts behind one that are wrong too."""
        reached = set(part.outputs)
        found = []
        for own in self.parts:
            if own is not part and reached & set(own.inputs):
                reached |= set(own.outputs)
                found += [own] if self.wrong(own) else []
        return found

    def feeders(self, part: Part) -> list[tuple[Part, Part]]:
        """For each input of a part: what gives the stream, and the stage or bus that its tensor comes from."""
        givers = {number: own for own in self.parts for number in own.outputs}
        found = []
        for number in part.inputs:
            stage = giver = givers[number]
            while stage.kind in ("converter", "fifo"):
                stage = givers[stage.inputs[0]]
            found.append((giver, stage))
        return found

    @cached_property
    def stuck(self) -> Part | None:
        """Where nothing moves any more: the part that gives nothing although all that it needs is there, or was."""
        seen, taps = self.recording.handshakes, self.recording.taps
        if seen is None:
            return None

        def offered(number: int) -> bool:
            return seen.valid[number] == "1" and seen.ready[number] == "0"

        def finished(number: int) -> bool:
            return len(taps[number].rows) >= self.recording.frames * taps[number].shape.beats

        for part in self.parts:
            silent = all(seen.valid[number] == "0" and not finished(number) for number in part.outputs)
            if silent and part.outputs and all(offered(number) or finished(number) for number in part.inputs):
                return part
        return None

    def last_cycle(self, part: Part) -> int:
        """The cycle in which a part last took or gave a beat."""
        cycles = [self.recording.taps[number].cycles for number in (*part.inputs, *part.outputs)]
        return max((int(own[-1]) for own in cycles if len(own)), default=0)


def compare(recording: Recording, graph: Graph, codes: npt.NDArray[np.integer]) -> Comparison:
    """Hold what was recorded to what the interpreter makes of the frames ``codes`` (N, C, H, W) that went in."""
    numbers = range(len(recording.taps))
    found: list[list[Difference]] = [[] for _ in numbers]
    wrong_output: list[Difference] = []
    for frame in range(recording.frames):
        tensors = run_all(graph, codes[frame : frame + 1])
        for number, tap in enumerate(recording.taps):
            own = _tap_difference(tap, frame, tensors[tap.tensor][0], stopped=not recording.hang)
            found[number] += [own] if own else []
        own = _output_difference(recording, graph, frame, tensors[graph.output][0])
        wrong_output += [own] if own else []
    return Comparison(
        recording,
        tuple(parts([tap.label for tap in recording.taps], [tap.tensor for tap in recording.taps], graph)),
        tuple(_joined(found[number]) for number in numbers),
        _joined(wrong_output),
    )


def _tap_difference(tap: Tap, frame: int, want: IntArray, *, stopped: bool) -> Difference | None:
    """What a stream has wrong of one frame; ``stopped``: whether beats that are not there will never come."""
    shape = tap.shape
    start = frame * shape.beats
    rows = tap.rows[start : start + shape.beats]
    beat, place = (tap.as_tensor(own) for own in shape.places())
    lacking = shape.beats - len(rows)
    whole = np.concatenate([rows, np.zeros((lacking, tap.rows.shape[1]), np.uint8)]) if lacking else rows
    got: IntArray | None = tap.as_tensor(shape.unpack_bytes(whole)[0])
    wrong = (got != want) & (beat < len(rows))
    if not wrong.any():
        if not lacking or not stopped:
            return None
        got, wrong = None, beat >= len(rows)
    places = np.argwhere(wrong)
    at = tuple(places.T)
    order = np.lexsort((place[at], beat[at]))
    places, at = places[order], tuple(places[order].T)
    cycle = None if got is None else int(tap.cycles[start + int(beat[at][0])])
    return Difference(
        frame, places, None if got is None else got[at], want[at], cycle, tap.tensor_shape, 1, lacking if stopped else 0
    )


def _output_difference(recording: Recording, graph: Graph, frame: int, want: IntArray) -> Difference | None:
    """What came out wrong of one frame, where it came out whole."""
    tensor = graph.tensor(graph.output)
    if frame >= len(recording.outputs) or len(recording.outputs[frame]) != frame_bytes(tensor.shape, tensor.format):
        return None
    got = from_bytes(recording.outputs[frame], tensor.format, tensor.shape)[0]
    # Channels of a pixel stand next to each other on the bus.
    places = np.argwhere((got != want).transpose(1, 2, 0))[:, [2, 0, 1]]
    if not len(places):
        return None
    at = tuple(places.T)
    return Difference(frame, places, got[at], want[at], recording.first_cycles[frame], tensor.shape, 1)


def _joined(found: Sequence[Difference]) -> Difference | None:
    """The first frame's, with the number of frames."""
    if not found:
        return None
    first = found[0]
    missing = sum(own.missing for own in found)
    return Difference(first.frame, first.places, first.got, first.want, first.cycle, first.shape, len(found), missing)


def _hint(name: str, numbers: IntArray, size: int) -> str:
    """What is said of the channels, rows or columns in which something differs; nothing where it is in all of them.

    >>> _hint("column", np.array([7]), 8), _hint("row", np.array([0, 3]), 4), _hint("channel", np.arange(4), 4)
    ('only the last column, 7', 'only the first and the last row', '')
    """
    if len(numbers) == size:
        return ""
    if len(numbers) == 1:
        number = int(numbers[0])
        place = "the first " if number == 0 and name != "channel" else ""
        place = "the last " if number == size - 1 and name != "channel" else place
        return f"only {place}{name}{',' if place else ''} {number}"
    if name != "channel" and numbers.tolist() == [0, size - 1]:
        return f"only the first and the last {name}"
    if len(numbers) <= 4:
        return f"only {name}s {', '.join(map(str, numbers[:-1]))} and {numbers[-1]}"
    return f"{len(numbers)} of {size} {name}s"
