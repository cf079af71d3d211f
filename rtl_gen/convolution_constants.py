"""What a convolution's data path adds to its sums, and the bounds of its sums, from the actual weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mixq.formats import IntFormat
from mixq.packing import SoftMultipliers
from mixq.plan.folding import Folding
from mixq.plan.sum_widths import exact_sum_bits, exact_sum_format, reach
from mixq.plan.weight_order import ordered_weights, reversed_taps

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class ConvolutionConstants:
    """Constants of each output channel.

    In the data path of DSPs activations are recentred and every product is lifted, so that all sums are non-negative.
    Padding does not pass the multipliers; its share, which recentring and lifting make non-zero, is added at the row's
    ends. Multipliers without DSPs do neither: their sums may be negative, and padding has no share.

    left: (C_out, state) what the sums carried into a row start with. right: (C_out, pixels) what is added to the last
    outputs of a row. offset: (C_out,) to be added to a finished sum to get the exact convolution. sum_format: holds
    every finished sum.
    """

    left: IntArray
    right: IntArray
    offset: IntArray
    sum_format: IntFormat

    @property
    def sum_bits(self) -> int:
        """Width of sums; all arithmetic on unfinished ones is modulo 2^sum_bits."""
        return self.sum_format.width

    @classmethod
    def of(cls, folding: Folding, weights: IntArray) -> ConvolutionConstants:
        """Derive them. weights: (C_out, C_in / groups, K, K) with C_in in the order of the stream."""
        packing, pixels, dilation = folding.packing, folding.packing.pixels, folding.shape.dilation
        taps = packing.passes * packing.taps
        padded = reversed_taps(folding, weights)
        lift = folding.lift
        # What a pixel on padding gives each tap: its code is 0, which recentring makes -2^(a-1).
        share = lift - packing.recentre * padded.sum((1, 2))
        empty = np.zeros((len(weights), folding.positions), np.int64)
        for n in range(pixels):
            empty[:, n : n + folding.tap_span + 1 : dilation] += share

        state, first = folding.carried, folding.first_lane
        left = np.zeros((len(weights), state), np.int64)
        for before in range(1, folding.positions + 1):
            for e in range(empty.shape[1]):
                place = first + e - before * pixels
                if folding.delay * pixels <= place < state:
                    left[:, place] += empty[:, e]
        right = np.zeros((len(weights), pixels), np.int64)
        for n in range(first, pixels):
            right[:, n] = empty[:, n - first]

        offset = packing.recentre * padded.sum((1, 2, 3)) - lift * taps
        if isinstance(packing, SoftMultipliers):
            sum_format = exact_sum_format(packing, weights)
        else:
            sum_format = IntFormat(exact_sum_bits(folding, reach(packing, weights)), False)
        return cls(left=left, right=right, offset=offset, sum_format=sum_format)


def weight_words(folding: Folding, weights: IntArray) -> npt.NDArray[Any]:
    """Stored words, indexed [column, input term, address], of weights (C_out, C_in / groups, K, K).

    An address counts folds, passes, kernel rows and words of input channels, the last fastest.
    """
    words = folding.packing.encode_weights(ordered_weights(folding, weights))
    return words.reshape(folding.columns, folding.simd, folding.weight_depth)
