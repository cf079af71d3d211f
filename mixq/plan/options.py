"""The ways to build a layer that a plan can choose from, with what each takes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import gcd

import numpy as np
import numpy.typing as npt

from mixq.board import REPORT_KEYS, Resources
from mixq.formats import IntFormat
from mixq.packing import Packing, candidates
from mixq.plan import estimate
from mixq.plan.chain import Unit
from mixq.plan.folding import Folding
from mixq.plan.layer_shape import LayerShape
from mixq.plan.pumping import can_pump
from mixq.plan.restrictions import Restriction
from mixq.plan.soft_options import soft_foldings
from mixq.plan.spreads import spreads
from mixq.plan.sum_widths import threshold_format


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
) -> Options:
    """The ways to build a layer that take at most ``most_dsps``; packings as in ``candidates``.

    This is the one place where choices are listed: what stands here, the planner may take. All foldings that divide the
    channels evenly are listed, others where filling up pays; with a restriction, as without DSPs, only even ones.
    every: with requantisations and kinds of memories, too, that take no less of anything than others. double_pump: with
    DSPs at twice the clock.
    """
    even = restriction is not None
    packings = offered_packings(unit, device, residue_bits, even=even)
    if restriction is not None:
        packings = restriction.keep(packings)
    most_pump = 2 if double_pump else 1
    found = [base for packing in packings for base in _bases(unit.shape, packing, most_dsps, most_pump, even=even)]
    if restriction is None or (restriction.image_in_luts and unit.first):
        found += soft_foldings(unit)
    return _priced(unit, found, every)


def offered_packings(unit: Unit, device: str, residue_bits: int, *, even: bool = False) -> list[Packing]:
    """Packings of a layer's widths and kernel that its sizes can use.

    Beside the candidates for its kernel there are those of kernel 1, which multiply a tap at a time: dense products.
    even: only those whose output channels divide the layer's; else they may fill these up by a quarter.
    """
    shape = unit.shape
    found: list[Packing] = []
    for kernel in (shape.kernel, 1):
        dense = kernel < shape.kernel or shape.width == 1
        for packing in candidates(
            unit.weight_bits,
            unit.source.format.width,
            kernel,
            residue_bits,
            weight_range=unit.weight_range,
            act_signed=unit.source.format.signed,
            pixels=1 if dense else None,
            device=device,
        ):
            odd = shape.stride == 2 and packing.pixels > 1 and packing.pixels % 2
            surplus = -shape.out_channels % packing.channels
            if packing.pixels > shape.width or odd or surplus * 4 > shape.out_channels or (even and surplus):
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
            if spread.multipliers * packing.dsps <= most_dsps * pump and spread.rows * spread.lanes % pump == 0:
                folding = Folding(shape, packing, spread.pe, spread.rows, spread.lanes, out_lanes=most, pump=pump)
                yield replace(folding, out_lanes=_out_lanes(folding)[0])


def _priced(unit: Unit, found: list[Folding], every: bool) -> Options:
    """All kinds of weight memories, shapes of beats and requantisations of some foldings, with what they take.

    Each of these changes a part of its own of the layer, so that what it adds or saves is the same beside any of the
    others: it is counted once.
    """
    bases: list[Folding] = []
    ways: list[tuple[int, int, int, str]] = []
    cycles: list[int] = []
    rows: list[npt.NDArray[np.float64]] = []
    behind: dict[tuple[int, ...], list[tuple[str, npt.NDArray[np.float64]]]] = {}
    for base in found:
        bits = unit.sum_bits(base)
        own = _row(estimate.convolution(base, bits))
        kinds = _memories(base, own, bits, every)
        memories = [(len(bases) + number, row) for number, (_, row) in enumerate(kinds)]
        bases += [folding for folding, _ in kinds]
        leaving = [replace(base, out_lanes=lanes) for lanes in _out_lanes(base)]
        for in_pixels in sorted({1, base.packing.pixels}):
            taking = replace(base, in_pixels=in_pixels)
            wide = _row(estimate.convolution(taking, bits)) - own if in_pixels > 1 else np.zeros(len(own))
            busy = max(base.compute_cycles, taking.input_beats)
            for folding in leaving:
                key = (bits, estimate.latency(base), base.out_pixels, folding.out_lanes, base.pe, base.steps)
                if key not in behind:
                    behind[key] = _requantisations(unit, folding, every)
                taken = max(busy, folding.output_beats)
                for method, row in behind[key]:
                    for number, memory in memories:
                        ways.append((number, in_pixels, folding.out_lanes, method))
                        cycles.append(taken)
                        rows.append(memory + wide + row)
    return Options(
        tuple(bases),
        tuple(ways),
        np.array(cycles, np.int64),
        np.array(rows, np.float64).reshape(len(ways), len(REPORT_KEYS)),
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
    for method in requantise_methods(unit, folding):
        row = _row(requantise_resources(unit, folding, method))
        if every:
            found.append((method, row))
        elif not any((other <= row).all() for _, other in found):
            found = [(name, other) for name, other in found if not (row <= other).all()] + [(method, row)]
    return found


def _row(resources: Resources) -> npt.NDArray[np.float64]:
    return np.array([getattr(resources, name) for name in REPORT_KEYS], np.float64)


def scale_of(unit: Unit, sums: IntFormat, pixels: int, lanes: int) -> estimate.Scale:
    """Sizes of a stage's requantisation of such sums."""
    constants = unit.constants
    return estimate.Scale.of(
        constants,
        bits=sums.width,
        shift=unit.scaling.shift,
        out_bits=unit.target.format.width,
        pixels=pixels,
        lanes=lanes,
        threshold_bits=threshold_format(sums, rises=constants.rises, falls=constants.falls).width,
    )


def requantise_methods(unit: Unit, folding: Folding) -> list[str]:
    """Implementations to choose from; sums that leave as they are need the one that can be wires."""
    if unit.requantise is None:
        return ["multiply"]
    return estimate.requantise_methods(_scale(unit, folding))


def requantise_resources(unit: Unit, folding: Folding, method: str) -> Resources:
    """What stands behind the sums of a layer: serialiser, requantisation and output FIFO."""
    beat = folding.out_pixels * folding.out_lanes * unit.target.format.width
    before = estimate.serialiser(folding, unit.sum_bits(folding))
    before += estimate.gatherer(folding, unit.target.format.width)
    if unit.requantise is None:
        depth = estimate.output_beats(folding, 1)
        return before + estimate.fifo(beat, depth) + Resources(lut=beat, ff=beat)
    scale = _scale(unit, folding)
    depth = estimate.output_beats(folding, estimate.unit_latency(scale, method))
    return before + estimate.fifo(beat, depth) + estimate.requantisation(scale, method)


def _scale(unit: Unit, folding: Folding) -> estimate.Scale:
    return scale_of(unit, unit.sum_format(folding), folding.out_pixels // folding.turns, folding.out_lanes)


def _out_lanes(folding: Folding) -> list[int]:
    """Channels of a beat with which a fold leaves within a block, rising."""
    whole = min(folding.pe, folding.shape.out_channels)
    return [lanes for lanes in divisors(folding.leaving) if whole // lanes <= folding.steps]
