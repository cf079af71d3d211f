"""Making quantisers by the name of their kind, and which parameters must not decay."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from mixq.models import build_model
from mixq.networks import network
from mixq.quantizers import (
    ActivationQuantizer,
    ActivationQuantizerBase,
    DoReFaActivationQuantizer,
    DoReFaWeightQuantizer,
    LSQActivationQuantizer,
    LSQWeightQuantizer,
    WeightQuantizer,
    WeightQuantizerBase,
    check_quantizer,
    make_activation_quantizer,
    make_weight_quantizer,
    parameters_without_decay,
)


@pytest.mark.parametrize(
    ("kind", "of_weights", "of_activations"),
    [
        ("hwgq", WeightQuantizer, ActivationQuantizer),
        ("lsq", LSQWeightQuantizer, LSQActivationQuantizer),
        ("dorefa", DoReFaWeightQuantizer, DoReFaActivationQuantizer),
        ("dorefa-pow2", DoReFaWeightQuantizer, DoReFaActivationQuantizer),
    ],
)
def test_the_kind_decides(kind: Any, of_weights: type, of_activations: type) -> None:
    weights, activations = make_weight_quantizer(kind, 4, "narrow"), make_activation_quantizer(kind, 5)
    assert type(weights) is of_weights and isinstance(weights, WeightQuantizerBase)
    assert (weights.bits, weights.weight_range) == (4, "narrow")
    assert make_weight_quantizer(kind, 4).weight_range == ("narrow" if kind == "dorefa" else "full")
    assert type(activations) is of_activations and isinstance(activations, ActivationQuantizerBase)
    assert activations.bits == 5


@pytest.mark.parametrize(
    ("kind", "error", "message"),
    [
        ("ternary", ValueError, "kind must be hwgq, lsq, dorefa or dorefa-pow2, not 'ternary'"),
        ("", ValueError, "kind must be hwgq, lsq, dorefa or dorefa-pow2, not ''"),
        (None, TypeError, "kind must be a text, not None"),
    ],
)
def test_other_kinds_are_refused(kind: Any, error: type[Exception], message: str) -> None:
    for make in (make_weight_quantizer, make_activation_quantizer):
        with pytest.raises(error) as failure:
            make(kind, 4)
        assert str(failure.value) == message
    with pytest.raises(error, match=r"^quantizer must"):
        check_quantizer("quantizer", kind)


def test_steps_and_nothing_else_do_not_decay() -> None:
    model = build_model(network("digits_cnn"), quantizer="lsq")
    found = parameters_without_decay(model)
    names = {name for name, parameter in model.named_parameters() if any(parameter is step for step in found)}
    layers, signals = ("conv1", "conv2", "conv3", "dense"), ("conv1_act", "conv2_act", "conv3_act")
    assert names == {f"{name}.weight_quantizer.learned.step" for name in layers} | {
        f"{name}.learned.step" for name in signals
    }
    assert len(found) == 7
    assert parameters_without_decay(build_model(network("digits_cnn"))) == ()
    shared = LSQActivationQuantizer(4)
    assert len(parameters_without_decay(nn.Sequential(shared, nn.ReLU(), shared))) == 1


def test_fixed_steps_add_nothing_to_the_state_of_a_network() -> None:
    fixed, learned = (build_model(network("digits_cnn"), quantizer=kind).state_dict() for kind in ("hwgq", "lsq"))
    added = set(learned) - set(fixed)
    assert set(fixed) < set(learned)
    assert all(".learned." in name for name in added) and len(added) == 14


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_fixed_steps_are_exact_in_16_bits_too(dtype: torch.dtype) -> None:
    values = torch.randn(3000, generator=torch.Generator().manual_seed(1)).to(dtype)
    for bits in (4, 8):
        quantizer = ActivationQuantizer(bits)
        ratios = np.array(values.tolist(), np.float32) / np.float32(quantizer.step)
        assert quantizer.codes(values).tolist() == np.clip(np.rint(ratios), 0, 2**bits - 1).tolist()
        assert torch.equal(quantizer(values), (quantizer.codes(values) * quantizer.step).to(dtype))
