"""The quantised layers, and what is read off them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mixq.errors import UserError
from mixq.folding import Affine
from mixq.layers import QuantConv2d, QuantLinear, norm_affine, norm_magnitude, output_affine, quantised_weights


def test_layers_compute_with_quantised_weights() -> None:
    torch.manual_seed(0)
    conv = QuantConv2d(2, 3, kernel=3, stride=2, padding=1, weight_bits=3, bias=True).double()
    dense = QuantLinear(8, 3, weight_bits=5).double()
    image, vector = torch.rand(2, 2, 6, 6).double(), torch.rand(2, 8).double()
    for layer in (conv, dense):
        codes, step = quantised_weights(layer, "a")
        assert codes.dtype == torch.int64 and isinstance(step, float)
        if layer is conv:
            expected = F.conv2d(image, codes.double() * step, conv.bias, stride=2, padding=1)
            assert torch.equal(conv(image), expected)
        else:
            assert torch.equal(dense(vector), F.linear(vector, codes.double() * step, dense.bias))


def test_gradients_reach_the_weights() -> None:
    dense = QuantLinear(4, 2, weight_bits=2)
    dense(torch.ones(1, 4)).sum().backward()
    assert dense.weight.grad is not None
    assert dense.weight.grad.tolist() == [[1.0] * 4] * 2


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_damaged_weights_are_refused(value: float) -> None:
    layer = QuantLinear(4, 2, weight_bits=2)
    layer.weight.data[0, 0] = value
    with pytest.raises(UserError) as raised:
        quantised_weights(layer, "dense")
    assert str(raised.value) == (
        "layer dense: its weights must be finite and not all equal; retrain it or repair the checkpoint"
    )


def test_equal_weights_have_no_step() -> None:
    layer = QuantLinear(4, 2, weight_bits=2)
    nn.init.constant_(layer.weight, 0.25)
    with pytest.raises(UserError, match="layer dense: its weights must be finite and not all equal"):
        quantised_weights(layer, "dense")


def test_the_affine_map_is_what_the_modules_compute() -> None:
    torch.manual_seed(1)
    conv = QuantConv2d(1, 4, kernel=1, weight_bits=4, bias=True).double()
    norm = nn.BatchNorm2d(4).double().eval()
    for tensor in (norm.weight, norm.bias, norm.running_mean):
        assert tensor is not None
        nn.init.normal_(tensor)
    assert norm.running_var is not None
    nn.init.uniform_(norm.running_var, 0.1, 3)
    affine = norm_affine(output_affine(conv), norm)
    sums = torch.randn(1, 4, 5, 5).double()
    assert conv.bias is not None
    expected = norm(sums + conv.bias[:, None, None]).detach().numpy()
    found = sums.numpy() * affine.scale[:, None, None] + affine.shift[:, None, None]
    # Float64 on both sides, in another order of operations.
    assert np.abs(found - expected).max() < 1e-12
    offset = norm_magnitude(np.abs(output_affine(conv).shift), norm)
    assert (offset >= np.abs(affine.shift)).all()


def test_without_norm_the_affine_map_is_the_bias() -> None:
    layer = QuantLinear(4, 2, weight_bits=2)
    assert output_affine(layer).shift.tolist() == layer.bias.tolist()
    plain = QuantConv2d(1, 2, kernel=1, weight_bits=2)
    assert output_affine(plain).shift.tolist() == [0.0, 0.0]


def test_a_norm_without_statistics_is_refused() -> None:
    with pytest.raises(ValueError, match="norm must keep running statistics, not BatchNorm1d"):
        norm_affine(Affine.of_bias(2, None), nn.BatchNorm1d(2, track_running_stats=False))
