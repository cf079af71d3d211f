"""The ways to build a layer that a plan can choose from, with what each takes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import gcd

import numpy as np
import numpy.typing as npt

from mixq.board import REPORT_KEYS, Resources
from mixq.formats import IntFormat
from mixq.graph import Requantise
from mixq.packing import Packing, SoftMultipliers, candidates
from mixq.plan import estimate
from mixq.plan.folding import Folding
from mixq.plan.layer_shape import LayerShape
from mixq.plan.pumping import can_pump
from mixq.plan.restrictions import Restriction
from mixq.plan.soft_options import soft_foldings
from mixq.plan.spreads import spreads
from mixq.plan.sum_widths import threshold_format
from mixq.plan.units import Unit

# Ways that alone take more DSPs than this times the limit, or than this many more, are not looked at.
_MOST_TIMES, _MOST_MORE = 2, 64


def most_dsps(limit: int) -> int:
    """DSPs that a layer may take so that its ways are listed; beyond the limit, for telling what does not fit.

    >>> most_dsps(10), most_dsps(100)
    (74, 200)
    """
    return max(_MOST_TIMES * limit, limit + _MOST_MORE)


def divisors(number: int) -> list[int]:
    """All divisors, rising."""
    return [d for d in range(1, number + 1) if number % d == 0]


@dataclass(frozen=True)
class Options:
    """All ways to build one layer.

    bases: foldings, each of which stands for those with other shapes of beats. ways: (base's place, in_pixels,
    out_lanes, requantisation) of each way. cycles: (N,) for a frame, of the layer alone. costs: (N, 5) resources of the
    layer with its requantisation, a column for each of REPORT_KEYS.
    """

    bases: tuple[Folding, ...]
    ways: tuple[tuple[int, int, int, str], ...]
    cycles: npt.NDArray[np.int64]
    costs: npt.NDArray[np.float64]

    def folding(self, way: int) -> Folding:
        """How a way folds the layer."""
        base, in_pixels, out_lanes, _ = self.ways[way]
        return replace(self.bases[base], in_pixels=in_pixels, out_lanes=out_lanes)

    def method(self, way: int) -> str:
        """How a way requantises."""
        return self.ways[way][3]


def options(
    unit: Unit,
    device: str,
    most_dsps: int,
    residue_bits: int,
    restriction: Restriction | None = None,
    *,
    every: bool = False,
    double_pump: bool = False,
    constant_weights: bool = True,
    window: tuple[int, int] | None = None,
) -> Options:
    """The ways to build a layer that take at most ``most_dsps``; packings as in ``candidates``.

    This is the one place where choices are listed: what stands here, the planner may take. All foldings that divide the
    channels evenly are listed, others where filling up pays; with a restriction, as without DSPs, only even ones.
    every: with requantisations and kinds of memories, too, that take no less of anything than others. double_pump: with
    DSPs at twice the clock. constant_weights: with circuits of the very weights. window: only ways for designs of so
    many cycles, the least and the most, see :func:`_within`.
    """
    return options_of_all(
        [unit],
        device,
        most_dsps,
        residue_bits,
        restriction,
        every=every,
        double_pump=double_pump,
        constant_weights=constant_weights,
        window=window,
    )[0]


def options_of_all(
    units: Sequence[Unit],
    device: str,
    most_dsps: int,
    residue_bits: int,
    restriction: Restriction | None = None,
    *,
    every: bool = False,
    double_pump: bool = False,
    constant_weights: bool = True,
    window: tuple[int, int] | None = None,
) -> list[Options]:
    """:func:`options` of several units that differ in nothing but their requantisations."""
    unit = units[0]
    even = restriction is not None
    packings = offered_packings(unit, device, residue_bits, even=even)
    if restriction is not None:
        packings = restriction.keep(packings)
    most_pump = 2 if double_pump else 1
    found = [base for packing in packings for base in _bases(unit.shape, packing, most_dsps, most_pump, even=even)]
    if restriction is None or (restriction.image_in_luts and unit.first):
        found += soft_foldings(unit, constant=constant_weights)
    return _priced(units, found if window is None else _within(found, *window), every)


def _within(found: list[Folding], least: int, most: int) -> list[Folding]:
    """Foldings of at most ``most`` cycles, and of those faster than ``least`` the smaller ones of each packing.

    Twice the multipliers of the smallest that takes at most ``least`` cycles are still kept: a folding of more would
    have to save look-up tables by being larger.
    """
    smallest: dict[Packing | SoftMultipliers, int] = {}
    for folding in found:
        if folding.cycles_per_frame <= least:
            size = folding.pe * folding.simd // folding.pump
            smallest[folding.packing] = min(smallest.get(folding.packing, size), size)
    return [
        folding
        for folding in found
        if folding.cycles_per_frame <= most
        and folding.pe * folding.simd // folding.pump <= 2 * smallest.get(folding.packing, folding.pe * folding.simd)
    ]


def offered_packings(unit: Unit, device: str, residue_bits: int, *, even: bool = False) -> list[Packing]:
    """Packings of a layer's widths and kernel that its sizes can use.

    Beside the candidates for its kernel there are those of kernel 1, which multiply a tap at a time: dense products.
    even: only those whose output channels divide the layer's; else they may fill these up by a quarter. Those of a
    group are not filled up. Of dilated layers all packings multiply a tap at a time, and may hold several pixels.
    """
    shape = unit.shape
    found: list[Packing] = []
    dilated = shape.dilation > 1
    for kernel in (1,) if dilated else (shape.kernel, 1):
        dense = (kernel < shape.kernel and not dilated) or shape.width == 1
        for packing in candidates(
            unit.weight_bits,
            unit.source.format.width,
            kernel,
            residue_bits,
            weight_range=unit.weight_range,
            act_signed=unit.source.format.signed,
            pixels=1 if dense else None,
            channels=1 if shape.group_outputs == 1 and shape.groups > 1 else None,
            device=device,
        ):
            odd = shape.stride == 2 and packing.pixels > 1 and packing.pixels % 2
            surplus = -shape.group_outputs % packing.channels
            most_surplus = 0 if even or shape.groups > 1 else shape.out_channels // 4
            if packing.pixels > shape.width or odd or surplus > most_surplus:
                continue
            wanted = replace(packing, kernel=shape.kernel)
            if wanted not in found:
                found.append(wanted)
    return found


def _bases(shape: LayerShape, packing: Packing, most_dsps: int, most_pump: int, *, even: bool) -> Iterator[Folding]:
    """Foldings of one packing, in beats of one pixel and of as few output channels as there is time for."""
    pumps = [1, 2] if most_pump == 2 and can_pump(packing) and packing.accumulate_max > 1 else [1]
    for spread in spreads(shape, packing, most_dsps * pumps[-1], even=even):
        most = shape.out_channels if spread.pe >= shape.out_channels else gcd(spread.pe, shape.out_channels)
        for pump in pumps:
            terms = spread.rows * min(spread.lanes, shape.group_inputs)
            if spread.multipliers * packing.dsps <= most_dsps * pump and terms % pump == 0:
                folding = Folding(shape, packing, spread.pe, spread.rows, spread.lanes, out_lanes=most, pump=pump)
                yield replace(folding, out_lanes=_out_lanes(folding)[0])


def _priced(units: Sequence[Unit], found: list[Folding], every: bool) -> list[Options]:
    """All kinds of weight memories, shapes of beats and requantisations of some foldings, with what they take.

    Each of these changes a part of its own of the layer, so that what it adds or saves is the same beside any of the
    others: it is counted once. units: alike but for their requantisations; Options of each.
    """
    unit = units[0]
    bases: list[Folding] = []
    tables = [_Ways(unit, every) for unit in units]
    for base in found:
        bits = unit.sum_bits(base)
        own = _row(estimate.convolution(base, bits))
        kinds = _memories(base, own, bits, every)
        memories = [(len(bases) + number, row) for number, (_, row) in enumerate(kinds)]
        bases += [folding for folding, _ in kinds]
        leaving = [replace(base, out_lanes=lanes) for lanes in _out_lanes(base)]
        latency = estimate.latency(base)
        for in_pixels in sorted({1, base.packing.pixels}):
            taking = replace(base, in_pixels=in_pixels)
            wide = _row(estimate.convolution(taking, bits)) - own if in_pixels > 1 else np.zeros(len(own))
            for folding in leaving:
                taken = max(base.compute_cycles, taking.input_beats, folding.output_beats)
                front = [(number, memory + wide) for number, memory in memories]
                for table in tables:
                    table.add(folding, in_pixels, bits, latency, taken, front)
    return [table.options(tuple(bases)) for table in tables]


class _Ways:
    """The ways of one unit, while they are listed."""

    def __init__(self, unit: Unit, every: bool) -> None:
        self._unit, self._every = unit, every
        self._behind: dict[tuple[int, ...], list[tuple[str, npt.NDArray[np.float64]]]] = {}
        self._ways: list[tuple[int, int, int, str]] = []
        self._cycles: list[int] = []
        self._rows: list[npt.NDArray[np.float64]] = []

    def add(
        self,
        folding: Folding,
        in_pixels: int,
        bits: int,
        latency: int,
        cycles: int,
        front: list[tuple[int, npt.NDArray[np.float64]]],
    ) -> None:
        """All requantisations of a folding. front: places of bases, with what all before the requantisation takes."""
        key = (bits, latency, folding.out_pixels, folding.out_lanes, folding.pe, folding.steps)
        if key not in self._behind:
            self._behind[key] = _requantisations(self._unit, folding, self._every)
        for method, row in self._behind[key]:
            for number, before in front:
                self._ways.append((number, in_pixels, folding.out_lanes, method))
                self._cycles.append(cycles)
                self._rows.append(before + row)

    def options(self, bases: tuple[Folding, ...]) -> Options:
        """The ways that were added; bases: what their places point into."""
        return Options(
            bases,
            tuple(self._ways),
            np.array(self._cycles, np.int64),
            np.array(self._rows, np.float64).reshape(len(self._ways), len(REPORT_KEYS)),
        )


def _memories(
    base: Folding, own: npt.NDArray[np.float64], bits: int, every: bool
) -> list[tuple[Folding, npt.NDArray[np.float64]]]:
    """A folding with each kind of weight memories, and what it takes; memories of one word are none."""
    found = [(base, own)]
    if base.weight_depth > 1:
        other = replace(base, weight_memory="distributed" if base.weight_style == "block" else "block")
        row = _row(estimate.convolution(other, bits))
        if every or not (own <= row).all():
            found = [(other, row)] if not every and (row <= own).all() else [*found, (other, row)]
    return found


def _requantisations(unit: Unit, folding: Folding, every: bool) -> list[tuple[str, npt.NDArray[np.float64]]]:
    """Implementations and what they take; those that take no less of anything than another only where asked for."""
    found: list[tuple[str, npt.NDArray[np.float64]]] = []
    scale = _scale(unit, folding)
    before = _before_requantisation(unit, folding)
    for method in ["multiply"] if scale is None else estimate.requantise_methods(scale):
        row = _row(before + _requantised(unit, folding, scale, method))
        if every:
            found.append((method, row))
        elif not any((other <= row).all() for _, other in found):
            found = [(name, other) for name, other in found if not (row <= other).all()] + [(method, row)]
    return found


def _row(resources: Resources) -> npt.NDArray[np.float64]:
    return np.array([getattr(resources, name) for name in REPORT_KEYS], np.float64)


def scale_of(unit: Unit, sums: IntFormat, pixels: int, lanes: int) -> estimate.Scale:
    """Sizes of a stage's requantisation of such sums."""
    constants, scaling, target = unit.constants, unit.scaling, unit.target.format
    return estimate.Scale.of(
        constants,
        bits=sums.width,
        shift=scaling.shift if isinstance(scaling, Requantise) else 0,
        out_bits=target.width,
        search_levels=(target.high - target.low).bit_length(),
        pixels=pixels,
        lanes=lanes,
        threshold_bits=threshold_format(sums, rises=constants.rises, falls=constants.falls).width,
    )


def requantise_resources(unit: Unit, folding: Folding, method: str) -> Resources:
    """What stands behind the sums of a layer: serialiser, requantisation and output FIFO."""
    return _before_requantisation(unit, folding) + _requantised(unit, folding, _scale(unit, folding), method)


def _before_requantisation(unit: Unit, folding: Folding) -> Resources:
    before = estimate.serialiser(folding, unit.sum_bits(folding))
    return before + estimate.gatherer(folding, unit.target.format.width)


def _requantised(unit: Unit, folding: Folding, scale: estimate.Scale | None, method: str) -> Resources:
    """A requantisation with the FIFO behind it; of sums that leave as they are, registers."""
    beat = folding.out_pixels * folding.out_lanes * unit.target.format.width
    if scale is None:
        return estimate.fifo(beat, estimate.output_beats(folding, 1)) + Resources(lut=beat, ff=beat)
    depth = estimate.output_beats(folding, estimate.unit_latency(scale, method))
    return estimate.fifo(beat, depth) + estimate.requantisation(scale, method)


def _scale(unit: Unit, folding: Folding) -> estimate.Scale | None:
    """Sizes of a layer's requantisation, None where sums leave as they are."""
    if unit.requantise is None:
        return None
    return scale_of(unit, unit.sum_format(folding), folding.out_pixels // folding.turns, folding.out_lanes)


def _out_lanes(folding: Folding) -> list[int]:
    """Channels of a beat with which a fold leaves within a block, rising."""
    whole = min(folding.pe, folding.shape.out_channels)
    return [lanes for lanes in divisors(folding.leaving) if whole // lanes <= folding.steps]
