"""DSPs at twice the clock of what is around them: which packings allow it, and when each term is multiplied."""

from __future__ import annotations

from functools import cache

from mixq.packing import Packing, SoftMultipliers


@cache
def fast_cycles(cascade: int, skew: int, pump: int) -> tuple[int, ...]:
    """:meth:`mixq.plan.folding.Folding.fast_cycle` of each term of a chain."""
    if pump == 1:
        return tuple(term * skew for term in range(cascade))
    return tuple(sum(divmod(term, 2)) + cascade // 2 % 2 for term in range(cascade))


@cache
def term_delays(cascade: int, skew: int, pump: int) -> tuple[int, ...]:
    """:meth:`mixq.plan.folding.Folding.term_delay` of each term of a chain."""
    return tuple(cycle // pump for cycle in fast_cycles(cascade, skew, pump))


def can_pump(packing: Packing | SoftMultipliers) -> bool:
    """Whether DSPs of a packing can run at twice the clock of what is around them.

    Nothing but registers and 2:1 multiplexers is fast enough for that beside a DSP: residues and carry tracking, which
    are logic that follows the DSPs cycle by cycle, are not.
    """
    return isinstance(packing, Packing) and packing.residue_bits == 0 and not packing.tracked
