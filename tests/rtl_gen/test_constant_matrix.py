# amaranth: UnusedElaboratable=no
"""Constant matrices as hardware against their software model, a vector a cycle."""

from __future__ import annotations

import re

import numpy as np
import pytest
from amaranth.back import rtlil
from amaranth.hdl import Module, Signal

from mixq.formats import IntFormat
from mixq.plan.constant_matrix import ConstantMatrix
from mixq.plan.matrix_search import constant_matrix
from rtl_gen.constant_matrix import ConstantMatrixUnit
from tests.mixq.plan.test_constant_matrix import MATRICES, matrix_of
from tests.rtl_gen.test_booth import results

U4, S3 = IntFormat(4, False), IntFormat(3, True)
BITS = 14


def joined(codes: np.ndarray, bits: int) -> int:
    return sum((int(code) & ((1 << bits) - 1)) << (bits * place) for place, code in enumerate(codes))


@pytest.mark.parametrize("inputs", [U4, S3], ids=["U4", "S3"])
@pytest.mark.parametrize("name", MATRICES)
def test_equals_the_model(name: str, inputs: IntFormat) -> None:
    matrix = matrix_of(name)
    unit = ConstantMatrixUnit(constant_matrix(matrix, inputs), BITS)
    rng = np.random.default_rng(3)
    vectors = rng.integers(inputs.low, inputs.high + 1, (40, matrix.shape[1]))
    vectors[0], vectors[1] = inputs.low, inputs.high
    m = Module()
    m.submodules.unit = unit
    # A clock, which a matrix of zeros has none of.
    m.d.sync += Signal(name="tick").eq(1)
    words = [(joined(vector, inputs.width),) for vector in vectors]
    found = results(m, [unit.codes], unit.sums, words, unit.latency)
    assert found == [joined(row, BITS) for row in vectors @ matrix.T]


@pytest.mark.parametrize("name", ["random", "wide", "signs", "negative"])
def test_adders_and_registers_are_those_counted(name: str) -> None:
    found: ConstantMatrix = constant_matrix(matrix_of(name), U4)
    unit = ConstantMatrixUnit(found, BITS)
    text = rtlil.convert(unit, ports=[unit.codes, unit.sums])
    # Terms side by side take no adder.
    nodes = range(found.columns, found.columns + len(found.adders))
    assert len(re.findall(r"cell \$(?:add|sub|neg) ", text)) == sum(map(found.cycles_of, nodes))
    registers = re.findall(r"cell \$dff .*?parameter \\WIDTH (\d+)", text, re.DOTALL)
    assert sum(map(int, registers)) == found.register_bits
