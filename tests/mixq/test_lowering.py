"""Lowering: interpreter, converted PyTorch model and training model against each other."""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from mixq.checkpoints import random_model
from mixq.converted import ConvertedModel
from mixq.errors import UserError
from mixq.execute import run, run_all
from mixq.formats import IntFormat
from mixq.graph import Conv, Dense, Graph, MaxPool, Requantise, accumulator_format
from mixq.layers import QuantConv2d, QuantLinear
from mixq.lowering import lower
from mixq.models import build_model
from mixq.networks import network
from mixq.quantizers import ActivationQuantizer, ImageQuantizer
from tests.mixq.torch_models import OutOfOrder, conv, pixels, random_network, scramble


def assert_equal(model: nn.Module, graph: Graph, images: np.ndarray) -> np.ndarray:
    """The interpreter's and the converted model's integers are the same; returns them."""
    found = run(graph, images)
    expected = ConvertedModel(model)(torch.from_numpy(images)).numpy()
    assert found.shape == expected.shape
    assert np.array_equal(found, expected)
    return found


@pytest.mark.parametrize("seed", range(40))
def test_random_networks(seed: int) -> None:
    model = random_network(seed)
    outputs = assert_equal(model, lower(model), pixels(seed, 3, *model.input_shape))
    assert len(np.unique(outputs)) > 1


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(40, 400))
def test_more_random_networks(seed: int) -> None:
    model = random_network(seed)
    assert_equal(model, lower(model), pixels(seed, 3, *model.input_shape))


def test_the_random_networks_have_every_kind_of_node_and_sign() -> None:
    graphs = [lower(random_network(seed)) for seed in range(40)]
    nodes = [node for graph in graphs for node in graph.nodes]
    convs = [node for node in nodes if isinstance(node, Conv)]
    requantises = [node for node in nodes if isinstance(node, Requantise)]
    assert {node.stride for node in convs} == {1, 2}
    assert {node.kernel for node in convs} == {1, 3, 5}
    assert {node.sides for node in convs} == {(0,) * 4, (1,) * 4, (2,) * 4}
    assert {node.weight_format.width for node in convs} == set(range(2, 9))
    assert any(isinstance(node, Dense) for node in nodes)
    assert {(node.kernel, node.stride) for node in nodes if isinstance(node, MaxPool)} >= {(2, 2), (3, 2), (2, 1)}
    signs = np.sign(np.concatenate([node.multiplier for node in requantises]))
    assert set(signs.tolist()) == {-1, 0, 1}


def test_vgg_tiny_on_real_images(shared: Path) -> None:
    data = np.load(shared / "data" / "cifar10_jpeg_test10k.npz")
    files = [data["jpeg"][data["offset"][i] : data["offset"][i + 1]].tobytes() for i in range(4)]
    images = np.stack([np.asarray(Image.open(io.BytesIO(file))) for file in files]).transpose(0, 3, 1, 2)
    model = random_model("vgg_tiny", 5, weight_bits=[8, 2, 2, 2, 2, 2], act_bits=[8, 3, 3, 3, 6, 3])
    outputs = assert_equal(model, lower(model), np.ascontiguousarray(images))
    assert outputs.shape == (4, 10, 1, 1)


def test_ultranet_on_a_small_image() -> None:
    table = dataclasses.replace(network("ultranet"), input_shape=(3, 32, 48))
    model = random_model(table, 2, weight_bits=[5, 3, 2, 5, 5, 5, 5, 5, 8], act_bits=[7, 3, 3, 6, 7, 7, 6, 6, 5])
    outputs = assert_equal(model, lower(model), pixels(1, 2, 3, 32, 48))
    assert outputs.shape == (2, 36, 2, 3)


def test_the_order_of_the_data_counts_not_that_of_the_modules() -> None:
    model = scramble(OutOfOrder(), 1)
    graph = lower(model)
    assert [node.name for node in graph.nodes] == [
        *("input", "body_first", "quant_a", "max_pool2d"),
        *("second", "quant_b", "last"),
    ]
    assert_equal(model, graph, pixels(0, 4, 1, 10, 14))


def test_nodes_and_tensors_of_the_digits_network() -> None:
    model = random_model("digits_cnn", 0, weight_bits=[5, 4, 3, 8], act_bits=[6, 4, 5, 3])
    graph = lower(model)
    assert graph.name == "digits_cnn"
    assert [node.name for node in graph.nodes] == [
        *("input", "conv1", "conv1_act", "pool1", "conv2", "conv2_act", "pool2", "conv3", "conv3_act", "dense"),
    ]
    assert graph.tensor(graph.input).format == IntFormat(8, signed=False)
    assert graph.tensor(graph.input).scale == 1 / 256
    truncation = graph.node("input")
    assert isinstance(truncation, Requantise)
    assert (truncation.multiplier.tolist(), truncation.bias.tolist(), truncation.shift) == ([1], [-2], 2)
    assert graph.tensor("input_out").scale == 1 / 64
    widths = [graph.tensor(f"{name}_out").format.width for name in ("input", "conv1_act", "conv2_act", "conv3_act")]
    assert widths == [6, 4, 5, 3]
    requantises = [graph.node(name) for name in ("conv1_act", "conv2_act", "conv3_act")]
    # T = 16 + w + a - 1 with the layer's own widths.
    assert [node.shift for node in requantises if isinstance(node, Requantise)] == [26, 23, 23]


def test_an_8_bit_image_goes_straight_into_the_first_convolution() -> None:
    graph = lower(random_model("digits_cnn", 0, act_bits=[8]))
    assert graph.nodes[0].op == "conv"
    assert graph.nodes[0].reads == (graph.input,)


@pytest.mark.parametrize("bits", range(2, 9))
def test_the_image_is_truncated(bits: int) -> None:
    model = nn.Sequential(ImageQuantizer(bits), conv(1, 2, kernel=1, padding=0))
    graph = lower(model, input_shape=(1, 16, 16))
    image = np.arange(256).reshape(1, 1, 16, 16)
    values = run_all(graph, image)
    assert np.array_equal(values[graph.node("n_1").reads[0]], image >> (8 - bits))


def test_weights_are_never_altered() -> None:
    # Codes at both ends of the range, the most negative included, for every width.
    for bits in range(2, 9):
        layer = conv(2, 3, bits)
        layer.weight.data[0, 0, 0, 0], layer.weight.data[1, 0, 0, 0] = -9.0, 9.0
        graph = lower(nn.Sequential(ImageQuantizer(8), layer), input_shape=(2, 5, 5))
        node = graph.nodes[0]
        assert isinstance(node, Conv)
        assert np.array_equal(node.weights, layer.weight_quantizer.codes(layer.weight).numpy())
        assert node.weights.min() == -(2 ** (bits - 1))
        assert node.weights.max() == 2 ** (bits - 1) - 1
        assert node.weight_format == IntFormat(bits, signed=True)
        assert graph.tensor(graph.output).format == accumulator_format(node.weights, IntFormat(8, False))


def test_scales_give_back_the_training_models_values() -> None:
    # One layer: its accumulators times their scale are the training model's output, but for the rounding of
    # the bias (half a step at most) and float64's own.
    torch.manual_seed(0)
    layer = QuantConv2d(2, 3, kernel=3, padding=1, weight_bits=5, bias=True)
    model = nn.Sequential(ImageQuantizer(6), layer).double().eval()
    graph = lower(model, input_shape=(2, 6, 7))
    images = pixels(3, 2, 2, 6, 7)
    scale = graph.tensor(graph.output).scale
    assert scale is not None
    real = model(torch.from_numpy(images / 256)).detach().numpy()
    assert np.abs(run(graph, images) - real / scale).max() <= 0.5 + 1e-9


@pytest.mark.parametrize("sign", [1.0, -1.0, 0.0])
def test_pooling_commutes_with_requantisation_for_any_sign(sign: float) -> None:
    norm = nn.BatchNorm2d(4)
    model = nn.Sequential(ImageQuantizer(8), conv(1, 4), norm, nn.MaxPool2d(3, 2), ActivationQuantizer(3), conv(4, 2))
    scramble(model, 7)
    nn.init.constant_(norm.weight, sign)
    graph = lower(model, input_shape=(1, 11, 12))
    assert [node.op for node in graph.nodes] == ["conv", "requantise", "max_pool", "conv"]
    images = pixels(5, 3, 1, 11, 12)
    assert_equal(model, graph, images)
    # The training model, which pools before it quantises, has the same codes.
    with torch.no_grad():
        pooled = model[:4].double()(torch.from_numpy(images / 256))
        codes = ActivationQuantizer(3).codes(pooled)
    assert np.array_equal(run_all(graph, images)[graph.nodes[2].output], codes.numpy())


def test_dense_weights_are_in_channel_row_column_order() -> None:
    torch.manual_seed(2)
    dense = QuantLinear(2 * 3 * 4, 5, weight_bits=4)
    model = nn.Sequential(ImageQuantizer(4), nn.Flatten(), dense)
    graph = lower(model, input_shape=(2, 3, 4))
    image = pixels(6, 1, 2, 3, 4)
    codes = dense.weight_quantizer.codes(dense.weight).numpy().astype(np.int64)
    step = graph.tensor(graph.output).scale
    bias = np.rint(dense.bias.detach().double().numpy() / step).astype(np.int64)
    expected = codes @ (image >> 4).reshape(-1) + bias
    assert run(graph, image).reshape(-1).tolist() == expected.tolist()


def test_a_layer_without_bias_keeps_none() -> None:
    graph = lower(nn.Sequential(ImageQuantizer(8), conv(1, 2)), input_shape=(1, 4, 4))
    assert isinstance(graph.nodes[0], Conv) and graph.nodes[0].bias is None


def test_names_are_legal_and_unique() -> None:
    class Names(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.wire = ImageQuantizer(4)
            self.input = conv(1, 2)
            self.signal = ActivationQuantizer(4)
            self.deep = nn.Sequential(conv(2, 2))
            self.input_shape = (1, 5, 5)

        def forward(self, image: Tensor) -> Tensor:
            output: Tensor = self.deep(self.signal(self.input(self.wire(image))))
            return output

    graph = lower(Names(), name="module", metadata={"network": "names"})
    assert [node.name for node in graph.nodes] == ["input", "input_1", "n_signal", "deep_0"]
    assert graph.name == "n_module"
    assert graph.metadata == {"network": "names"}


def test_a_saved_graph_runs_the_same(tmp_path: Path) -> None:
    model = random_model("digits_cnn", 3)
    graph = lower(model)
    graph.save(tmp_path)
    images = pixels(8, 5, 1, 8, 8)
    assert np.array_equal(run(Graph.load(tmp_path), images), run(graph, images))


def test_the_precision_can_be_chosen() -> None:
    model = random_model("digits_cnn", 3, weight_bits=[4], act_bits=[4])
    graph = lower(model, fraction_bits=6)
    assert [node.shift for node in graph.nodes if isinstance(node, Requantise)] == [4, 13, 13, 13]
    images = pixels(9, 5, 1, 8, 8)
    expected = ConvertedModel(model, fraction_bits=6)(torch.from_numpy(images)).numpy()
    assert np.array_equal(run(graph, images), expected)


def test_the_training_model_is_left_as_it_is() -> None:
    model = random_model("digits_cnn", 4)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    lower(model)
    ConvertedModel(model)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert isinstance(model.conv1, QuantConv2d)


def test_what_is_refused() -> None:
    layer = conv(1, 2)
    model = nn.Sequential(ImageQuantizer(4), layer)
    with pytest.raises(UserError) as raised:
        lower(model)
    assert str(raised.value) == "the model has no attribute input_shape; give the shape C,H,W of an image"
    nn.init.constant_(layer.weight, float("nan"))
    single = nn.Sequential(ImageQuantizer(4), conv(1, 1, kernel=1, padding=0))
    with pytest.raises(UserError, match="layer 1: its weights must be finite and not all equal"):
        lower(single, input_shape=(1, 4, 4))
    with pytest.raises(UserError, match="layer 1: its weights must be finite and not all equal"):
        lower(model, input_shape=(1, 4, 4))
    with pytest.raises(UserError, match="weights of node n_1 must read 3 input channels, not 2"):
        lower(nn.Sequential(ImageQuantizer(4), conv(2, 2)), input_shape=(3, 4, 4))
    seven = conv(1, 2, kernel=7, padding=3)
    with pytest.raises(UserError, match="kernel of node n_1 must be 1, 3 or 5, not 7"):
        lower(nn.Sequential(ImageQuantizer(4), seven), input_shape=(1, 9, 9))


def test_damaged_batch_norm_is_refused() -> None:
    for name, value in (("running_var", float("nan")), ("weight", float("inf")), ("running_var", -1.0)):
        model = random_model("digits_cnn", 0)
        getattr(model.conv2_norm, name).data[3] = value
        with pytest.raises(UserError, match="layer conv2: its batch norm scale is not finite"):
            lower(model)
        with pytest.raises(UserError, match="layer conv2: its batch norm scale is not finite"):
            ConvertedModel(model)


def test_training_mode_makes_no_difference() -> None:
    model = build_model(network("digits_cnn"))
    scramble(model, 11)
    images = pixels(2, 2, 1, 8, 8)
    expected = run(lower(model), images)
    model.train()
    assert_equal(model, lower(model), images)
    assert np.array_equal(run(lower(model), images), expected)


def test_narrow_weights_reach_the_graph_and_are_counted() -> None:
    bits = [3, 4, 5, 8]
    model = random_model("digits_cnn", 5, weight_bits=bits, weight_range="narrow")
    full = random_model("digits_cnn", 5, weight_bits=bits)
    graph, wide = lower(model), lower(full)
    layers = [node for node in graph.nodes if isinstance(node, Conv | Dense)]
    others = [node for node in wide.nodes if isinstance(node, Conv | Dense)]
    assert [node.weight_format.low for node in layers] == [-4, -7, -15, -127]
    assert [node.weight_format.low for node in others] == [-4, -8, -16, -128]
    for node, other in zip(layers, others, strict=True):
        assert np.array_equal(node.weights, np.maximum(other.weights, node.weight_format.low))
    clamped = sum(int((node.weights == node.weight_format.low).sum()) for node in others[1:])
    assert clamped > 0
    assert graph.metadata == {"weight_range": "narrow", "clamped_weights": str(clamped)}
    assert wide.metadata == {}
    assert_equal(model, graph, pixels(3, 4, 1, 8, 8))
