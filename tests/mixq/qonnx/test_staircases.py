"""A multiplication and a shift instead of thresholds, where they are equal; ties over whole ranges of sums."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from mixq.formats import IntFormat
from mixq.qonnx.staircases import requantisation, staircase
from tests.mixq.qonnx.models import Model, check

Codes = npt.NDArray[np.int64]


def stairs(thresholds: Codes, first: Codes, step: Codes, codes: Codes) -> Any:
    """Codes (C, n) by the definition of thresholds."""
    return first[:, None] + step[:, None] * (codes[None, :, None] >= thresholds[:, None, :]).sum(axis=2)


def scaled(multiplier: Codes, bias: Codes, shift: int, codes: Codes, target: IntFormat) -> Any:
    """Codes (C, n) by the definition of requantisation; ``codes`` (n,) or (C, n)."""
    half = (1 << shift) >> 1
    return np.clip((codes * multiplier[:, None] + bias[:, None] + half) >> shift, target.low, target.high)


@pytest.mark.parametrize("seed", range(40))
def test_lines_are_found_and_equal_everywhere(seed: int) -> None:
    random = np.random.default_rng(seed)
    shift, channels = int(random.integers(0, 9)), 3
    source = IntFormat.for_range(int(random.integers(-300, 5)), int(random.integers(5, 300)))
    target = IntFormat(int(random.integers(2, 7)), bool(random.integers(0, 2)))
    multiplier = random.integers(-(4 << shift) - 1, (4 << shift) + 2, channels) >> int(random.integers(0, 6))
    bias = random.integers(-(20 << shift), (20 << shift) + 1, channels)
    codes = np.arange(source.low, source.high + 1)
    wanted = scaled(multiplier, bias, shift, codes, target)
    found = staircase(
        lambda given: np.asarray(scaled(multiplier, bias, shift, given, target)), channels, source.low, source.high, 255
    )
    np.testing.assert_array_equal(stairs(*found, codes), wanted)
    fitted = requantisation(*found, source, target)
    assert fitted is not None and fitted[2] <= shift  # no longer than the shift that it was made with
    np.testing.assert_array_equal(scaled(*fitted, codes, target), wanted)


@pytest.mark.parametrize("seed", range(20))
def test_lines_over_long_ranges(seed: int) -> None:
    """Both are monotone, so that they are equal where they are equal on both sides of each threshold."""
    random = np.random.default_rng(seed)
    source, target, shift = IntFormat(int(random.integers(20, 30)), True), IntFormat(6, True), 30
    multiplier = random.integers(1, 1 << (shift + 8 - source.width), 4) * random.choice([-1, 1], 4)
    bias = random.integers(-(10 << shift), (10 << shift) + 1, 4)
    found = staircase(
        lambda given: np.asarray(scaled(multiplier, bias, shift, given, target)), 4, source.low, source.high, 255
    )
    fitted = requantisation(*found, source, target)
    assert fitted is not None and fitted[2] <= shift
    near = np.clip(np.concatenate([found[0] - 1, found[0]], axis=1), source.low, source.high)
    np.testing.assert_array_equal(scaled(*fitted, near, target), scaled(multiplier, bias, shift, near, target))


def any_line(wanted: Codes, codes: Codes, target: IntFormat, shift: int) -> bool:
    """Whether some multiplier and bias give ``wanted`` (n,), by trying all that may."""
    multipliers = np.arange(-4 << shift, (4 << shift) + 1)[:, None, None]
    biases = np.arange(-80 << shift, (80 << shift) + 1)[None, :, None]
    made = np.clip((codes * multipliers + biases) >> shift, target.low, target.high)
    return bool((made == wanted).all(axis=2).any())


@pytest.mark.parametrize("seed", range(60))
def test_stairs_that_are_no_line_stay_thresholds(seed: int) -> None:
    random = np.random.default_rng(seed)
    source, target = IntFormat.for_range(-8, 7), IntFormat(3, True)
    count = int(random.integers(1, 5))
    thresholds = np.sort(random.integers(source.low, source.high + 2, (1, count)), axis=1)
    step = random.choice([-1, 1], 1)
    first = np.where(step > 0, random.integers(-4, 4 - count), random.integers(count - 4, 4))
    codes = np.arange(source.low, source.high + 1)
    wanted = stairs(thresholds, first, step, codes)
    fitted = requantisation(thresholds, first, step, source, target)
    possible = [shift for shift in range(4) if any_line(wanted[0], codes, target, shift)]
    if fitted is None:
        assert not possible
    else:
        np.testing.assert_array_equal(scaled(*fitted, codes, target), wanted)
        assert fitted[2] == possible[0] if possible else fitted[2] > 3


MODES = ["ROUND", "HALF_EVEN", "CEIL", "FLOOR", "UP", "DOWN", "HALF_UP", "HALF_DOWN"]
LINES = ["CEIL", "FLOOR"]
"""Roundings that are a shift with a bias, on both sides of 0 and on ties."""


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("factor", "scale"), [(1, 2.0), (3, 2.0), (3, 12.0), (-1, 4.0), (3, 7.3)])
def test_ties_over_the_whole_range_of_sums(mode: str, factor: int, scale: float, tmp_path: Path) -> None:
    """Every sum of the layer is computed; with a scale of 2 and a factor of 1 every second one is a tie."""
    model = Model((1, 16, 16))
    weight = model.quant(model.constant(np.full((1, 1, 1, 1), float(factor))), 1.0, 3)
    sums = model.node("Conv", model.quant("x", 1.0, 8), weight, kernel_shape=[1, 1])
    output = model.quant(sums, scale, 6, 1, 1, mode)
    codes = np.arange(-128, 128).reshape(1, 1, 16, 16)
    graph = check(model.save(output, tmp_path / "net.onnx"), (1, 16, 16), codes=codes)
    kind = graph.nodes[-1].op
    if mode in LINES:
        assert kind == "requantise"
    elif (mode in ("UP", "DOWN") and scale == 12.0) or (mode in ("ROUND", "HALF_EVEN") and (factor, scale) == (1, 2.0)):
        assert kind == "threshold"  # the stairs at 0 are twice as long or wide, or every second one is longer


@pytest.mark.parametrize(("scale", "kind"), [(2.0, "threshold"), (3.0, "requantise")])
def test_ties_of_an_addition(scale: float, kind: str, tmp_path: Path) -> None:
    """Every pair of two 4-bit codes is added: halves that are rounded to even are no line, thirds are."""
    model = Model((2, 16, 16))
    parts = []
    for channel in range(2):
        one = np.zeros((1, 2, 1, 1))
        one[0, channel] = 1
        weight = model.quant(model.constant(one), 1.0, 2)
        sums = model.node("Conv", model.quant("x", 1.0, 4), weight, kernel_shape=[1, 1])
        parts.append(model.quant(sums, 1.0, 4))
    output = model.quant(model.node("Add", *parts), scale, 5)
    codes = np.stack(np.meshgrid(np.arange(-8, 8), np.arange(-8, 8)))[None]
    graph = check(model.save(output, tmp_path / "net.onnx"), (2, 16, 16), codes=codes)
    assert graph.nodes[-1].op == kind
