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
    formats = [source.format for source in unit.sources]
    rows = zip(formats, node.multipliers.tolist(), strict=True)
    products = sum((product_resources(format, factors, lanes) for format, factors in rows), Resources())
    return [(method, products + own) for method, own in sum_ways(unit, node.sum_format(formats), lanes)]


def sum_ways(unit: Unit, sums: IntFormat, lanes: int) -> list[tuple[str | None, Resources]]:
    """Requantisation and resources of what an addition has behind its products, for sums of a format."""
    bits = unit.target.format.width * lanes
    adders = Resources(lut=sums.width * lanes * (len(unit.sources) - 1), ff=sums.width * lanes)
    before = adders + estimate.fifo(bits, _CREDITS)
    if unit.requantise is None:
        return [(None, before)]
    scale = scale_of(unit, sums, 1, lanes)
    methods = ["threshold"] if isinstance(unit.requantise, Threshold) else estimate.requantise_methods(scale)
    return [(method, before + estimate.requantisation(scale, method)) for method in methods]


def product_resources(source: IntFormat, factors: list[int], lanes: int) -> Resources:
    """The multipliers of one input of an addition, a factor for every channel."""
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
