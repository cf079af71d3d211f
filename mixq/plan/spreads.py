"""Which shares of a layer's channels are worth computing at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from math import ceil, gcd, log

from mixq.packing import Packing
from mixq.plan.layer_shape import LayerShape

_RATIO = 1.5
"""Least ratio between sizes of parts that are offered beside those that divide."""


@dataclass(frozen=True)
class Spread:
    """Output channels, kernel rows and input channels at a time; see :class:`mixq.plan.folding.Folding`.

    Of groups side by side pe and lanes are all channels of these. multipliers: units that work side by side. turns:
    steps for a group of pixels, of all folds. even: whether both kinds of channels are divided evenly.
    """

    pe: int
    rows: int
    lanes: int
    multipliers: int
    turns: int
    even: bool


def parts(number: int, step: int = 1) -> list[int]:
    """Sizes of parts that channels are worth cutting into, multiples of ``step``, rising.

    All that divide evenly, the smallest and the largest; between two neighbours of these some others, each the smallest
    that leads to its count of parts, a ratio of 1.5 or so apart.

    >>> parts(10), parts(64), parts(10, 4)
    ([1, 2, 3, 4, 5, 10], [1, 2, 3, 4, 6, 8, 11, 16, 22, 32, 64], [4, 8, 12])
    """
    sizes = range(step, number + step, step)
    fixed = sorted({sizes[0], sizes[-1], *(size for size in sizes if number % size == 0)})
    found = set(fixed)
    for low, high in pairwise(fixed):
        picks = int(log(high / low) / log(_RATIO) + 1e-9)
        between = [size for size in sizes if low < size < high and ceil(number / (size - step)) > ceil(number / size)]
        for pick in range(1, picks + 1) if between else ():
            target = log(low) + log(high / low) * pick / (picks + 1)
            found.add(min(between, key=lambda size: abs(log(size) - target)))
    return sorted(found)


def spreads(shape: LayerShape, packing: Packing, most_dsps: int, *, even: bool = False) -> list[Spread]:
    """The ways to spread a layer over at most ``most_dsps``.

    Those that divide the channels evenly, and others where filling up pays: where no spread of no more multipliers
    takes no more steps. even: the first alone. Weights of 1 bit have no 0 to fill up with. Of a convolution in groups,
    those that divide a group evenly, and some whole groups side by side.
    """
    even = even or packing.weight_bits == 1
    if shape.groups > 1:
        return _worthwhile(_of_groups(shape, packing, most_dsps, even=even))
    found: list[Spread] = []
    for pe in parts(shape.out_channels, packing.channels):
        folds, even_pe = ceil(shape.out_channels / pe), shape.out_channels % pe == 0
        if even and not even_pe:
            continue
        # Beats of the fewest that a fold can leave in, see Folding.leaving.
        beats = 1 if folds == 1 else pe // gcd(pe, shape.out_channels)
        for rows in sorted({1, shape.kernel}):
            for lanes in parts(shape.in_channels):
                multipliers = pe // packing.channels * rows * lanes
                if multipliers * packing.dsps > most_dsps:
                    break
                steps = shape.kernel // rows * ceil(shape.in_channels / lanes) * packing.passes
                divides = even_pe and shape.in_channels % lanes == 0
                if (divides or not even) and beats <= steps:
                    found.append(Spread(pe, rows, lanes, multipliers, folds * steps, divides))
    return _worthwhile(found)


def _of_groups(shape: LayerShape, packing: Packing, most_dsps: int, *, even: bool) -> Iterator[Spread]:
    """Spreads of a convolution in groups."""
    inputs, outputs = shape.group_inputs, shape.group_outputs
    shares = [
        (pe, lanes)
        for pe in range(packing.channels, outputs + 1, packing.channels)
        if outputs % pe == 0
        for lanes in range(1, inputs + 1)
        if inputs % lanes == 0
    ]
    shares += [(number * outputs, number * inputs) for number in parts(shape.groups) if number > 1]
    for pe, lanes in shares:
        side_by_side = max(1, lanes // inputs)
        folds, divides = ceil(shape.out_channels / pe), shape.groups % side_by_side == 0
        beats = 1 if folds == 1 else pe // gcd(pe, shape.out_channels)
        for rows in sorted({1, shape.kernel}):
            multipliers = pe // packing.channels * rows * lanes // side_by_side
            steps = shape.kernel // rows * max(1, inputs // lanes) * packing.passes
            fits = multipliers * packing.dsps <= most_dsps and beats <= steps
            if fits and outputs % packing.channels == 0 and (divides or not even):
                yield Spread(pe, rows, lanes, multipliers, folds * steps, divides)


def _worthwhile(found: Iterable[Spread]) -> list[Spread]:
    """Leave out uneven spreads where another takes fewer multipliers or steps and no more of the other, or an even one
    the same of both."""
    kept: list[Spread] = []
    # The last spread in front, those of the same numbers being as good.
    front: Spread | None = None
    for spread in sorted(found, key=lambda spread: (spread.multipliers, spread.turns, not spread.even)):
        faster = front is None or spread.turns < front.turns
        same = front is not None and (spread.multipliers, spread.turns) == (front.multipliers, front.turns)
        if spread.even or faster or (same and front is not None and not front.even):
            kept.append(spread)
        if faster:
            front = spread
    return kept
