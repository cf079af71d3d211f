"""Folding against exact rational arithmetic, and what it refuses."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from mixq.errors import UserError
from mixq.folding import Affine, Fold, fold_final_bias, fold_terms, requantise_shift, rounding_bound


def affine(*, scale: list[float], shift: list[float]) -> Affine:
    return Affine(scale=np.array(scale), shift=np.array(shift))


def fold_affine(
    affine: Affine, *, weight_step: float, act_step: float, next_step: float, shift: int, layer: str
) -> Fold:
    """The fold of one layer."""
    terms = [(affine.scale, (weight_step, act_step))]
    return fold_terms(terms, affine.shift, next_step=next_step, shift=shift, layer=layer)


def test_the_shift_is_data_of_each_layer() -> None:
    assert requantise_shift(8, 8) == 31
    assert requantise_shift(2, 3) == 20
    assert requantise_shift(2, 3, fraction_bits=6) == 10


def test_integers_are_the_nearest_to_the_exact_values() -> None:
    # Powers of two as steps keep the float64 arithmetic exact, so fractions say what must come out.
    scale, shift, bits = [0.3, -1.7, 0.0, 12.5], [5.5, -0.1, 1e-9, 0.0], 23
    fold = fold_affine(
        affine(scale=scale, shift=shift), weight_step=2**-6, act_step=0.25, next_step=0.5, shift=bits, layer="a"
    )
    exact = [Fraction(value) * Fraction(1, 64) * Fraction(1, 4) * 2 * 2**bits for value in scale]
    assert fold.multipliers[0].tolist() == [round(value) for value in exact]
    assert fold.bias.tolist() == [round(Fraction(value) * 2 * 2**bits) for value in shift]
    assert fold.shift == bits
    assert fold.multipliers[0].dtype == fold.bias.dtype == np.int64


def test_several_terms_and_steps_of_channels() -> None:
    steps = np.array([0.5, 0.25])
    fold = fold_terms(
        [(np.array([3.0, -1.0]), (steps, 0.5, 0.25)), (np.ones(1), (0.125,))],
        np.array([1.0, 2.0]),
        next_step=0.5,
        shift=8,
        layer="a",
    )
    # 3 * 0.5 * 0.5 * 0.25 / 0.5 * 2^8, and -1 * 0.25 * 0.5 * 0.25 / 0.5 * 2^8
    assert fold.multipliers[0].tolist() == [96, -16]
    assert fold.multipliers[1].tolist() == [64]
    assert fold.bias.tolist() == [512, 1024]


def test_batch_norm_after_a_bias() -> None:
    folded = affine(scale=[1.0, 1.0], shift=[3.0, -1.0]).then_norm(
        gamma=np.array([2.0, -4.0]),
        beta=np.array([0.5, 0.25]),
        mean=np.array([1.0, 3.0]),
        variance=np.array([3.75, 15.75]),
        epsilon=0.25,
    )
    # gamma / sqrt(variance + epsilon) is 1 and -1.
    assert folded.scale.tolist() == [1.0, -1.0]
    assert folded.shift.tolist() == [2.5, 4.25]


def test_a_layer_without_bias_is_the_identity() -> None:
    assert Affine.of_bias(2, None).scale.tolist() == [1.0, 1.0]
    assert Affine.of_bias(2, None).shift.tolist() == [0.0, 0.0]
    assert Affine.of_bias(2, np.array([1.5, -2.0])).shift.tolist() == [1.5, -2.0]


def test_the_last_bias_is_rounded_in_units_of_the_accumulator() -> None:
    bias = fold_final_bias(np.array([1.0, -0.3, 0.01]), weight_step=0.5, act_step=0.25, layer="a")
    assert bias.tolist() == [8, -2, 0]


def test_the_bound_holds_and_is_tight() -> None:
    # inc * 2^T = 0.5 + tiny rounds to 1: an error of almost a half for each unit of the MAC.
    shift, mac = 4, 1000
    fold = fold_affine(
        affine(scale=[0.5001], shift=[0.4999]), weight_step=1.0, act_step=1.0, next_step=16.0, shift=shift, layer="a"
    )
    exact = (Fraction(0.5001) * mac + Fraction(0.4999)) / 16
    found = Fraction(int(fold.multipliers[0][0]) * mac + int(fold.bias[0]), 2**shift)
    bound = Fraction(float(rounding_bound(np.array([mac]), shift)[0]))
    assert bound == Fraction(1001, 32)
    assert Fraction(99, 100) * bound < abs(found - exact) <= bound


@pytest.mark.parametrize(
    "change, message",
    [
        ({"weight_step": 0.0}, "layer c: the weight step must be positive and finite, not 0.0"),
        ({"act_step": float("nan")}, "layer c: the activation step must be positive and finite, not nan"),
        ({"next_step": -1.0}, "layer c: the next step must be positive and finite, not -1.0"),
        (
            {"affine": affine(scale=[float("inf")], shift=[0.0])},
            "layer c: its batch norm scale is not finite; retrain it or repair the checkpoint",
        ),
        (
            {"affine": affine(scale=[1.0], shift=[float("nan")])},
            "layer c: its batch norm shift is not finite; retrain it or repair the checkpoint",
        ),
        (
            {"affine": affine(scale=[1e12], shift=[0.0])},
            "layer c: its batch norm scale is too large for 62 bits at shift 31",
        ),
        (
            {"affine": affine(scale=[1.0], shift=[1e308])},
            "layer c: its batch norm shift is too large for 62 bits at shift 31",
        ),
    ],
)
def test_what_cannot_be_folded_is_refused(change: dict[str, object], message: str) -> None:
    arguments = {
        "affine": affine(scale=[1.0], shift=[0.0]),
        "weight_step": 1.0,
        "act_step": 1.0,
        "next_step": 1.0,
        "shift": 31,
        "layer": "c",
    }
    with pytest.raises(UserError) as raised:
        fold_affine(**{**arguments, **change})  # type: ignore[arg-type]
    assert str(raised.value) == message


def test_a_final_bias_without_a_step_is_refused() -> None:
    with pytest.raises(UserError) as raised:
        fold_final_bias(np.zeros(1), weight_step=float("nan"), act_step=1.0, layer="d")
    assert str(raised.value) == "layer d: the weight step must be positive and finite, not nan"


def test_a_negative_variance_ends_in_a_refusal_not_a_warning() -> None:
    folded = Affine.of_bias(1, None).then_norm(
        gamma=np.ones(1), beta=np.ones(1), mean=np.ones(1), variance=np.array([-1.0]), epsilon=1e-5
    )
    with pytest.raises(UserError, match="layer e: its batch norm scale is not finite"):
        fold_affine(folded, weight_step=1.0, act_step=1.0, next_step=1.0, shift=20, layer="e")


def test_shapes_must_agree() -> None:
    with pytest.raises(ValueError, match=r"scale and shift must be of one shape \(C,\), not \(2,\)"):
        affine(scale=[1.0, 2.0], shift=[1.0])
