"""Random numbers that stand for those of trained layers: weights, multipliers, biases, as wide as trained ones are."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from mixq.formats import IntFormat
from mixq.graph import Tensor
from mixq.networks import ConvSpec, DenseSpec
from mixq.packing import WeightRange, default_weight_range

PIXEL_BITS = 8

SEED = 20231029

# Standard deviations that the codes of a tensor reach to: steps for Gaussian tensors are about so large.
_REACH = 3.0

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]


def weight_format(bits: int, weight_range: WeightRange) -> IntFormat:
    """Format of weights of ``bits`` in a network of ``weight_range``; layers of up to 3 bits keep the full range."""
    narrow = weight_range == "narrow" and default_weight_range(bits) == "narrow"
    return IntFormat(bits, True, 1 - (1 << (bits - 1)) if narrow else None)


def weight_shape(spec: ConvSpec | DenseSpec, source: tuple[int, int, int]) -> tuple[int, ...]:
    """Shape of the weights of a layer that reads a tensor of the shape ``source``, (C, H, W)."""
    channels, height, width = source
    if isinstance(spec, DenseSpec):
        return spec.units, channels * height * width
    return spec.channels, channels // spec.groups, spec.kernel, spec.kernel


@lru_cache(maxsize=256)
def random_weights(shape: tuple[int, ...], format: IntFormat, number: int) -> IntArray:
    """Codes of a Gaussian tensor; the least of the range occurs, so that it is known to be the layer's."""
    spread = (1 << (format.width - 1)) / _REACH
    real = np.random.default_rng((SEED, number, format.width)).standard_normal(shape, dtype=np.float32) * spread
    codes = np.clip(np.rint(real), format.low, format.high).astype(np.int64)
    codes.reshape(-1)[0] = format.low
    codes.flags.writeable = False
    return codes


def spread_of_sums(weights: IntArray, source: IntFormat) -> FloatArray:
    """Standard deviation of every channel's sums of these weights with codes of ``source``."""
    rows = weights.reshape(len(weights), -1)
    # Half of rectified Gaussian codes are 0, the others spread up to the highest.
    spread = np.asarray(np.sqrt((rows**2).sum(1) / 2) * source.high / _REACH)
    # A depthwise channel's few narrow weights may all be 0.
    return np.where(spread > 0, spread, 1.0)


def affine(spread: FloatArray, out_bits: int, shift: int, random: np.random.Generator) -> tuple[IntArray, IntArray]:
    """Multipliers and biases that bring integers of this spread, of each channel, to codes of ``out_bits``.

    One in sixteen multipliers is negative.
    """
    gain = random.uniform(0.5, 1.5, len(spread)) * np.where(random.random(len(spread)) < 1 / 16, -1.0, 1.0)
    levels = ((1 << out_bits) - 1) / _REACH
    offset = random.standard_normal(len(spread)) * 0.25
    multiplier = np.rint(np.ldexp(gain * levels / spread, shift)).astype(np.int64)
    return multiplier, np.rint(np.ldexp(offset * levels, shift)).astype(np.int64)


def truncation(channels: int, bits: int) -> dict[str, Any]:
    """Fields of the `Requantise` that shifts 8-bit pixels to ``bits``; the bias takes the rounding constant back."""
    shift = PIXEL_BITS - bits
    return {
        "multiplier": np.ones(channels, np.int64),
        "bias": np.full(channels, -(1 << (shift - 1)), np.int64),
        "shift": shift,
    }


def code_tensor(name: str, shape: tuple[int, int, int], bits: int) -> Tensor:
    """An unsigned tensor; scales play no part in planning."""
    return Tensor(name, shape, IntFormat(bits, signed=False), 1.0 if bits < PIXEL_BITS else 2.0**-PIXEL_BITS)
