"""How wide the sums of a layer are with its actual weights: the one truth that hardware and planner share."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mixq.formats import IntFormat
from mixq.packing import Packing, SoftMultipliers
from mixq.plan.folding import Folding

IntArray = npt.NDArray[np.int64]


def reach(packing: Packing | SoftMultipliers, weights: IntArray) -> int:
    """The most that a sum of products of recentred activations with the weights of an output channel comes to.

    weights: (C_out, ...) of a layer, in any order. Tells with ``Folding.lift`` what the sums of a folding are.
    """
    low, high = (bound - packing.recentre for bound in packing.act_bounds)
    flat = weights.reshape(len(weights), -1)
    return int(np.maximum(flat * low, flat * high).sum(1).max())


def exact_sum_bits(folding: Folding, most: int) -> int:
    """Width that holds every lifted sum of a folding; all are non-negative. most: of :func:`reach`."""
    packing = folding.packing
    return int(most + folding.lift * packing.passes * packing.taps).bit_length()


def exact_sum_format(packing: SoftMultipliers, weights: IntArray) -> IntFormat:
    """Format of every sum of multipliers without DSPs, as it is: neither recentred nor lifted.

    weights: (C_out, ...) of a layer, in any order.
    """
    low, high = packing.act_bounds
    flat = weights.reshape(len(weights), -1)
    return IntFormat.for_range(int(np.minimum(flat * low, flat * high).sum(1).min()), reach(packing, weights))


def threshold_format(sums: IntFormat, *, rises: bool, falls: bool) -> IntFormat:
    """Format of the thresholds that sums are compared with, one that is never reached among them.

    rises, falls: whether some of the multipliers are not negative, and whether some are. Where one is, the complement
    of a sum is compared.
    """
    low = min([sums.low] * rises + [~sums.high] * falls)
    high = max([sums.high] * rises + [~sums.low] * falls)
    return IntFormat.for_range(low, high + 1)
