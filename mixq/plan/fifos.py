"""How deep the FIFOs must be where branches join again.

A join gives its pixel k when every branch has brought it. Before a branch does, so many pixels of the graph's input
must have come: none but those that the pixel depends on, through kernels, pooling and blocks. While a join waits for
the slowest branch, the others go on with what comes in; all that they give meanwhile waits in front of the join. If
there were no place for it, they would stop, and with them the fork that feeds the slow branch too: a deadlock.

For pixel k of a join let N be the input pixels that its slowest branch needs for it. Before the last of them comes,
another branch has given all of its pixels that need fewer; k of them are gone; the rest is what its FIFO must hold. The
maximum over k is the least depth, and one more at a fork, which gives that last pixel to both. Stages work in rows and
groups of pixels and take some cycles, so that more comes in before the slow branch's pixel really is there: for that N
is raised, by a row of every windowed stage's input on the slow branch, and by `CYCLES_OF_STAGE` pixels for each stage,
as the input brings one pixel in a cycle at most. Frames follow each other, so that of small images more than one frame
may wait.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from mixq.graph import Conv, Dense, Graph, MaxPool, Node, SpaceToDepth, SumPool, Upsample
from mixq.plan.units import INPUT, Unit
from mixq.streams import StreamShape

if TYPE_CHECKING:
    from mixq.plan.values import Plan

CYCLES_OF_STAGE = 64
"""Cycles that a stage's pipeline takes, and the converter before it, at most."""

SHORTEST = 2
"""Beats of the FIFO on every branch of a fork, whose places are registers."""

IntArray = npt.NDArray[np.int64]


class Needs:
    """For every tensor and each of its pixels, in their order: the pixels of the graph's input that must have come.

    least: what they depend on. slack: by how much more each pixel of a tensor may be late.
    """

    def __init__(self, units: Sequence[Unit], input_shape: tuple[int, int, int]) -> None:
        pixels = input_shape[1] * input_shape[2]
        self._input = np.arange(1, pixels + 1, dtype=np.int64)
        self._least: list[IntArray] = []
        self._slack: list[int] = []
        for unit in units:
            needs = [self.least(place) for place in unit.reads]
            late = [self.slack(place) for place in unit.reads]
            joined = np.maximum.reduce(needs)
            own = joined[last_pixel(unit.node, unit.source.shape, unit.target.shape)]
            # At the lower edge a pixel may depend on less than the one before it, behind which it comes.
            self._least.append(np.maximum.accumulate(own))
            row = _row_of(unit.node, unit.source.shape, pixels)
            self._slack.append(max(late) + row + CYCLES_OF_STAGE)

    def least(self, place: int) -> IntArray:
        """Of the tensor that a unit gives, or of the input."""
        return self._input if place == INPUT else self._least[place]

    def slack(self, place: int) -> int:
        """Of the tensor that a unit gives, or of the input."""
        return 0 if place == INPUT else self._slack[place]

    def depths(self, unit: Unit, *, slack: bool = True) -> tuple[int, ...]:
        """Pixels that the FIFO at each input of a join must hold; without slack the least that can work."""
        needs = [self.least(place) for place in unit.reads]
        late = [self.slack(place) if slack else 0 for place in unit.reads]
        found = []
        for number, own in enumerate(needs):
            most = 0
            for place, (other, extra) in enumerate(zip(needs, late, strict=True)):
                if place == number:
                    continue
                if slack:
                    frames, rest = np.divmod(other + extra, len(self._input))
                    come = frames * len(own) + np.searchsorted(own, rest, side="right")
                else:
                    # What the last of these pixels itself brings need not wait: the slow branch has all it needs then.
                    come = np.searchsorted(own, other, side="left")
                most = max(most, int((come - np.arange(len(own))).max()))
            found.append(most)
        return tuple(found)


def least_beats(units: Sequence[Unit], graph: Graph, plan: Plan) -> list[list[int | None]]:
    """Beats without which the FIFO at every input of every unit comes to a standstill; None where there is none."""
    pixels = edge_depths(units, graph.tensor(graph.input).shape, slack=False)
    return [
        [
            None if depth is None else depth_in_beats(depth, _beats(units, graph, plan, place), least=True)
            for depth, place in zip(depths, unit.reads, strict=True)
        ]
        for unit, depths in zip(units, pixels, strict=True)
    ]


def shallow(units: Sequence[Unit], graph: Graph, plan: Plan) -> list[str]:
    """A line for every FIFO of a plan with which the pipeline would come to a standstill: which node starves, and why.

    Raises ValueError for a plan without FIFOs where there must be some.
    """
    shape = graph.tensor(graph.input).shape
    needs = Needs(units, shape)
    found = []
    for unit, depths in zip(units, least_beats(units, graph, plan), strict=True):
        fifos = plan.layer(unit.node.name).fifos
        wanted = any(depth is not None for depth in depths)
        if len(fifos) != (len(depths) if wanted else 0):
            raise ValueError(f"plan must have FIFOs at {len(depths)} inputs of {unit.node.name}, not {fifos!r}")
        for number, least in enumerate(depths):
            if least is not None and fifos[number] < least:
                slow = int(np.argmax([int(needs.least(place).sum()) for place in unit.reads]))
                giver = unit.reads[slow]
                origin = "the input" if giver == INPUT else units[giver].node.name
                found.append(
                    f"node {unit.node.name} starves: it waits for {unit.sources[slow].name} from {origin} while the "
                    f"FIFO of {unit.sources[number].name} in front of it is full, which holds {fifos[number]} beats "
                    f"and needs {least}; plan again"
                )
    return found


def _beats(units: Sequence[Unit], graph: Graph, plan: Plan, place: int) -> StreamShape:
    """Beats that a unit gives in a plan, or the input."""
    if place == INPUT:
        first = graph.tensor(graph.input)
        return StreamShape(*first.shape, first.format, pixels=1, lanes=plan.input_lanes)
    unit = units[place]
    layer = plan.layer((unit.requantise or unit.node).name)
    return StreamShape(*unit.target.shape, unit.target.format, pixels=layer.pixels, lanes=layer.lanes)


def last_pixel(node: Node, source: tuple[int, int, int], target: tuple[int, int, int]) -> IntArray:
    """The last pixel of its input, in the order of rows, that each pixel of a node's output depends on."""
    (_, height, width), (_, out_height, out_width) = source, target
    rows, columns = np.arange(out_height), np.arange(out_width)
    match node:
        case Conv():
            top, left, _, _ = node.sides
            last_row = rows * node.stride + node.extent - 1 - top
            last_column = columns * node.stride + node.extent - 1 - left
        case Dense():
            last_row, last_column = np.full(1, height - 1), np.full(1, width - 1)
        case MaxPool():
            last_row, last_column = rows * node.stride + node.kernel - 1, columns * node.stride + node.kernel - 1
        case SumPool():
            last_row, last_column = (rows + 1) * node.window[0] - 1, (columns + 1) * node.window[1] - 1
        case SpaceToDepth():
            last_row, last_column = (rows + 1) * node.block - 1, (columns + 1) * node.block - 1
        case Upsample():
            last_row, last_column = rows // node.factor, columns // node.factor
        case _:
            last_row, last_column = rows, columns
    last_row, last_column = last_row.clip(0, height - 1), last_column.clip(0, width - 1)
    return (last_row[:, None] * width + last_column[None, :]).ravel().astype(np.int64)


def depth_in_beats(pixels: int, shape: StreamShape, *, least: bool = False) -> int:
    """Beats of a FIFO that holds so many pixels, each beat ``shape.pixels`` of them in ``shape.lanes`` channels.

    least: such that fewer certainly do not, where rows may end within a group of pixels.
    """
    groups = pixels // shape.pixels if least else -(-pixels // shape.pixels) + (1 if shape.pixels > 1 else 0)
    return max(SHORTEST, groups * shape.channel_groups)


def edge_depths(
    units: Sequence[Unit], input_shape: tuple[int, int, int], *, slack: bool = True
) -> list[list[int | None]]:
    """Pixels of the FIFO at every input of every unit; None where there is none, 0 for the shortest there is.

    There are FIFOs in front of joins and on all branches of forks.
    """
    needs = Needs(units, input_shape)
    readers = [place for unit in units for place in unit.reads]
    found: list[list[int | None]] = []
    for unit in units:
        if unit.joins:
            depths = needs.depths(unit, slack=slack)
            # A fork gives the pixel that the slow branch waits for to this one, too.
            found.append(
                [own + (own > 0 and readers.count(place) > 1) for own, place in zip(depths, unit.reads, strict=True)]
            )
        else:
            found.append([0 if readers.count(place) > 1 else None for place in unit.reads])
    return found


def _row_of(node: Node, source: tuple[int, int, int], pixels: int) -> int:
    """Pixels of the graph's input in a row of a windowed node's input."""
    windowed = isinstance(node, MaxPool | SumPool | SpaceToDepth | Upsample) or (
        isinstance(node, Conv) and node.kernel > 1
    )
    return -(-pixels // source[1]) if windowed else 0
