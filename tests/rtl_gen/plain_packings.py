"""Packings of every kind, bit by bit, for tests of what is built on packed multipliers."""

from __future__ import annotations

from mixq.packing import Packing, Part, Product, default_weight_range


def packing(weight_bits: int, act_bits: int, kernel: int, *parts: Part | Product, act_signed: bool = False) -> Packing:
    """A packing of one product, or of two parts."""
    whole = tuple(part if isinstance(part, Part) else Part(part) for part in parts)
    return Packing(weight_bits, act_bits, kernel, whole, act_signed, default_weight_range(weight_bits))


# -- kernel 1: one product a lane --------------------------------------------------------------------

DEEP = packing(4, 4, 1, Product(4, -7, 7, 2, 1, 2, 22, 22, 11, True))  # 18 products
SHALLOW = packing(4, 4, 1, Product(4, -7, 7, 1, 1, 4, 0, 0, 7, False))  # 1 product
VECTOR = packing(8, 8, 1, Product(8, -127, 127, 1, 1, 2, 0, 0, 19, False))
RESIDUES = packing(4, 4, 1, Product(4, -7, 7, 2, 1, 3, 21, 21, 7, True, residue_bits=2))
TRACKED = packing(4, 4, 1, Product(4, -7, 7, 2, 1, 3, 21, 21, 7, True, tracked=True, residue_bits=1))
SPLIT = packing(
    8,
    5,
    1,
    Part(Product(5, -32, 31, 2, 1, 2, 20, 20, 10, True), 0, 2),
    Part(Product(5, 0, 3, 2, 1, 3, 21, 21, 7, True), 0, 0),
)
BINARY = packing(1, 4, 1, Product(4, -1, 1, 1, 1, 4, 0, 0, 8, False))
BINARY_TRACKED = packing(1, 4, 1, Product(4, -1, 1, 2, 1, 6, 18, 18, 3, True, tracked=True, residue_bits=2))
SIGNED = packing(5, 3, 1, Product(3, -15, 15, 3, 1, 2, 7, 7, 21, False), act_signed=True)
ONE_BIT = packing(2, 1, 1, Product(1, -2, 1, 3, 1, 6, 12, 12, 2, True))  # of the activations
OLDER = packing(4, 4, 1, Product(4, -7, 7, 2, 1, 2, 20, 20, 10, True, device="dsp48e1"))

# -- rows of a kernel --------------------------------------------------------------------------------

ROW = packing(4, 4, 3, Product(4, -7, 7, 2, 3, 1, 11, 11, 0, False))
ROW_PIXEL = packing(5, 3, 5, Product(3, -15, 15, 1, 1, 4, 0, 0, 7, False))
ROW_PAIR = packing(6, 8, 7, Product(8, -31, 31, 2, 4, 1, 7, 7, 0, False, pair=True), act_signed=True)
ROW_PAIR_WIDE = packing(8, 8, 5, Product(8, -127, 127, 3, 2, 1, 9, 9, 0, True, pair=True))
ROW_RESIDUES = packing(4, 4, 3, Product(4, -7, 7, 5, 3, 1, 5, 5, 0, True, pair=True, residue_bits=2))
ROW_TRACKED = packing(4, 4, 3, Product(4, -7, 7, 4, 3, 1, 7, 7, 0, True, tracked=True, residue_bits=2))
ROW_SPLIT = packing(
    5,
    8,
    5,
    Part(Product(4, -15, 15, 3, 5, 1, 5, 5, 0, False, pair=True), 4, 0),
    Part(Product(4, -15, 15, 3, 5, 1, 5, 5, 0, False, pair=True), 0, 0),
)
ROW_BINARY = packing(1, 4, 7, Product(4, -1, 1, 5, 4, 1, 5, 5, 0, True, pair=True))
ROW_BINARY_SHORT = packing(1, 8, 7, Product(8, -1, 1, 2, 2, 1, 16, 16, 0, True))
ROW_BINARY_SIGNED = packing(1, 4, 7, Product(4, -1, 1, 2, 4, 1, 8, 8, 0, False), act_signed=True)
ROW_OLDER = packing(4, 4, 3, Product(4, -7, 7, 2, 3, 1, 10, 10, 0, False, device="dsp48e1"))
