"""Codes of components with plain ports: random ones, and arrays of them as the vectors that ports are."""

from __future__ import annotations

import numpy as np

from mixq.packing import Packing


def flat(values: np.ndarray, bits: int) -> int:
    """Codes as one vector, first lowest."""
    return sum((int(value) & ((1 << bits) - 1)) << (i * bits) for i, value in enumerate(values.reshape(-1)))


def unflat(word: int, shape: tuple[int, ...], bits: int) -> list[int]:
    """Signed values of a vector, first lowest."""
    fields = [word >> (i * bits) & ((1 << bits) - 1) for i in range(int(np.prod(shape)))]
    return np.reshape([field - (field >> (bits - 1) << bits) for field in fields], shape).tolist()


def flat_weights(packing: Packing, weights: np.ndarray) -> int:
    """Weights as the vector of a port; of 1 bit, a bit of 1 stands for +1 and one of 0 for -1."""
    return flat((weights + 1) // 2 if packing.weight_bits == 1 else weights, packing.weight_bits)


def operands(
    rng: np.random.Generator, packing: Packing, acts: tuple[int, ...], weights: tuple[int, ...], kind: int
) -> tuple[np.ndarray, np.ndarray]:
    """Activations and weights of these shapes.

    kind 0 to 3: all activations at one end of their range, all weights at one; 4: each at one end; else in between too.
    """
    a, w = packing.act_bounds, packing.weight_bounds
    if kind < 4:
        return np.full(acts, a[kind & 1]), np.full(weights, w[kind >> 1])
    if kind == 4 or packing.weight_bits == 1:
        return rng.choice(a, acts) if kind == 4 else rng.integers(a[0], a[1] + 1, acts), rng.choice(w, weights)
    return rng.integers(a[0], a[1] + 1, acts), rng.integers(w[0], w[1] + 1, weights)
