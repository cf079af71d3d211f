"""cocotb tests of the unit, against NumPy's matrix product. Started by :mod:`examples.simulate`."""

from __future__ import annotations

import random
from typing import Any

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge

from examples.matrix_vector.design import BITS, COLUMNS, ROWS, TERMS, MatrixVector

BLOCKS = COLUMNS // TERMS
WEIGHTS, ELEMENTS = (-7, 7), (0, 15)


def packed(codes: np.ndarray) -> int:
    """Codes as one vector, first lowest."""
    return sum((int(code) % (1 << BITS)) << (i * BITS) for i, code in enumerate(codes))


async def start(dut: Any) -> None:
    """Start the clock and reset. All ports are driven and looked at in the middle of a cycle."""
    cocotb.start_soon(Clock(dut.clk, 10, unit="step").start())
    dut.valid.value = 0
    dut.load.value = 0
    await reset(dut)


async def reset(dut: Any) -> None:
    """Reset for one cycle."""
    dut.rst.value = 1
    await FallingEdge(dut.clk)
    dut.rst.value = 0


async def load(dut: Any, matrix: np.ndarray) -> None:
    """Write the matrix, a row's part of a word in each cycle."""
    dut.load.value = 1
    for row in range(ROWS):
        for block in range(BLOCKS):
            dut.load_row.value = row
            dut.load_block.value = block
            dut.load_weights.value = packed(matrix[row, block * TERMS : (block + 1) * TERMS])
            await FallingEdge(dut.clk)
    dut.load.value = 0


async def multiplied(dut: Any, vectors: np.ndarray, *, gaps: float) -> list[list[int]]:
    """The products of vectors (number, COLUMNS), given with random gaps between their parts."""
    rng = random.Random(1)
    parts = vectors.reshape(-1, TERMS)
    cycle, given, products = 0, 0, []
    ends: list[int] = []
    seen: list[int] = []
    bits = len(dut.y) // ROWS
    while len(seen) < len(vectors):
        assert cycle < 4 * len(parts) + 100, "products are missing"
        valid = given < len(parts) and rng.random() >= gaps
        dut.valid.value = int(valid)
        dut.x.value = packed(parts[given]) if valid else rng.getrandbits(TERMS * BITS)
        if valid:
            given += 1
            if given % BLOCKS == 0:
                ends.append(cycle)
        await FallingEdge(dut.clk)
        cycle += 1
        if int(dut.done.value):
            seen.append(cycle)
            fields = [int(dut.y.value) >> (row * bits) & ((1 << bits) - 1) for row in range(ROWS)]
            products.append([field - (field >> (bits - 1) << bits) for field in fields])
    dut.valid.value = 0
    latency = MatrixVector().latency
    assert seen == [end + latency for end in ends], "products must come after the latency"
    return products


@cocotb.test()
async def multiplies_vectors(dut: Any) -> None:
    """One matrix and then another, vectors without gaps and with them."""
    await start(dut)
    for seed, gaps in ((0, 0.0), (1, 0.4)):
        rng = np.random.default_rng(seed)
        matrix = rng.integers(WEIGHTS[0], WEIGHTS[1] + 1, (ROWS, COLUMNS))
        vectors = rng.integers(ELEMENTS[0], ELEMENTS[1] + 1, (12, COLUMNS))
        await load(dut, matrix)
        assert await multiplied(dut, vectors, gaps=gaps) == (vectors @ matrix.T).tolist()


@cocotb.test()
async def holds_the_largest_sums(dut: Any) -> None:
    """Weights and elements at the ends of their ranges."""
    await start(dut)
    rng = np.random.default_rng(2)
    matrix = rng.choice(WEIGHTS, (ROWS, COLUMNS))
    matrix[0], matrix[1] = WEIGHTS
    vectors = np.concatenate([np.full((1, COLUMNS), end) for end in ELEMENTS] + [rng.choice(ELEMENTS, (4, COLUMNS))])
    await load(dut, matrix)
    assert await multiplied(dut, vectors, gaps=0) == (vectors @ matrix.T).tolist()


@cocotb.test()
async def a_reset_leaves_the_matrix(dut: Any) -> None:
    """Half a vector is dropped, and the next one is multiplied by the same matrix."""
    await start(dut)
    rng = np.random.default_rng(3)
    matrix = rng.integers(WEIGHTS[0], WEIGHTS[1] + 1, (ROWS, COLUMNS))
    vectors = rng.integers(ELEMENTS[0], ELEMENTS[1] + 1, (2, COLUMNS))
    await load(dut, matrix)
    dut.valid.value = 1
    for _ in range(BLOCKS // 2):
        await FallingEdge(dut.clk)
    dut.valid.value = 0
    await reset(dut)
    assert await multiplied(dut, vectors, gaps=0) == (vectors @ matrix.T).tolist()
