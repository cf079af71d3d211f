"""Packings: several small exact multiplications in one product of a DSP."""

from mixq.packing.geometry import (
    ACCUMULATOR_BITS,
    KERNELS,
    PORTS,
    WIDTHS,
    Lane,
    Packing,
    Ports,
    WeightRange,
    default_weight_range,
    weight_bounds,
)
from mixq.packing.solver import candidates, solve

__all__ = [
    "ACCUMULATOR_BITS",
    "KERNELS",
    "PORTS",
    "WIDTHS",
    "Lane",
    "Packing",
    "Ports",
    "WeightRange",
    "candidates",
    "default_weight_range",
    "solve",
    "weight_bounds",
]
