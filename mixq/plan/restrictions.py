"""Narrower sets of packings that a plan can be held to, for comparisons with published systems."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from mixq.packing import Packing

_Table = tuple[tuple[float, ...], ...]

# Rows are weights of 2 to 8 bits, columns activations of 2 to 8 bits.
_ORIGINAL: dict[int, _Table] = {
    1: (
        (12, 8, 8, 6, 6, 4, 4),
        (10, 8, 6, 6, 4, 4, 4),
        (8, 6, 6, 4, 4, 4, 3),
        (6, 6, 4, 4, 4, 4, 2),
        (6, 4, 4, 4, 2, 2, 2),
        (4, 4, 4, 4, 2, 2, 2),
        (4, 4, 3, 2, 2, 2, 2),
    ),
    3: (
        (18, 15, 12, 7.5, 7.5, 6, 6),
        (15, 12, 7.5, 6, 6, 6, 3),
        (12, 7.5, 6, 6, 6, 6, 3),
        (9, 6, 6, 6, 6, 3, 3),
        (7.5, 6, 6, 4.5, 3, 3, 3),
        (6, 6, 4.5, 3, 3, 3, 2.25),
        (6, 3, 3, 3, 3, 3, 2),
    ),
    5: (
        (20, 15, 10, 7.5, 7.5, 5, 5),
        (12.5, 10, 20 / 3, 5, 5, 5, 10 / 3),
        (10, 7.5, 5, 5, 5, 5, 10 / 3),
        (7.5, 20 / 3, 5, 5, 5, 10 / 3, 10 / 3),
        (20 / 3, 5, 5, 5, 10 / 3, 2.5, 2.5),
        (5, 5, 5, 10 / 3, 2.5, 2.5, 2.5),
        (5, 10 / 3, 10 / 3, 10 / 3, 2.5, 2.5, 2),
    ),
}
_FINN: dict[str, _Table] = {
    "narrow": (
        (9, 7, 6, 5, 4, 4, 3),
        (7, 5, 5, 4, 4, 3, 3),
        (5, 4, 4, 3, 3, 3, 3),
        (4, 4, 3, 3, 3, 3, 2),
        (4, 3, 3, 3, 2, 2, 2),
        (3, 3, 3, 2, 2, 2, 2),
        (3, 2, 2, 2, 2, 2, 2),
    ),
    "full": (
        (9, 7, 5, 5, 4, 4, 3),
        (6, 5, 4, 4, 3, 3, 3),
        (5, 4, 4, 3, 3, 3, 3),
        (4, 4, 3, 3, 3, 2, 2),
        (3, 3, 3, 3, 2, 2, 2),
        (3, 3, 2, 2, 2, 2, 2),
        (3, 2, 2, 2, 2, 2, 2),
    ),
}


@dataclass(frozen=True)
class Restriction:
    """Some of the packings that a layer is offered.

    name: as given to the planner. keep: takes the packings that are offered to one layer, all of the same widths and
    kernel, and returns those that it may use, in the same order. image_in_luts: whether the layer that takes the image
    may be built without DSPs, as well.
    """

    name: str
    keep: Callable[[list[Any]], list[Any]]
    image_in_luts: bool = False


def _entry(table: _Table, weight_bits: int, act_bits: int) -> float:
    """A table's value; widths of one bit are not in the tables and take the row or column of two."""
    return table[max(weight_bits, 2) - 2][max(act_bits, 2) - 2]


def original_density(kernel: int, weight_bits: int, act_bits: int) -> float:
    """Multiplications per DSP and cycle that DeepBurning-MixQ (ICCAD 2023) publishes; kernel 1, 3 or 5.

    >>> original_density(3, 4, 4)
    6
    """
    return _entry(_ORIGINAL[kernel], weight_bits, act_bits)


def finn_density(weight_bits: int, act_bits: int, *, full: bool) -> float:
    """Lanes of a DSP48E2 in FINN's matrix-vector unit ``mvu.sv``; full: with the most negative weight allowed.

    >>> finn_density(4, 4, full=False), finn_density(3, 4, full=True)
    (4, 4)
    """
    return _entry(_FINN["full" if full else "narrow"], weight_bits, act_bits)


def _packed(packings: Iterable[Any]) -> list[Packing]:
    return [packing for packing in packings if isinstance(packing, Packing)]


def _keep_original(packings: list[Any]) -> list[Any]:
    """The densest that is no denser than published; of equally dense ones the first, which is a small one."""
    bounded = [p for p in _packed(packings) if p.density <= original_density(p.kernel, p.weight_bits, p.act_bits)]
    return [max(bounded, key=lambda p: p.density)] if bounded else []


def _keep_finn(packings: list[Any]) -> list[Any]:
    """One activation shared by output channels, no more of them in a DSP than FINN has lanes."""
    return [
        p
        for p in _packed(packings)
        if p.pixels == p.taps == 1
        and not p.split
        and p.channels <= p.dsps * finn_density(p.weight_bits, p.act_bits, full=p.weight_range == "full")
    ]


RESTRICTIONS = {
    restriction.name: restriction
    for restriction in (
        Restriction("original", _keep_original),
        Restriction("finn", _keep_finn),
        Restriction("seuer", _keep_original, image_in_luts=True),
    )
}
"""By name. "original": one packing for each pair of widths, of at most the density that DeepBurning-MixQ publishes;
where that is not exact, the densest exact one below it. "finn": dense products of one activation and several output
channels, within the lanes of FINN's matrix-vector unit. "seuer": as "original", at 4 bits the six multiplications of
the design that came second in DAC-SDC 2022, which has its first layer in look-up tables. None has multipliers without
DSPs elsewhere. Sources: the tables of the paper, the lane rule of ``mvu.sv`` evaluated for a batch of 1 and two bits in
look-up tables, and the published design."""
