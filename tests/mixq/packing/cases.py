"""What the tests of packings share: every packing there is, operands to try, and sums written out."""

from __future__ import annotations

from dataclasses import fields
from functools import cache
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt

from mixq.packing import KERNELS, RESIDUE_BITS, WIDTHS, Packing, Product, candidates

Array = npt.NDArray[np.int64]


@cache
def every_packing() -> tuple[Packing, ...]:
    """The candidates of all pairs of widths, all kernels and all numbers of residue bits, each once."""
    found: dict[Packing, None] = {}
    for weight_bits, act_bits, kernel, residue_bits in product(WIDTHS, WIDTHS, KERNELS, RESIDUE_BITS):
        found.update(dict.fromkeys(candidates(weight_bits, act_bits, kernel, residue_bits)))
    return tuple(found)


@cache
def every_product() -> tuple[Product, ...]:
    """The products of all these packings, each once."""
    return tuple(dict.fromkeys(slot.product for packing in every_packing() for slot in packing.slots))


def small(
    *, pixels: int = 2, stride: int = 11, weights: tuple[int, int] = (-7, 7), act_on_wide: bool = False, **more: object
) -> Product:
    """Two 4-bit activations by three 4-bit taps, 11 bits apart: sums of nine products without residues."""
    strides = {"pixel_stride": stride, "tap_stride": stride, "channel_stride": 0}
    values: dict[str, object] = {"act_bits": 4, "taps": 3, "channels": 1, **strides, **more}
    return Product(
        weight_low=weights[0],
        weight_high=weights[1],
        pixels=pixels,
        act_on_wide=act_on_wide,
        **values,  # type: ignore[arg-type]
    )


def changed(product: Product, **members: Any) -> Product:
    """The same product, of a class with other methods or attributes."""
    kind = type("Changed", (Product,), members)
    return kind(**{field.name: getattr(product, field.name) for field in fields(product)})


def draw(rng: np.random.Generator, low: int, high: int, shape: tuple[int, ...]) -> Array:
    """Random values; in the second third of the rows ends of the range, in the last the same for all products."""
    values = rng.integers(low, high, shape, endpoint=True)
    third = shape[0] // 3
    values[third:] = rng.choice([low, high], shape)[third:]
    values[2 * third :] = values[2 * third :, :1]
    return values


def direct_sums(activations: Array, weights: Array) -> Array:
    """Sums (..., channels, positions) over n + k = position and over L.

    activations: (..., L, pixels). weights: (..., L, channels, taps).
    """
    pixels, (channels, taps) = activations.shape[-1], weights.shape[-2:]
    out = np.zeros((*activations.shape[:-2], channels, pixels + taps - 1), np.int64)
    for n, k in np.ndindex(pixels, taps):
        out[..., n + k] += np.einsum("...l,...lm->...m", activations[..., n], weights[..., k])
    return out
