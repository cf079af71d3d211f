"""Small values and limits that all of packing shares."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

ACCUMULATOR_BITS = 48
"""Width of the accumulator P of a DSP48E1 or DSP48E2."""

WIDTHS = range(1, 9)
"""Weight and activation widths that are supported; a weight of 1 bit is -1 or +1."""

KERNELS = (1, 3, 5, 7)
"""Kernel sizes along the row that are supported."""

RESIDUE_BITS = (0, 1, 2)
"""How many low bits of a lane may be known from look-up tables."""

TRACKED_PRODUCTS = 1 << 20
"""Products that a carry-tracked packing sums at most: its counters are as wide as a sum needs, up to this."""

WeightRange = Literal["full", "narrow"]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Ports:
    """Multiplier operand widths in bits, both signed; only the wide one has a pre-adder before it."""

    wide: int
    narrow: int


PORTS = {"dsp48e2": Ports(wide=27, narrow=18), "dsp48e1": Ports(wide=25, narrow=18)}


@dataclass(frozen=True)
class Lane:
    """Where one sum lies.

    word: 0, or 1 for the odd lanes of a two-point pair. offset, width: bits ``offset`` up to ``offset + width``
    (exclusive) of the word. channel: output channel within the product. position: ``n + k``. terms: products added in
    it per multiplication.
    """

    word: int
    offset: int
    width: int
    channel: int
    position: int
    terms: int


def default_weight_range(weight_bits: int) -> WeightRange:
    """The range that densities are quoted for: weights up to 3 bits full, wider ones without the most negative."""
    return "full" if weight_bits <= 3 else "narrow"


def weight_bounds(weight_bits: int, weight_range: WeightRange) -> tuple[int, int]:
    """Lowest and highest weight code, e.g. (-8, 7) for 4 bits full and (-7, 7) narrow; (-1, 1) for 1 bit."""
    if weight_bits == 1:
        return -1, 1
    high = (1 << (weight_bits - 1)) - 1
    return (-high - 1 if weight_range == "full" else -high), high
