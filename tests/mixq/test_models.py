"""The builder: modules of a network's table, in the order of the original."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mixq.errors import UserError
from mixq.layers import QuantConv2d, QuantLinear
from mixq.models import build_model
from mixq.networks import ConvSpec, DenseSpec, NetworkTable, network, network_names
from mixq.quantizers import ImageQuantizer, LSQActivationQuantizer, LSQWeightQuantizer


def test_modules_of_the_digits_network() -> None:
    model = build_model(network("digits_cnn"), weight_bits=[5, 4, 3, 2], act_bits=[8, 7, 6, 5])
    assert [name for name, _ in model.named_children()] == [
        *("image", "conv1", "conv1_norm", "pool1", "conv1_act"),
        *("conv2", "conv2_norm", "pool2", "conv2_act"),
        *("conv3", "conv3_norm", "conv3_act", "flatten", "dense"),
    ]
    weighted = [module for module in model.children() if isinstance(module, QuantConv2d | QuantLinear)]
    assert [module.weight_quantizer.bits for module in weighted] == [5, 4, 3, 2]
    quantisers = [model.image, model.conv1_act, model.conv2_act, model.conv3_act]
    assert [getattr(module, "bits", None) for module in quantisers] == [8, 7, 6, 5]
    assert [module.bias is None for module in weighted] == [True, True, True, False]
    assert model.weight_bits == (5, 4, 3, 2) and model.act_bits == (8, 7, 6, 5)


@pytest.mark.parametrize("name", sorted(set(network_names()) - {"ultranet_ismart"}))
def test_parameters_and_output_shape_are_the_tables(name: str) -> None:
    table = network(name)
    model = build_model(table).eval()
    weights = [module.weight.numel() for module in model.children() if isinstance(module, QuantConv2d | QuantLinear)]
    assert weights == [layer.weights for layer in table.counts()]
    with torch.no_grad():
        output = model(torch.zeros(1, *table.input_shape))
    expected = table.shapes()[-1]
    assert tuple(output.shape) == ((1, expected[0]) if expected[1:] == (1, 1) else (1, *expected))


def test_dense_layers_may_have_batch_norm_and_follow_each_other() -> None:
    table = NetworkTable(
        name="mlp",
        input_shape=(1, 4, 4),
        layers=(
            ConvSpec(channels=2, kernel=1, padding=0, stride=2),
            DenseSpec(units=5, bias=False, batch_norm=True),
            DenseSpec(units=3),
        ),
        weight_bits=(4,),
        act_bits=(4,),
    )
    model = build_model(table)
    assert [name for name, _ in model.named_children()] == [
        *("image", "conv1", "conv1_norm", "conv1_act", "flatten"),
        *("dense1", "dense1_norm", "dense1_act", "dense2"),
    ]
    assert isinstance(model.dense1_norm, nn.BatchNorm1d)
    assert model(torch.rand(2, 1, 4, 4)).shape == (2, 3)


def test_wrong_widths_are_refused() -> None:
    with pytest.raises(UserError, match="digits_cnn takes 4 act widths"):
        build_model(network("digits_cnn"), act_bits=[2, 2])


def test_narrow_networks_keep_the_full_range_up_to_3_bits() -> None:
    model = build_model(network("digits_cnn"), weight_bits=[2, 3, 4, 8], weight_range="narrow")
    layers = [module for module in model.modules() if isinstance(module, QuantConv2d | QuantLinear)]
    assert [layer.weight_quantizer.weight_range for layer in layers] == ["full", "full", "narrow", "narrow"]
    assert model.weight_range == "narrow"
    assert build_model(network("digits_cnn")).weight_range == "full"
    with pytest.raises(ValueError) as failure:
        build_model(network("digits_cnn"), weight_range="wide")  # type: ignore[call-overload]
    assert str(failure.value) == "weight_range must be full or narrow, not 'wide'"


def test_the_kind_of_quantisers_reaches_every_layer() -> None:
    model = build_model(network("digits_cnn"), weight_range="narrow", quantizer="lsq")
    layers = [module for module in model.modules() if isinstance(module, QuantConv2d | QuantLinear)]
    assert {type(layer.weight_quantizer) for layer in layers} == {LSQWeightQuantizer}
    assert {type(model.conv1_act), type(model.conv3_act)} == {LSQActivationQuantizer}
    assert type(model.image) is ImageQuantizer
    assert [layer.weight_quantizer.weight_range for layer in layers] == ["narrow", "full", "full", "narrow"]
    assert model.quantizer == "lsq"
    assert build_model(network("digits_cnn")).quantizer == "hwgq"
    with pytest.raises(ValueError) as failure:
        build_model(network("digits_cnn"), quantizer="ternary")  # type: ignore[call-overload]
    assert str(failure.value) == "quantizer must be hwgq, lsq, dorefa or dorefa-pow2, not 'ternary'"
