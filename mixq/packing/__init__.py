"""Packings: several small exact multiplications in one product of a DSP."""

from mixq.packing.packing import Packing, Part, Slot
from mixq.packing.product import Product
from mixq.packing.soft import SoftMultipliers
from mixq.packing.solver import candidates, solve
from mixq.packing.values import (
    ACCUMULATOR_BITS,
    KERNELS,
    PORTS,
    RESIDUE_BITS,
    WIDTHS,
    Lane,
    Ports,
    WeightRange,
    default_weight_range,
    weight_bounds,
)

__all__ = [
    "ACCUMULATOR_BITS",
    "KERNELS",
    "PORTS",
    "RESIDUE_BITS",
    "WIDTHS",
    "Lane",
    "Packing",
    "Part",
    "Ports",
    "Product",
    "Slot",
    "SoftMultipliers",
    "WeightRange",
    "candidates",
    "default_weight_range",
    "solve",
    "weight_bounds",
]
