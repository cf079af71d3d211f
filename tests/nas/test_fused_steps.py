"""Fused mixtures of learned steps: against sums written out from the publication, and against the quantisers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor, nn

from mixq.packing import WeightRange
from mixq.quantizers import LearnedStep, LSQActivationQuantizer, LSQWeightQuantizer
from nas import fused, fused_steps
from nas.mixtures import ActivationMixture, Mixture, WeightMixture
from tests.nas import naive

WIDTHS = (2, 3, 4, 5, 6, 7, 8)


def random(*shape: int, seed: int = 1, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def written(
    value: Tensor, steps: Sequence[Tensor], lows: Sequence[int], highs: Sequence[int], count: int
) -> list[Tensor]:
    """Each width's term by autograd alone: rounding counts as the identity, the step's gradient is scaled.

    Source: Esser et al., "Learned Step Size Quantization", ICLR 2020, equations 1 to 3 and section 2.2. count: of what
    the gradient's scale is made.
    """
    terms = []
    for step, low, high in zip(steps, lows, highs, strict=True):
        scale = 1 / math.sqrt(count * high)
        scaled = naive.straight_through(step * scale, step)
        ratio = torch.clamp(value / scaled, low, high)
        terms.append(naive.straight_through(ratio, torch.round(ratio)) * scaled)
    return terms


def prepared(mixture: Mixture, dtype: torch.dtype = torch.float64, sign: float = 1.0) -> list[nn.Parameter]:
    """Give every width another step, and return them."""
    mixture.to(dtype)
    steps = []
    for index, learned in enumerate(learned_steps(mixture)):
        learned.initialise(torch.tensor(0.3 + 0.1 * index, dtype=dtype))
        with torch.no_grad():
            learned.step.mul_(sign)
        steps.append(learned.step)
    return steps


def learned_steps(mixture: Mixture) -> list[LearnedStep]:
    return [module for module in mixture.modules() if isinstance(module, LearnedStep)]


def differentiated(output: Tensor, inputs: Sequence[Tensor], gradient: Tensor) -> list[Tensor]:
    return [output.detach(), *torch.autograd.grad(output, inputs, gradient)]


def compare(mixture: Mixture, value: Tensor, lows: Sequence[int], highs: Sequence[int], count: int) -> None:
    """Output and all gradients of the fused mixture, of the unfused one, and of the written sum."""
    steps = prepared(mixture)
    value = value.requires_grad_()
    probabilities = torch.softmax(random(len(WIDTHS), seed=2), 0).requires_grad_()
    gradient, inputs = random(*value.shape, seed=3), [value, probabilities, *steps]
    expected = naive.mixture(written(value, steps, lows, highs, count), probabilities)
    wanted = differentiated(expected, inputs, gradient)
    for output in (mixture._mixed(value, probabilities), Mixture._mixed(mixture, value, probabilities)):
        for own, other in zip(differentiated(output, inputs, gradient), wanted, strict=True):
            torch.testing.assert_close(own, other, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("chunk", [7, 1 << 18])
def test_activations_are_the_written_sum(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fused, "_CHUNK", chunk)
    value = random(3, 5, 4, 4) * 4
    highs = [2**bits - 1 for bits in WIDTHS]
    compare(ActivationMixture(WIDTHS, quantizer="lsq"), value, [0] * 7, highs, 5 * 4 * 4)


@pytest.mark.parametrize("weight_range", ["full", "narrow"])
def test_weights_are_the_written_sum(weight_range: WeightRange) -> None:
    value = random(6, 5, 3, 3) * 4
    lows = [-(2 ** (bits - 1)) + (weight_range == "narrow" and bits >= 4) for bits in WIDTHS]
    highs = [2 ** (bits - 1) - 1 for bits in WIDTHS]
    compare(WeightMixture(WIDTHS, shared=True, quantizer="lsq", weight_range=weight_range), value, lows, highs, 270)


def mixtures() -> list[Mixture]:
    return [
        ActivationMixture(WIDTHS, quantizer="lsq"),
        WeightMixture(WIDTHS, shared=True, quantizer="lsq", weight_range="narrow"),
    ]


@pytest.mark.parametrize("kind", [0, 1], ids=["activations", "weights"])
@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("index", range(7))
def test_one_probability_of_1_is_that_quantiser(kind: int, sign: float, index: int) -> None:
    mixture = mixtures()[kind]
    steps = prepared(mixture, torch.float32, sign)
    value = (random(4, 3, 5, 5, dtype=torch.float32) * 2).requires_grad_()
    gradient = random(4, 3, 5, 5, seed=4, dtype=torch.float32)
    one = torch.zeros(7).index_fill_(0, torch.tensor(index), 1.0)
    own = differentiated(mixture._mixed(value, one), [value, *steps], gradient)
    alone = differentiated(mixture.quantizers[index](value), [value, steps[index]], gradient)
    assert torch.equal(own[0], alone[0])
    assert torch.equal(own[1], alone[1])
    torch.testing.assert_close(own[2 + index], alone[2], rtol=1e-5, atol=1e-5)
    others = [float(step) for number, step in enumerate(own[2:]) if number != index]
    assert others == [0.0] * 6


def test_ends_of_the_range_pass_no_gradient() -> None:
    mixture = mixtures()[0]
    steps = prepared(mixture)
    with torch.no_grad():
        for number, step in enumerate(steps):  # powers of two, so that a bound divided by its step is exact
            step.fill_(2.0**-number)
    ends = [0.0, -1.0, *(float(step.detach()) * (2**bits - 1) for step, bits in zip(steps, WIDTHS, strict=True))]
    value = torch.tensor(ends, dtype=torch.float64, requires_grad=True)
    for index in range(7):
        one = torch.zeros(7, dtype=torch.float64).index_fill_(0, torch.tensor(index), 1.0)
        (found,) = torch.autograd.grad(mixture._mixed(value, one).sum(), [value])
        assert found[[0, 1, 2 + index]].tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("kind", [0, 1], ids=["activations", "weights"])
def test_the_first_batch_in_training_gives_the_first_steps(kind: int) -> None:
    value = random(4, 3, 5, 5, dtype=torch.float32)
    mixture = mixtures()[kind].train()
    mixture(value)
    makers: tuple[Callable[[int], LSQActivationQuantizer | LSQWeightQuantizer], ...] = (
        LSQActivationQuantizer,
        lambda bits: LSQWeightQuantizer(bits, "narrow" if bits >= 4 else "full"),
    )
    for bits, learned in zip(WIDTHS, learned_steps(mixture), strict=True):
        alone = makers[kind](bits).train()
        alone(value)
        assert learned.is_initialised
        assert torch.equal(learned.step, alone.learned.step)
    before = [float(learned.value()) for learned in learned_steps(mixture)]
    mixture(value * 2)
    assert [float(learned.value()) for learned in learned_steps(mixture)] == before


def test_forward_keeps_the_input_alone() -> None:
    kept: list[int] = []

    def keep(tensor: Tensor) -> Tensor:
        kept.append(tensor.numel())
        return tensor

    mixture = mixtures()[0]
    prepared(mixture)
    value = random(8, 8).requires_grad_()
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        mixture._mixed(value, torch.softmax(random(7, seed=2), 0))
    assert max(kept) == 64 and kept.count(64) == 1


def test_half_precision_is_summed_in_single() -> None:
    mixture = mixtures()[0]
    prepared(mixture, torch.float32)
    value = random(50, 50, dtype=torch.float32).to(torch.bfloat16)
    probabilities = torch.softmax(random(7, dtype=torch.float32), 0)
    own = mixture._mixed(value, probabilities)
    assert own.dtype == torch.bfloat16
    assert torch.equal(own, mixture._mixed(value.float(), probabilities).to(torch.bfloat16))


def test_separate_weights_keep_the_sum_of_autograd(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fused_steps, "mixed_steps", None)
    mixture = WeightMixture(WIDTHS, shared=False, quantizer="lsq", weight_range="full").train()
    value = random(7, 4, 3, 3, 3, dtype=torch.float32)
    probabilities = torch.softmax(random(7, dtype=torch.float32), 0)
    expected = sum(
        p * quantizer(own) for p, quantizer, own in zip(probabilities, mixture.quantizers, value, strict=True)
    )
    torch.testing.assert_close(mixture._mixed(value, probabilities), expected)
