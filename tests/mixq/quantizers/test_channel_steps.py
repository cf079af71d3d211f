"""Steps of each output channel's weights: what one quantiser for each channel does, in codes, gradients, integers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mixq.checkpoints import load_checkpoint, random_model, save_checkpoint
from mixq.cli.accuracy import integers_metric
from mixq.conversion import measure_conversion
from mixq.converted import ConvertedModel
from mixq.data import Samples
from mixq.errors import UserError
from mixq.execute import run
from mixq.graph import Conv, Dense, Graph, SumPool
from mixq.layers import QuantConv2d, QuantLinear
from mixq.lowering import lower
from mixq.networks import ConvSpec, DenseSpec, NetworkTable, network
from mixq.quantise_module import FloatNetwork, quantise_module
from mixq.quantizers import (
    ActivationQuantizer,
    ImageQuantizer,
    QuantizerKind,
    WeightQuantizerBase,
    make_weight_quantizer,
    parameters_without_decay,
)
from mixq.training.optimizer import STEP_RATIO, limited_steps
from tests.mixq.float_modules import STYLES, Made, randomise
from tests.mixq.test_quantise_module import calibrated, images
from tests.mixq.torch_models import pixels, random_table, scramble

KINDS: tuple[QuantizerKind, ...] = ("hwgq", "lsq")


def spread(seed: int, *shape: int) -> Tensor:
    """Weights whose channels have very different sizes."""
    random = np.random.default_rng(seed)
    sizes = 10.0 ** random.uniform(-3, 1, shape[0])
    return torch.from_numpy((random.standard_normal(shape).T * sizes).T)


@pytest.mark.parametrize("bits", [2, 5, 8])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(6, 3, 3, 3), (5, 7), (4, 1, 3, 3)])
def test_a_channel_is_quantised_as_it_would_be_alone(kind: QuantizerKind, bits: int, shape: tuple[int, ...]) -> None:
    weight = spread(bits, *shape).requires_grad_()
    whole = make_weight_quantizer(kind, bits, "narrow", channels=shape[0]).train()
    alone = [make_weight_quantizer(kind, bits, "narrow").train() for _ in range(shape[0])]
    outer = torch.from_numpy(np.random.default_rng(0).integers(-8, 9, shape) / 8.0)
    value = whole(weight)
    (value * outer).sum().backward()
    assert weight.grad is not None and whole.step(weight).shape == (shape[0],)
    for place, quantizer in enumerate(alone):
        row = weight.detach()[place : place + 1].clone().requires_grad_()
        own = quantizer(row)
        (own * outer[place : place + 1]).sum().backward()
        assert torch.equal(quantizer.codes(row)[0], whole.codes(weight)[place])
        assert row.grad is not None and torch.equal(row.grad[0], weight.grad[place])
        # PyTorch sums a whole tensor and its rows in different orders.
        assert torch.allclose(quantizer.step(row), whole.step(weight)[place], rtol=1e-14, atol=0)
        if kind == "lsq":
            assert torch.equal(own[0], value[place]) and quantizer.step(row) == whole.step(weight)[place]
            (theirs,), (ours,) = parameters_without_decay(quantizer), parameters_without_decay(whole)
            assert theirs.grad is not None and ours.grad is not None
            assert theirs.grad == ours.grad[place] != 0
    assert len(set(whole.step(weight).tolist())) == shape[0]
    steps = whole.step(weight).reshape(-1, *(1,) * (weight.ndim - 1))
    assert torch.equal(value, whole.codes(weight) * steps)


def test_channels_without_a_deviation_take_that_of_the_layer() -> None:
    weight = spread(0, 4, 2, 3, 3)
    weight[1] = 0.0
    weight[2] = 0.25
    quantizer = make_weight_quantizer("hwgq", 4, channels=4)
    steps = quantizer.step(weight)
    deviations = [np.std(channel, ddof=1) for channel in weight.numpy().reshape(4, -1)]
    whole = make_weight_quantizer("hwgq", 4).step(weight)
    assert steps[1] == steps[2] == whole
    assert np.isclose(steps[0], deviations[0] * 0.336, rtol=1e-12) and steps[0] != whole
    assert not quantizer.problem(weight) and not quantizer.codes(weight)[1].any()
    single = spread(0, 4, 1, 1, 1)
    assert torch.equal(quantizer.step(single), make_weight_quantizer("hwgq", 4).step(single).expand(4))
    assert quantizer.problem(torch.zeros(4, 2)) and quantizer.problem(torch.full((4, 2), torch.nan))


def assert_equal(model: nn.Module, found: np.ndarray) -> Graph:
    """Interpreter and converted model give the same integers, and these are the training model's; returns the graph."""
    graph = lower(model)
    integers = run(graph, found)
    assert np.array_equal(integers, ConvertedModel(model)(torch.from_numpy(found)).numpy())
    assert len(np.unique(integers)) > 1
    samples = Samples(found[:4].astype(np.uint8), np.zeros(len(found[:4]), np.int64))
    measure_conversion(model, samples, classify=False).check()
    return graph


@pytest.mark.parametrize("seed", range(5))
def test_random_networks(seed: int) -> None:
    table, weight_bits, act_bits = random_table(seed)
    kind = KINDS[seed % 2]
    options: dict[str, Any] = {"weight_bits": weight_bits, "act_bits": act_bits, "weight_scale": "channel"}
    model = random_model(table, seed, quantizer=kind, **options)
    graph = assert_equal(model, pixels(seed, 20, *table.input_shape))
    layer: Any = getattr(model, table.weighted_names[-1])
    steps = layer.weight_quantizer.step(layer.weight)
    assert len(steps) == layer.weight.shape[0]
    node = graph.producer(graph.output)
    assert isinstance(node, Conv | Dense)
    read = graph.tensor(node.reads[0]).scale
    assert graph.tensor(graph.output).channel_scales == tuple((steps.numpy() * read).tolist())
    codes = np.clip(
        np.rint(layer.weight.detach().double().numpy() / steps.numpy().reshape(-1, *(1,) * (layer.weight.ndim - 1))),
        node.weight_format.low,
        node.weight_format.high,
    )
    assert np.array_equal(node.weights, codes)


@pytest.mark.parametrize("make", STYLES, ids=lambda make: make.__name__)
def test_float_modules(make: Callable[[], Made]) -> None:
    module, shape = make()
    randomise(module, 5)
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            sizes = 2.0 ** torch.randint(-3, 3, (len(layer.weight),), generator=torch.Generator().manual_seed(1))
            layer.weight.data *= sizes.reshape(-1, *(1,) * (layer.weight.ndim - 1))
    random = np.random.default_rng(5)
    widths = random.integers(3, 9, (2, len(FloatNetwork.of(module, shape).weighted_names))).tolist()
    model = quantise_module(module, shape, weight_bits=widths[0], act_bits=widths[1], weight_scale="channel")
    assert_equal(calibrated(model, images(5, shape)), images(5, shape))


@pytest.mark.parametrize("kind", KINDS)
def test_depthwise_layers(kind: QuantizerKind) -> None:
    table = NetworkTable(
        name="depthwise",
        input_shape=(2, 6, 6),
        layers=(
            ConvSpec(channels=4),
            ConvSpec(channels=4, depthwise=True),
            ConvSpec(channels=6, kernel=1, padding=0, batch_norm=False, bias=True),
            DenseSpec(units=3),
        ),
        weight_bits=(4, 3, 5),
        act_bits=(8, 4, 4),
    )
    model = random_model(table, 2, quantizer=kind, weight_scale="channel")
    graph = assert_equal(model, pixels(2, 20, *table.input_shape))
    for name, channels in (("conv1", 4), ("conv2", 4), ("conv3", 6), ("dense", 3)):
        scales = graph.tensor(graph.node(name).output).channel_scales
        assert scales is not None and len(set(scales)) == channels


class MeanOfSums(nn.Module):
    """A mean of sums that no quantiser rounded."""

    input_shape = (2, 4, 4)

    def __init__(self) -> None:
        super().__init__()
        self.image = ImageQuantizer(5)
        self.conv = QuantConv2d(2, 6, kernel=3, padding=1, groups=2, weight_bits=4, weight_scale="channel")
        self.pool = nn.AvgPool2d(2)
        self.act = ActivationQuantizer(4)
        self.flatten = nn.Flatten()
        self.last = QuantLinear(24, 3, weight_bits=4, weight_scale="channel")

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.flatten(self.act(self.pool(self.conv(self.image(x))))))


def test_means_of_sums() -> None:
    model = scramble(MeanOfSums(), 0)
    graph = assert_equal(model, pixels(0, 8, 2, 4, 4))
    (pool,) = (node for node in graph.nodes if isinstance(node, SumPool))
    before, after = graph.tensor(pool.reads[0]).channel_scales, graph.tensor(pool.output).channel_scales
    assert before is not None and after is not None and len(set(before)) == 6
    assert after == tuple(scale / 4 for scale in before)


def test_classes_are_compared_by_their_values() -> None:
    table = NetworkTable(
        name="two", input_shape=(1, 2, 2), layers=(DenseSpec(units=2, bias=False),), weight_bits=(8,), act_bits=(8,)
    )
    model = random_model(table, 0, weight_scale="channel")
    # The first class has the greater integers, the second the greater values.
    signs = torch.tensor([[1.0, 1.1, 0.9, 1.0], [90.0, 20.0, 10.0, 80.0]])
    model.dense.weight.data.copy_(signs)  # type: ignore[operator, union-attr]
    graph = lower(model)
    found = np.full((3, 1, 2, 2), 200, dtype=np.uint8)
    integers = run(graph, found.astype(np.int64)).reshape(3, 2)
    assert (integers[:, 0] > integers[:, 1]).all()
    samples = Samples(found, np.ones(3, np.int64))
    assert integers_metric(graph, run(graph, samples.images.astype(np.int64)), samples) == 1.0
    report = measure_conversion(model, samples)
    assert report.accuracy is not None and (report.accuracy.integer, report.accuracy.training) == (1.0, 1.0)


def test_a_checkpoint_keeps_the_steps(tmp_path: Path) -> None:
    table = network("digits_cnn")
    model = random_model(table, 3, quantizer="lsq", weight_scale="channel")
    save_checkpoint(model, tmp_path / "m.pt")
    again = load_checkpoint(tmp_path / "m.pt", table)
    assert again.weight_scale == "channel"
    found = pixels(3, 4, 1, 8, 8)
    assert np.array_equal(run(lower(model), found), run(lower(again), found))
    with pytest.raises(UserError) as caught:
        load_checkpoint(tmp_path / "m.pt", table, weight_scale="tensor")
    assert str(caught.value).endswith("m.pt has learned steps for weight scale channel, not tensor; leave it out")


def test_steps_of_all_shapes_change_by_little() -> None:
    scalar, channels = nn.Parameter(torch.tensor(2.0)), nn.Parameter(torch.tensor([1.0, -4.0, 8.0]))
    with limited_steps([scalar, channels]), torch.no_grad():
        scalar.fill_(-1.0)
        channels.copy_(torch.tensor([1.01, -5.0, 0.0]))
    ratio = torch.tensor(STEP_RATIO)
    assert scalar == 2.0 * torch.tensor(1 / STEP_RATIO)
    expected = torch.stack([torch.tensor(1.01), -4.0 * ratio, 8.0 * torch.tensor(1 / STEP_RATIO)])
    assert torch.equal(channels.detach(), expected)


def test_what_has_no_steps_of_channels() -> None:
    line = "weight_scale must be tensor for dorefa, whose steps the width fixes, not 'channel'"
    with pytest.raises(ValueError, match=line):
        make_weight_quantizer("dorefa", 4, channels=3)
    with pytest.raises(ValueError, match=line):
        quantise_module(nn.Sequential(nn.Conv2d(1, 2, 3)), (1, 4, 4), quantizer="dorefa", weight_scale="channel")
    wrong: Any = "row"
    with pytest.raises(ValueError, match="weight_scale must be tensor or channel, not 'row'"):
        quantise_module(nn.Sequential(nn.Conv2d(1, 2, 3)), (1, 4, 4), weight_scale=wrong)


def test_layers_show_their_channels() -> None:
    layer = QuantConv2d(2, 7, kernel=3, weight_bits=4, weight_scale="channel")
    assert isinstance(layer.weight_quantizer, WeightQuantizerBase)
    assert layer.weight_quantizer.extra_repr() == "bits=4, channels=7"
    table = NetworkTable(
        name="one",
        input_shape=(1, 4, 4),
        layers=(ConvSpec(channels=3, batch_norm=False),),
        weight_bits=(4,),
        act_bits=(8,),
    )
    assert random_model(table, 0, weight_scale="channel").weight_scale == "channel"
