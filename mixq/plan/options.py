"""Foldings that a layer can choose from, with what each takes."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from mixq.board import REPORT_KEYS, Resources
from mixq.graph import Requantise
from mixq.packing import candidates
from mixq.plan import estimate
from mixq.plan.chain import Unit
from mixq.plan.folding import Folding

_TRIES = 12
"""Cheapest foldings whose converters are looked at before one is chosen."""


def divisors(number: int) -> list[int]:
    """All divisors, rising."""
    return [d for d in range(1, number + 1) if number % d == 0]


def least_lanes(channels: int, pixels: int, cycles: int) -> int | None:
    """Fewest channels in a beat of one pixel that carry ``pixels`` pixels in so many cycles; None where none do."""
    return next((d for d in divisors(channels) if pixels * (channels // d) <= cycles), None)


@dataclass(frozen=True)
class Options:
    """All foldings of one layer, and as arrays their cycles and resources (a column for each of REPORT_KEYS)."""

    foldings: tuple[Folding, ...]
    cycles: npt.NDArray[np.int64]
    costs: npt.NDArray[np.float64]

    def within(self, cycles: int, prices: npt.NDArray[np.float64]) -> list[Folding]:
        """The cheapest foldings that are fast enough, cheapest first."""
        fast = np.flatnonzero(self.cycles <= cycles)
        order = np.argsort(self.costs[fast] @ prices, kind="stable")[:_TRIES]
        return [self.foldings[i] for i in fast[order]]


def options(unit: Unit, device: str, limit: Resources, residue_bits: int) -> Options:
    """Every folding of a layer that divides evenly and does not exceed the DSPs; packings as in ``candidates``."""
    shape = unit.shape
    found: list[Folding] = []
    for packing in candidates(
        unit.weight_bits,
        unit.source.format.width,
        shape.kernel,
        residue_bits,
        weight_range=unit.weight_range,
        act_signed=unit.source.format.signed,
        pixels=1 if shape.width == 1 else None,
        device=device,
    ):
        if packing.pixels > shape.width or (shape.stride == 2 and packing.pixels > 1 and packing.pixels % 2):
            continue
        for pe in divisors(shape.out_channels):
            if pe % packing.channels:
                continue
            for rows in sorted({1, shape.kernel}):
                for lanes in divisors(shape.in_channels):
                    if pe // packing.channels * rows * lanes * packing.dsps > limit.dsp:
                        break
                    folding = Folding(shape, packing, pe, rows, lanes, out_lanes=pe)
                    found.append(replace(folding, out_lanes=_fewest_out_lanes(folding)))
    costs = [[getattr(r, name) for name in REPORT_KEYS] for r in (layer_resources(unit, f) for f in found)]
    return Options(
        tuple(found),
        np.array([f.compute_cycles for f in found], np.int64),
        np.array(costs, np.float64).reshape(len(found), len(REPORT_KEYS)),
    )


def layer_resources(unit: Unit, folding: Folding) -> Resources:
    """A layer with its requantisation and output FIFO, without the converters before it."""
    return estimate.convolution(folding) + requantise_resources(unit, folding, requantise_method(unit, folding))


def scale_of(unit: Unit, bits: int, pixels: int, lanes: int) -> estimate.Scale:
    """Sizes of a stage's requantisation of sums of ``bits``."""
    node = unit.requantise or unit.node
    assert isinstance(node, Requantise)
    multiplier, bias = int(np.abs(node.multiplier).max()), int(np.abs(node.bias).max())
    bias_bits = max(bias.bit_length(), multiplier.bit_length() + bits) + 1
    sizes = unit.target.format.width, unit.target.shape[0], pixels, lanes
    return estimate.Scale(bits, multiplier.bit_length() + 1, bias_bits, *sizes)


def requantise_method(unit: Unit, folding: Folding) -> str:
    """The cheaper implementation; sums that leave as they are need the one that can be wires."""
    if unit.requantise is None:
        return "multiply"
    return estimate.requantise_method(_scale(unit, folding))


def requantise_resources(unit: Unit, folding: Folding, method: str) -> Resources:
    """Requantisation and output FIFO of a layer."""
    beat = folding.out_pixels * folding.out_lanes * unit.target.format.width
    places = 3 + 30 // folding.steps
    buffer = estimate.fifo(beat, places * (folding.pe // folding.out_lanes))
    if unit.requantise is None:
        return buffer + Resources(lut=beat, ff=beat)
    return buffer + estimate.requantisation(_scale(unit, folding), method)


def _scale(unit: Unit, folding: Folding) -> estimate.Scale:
    return scale_of(unit, estimate.sum_bits(folding), folding.out_pixels, folding.out_lanes)


def _fewest_out_lanes(folding: Folding) -> int:
    return next(d for d in divisors(folding.pe) if folding.pe // d <= folding.steps)
