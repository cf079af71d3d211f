"""The order in which a folded layer uses its weights, and how deep the sums of its DSPs may be with them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from mixq.packing import SoftMultipliers
from mixq.plan.folding import Folding

IntArray = npt.NDArray[np.int64]

_DEEPER = 4
"""Real weights never allow sums deeper than this times what any weights allow: it bounds the search."""


def reversed_taps(folding: Folding, weights: IntArray) -> IntArray:
    """Weights (C_out, C_in, K, passes * taps) in the order of the lanes: last tap first, zeros behind."""
    taps = folding.packing.passes * folding.packing.taps
    missing = taps - weights.shape[3]
    return np.pad(weights[..., ::-1], ((0, 0), (0, 0), (0, 0), (0, missing)))


def ordered_weights(folding: Folding, weights: IntArray) -> IntArray:
    """Weights (C_out, C_in / groups, K, K) indexed [column, input term, fold, pass, step, channel, tap].

    C_in is in the order of the stream. An input term is kernel row * lanes + channel; a step counts kernel rows and
    words of input channels, the last fastest. Surplus channels of the last fold and the last word have weights of 0.
    """
    packing = folding.packing
    serial_rows, words = folding.shape.kernel // folding.rows, folding.words
    surplus = folding.folds * folding.pe - weights.shape[0], words * folding.term_lanes - weights.shape[1]
    filled = np.pad(reversed_taps(folding, weights), ((0, surplus[0]), (0, surplus[1]), (0, 0), (0, 0)))
    split = filled.reshape(
        folding.folds,
        folding.columns,
        packing.channels,
        words,
        folding.term_lanes,
        serial_rows,
        folding.rows,
        packing.passes,
        packing.taps,
    )
    # -> column, row, lane, fold, pass, serial row, word, channel, tap
    ordered = split.transpose(1, 6, 4, 0, 7, 5, 3, 2, 8)
    return ordered.reshape(
        folding.columns, folding.simd, folding.folds, packing.passes, -1, packing.channels, packing.taps
    )


def layer_matrix(folding: Folding, weights: IntArray) -> IntArray:
    """The matrix that takes the codes of a step to its sums, of a layer whose weights never change.

    Rows: output channel * positions + position. Columns: input term * pixels + pixel, as the line buffer gives codes.
    With a stride of 2 every other output column is left out: rows that only go there are zeros.
    """
    packing = folding.packing
    ordered = ordered_weights(folding, weights)[:, :, 0, 0, 0, 0]
    matrix = np.zeros((folding.columns, packing.positions, folding.inputs, packing.pixels), np.int64)
    for column in range(folding.columns):
        group = folding.group_of(column)
        places = [folding.input_term(group, term) for term in range(folding.simd)]
        for pixel in range(packing.pixels):
            for tap in range(packing.taps):
                if folding.uses(pixel + tap):
                    matrix[column, pixel + tap, places, pixel] = ordered[column, :, tap]
    return matrix.reshape(folding.columns * packing.positions, -1)


def tap_bounds(folding: Folding, weights: IntArray) -> tuple[int, int]:
    """Least and most that a (pixel, tap) adds, with these weights and any activations, until lanes are read."""
    packing = folding.packing
    low, high = (bound - packing.recentre for bound in packing.act_bounds)
    ordered = ordered_weights(folding, weights)
    steps = folding.steps_per_pass
    missing = -steps % folding.accumulate
    padded = np.pad(ordered, ((0, 0), (0, 0), (0, 0), (0, 0), (0, missing), (0, 0), (0, 0)))
    shape = padded.shape
    groups = padded.reshape(shape[0], folding.chains, folding.cascade, *shape[2:4], -1, folding.accumulate, *shape[5:])
    least = np.minimum(groups * low, groups * high).sum((2, 6))
    most = np.maximum(groups * low, groups * high).sum((2, 6))
    return min(int(least.min()), 0), max(int(most.max()), 0)


def deepened(folding: Folding, weights: IntArray) -> Folding:
    """The folding with the deepest sums in the DSPs that these weights allow; never shallower than it is."""
    packing = folding.packing
    if isinstance(packing, SoftMultipliers):
        return folding
    if packing.split or packing.tracked or (folding.chains == 1 and folding.reads_per_pass == 1):
        return folding
    most = min(folding.simd * folding.steps_per_pass, _DEEPER * packing.accumulate_max)
    for depth in range(most, folding.cascade * folding.accumulate, -1):
        # Bounds that always fit stand in until the sums are known.
        deeper = replace(folding, depth=depth, bounds=(-1, 1) if packing.product.residues(-1, 1) else None)
        if deeper.cascade * deeper.accumulate != depth:
            continue
        bounds = tap_bounds(deeper, weights)
        if packing.product.residues(*bounds) is not None and _fewer_reads(deeper, folding):
            return replace(deeper, bounds=bounds)
    return folding


def _fewer_reads(deeper: Folding, folding: Folding) -> bool:
    return deeper.chains * deeper.reads_per_pass < folding.chains * folding.reads_per_pass
