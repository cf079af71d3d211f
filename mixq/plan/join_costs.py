"""What joins take: additions with their multipliers and requantisation, and concatenation."""

from __future__ import annotations

from mixq.board import Resources
from mixq.formats import IntFormat
from mixq.graph import Add, Concat, Threshold
from mixq.plan import estimate
from mixq.plan.options import scale_of
from mixq.plan.stage_features import Constants
from mixq.plan.units import Unit

_CREDITS = 16
"""Beats of the FIFO behind an addition's pipeline, about."""


def product_format(source: IntFormat, factors: list[int]) -> IntFormat:
    """Format of the products of codes with any of the factors."""
    ends = [code * factor for code in (source.low, source.high, 0) for factor in factors]
    return IntFormat.for_range(min(ends), max(ends), signed=True, min_width=2)


def join_ways(unit: Unit, lanes: int) -> list[tuple[str | None, Resources]]:
    """Requantisation and resources of a join that works on beats of one pixel and so many channels."""
    node = unit.node
    if isinstance(node, Concat):
        bits = unit.target.format.width * lanes
        return [(None, estimate.fifo(bits, 2) + Resources(lut=bits * (len(unit.sources) - 1), ff=0))]
    assert isinstance(node, Add)
    products = sum((_product(unit, number, lanes) for number in range(len(unit.sources))), Resources())
    sums = node.sum_format([source.format for source in unit.sources])
    adders = Resources(lut=sums.width * lanes * (len(unit.sources) - 1), ff=sums.width * lanes)
    before = products + adders + estimate.fifo(unit.target.format.width * lanes, _CREDITS)
    if unit.requantise is None:
        return [(None, before)]
    scale = scale_of(unit, sums, 1, lanes)
    methods = ["threshold"] if isinstance(unit.requantise, Threshold) else estimate.requantise_methods(scale)
    return [(method, before + estimate.requantisation(scale, method)) for method in methods]


def _product(unit: Unit, number: int, lanes: int) -> Resources:
    """The multipliers of one input."""
    node = unit.node
    assert isinstance(node, Add)
    factors = node.multipliers[number].tolist()
    source = unit.sources[number].format
    if len(set(factors)) == 1 and abs(factors[0]).bit_count() <= 1:
        return Resources()
    target = product_format(source, factors)
    scale = estimate.Scale.of(
        Constants.of(factors, [0] * len(factors)),
        bits=source.width,
        shift=0,
        out_bits=target.width,
        pixels=1,
        lanes=lanes,
        threshold_bits=target.width,
    )
    return estimate.requantisation(scale, "multiply")
