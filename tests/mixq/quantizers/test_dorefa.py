"""Values and gradients of the DoReFa quantisers against the formulas, written out element by element."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from mixq.formats import IntFormat
from mixq.quantizers import DoReFaActivationQuantizer, DoReFaWeightQuantizer, make_image_quantizer

WEIGHT_BITS = range(2, 9)


def tangents(weights: list[float]) -> list[float]:
    found = [math.tanh(w) for w in weights]
    most = max(map(abs, found))
    return [t / most for t in found]


@pytest.mark.parametrize("bits", WEIGHT_BITS)
def test_weight_codes_follow_the_formula(bits: int) -> None:
    weights = np.random.default_rng(bits).standard_normal((7, 3, 3, 3)) * 0.8
    ratios = tangents(weights.ravel().tolist())
    quantizer, levels = DoReFaWeightQuantizer(bits), 2 ** (bits - 1) - 1
    tensor = torch.from_numpy(weights)
    assert quantizer.codes(tensor).ravel().tolist() == [round(t * levels) for t in ratios]
    assert quantizer.codes(tensor).abs().max() == levels
    assert float(quantizer.step(tensor)) == 1 / levels
    assert quantizer.format == IntFormat(bits, True, -levels, levels)
    assert quantizer.clamped(tensor) == 0
    assert torch.equal(quantizer(tensor), quantizer.codes(tensor) * (1 / levels))


@pytest.mark.parametrize("bits", WEIGHT_BITS)
@pytest.mark.parametrize("narrow", [False, True])
def test_weight_codes_of_powers_of_two(bits: int, narrow: bool) -> None:
    weights = np.random.default_rng(bits).standard_normal(500) * 0.8
    weights[:2] = 3.0, -3.0
    levels = 2 ** (bits - 1)
    low = -levels + narrow
    expected = [min(max(round(t * levels), low), levels - 1) for t in tangents(weights.tolist())]
    quantizer = DoReFaWeightQuantizer(bits, "narrow" if narrow else "full", power_of_two=True)
    tensor = torch.from_numpy(weights)
    assert quantizer.codes(tensor).tolist() == expected
    assert (min(expected), max(expected)) == (low, levels - 1)
    assert float(quantizer.step(tensor)) == 2.0 ** (1 - bits)
    assert quantizer.format == IntFormat(bits, True, low, levels - 1)
    assert quantizer.clamped(tensor) == (
        sum(round(t * levels) == -levels for t in tangents(weights.tolist())) if narrow else 0
    )


def test_a_model_and_its_float64_copy_hold_the_same_weight_codes() -> None:
    weights = torch.randn(64, 64, 3, 3, generator=torch.Generator().manual_seed(3))
    for bits in WEIGHT_BITS:
        quantizer = DoReFaWeightQuantizer(bits)
        assert torch.equal(quantizer.codes(weights), quantizer.codes(weights.double()))
        assert quantizer(weights).dtype == torch.float32


def test_the_gradient_of_weights_passes_the_tangent() -> None:
    weights = torch.tensor([0.3, -1.2, 2.0, 0.0], dtype=torch.float64, requires_grad=True)
    DoReFaWeightQuantizer(3)(weights).backward(torch.tensor([1.0, 2.0, 3.0, 4.0], dtype=torch.float64))
    most = math.tanh(2.0)
    expected = [g * (1 - math.tanh(w) ** 2) / most for g, w in zip((1, 2, 3, 4), (0.3, -1.2, 2.0, 0.0), strict=True)]
    assert weights.grad is not None
    assert weights.grad.tolist() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("bits", range(1, 9))
@pytest.mark.parametrize("power_of_two", [False, True])
def test_activation_codes_follow_the_formula(bits: int, power_of_two: bool) -> None:
    values = np.concatenate([np.linspace(-0.5, 1.5, 1001), [0.0, 1e-9, 100.0, -100.0]])
    high = 2**bits - 1
    levels = 2**bits if power_of_two else high
    expected = [min(max(round(x * levels), 0), high) for x in np.clip(values, 0, 1).tolist()]
    quantizer = DoReFaActivationQuantizer(bits, power_of_two=power_of_two)
    tensor = torch.from_numpy(values)
    assert quantizer.codes(tensor).tolist() == expected
    assert quantizer(tensor).tolist() == [code / levels for code in expected]
    assert max(expected) == high and quantizer.step == 1 / levels
    assert quantizer.format == IntFormat(bits, False)


def test_the_gradient_of_activations_is_that_of_the_clamp() -> None:
    values = torch.tensor([-0.1, 0.0, 0.4, 1.0, 1.1], requires_grad=True)
    DoReFaActivationQuantizer(4)(values).backward(torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0]))
    assert values.grad is not None
    assert values.grad.tolist() == [0.0, 2.0, 3.0, 4.0, 0.0]


@pytest.mark.parametrize("bits", range(1, 9))
@pytest.mark.parametrize(("kind", "white"), [("dorefa", 255), ("dorefa-pow2", 256), ("hwgq", 256)])
def test_images_have_the_white_of_their_kind(bits: int, kind: str, white: int) -> None:
    pixels = torch.arange(256, dtype=torch.float64)
    quantizer = make_image_quantizer(kind, bits)  # type: ignore[arg-type]
    codes = [pixel >> (8 - bits) for pixel in range(256)]
    assert quantizer.codes(pixels / 256).tolist() == codes
    assert quantizer.step == 2.0 ** (8 - bits) / white
    assert quantizer(pixels / 256).tolist() == [code * 2 ** (8 - bits) / white for code in codes]


def test_refusals() -> None:
    for bits, message in (
        (1, "bits must be between 2 and 8 for DoReFa weights, not 1"),
        (9, "bits must be between 1 and 8, not 9"),
    ):
        with pytest.raises(ValueError, match=f"^{message}$"):
            DoReFaWeightQuantizer(bits)
    quantizer = DoReFaWeightQuantizer(4)
    for weights in (torch.zeros(4), torch.tensor([1.0, math.nan])):
        assert quantizer.problem(weights) == "its weights must be finite and not all zero"
    assert quantizer.problem(torch.tensor([0.0, 1.0])) == ""
    with pytest.raises(ValueError, match=r"^white must be 255 or 256, not 254$"):
        type(make_image_quantizer("hwgq", 8))(8, white=254)
