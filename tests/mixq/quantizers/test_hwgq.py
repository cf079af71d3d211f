"""Values and gradients of the quantisers against the formulas, written out element by element."""

from __future__ import annotations

import math
import statistics
from typing import Any

import numpy as np
import pytest
import torch

from mixq.formats import IntFormat
from mixq.quantizers import ActivationQuantizer, ImageQuantizer, WeightQuantizer, weight_deviation

BITS = range(1, 9)
# The published steps, copied from the published description by hand and not from the module.
WEIGHT_STEP = [1.596, 0.996, 0.586, 0.336, 0.190, 0.106, 0.059, 0.032]
ACTIVATION_STEP = [0.799, 0.538, 0.3217, 0.185, 0.104, 0.058, 0.033, 0.019]


def half_even(value: float) -> int:
    return round(value)


@pytest.mark.parametrize("bits", BITS)
def test_weight_codes_follow_the_formula(bits: int) -> None:
    weights = np.random.default_rng(bits).standard_normal((7, 3, 3, 3)) * 0.3
    step = WEIGHT_STEP[bits - 1] * statistics.stdev(weights.ravel().tolist())
    low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    expected = [min(max(half_even(w / step), low), high) for w in weights.ravel().tolist()]
    quantizer = WeightQuantizer(bits)
    tensor = torch.from_numpy(weights)
    assert float(quantizer.step(tensor)) == pytest.approx(step, rel=1e-12)
    assert quantizer.codes(tensor).ravel().tolist() == expected
    assert torch.equal(quantizer(tensor), quantizer.codes(tensor) * quantizer.step(tensor))
    assert quantizer.format == IntFormat(bits, signed=True)


@pytest.mark.parametrize("bits", BITS)
def test_weights_reach_both_ends_of_the_clamp(bits: int) -> None:
    # Two outliers among small values lie beyond the clamp on either side.
    weights = torch.tensor([-100.0, 100.0] + [0.1, -0.1] * 1000)
    codes = WeightQuantizer(bits).codes(weights)
    assert codes.min() == -(2 ** (bits - 1))
    assert codes.max() == 2 ** (bits - 1) - 1


def test_a_model_and_its_float64_copy_hold_the_same_weight_codes() -> None:
    weights = torch.randn(64, 64, 3, 3, generator=torch.Generator().manual_seed(3))
    for bits in BITS:
        quantizer = WeightQuantizer(bits)
        assert torch.equal(quantizer.codes(weights), quantizer.codes(weights.double()))
        assert quantizer(weights).dtype == torch.float32


def test_the_gradient_of_weights_passes_outside_the_clamp_too() -> None:
    weights = torch.tensor([-100.0, 100.0] + [0.1, -0.1] * 1000, requires_grad=True)
    incoming = torch.arange(weights.numel(), dtype=torch.float32)
    WeightQuantizer(2)(weights).backward(incoming)
    # Exactly the incoming gradient: the step, which depends on the weights, is detached.
    assert weights.grad is not None
    assert torch.equal(weights.grad, incoming)


@pytest.mark.parametrize("bits", BITS)
def test_activation_codes_follow_the_formula(bits: int) -> None:
    values = np.concatenate([np.linspace(-2, 6, 1001), [0.0, 1e-9, 100.0, -100.0]])
    step = ACTIVATION_STEP[bits - 1]
    most = step * (2**bits - 1)
    expected = [half_even(min(max(x, 0.0), most) / step) for x in values.tolist()]
    quantizer = ActivationQuantizer(bits)
    tensor = torch.from_numpy(values)
    assert quantizer.step == step
    assert quantizer.codes(tensor).tolist() == expected
    assert quantizer(tensor).tolist() == [code * step for code in expected]
    assert max(expected) == 2**bits - 1
    assert quantizer.format == IntFormat(bits, signed=False)


@pytest.mark.parametrize("bits", BITS)
def test_no_gradient_of_activations_outside_the_clamp(bits: int) -> None:
    most = ACTIVATION_STEP[bits - 1] * (2**bits - 1)
    values = torch.tensor([-1.0, -1e-6, 0.0, most / 2, most - 1e-4, most + 1e-3, 99.0], requires_grad=True)
    ActivationQuantizer(bits)(values).backward(torch.full((7,), 3.0))
    assert values.grad is not None
    assert values.grad.tolist() == [0, 0, 3, 3, 3, 0, 0]


@pytest.mark.parametrize("bits", BITS)
def test_images_are_truncated_by_a_shift(bits: int) -> None:
    pixels = torch.arange(256)
    quantizer = ImageQuantizer(bits)
    values = (pixels / 256).requires_grad_()
    assert quantizer.codes(values).tolist() == [pixel >> (8 - bits) for pixel in range(256)]
    assert quantizer(values).tolist() == [(pixel >> (8 - bits)) / 2**bits for pixel in range(256)]
    assert quantizer.step == 1 / 2**bits
    assert quantizer.format == IntFormat(bits, signed=False)
    quantizer(values).sum().backward()
    assert values.grad is not None
    assert values.grad.tolist() == [1.0] * 256


def test_the_step_is_fixed_for_activations_and_moves_with_the_weights() -> None:
    weights = torch.randn(100, generator=torch.Generator().manual_seed(0))
    quantizer = WeightQuantizer(4)
    assert float(quantizer.step(weights * 4)) == 4 * float(quantizer.step(weights))
    assert torch.equal(quantizer.codes(weights * 4), quantizer.codes(weights))
    assert math.isclose(float(quantizer.step(weights)), 0.336 * float(weights.double().std()))


@pytest.mark.parametrize("kind", [WeightQuantizer, ActivationQuantizer, ImageQuantizer])
@pytest.mark.parametrize(
    "bits, error, message",
    [
        (0, ValueError, "bits must be between 1 and 8, not 0"),
        (9, ValueError, "bits must be between 1 and 8, not 9"),
        (-1, ValueError, "bits must be between 1 and 8, not -1"),
        (2.0, TypeError, "bits must be an integer, not 2.0"),
        ("4", TypeError, "bits must be an integer, not '4'"),
        (True, TypeError, "bits must be an integer, not True"),
    ],
)
def test_wrong_widths_are_refused(kind: type, bits: object, error: type[Exception], message: str) -> None:
    with pytest.raises(error) as raised:
        kind(bits)
    assert str(raised.value) == message


def test_the_width_shows_where_pytorch_prints_a_module() -> None:
    assert repr(WeightQuantizer(3)) == "WeightQuantizer(bits=3)"
    assert repr(ActivationQuantizer(4)) == "ActivationQuantizer(bits=4)"
    assert repr(ImageQuantizer(5)) == "ImageQuantizer(bits=5)"


@pytest.mark.parametrize("bits", range(2, 9))
def test_narrow_weights_have_the_same_step_and_no_most_negative_code(bits: int) -> None:
    weights = torch.from_numpy(np.random.default_rng(bits).standard_normal((20, 50)))
    weights[0, 0] = -9.0
    full, narrow = WeightQuantizer(bits), WeightQuantizer(bits, "narrow")
    low = -(2 ** (bits - 1))
    codes = full.codes(weights)
    assert narrow.step(weights) == full.step(weights)
    assert narrow.codes(weights).tolist() == [[max(code, low + 1) for code in row] for row in codes.tolist()]
    assert narrow.format == IntFormat(bits, True, low + 1, -low - 1)
    assert narrow.clamped(weights) == sum(code == low for row in codes.tolist() for code in row) > 0
    assert full.clamped(weights) == 0
    assert torch.equal(narrow(weights), narrow.codes(weights) * narrow.step(weights))


@pytest.mark.parametrize(
    ("bits", "weight_range", "error", "message"),
    [
        (4, "wide", ValueError, "weight_range must be full or narrow, not 'wide'"),
        (4, None, TypeError, "weight_range must be a text, not None"),
        (1, "narrow", ValueError, "weight_range must be full for 1 bit, not 'narrow'"),
    ],
)
def test_wrong_ranges_are_refused(bits: int, weight_range: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error) as failure:
        WeightQuantizer(bits, weight_range)
    assert str(failure.value) == message


@pytest.mark.parametrize("bits", BITS)
def test_a_deviation_that_is_known_changes_nothing(bits: int) -> None:
    weights = torch.randn(30, 20, generator=torch.Generator().manual_seed(bits))
    deviation = weight_deviation(weights)
    assert float(deviation) == pytest.approx(statistics.stdev(weights.ravel().tolist()), rel=1e-12)
    assert torch.equal(WeightQuantizer(bits)(weights, deviation), WeightQuantizer(bits)(weights))
    assert not torch.equal(WeightQuantizer(bits)(weights, 2 * deviation), WeightQuantizer(bits)(weights))


def test_a_narrow_range_shows_where_pytorch_prints_a_module() -> None:
    assert repr(WeightQuantizer(4, "narrow")) == "WeightQuantizer(bits=4, weight_range=narrow)"
