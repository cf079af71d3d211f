"""Learned steps: codes, gradients and first values against the paper's formulas, written out again."""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mixq.errors import UserError
from mixq.formats import IntFormat
from mixq.quantizers import LearnedStep, LSQActivationQuantizer, LSQWeightQuantizer
from mixq.quantizers.lsq import LEAST_STEP

WEIGHT_BITS = range(2, 9)


def gaussian(seed: int, *shape: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape))


def with_step(quantizer: Any, step: float) -> Any:
    quantizer.learned.initialise(torch.ones(()))
    quantizer.learned.step.data.fill_(step)
    return quantizer


def bounds(bits: int, weight_range: str) -> tuple[int, int]:
    high = 2 ** (bits - 1) - 1
    return (-high if weight_range == "narrow" else -high - 1), high


@pytest.mark.parametrize("weight_range", ["full", "narrow"])
@pytest.mark.parametrize("bits", WEIGHT_BITS)
def test_weight_codes_follow_the_formula(bits: int, weight_range: Any) -> None:
    weights = gaussian(bits, 5, 4, 3, 3)
    weights[0, 0, 0, :2] = torch.tensor([-50.0, 50.0])
    low, high = bounds(bits, weight_range)
    step = 1.5 / high
    quantizer = with_step(LSQWeightQuantizer(bits, weight_range).double(), step)
    expected = [min(max(round(w / step), low), high) for w in weights.ravel().tolist()]
    assert {low, high} <= set(expected)
    assert quantizer.codes(weights).ravel().tolist() == expected
    assert quantizer(weights).ravel().tolist() == [code * step for code in expected]
    assert float(quantizer.step(weights)) == step
    assert quantizer.format == IntFormat(bits, True, low, high)
    clamped = sum(round(w / step) < low for w in weights.ravel().tolist())
    assert quantizer.clamped(weights) == (clamped if weight_range == "narrow" else 0)


@pytest.mark.parametrize("bits", range(1, 9))
def test_activation_codes_follow_the_formula(bits: int) -> None:
    values = torch.cat([torch.linspace(-1, 3, 997).double(), torch.tensor([0.0, 1e9, -1e9]).double()])[None]
    high = 2**bits - 1
    step = 2.0 / high
    quantizer = with_step(LSQActivationQuantizer(bits).double(), step)
    expected = [min(max(round(x / step), 0), high) for x in values.ravel().tolist()]
    assert quantizer.codes(values).ravel().tolist() == expected
    assert quantizer(values).ravel().tolist() == [code * step for code in expected]
    assert quantizer.step == step
    assert quantizer.format == IntFormat(bits, signed=False)


def surrogate(values: np.ndarray, step: float, low: int, high: int, at: float) -> np.ndarray:
    """What the gradients are those of: the rounding adds a constant, its value at the step ``at``."""
    residual = np.rint(np.clip(values / at, low, high)) - np.clip(values / at, low, high)
    result: np.ndarray = step * (np.clip(values / step, low, high) + residual)
    return result


def check_gradients(quantizer: Any, values: Tensor, low: int, high: int, count: int) -> None:
    """Against the paper's cases, element by element, and against differences of `surrogate`."""
    step = float(quantizer.learned.step.detach())
    incoming = gaussian(99, *values.shape)
    values.requires_grad_()
    quantizer(values).backward(incoming)
    of_values, of_step = [], 0.0
    for v, g in zip(values.detach().ravel().tolist(), incoming.ravel().tolist(), strict=True):
        ratio = v / step
        if ratio <= low:
            slope, passes = float(low), 0.0
        elif ratio >= high:
            slope, passes = float(high), 0.0
        else:
            slope, passes = round(ratio) - ratio, 1.0
        of_values.append(g * passes)
        of_step += g * slope
    assert values.grad is not None
    assert values.grad.ravel().tolist() == of_values
    assert 0.0 in of_values
    found = float(quantizer.learned.step.grad)
    # Sums in float64, in another order.
    assert found == pytest.approx(of_step / math.sqrt(count * high), rel=1e-9)
    array, weights = values.detach().numpy(), incoming.numpy()
    above, below = (surrogate(array, step * (1 + e), low, high, step) for e in (1e-6, -1e-6))
    difference = float(((above - below) * weights).sum()) / (2e-6 * step)
    # Values within a millionth of an end may be on its other side.
    assert found == pytest.approx(difference / math.sqrt(count * high), rel=1e-4)


@pytest.mark.parametrize("weight_range", ["full", "narrow"])
@pytest.mark.parametrize("bits", WEIGHT_BITS)
def test_gradients_of_weights(bits: int, weight_range: Any) -> None:
    low, high = bounds(bits, weight_range)
    quantizer = with_step(LSQWeightQuantizer(bits, weight_range).double(), 1.2 / high)
    check_gradients(quantizer, gaussian(bits, 6, 5, 3, 3), low, high, 6 * 5 * 9)


@pytest.mark.parametrize("bits", range(1, 9))
def test_gradients_of_activations(bits: int) -> None:
    high = 2**bits - 1
    quantizer = with_step(LSQActivationQuantizer(bits).double(), 1.3 / high)
    # The scale counts the activations of one image, not those of the batch.
    check_gradients(quantizer, gaussian(bits, 7, 4, 5, 3), 0, high, 4 * 5 * 3)


def test_no_gradient_at_the_ends() -> None:
    quantizer = with_step(LSQActivationQuantizer(2).double(), 0.5)
    values = torch.tensor([[0.0, 1e-9, 0.75, 1.5 - 1e-9, 1.5]], dtype=torch.float64, requires_grad=True)
    quantizer(values).sum().backward()
    assert values.grad is not None
    assert values.grad.tolist() == [[0, 1, 1, 1, 0]]


@pytest.mark.parametrize("weight_range", ["full", "narrow"])
@pytest.mark.parametrize("bits", WEIGHT_BITS)
def test_the_first_step_of_weights(bits: int, weight_range: Any) -> None:
    weights = gaussian(bits, 8, 3, 3, 3).float()
    mean = sum(abs(w) for w in weights.ravel().tolist()) / weights.numel()
    expected = 2 * mean / math.sqrt(2 ** (bits - 1) - 1)
    quantizer = LSQWeightQuantizer(bits, weight_range).eval()
    assert float(quantizer.step(weights)) == pytest.approx(expected, rel=1e-6)
    before = quantizer(weights)
    assert not quantizer.learned.is_initialised, "evaluation changes nothing"
    assert torch.equal(quantizer.train()(weights), before)
    assert int(quantizer.learned.initialised) == 1
    assert float(quantizer.learned.step.detach()) == pytest.approx(expected, rel=1e-6)
    quantizer(weights * 3)
    assert float(quantizer.learned.step.detach()) == pytest.approx(expected, rel=1e-6), "the first tensor alone counts"
    quantizer.initialise(weights * 3)
    assert float(quantizer.learned.step.detach()) == pytest.approx(3 * expected, rel=1e-6)


@pytest.mark.parametrize("bits", range(1, 9))
def test_the_first_step_of_activations(bits: int) -> None:
    values = gaussian(bits, 4, 3, 5, 5).float()
    mean = sum(max(v, 0.0) for v in values.ravel().tolist()) / values.numel()
    quantizer = LSQActivationQuantizer(bits)
    assert quantizer.problem() == "its step has not been learned"
    quantizer(values)
    assert quantizer.step == pytest.approx(2 * mean / math.sqrt(2**bits - 1), rel=1e-6)
    quantizer(values * 5)
    assert quantizer.step == pytest.approx(2 * mean / math.sqrt(2**bits - 1), rel=1e-6)
    assert quantizer.problem() == ""


def test_a_step_without_a_value_is_refused() -> None:
    quantizer = LSQActivationQuantizer(4).eval()
    for use in (quantizer, quantizer.codes, lambda _: quantizer.step):
        with pytest.raises(UserError) as failure:
            use(torch.ones(1, 2))
        assert str(failure.value) == "a learned step of activations has no value yet; train the network first"


def test_values_that_are_all_zero_leave_a_step_of_one() -> None:
    activations, weights = LSQActivationQuantizer(4), LSQWeightQuantizer(4)
    activations(torch.full((2, 3), -1.0))
    weights(torch.zeros(2, 3))
    assert activations.step == 1.0
    assert float(weights.step(torch.zeros(2, 3))) == 1.0


def test_a_step_is_never_zero_or_negative() -> None:
    values = torch.tensor([[0.3, 0.9, -2.0]], dtype=torch.float64)
    quantizer = with_step(LSQActivationQuantizer(3).double(), -0.25)
    assert quantizer.step == 0.25
    assert quantizer.codes(values).tolist() == [[1, 4, 0]]
    # What grows a positive step must make a negative parameter more negative.
    other = with_step(LSQActivationQuantizer(3).double(), 0.25)
    for each in (quantizer, other):
        each(values).sum().backward()
    assert float(quantizer.learned.step.grad) == -float(other.learned.step.grad) != 0
    for step in (0.0, -1e-30):
        weights = with_step(LSQWeightQuantizer(4), step)
        assert float(weights.step(values)) == LEAST_STEP
        assert torch.isfinite(weights(values.float())).all()
        assert set(weights.codes(values).ravel().tolist()) == {7, -8}


def test_a_float64_copy_holds_the_same_codes() -> None:
    weights, values = gaussian(1, 64, 32, 3, 3).float(), gaussian(2, 4, 32, 8, 8).float()
    for bits in WEIGHT_BITS:
        single, signals = LSQWeightQuantizer(bits), LSQActivationQuantizer(bits)
        single(weights), signals(values)
        double, double_signals = copy.deepcopy(single).double(), copy.deepcopy(signals).double()
        assert torch.equal(single.codes(weights), double.codes(weights.double()))
        assert torch.equal(single.step(weights), double.step(weights.double()))
        assert signals.step == double_signals.step
        assert single(weights).dtype == signals(values).dtype == torch.float32


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("bits", [4, 8])
def test_16_bit_activations_have_exact_codes_and_gradients(dtype: torch.dtype, bits: int) -> None:
    high = 2**bits - 1
    quantizer = with_step(LSQActivationQuantizer(bits), float(np.float32(2.0 / high)))
    values = gaussian(3, 4, 1000).to(dtype).requires_grad_()
    exact = [min(max(round(v / quantizer.step), 0), high) for v in values.ravel().tolist()]
    assert quantizer.codes(values).ravel().tolist() == exact
    output = quantizer(values)
    assert output.dtype == dtype
    assert torch.equal(output, (quantizer.codes(values) * quantizer.step).to(dtype))
    output.backward(torch.ones_like(output))
    wide = copy.deepcopy(quantizer)
    wide.zero_grad()
    wide(values.detach().float()).sum().backward()
    assert float(quantizer.learned.step.grad) == pytest.approx(float(wide.learned.step.grad), rel=1e-6)


def test_autocast_does_not_touch_the_codes() -> None:
    weights, values = gaussian(1, 16, 9).float(), gaussian(2, 4, 9).float()
    plain, signals = with_step(LSQWeightQuantizer(8), 0.01), with_step(LSQActivationQuantizer(8), 0.01)
    outside = plain(weights), signals(values)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(plain(weights), outside[0])
        assert torch.equal(signals(values), outside[1])


def test_the_state_says_whether_there_is_a_step() -> None:
    trained, fresh = LSQWeightQuantizer(4), LSQWeightQuantizer(4)
    weights = gaussian(1, 3, 3).float()
    trained(weights)
    state = trained.state_dict()
    assert sorted(state) == ["learned.initialised", "learned.step"]
    empty = fresh.state_dict()
    empty = {name: value.clone() for name, value in empty.items()}
    fresh.load_state_dict(state)
    fresh(weights * 7)
    assert torch.equal(fresh.learned.step, trained.learned.step), "a step that was loaded is not found anew"
    fresh.load_state_dict(empty)
    fresh(weights * 7)
    assert float(fresh.learned.step.detach()) == pytest.approx(7 * float(trained.learned.step.detach()))
    fresh.learned.reset_parameters()
    assert not fresh.learned.is_initialised
    fresh(weights)
    assert torch.equal(fresh.learned.step, trained.learned.step)


def test_buffers_that_change_behind_the_modules_back_count() -> None:
    # As averaged models and data-parallel training copy them.
    step = LearnedStep(7)
    assert not step.is_initialised
    with torch.no_grad():
        step.initialised.fill_(1)
    assert step.is_initialised


def test_widths_without_positive_codes_are_refused() -> None:
    with pytest.raises(ValueError) as failure:
        LSQWeightQuantizer(1)
    assert str(failure.value) == "bits must be between 2 and 8 for a learned step, not 1"
    with pytest.raises(ValueError, match="weight_range must be full for 1 bit, not 'narrow'"):
        LSQWeightQuantizer(1, "narrow")
    with pytest.raises(ValueError, match="bits must be between 1 and 8, not 9"):
        LSQActivationQuantizer(9)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_is_told(value: float) -> None:
    quantizer = with_step(LSQWeightQuantizer(4), 0.1)
    weights = torch.ones(3)
    assert quantizer.problem(weights) == ""
    assert quantizer.problem(torch.tensor([1.0, value])) == "its weights and their step must be finite"
    quantizer.learned.step.data.fill_(value)
    assert quantizer.problem(weights) == "its weights and their step must be finite"
    assert with_step(LSQActivationQuantizer(4), value).problem() == "its step must be finite"


def test_widths_show_where_pytorch_prints_a_module() -> None:
    assert repr(LSQWeightQuantizer(4, "narrow")).startswith("LSQWeightQuantizer(\n  bits=4, weight_range=narrow\n")
    assert repr(LSQActivationQuantizer(3)).startswith("LSQActivationQuantizer(\n  bits=3\n")


def test_a_step_finds_the_scale_of_its_values() -> None:
    # Descent on the squared error alone: the step must come near the best one, found by a search over many.
    values = gaussian(4, 1, 1000).clamp(min=0)
    quantizer = with_step(LSQActivationQuantizer(3).double(), 0.02)
    optimizer = torch.optim.SGD([quantizer.learned.step], lr=0.1)
    for _ in range(150):
        optimizer.zero_grad()
        (quantizer(values) - values).square().sum().div(100).backward()
        optimizer.step()
    candidates = np.linspace(0.05, 1, 400)
    errors = [
        float((np.clip(np.rint(values.numpy() / s), 0, 7) * s - values.numpy()).__pow__(2).sum()) for s in candidates
    ]
    assert quantizer.step == pytest.approx(candidates[int(np.argmin(errors))], rel=0.1)


def test_a_network_of_learned_steps_needs_no_gradient_of_its_input() -> None:
    model = nn.Sequential(LSQActivationQuantizer(4))
    model(gaussian(1, 2, 3).float()).sum().backward()
    (step,) = model.parameters()
    assert step.grad is not None and float(step.grad) != 0
