"""How deep the FIFOs must be where branches join again.

A join gives its pixel k when every branch has brought it. Before a branch does, so many pixels of the tensor that the
branches come from must have come: none but those that the pixel depends on, through kernels, pooling and blocks. While
a join waits for the slowest branch, the others go on with what comes in; all that they give meanwhile waits in front of
the join. If there were no place for it, they would stop, and with them the fork that feeds the slow branch too: a
deadlock.

Only what lies between the join and its *origin* matters, the nearest tensor through which everything comes that reaches
the join: all branches see its pixels in one order, and whatever is before it goes on as long as they are taken.

The least depth. For pixel k of a join let N be the pixels of the origin that its slowest branch needs for it. Before
the last of them comes, another branch has given all of its pixels that need fewer; k of them are gone; the rest is what
its FIFO must hold. The maximum over k is the least depth, and one more at a fork, which gives that last pixel to both.

With it there is no deadlock, however fast or slow stages are. Suppose that nothing moves, and take of all joins that
wait the one whose missing pixel needs the fewest pixels of the image. A full FIFO in front of it holds, with the k
pixels that are gone, all that its branch gives before the last pixel is there that the missing one needs. So that pixel
has been given to all branches, and no stage on the way lacks anything: the pixel comes, or another join on the way
waits for one that needs no more, and so on.

The rate. Stages take some cycles, so that more comes in before the slow branch's pixel really is there. All times are
counted in pixels of the graph's input, which brings one in a cycle at most, and every pixel of the origin has one
(:func:`arrivals`). That of the N-th is raised by `CYCLES_OF_STAGE` for each stage between origin and join on the slow
branch; stages before the origin delay all branches alike. A stage that takes a frame's time for a frame gives its
pixels evenly, and a faster one can be as slow without holding up the input; where they come to it in bursts, it falls
behind by a row at most. Bursts begin at stages that give fewer or more pixels than they take, so that the time is also
raised by a row of the input of such a stage, and of every windowed one behind it. Where all tensors up to one have the
pixels of the image, it comes evenly, and no row is added. Frames follow each other, so that of small images more than
one frame may wait.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from mixq.graph import Conv, Dense, Graph, MaxPool, Node, SpaceToDepth, SumPool, Upsample
from mixq.plan.beats import given_beats
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
    """For every tensor behind an origin and each of its pixels, in their order: the pixels that must have come.

    These are pixels of the origin, `INPUT` or the place of the unit that gives it.
    """

    def __init__(self, units: Sequence[Unit], input_shape: tuple[int, int, int], origin: int = INPUT) -> None:
        shape = input_shape if origin == INPUT else units[origin].target.shape
        pixels = input_shape[1] * input_shape[2]
        self._least = {origin: np.arange(1, shape[1] * shape[2] + 1, dtype=np.int64)}
        self._slack = {origin: 0}
        even = even_tensors(units, input_shape)
        for place, unit in enumerate(units[origin + 1 :], origin + 1):
            if not all(own in self._least for own in unit.reads):
                continue
            self._least[place] = _composed([self._least[own] for own in unit.reads], unit)
            row = 0 if even[place] else _row_of(unit.node, unit.source.shape, pixels)
            self._slack[place] = max(self._slack[own] for own in unit.reads) + row + CYCLES_OF_STAGE

    def least(self, place: int) -> IntArray:
        """What the pixels of a tensor depend on."""
        return self._least[place]

    def slack(self, place: int) -> int:
        """Pixels of the graph's input that may come before the pixel of a tensor does, once it has what it needs."""
        return self._slack[place]

    def depths(self, unit: Unit) -> tuple[int, ...]:
        """The least pixels that the FIFO at each input of a join must hold."""
        needs = [self.least(place) for place in unit.reads]
        # What the last of these pixels itself brings need not wait: the slow branch has all it needs then.
        return tuple(
            max(
                (_most_waiting(own, np.searchsorted(own, other, side="left")) for other in needs if other is not own),
                default=0,
            )
            for own in needs
        )

    def depths_at_full_rate(self, unit: Unit, arrivals: IntArray, frame: int) -> tuple[int, ...]:
        """Pixels that this FIFO must hold so that nothing waits for a place in it.

        arrivals: pixels of the graph's input with which each of the origin comes; frame: how many the input has.
        """
        found = []
        for place in unit.reads:
            own, most = arrivals[self.least(place) - 1], 0
            for other in unit.reads:
                if other != place:
                    frames, rest = np.divmod(arrivals[self.least(other) - 1] + self.slack(other), frame)
                    most = max(most, _most_waiting(own, frames * len(own) + np.searchsorted(own, rest, side="right")))
            found.append(most)
        return tuple(max(pair) for pair in zip(found, self.depths(unit), strict=True))


def _most_waiting(own: IntArray, come: IntArray) -> int:
    """The most pixels of a branch in front of a join that has taken k: ``come`` have come before it takes pixel k."""
    return int((come - np.arange(len(own))).max())


def even_tensors(units: Sequence[Unit], input_shape: tuple[int, int, int]) -> list[bool]:
    """For every unit whether it and all before it give as many pixels as the graph's input: then these come evenly."""
    found: list[bool] = []
    for unit in units:
        same = unit.target.shape[1:] == input_shape[1:]
        found.append(same and all(place == INPUT or found[place] for place in unit.reads))
    return found


def arrivals(units: Sequence[Unit], input_shape: tuple[int, int, int]) -> dict[int, IntArray]:
    """For every tensor the pixels of the graph's input with which each of its pixels comes at the soonest.

    Those of even tensors come one with each. Delays that are the same for all pixels are left out.
    """
    evenly = np.arange(1, input_shape[1] * input_shape[2] + 1, dtype=np.int64)
    found = {INPUT: evenly}
    for place, (unit, even) in enumerate(zip(units, even_tensors(units, input_shape), strict=True)):
        found[place] = evenly if even else _composed([found[own] for own in unit.reads], unit)
    return found


def _composed(sources: Sequence[IntArray], unit: Unit) -> IntArray:
    """What the pixels of a unit's output depend on, as those of its inputs do."""
    needed = np.maximum.reduce(sources)[last_pixel(unit.node, unit.source.shape, unit.target.shape)]
    # At the lower edge a pixel may depend on less than the one before it, behind which it comes.
    composed: IntArray = np.maximum.accumulate(needed)
    return composed


def origins(units: Sequence[Unit]) -> list[int]:
    """For every unit the nearest tensor in front of it through which all comes that reaches it: a place, or `INPUT`."""
    found: list[int] = []
    for unit in units:
        places = set(unit.reads)
        while len(places) > 1:
            latest = max(places)
            places = places - {latest} | {found[latest]}
        found += places
    return found


def least_beats(units: Sequence[Unit], graph: Graph, plan: Plan) -> list[list[int | None]]:
    """Beats without which the FIFO at every input of every unit comes to a standstill; None where there is none."""
    pixels = edge_depths(units, graph.tensor(graph.input).shape, slack=False)
    return [
        [
            None if depth is None else depth_in_beats(depth, given_beats(units, graph, plan, place), least=True)
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
    frame = input_shape[1] * input_shape[2]
    readers = [place for unit in units for place in unit.reads]
    arrived = arrivals(units, input_shape)
    found: list[list[int | None]] = []
    for unit, origin in zip(units, origins(units), strict=True):
        if unit.joins:
            needs = Needs(units, input_shape, origin)
            depths = needs.depths_at_full_rate(unit, arrived[origin], frame) if slack else needs.depths(unit)
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
