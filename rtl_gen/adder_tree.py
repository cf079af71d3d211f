"""Pipelined sum of shifted, signed terms, in two's complement of exactly the width of the result."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from amaranth.hdl import Cat, Const, Module, Signal, signed
from amaranth.utils import ceil_log2

from mixq.formats import IntFormat


@dataclass(frozen=True)
class Term:
    """One term of a sum: ``value`` (signed, between ``low`` and ``high``) << ``shift``, negated or not."""

    value: Any
    low: int
    high: int
    shift: int = 0
    negative: bool = False


def tree_latency(terms: int) -> int:
    """Return the cycles of a sum of ``terms`` terms: one for each level of pairs."""
    return ceil_log2(max(1, terms))


def sum_terms(m: Module, terms: list[Term], *, width: int, name: str) -> Any:
    """Return the signed sum of the terms, :func:`tree_latency` cycles later.

    Each level adds pairs in one carry chain and registers them. ``width``: bits that hold the sum; all
    arithmetic is modulo 2^width, so that no partial sum is wider. At least one term must not be negative.

    Raises: ValueError without such a term.
    """
    if all(term.negative for term in terms):
        raise ValueError(f"terms must have one that is not negative, not {len(terms)} negative ones")
    # Neighbours in shift make the narrowest partial sums.
    row = sorted(terms, key=lambda term: term.shift)
    for level in range(tree_latency(len(terms))):
        pairs = [row[at : at + 2] for at in range(0, len(row), 2)]
        row = [
            _registered(m, _added(*pair) if len(pair) == 2 else pair[0], width, f"{name}_level{level}_{at}")
            for at, pair in enumerate(pairs)
        ]
    (total,) = row
    return Cat(Const(0, total.shift), total.value)[:width].as_signed() if total.shift else total.value


def _added(a: Term, b: Term) -> Term:
    """Return a + b as one term; the one with the smaller shift comes first."""
    gap = b.shift - a.shift
    if a.negative == b.negative:
        low, high = a.low + (b.low << gap), a.high + (b.high << gap)
        # The bits of a below b need no adder.
        value = Cat(a.value[:gap], (a.value >> gap) + b.value).as_signed() if gap else a.value + b.value
        return Term(value, low, high, a.shift, a.negative)
    if b.negative:
        low, high = a.low - (b.high << gap), a.high - (b.low << gap)
        value = Cat(a.value[:gap], (a.value >> gap) - b.value).as_signed() if gap else a.value - b.value
    else:
        low, high = (b.low << gap) - a.high, (b.high << gap) - a.low
        value = (b.value << gap) - a.value
    return Term(value, low, high, a.shift)


def _registered(m: Module, term: Term, width: int, name: str) -> Term:
    if isinstance(term.value, Const):
        return term
    bits = min(IntFormat.for_range(term.low, term.high, signed=True).width, max(1, width - term.shift))
    register = Signal(signed(bits), name=name, reset_less=True)
    m.d.sync += register.eq(term.value)
    return Term(register, term.low, term.high, term.shift, term.negative)
