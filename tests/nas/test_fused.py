"""Fused mixtures: values and gradients against sums written out, and against the quantisers themselves."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from mixq.packing import WeightRange
from mixq.quantizers import ActivationQuantizer, ImageQuantizer, WeightQuantizer, layer_weight_range
from nas import fused
from nas.mixtures import ActivationMixture, ImageMixture, Mixture, WeightMixture
from tests.nas import naive

WIDTHS = (2, 3, 4, 5, 6, 7, 8)
Computation = Callable[[Tensor, Tensor], Tensor]


def random(*shape: int, seed: int = 1, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def results(compute: Computation, value: Tensor, alpha: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Output, gradient of the value, gradient of ``alpha``, whose exponentials weigh the summands."""
    value, alpha = value.clone().requires_grad_(), alpha.clone().requires_grad_()
    output = compute(value, torch.exp(alpha))
    output.backward(gradient)
    assert value.grad is not None and alpha.grad is not None
    return output.detach(), value.grad, alpha.grad


def assert_same(mixture: Mixture, explicit: Computation, value: Tensor, shape: tuple[int, ...]) -> None:
    """Fused and unfused mixture are, up to rounding in float64, what is written out."""
    alpha, gradient = random(len(WIDTHS), seed=2), random(*shape, seed=3)
    expected = results(explicit, value, alpha, gradient)
    for compute in (mixture._mixed, lambda v, p: Mixture._mixed(mixture, v, p)):
        for own, wanted in zip(results(compute, value, alpha, gradient), expected, strict=True):
            torch.testing.assert_close(own, wanted, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("chunk", [7, 1 << 18])
def test_activations_are_the_written_sum(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fused, "_CHUNK", chunk)
    value = random(3, 5, 4, 4) * 3
    assert (value < 0).any() and (value > 0.019 * 255).any(), "values must lie beyond every clamp"

    def explicit(value: Tensor, probabilities: Tensor) -> Tensor:
        return naive.mixture([naive.activations(value, bits) for bits in WIDTHS], probabilities)

    assert_same(ActivationMixture(WIDTHS), explicit, value, (3, 5, 4, 4))


def test_the_bounds_of_the_clamp_pass_the_gradient() -> None:
    bounds = [naive.ACTIVATION_STEP[bits] * (2**bits - 1) for bits in WIDTHS]
    value = torch.tensor([0.0, *bounds], dtype=torch.float64, requires_grad=True)
    probabilities = torch.softmax(random(7), 0)
    ActivationMixture(WIDTHS)._mixed(value, probabilities).sum().backward()
    # Of the upper bounds, in ascending order, width j's passes the gradient of j and of all wider ones.
    expected = [1.0, *(float(probabilities[index:].sum()) for index in range(7))]
    assert value.grad is not None
    assert value.grad.tolist() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("chunk", [7, 1 << 18])
def test_images_are_the_written_sum(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fused, "_CHUNK", chunk)
    pixels = torch.randint(0, 256, (2, 3, 8, 8), generator=torch.Generator().manual_seed(4))

    def explicit(value: Tensor, probabilities: Tensor) -> Tensor:
        return naive.mixture([naive.image(value, bits) for bits in WIDTHS], probabilities)

    assert_same(ImageMixture(WIDTHS), explicit, pixels.double() / 256, (2, 3, 8, 8))


@pytest.mark.parametrize("weight_range", ["full", "narrow"])
@pytest.mark.parametrize("shared", [True, False])
def test_weights_are_the_written_sum(shared: bool, weight_range: WeightRange) -> None:
    shape = (6, 5, 3, 3)
    weight = random(*shape) if shared else random(7, *shape)
    weight[..., 0, 0, 0, 0], weight[..., 1, 0, 0, 0] = -30, 30
    assert (weight.flatten(-4).std(-1) * 128 * 0.032 < 30).all(), "outliers must lie beyond every clamp"

    def explicit(value: Tensor, probabilities: Tensor) -> Tensor:
        tensors = [value] * 7 if shared else list(value)
        narrow = weight_range == "narrow"
        terms = [naive.weights(own, bits, narrow=narrow) for own, bits in zip(tensors, WIDTHS, strict=True)]
        return naive.mixture(terms, probabilities)

    mixture = WeightMixture(WIDTHS, shared=shared, quantizer="hwgq", weight_range=weight_range)
    assert_same(mixture, explicit, weight, shape)


@pytest.mark.parametrize("bits", WIDTHS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_probability_of_one_gives_the_quantisers_output(bits: int, dtype: torch.dtype) -> None:
    chosen = torch.nn.functional.one_hot(torch.tensor(WIDTHS.index(bits)), 7).to(dtype)
    value = random(40, 60, dtype=dtype)
    assert torch.equal(ActivationMixture(WIDTHS)._mixed(value, chosen), ActivationQuantizer(bits)(value))
    pixels = torch.arange(256, dtype=dtype) / 256
    assert torch.equal(ImageMixture(WIDTHS)._mixed(pixels, chosen), ImageQuantizer(bits)(pixels))
    weight_range = layer_weight_range(bits, "narrow")
    mixture = WeightMixture(WIDTHS, shared=True, quantizer="hwgq", weight_range="narrow")
    assert torch.equal(mixture._mixed(value, chosen), WeightQuantizer(bits, weight_range)(value))


def test_only_the_wanted_gradients_are_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> Tensor:
        raise AssertionError("nobody asked for this gradient")

    value, alpha = random(4, 4), random(7, seed=2)
    with monkeypatch.context() as patch:
        patch.setattr(fused, "_value_gradient", refuse)
        ActivationMixture(WIDTHS)._mixed(value, alpha.requires_grad_()).sum().backward()
    assert value.grad is None and alpha.grad is not None
    with monkeypatch.context() as patch:
        patch.setattr(fused, "_code_gradients", refuse)
        ActivationMixture(WIDTHS)._mixed(value.requires_grad_(), alpha.detach()).sum().backward()
    assert value.grad is not None


def test_forward_keeps_the_input_alone() -> None:
    kept: list[int] = []

    def keep(tensor: Tensor) -> Tensor:
        kept.append(tensor.numel())
        return tensor

    value = random(8, 8).requires_grad_()
    probabilities = torch.softmax(random(7, seed=2).requires_grad_(), 0)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        ActivationMixture(WIDTHS)._mixed(value, probabilities)
    assert sorted(kept) == [7, 64]


def test_half_precision_is_summed_in_single() -> None:
    value = random(50, 50, dtype=torch.float32).to(torch.bfloat16)
    probabilities = torch.softmax(random(7, dtype=torch.float32), 0)
    expected = ActivationMixture(WIDTHS)._mixed(value.float(), probabilities).to(torch.bfloat16)
    own = ActivationMixture(WIDTHS)._mixed(value, probabilities)
    assert own.dtype == torch.bfloat16
    assert torch.equal(own, expected)


def test_tensors_in_another_layout_are_taken() -> None:
    value = random(2, 3, 4, 5).requires_grad_()
    turned = value.permute(0, 2, 3, 1)
    probabilities = torch.softmax(random(7), 0)
    mixture = ActivationMixture(WIDTHS)
    gradient = random(2, 3, 4, 5, seed=5)
    mixture._mixed(turned, probabilities).permute(0, 3, 1, 2).backward(gradient)
    expected = value.detach().clone().requires_grad_()
    mixture._mixed(expected, probabilities).backward(gradient)
    assert value.grad is not None and expected.grad is not None
    assert torch.equal(value.grad, expected.grad)
