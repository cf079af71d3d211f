"""Every network of the tables in its forms: float, fixed widths, integers; each from the same table."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from mixq.checkpoints import random_model
from mixq.converted import ConvertedModel
from mixq.execute import run
from mixq.graph import Add, Concat, Conv, SumPool
from mixq.lowering import lower
from mixq.models import build_model, float_model, quantised_model
from mixq.network_steps import input_names, module_steps
from mixq.networks import AddSpec, ConcatSpec, ConvSpec, NetworkTable, PoolSpec, network, network_names
from nas.space import SearchSpace
from nas.supernet import Supernet

NAMES = sorted(set(network_names()) - {"vgg_small"})
SMALL = {
    **dict.fromkeys(("skynet", "skynetk5", "ultranet", "ultranet_ismart", "ultranet_bypass"), (3, 32, 48)),
    "mobilenetv1_025": (3, 32, 32),
}


def small(name: str) -> NetworkTable:
    """The table, for smaller images where its own are large."""
    table = network(name)
    return replace(table, input_shape=SMALL.get(name, table.input_shape))


def mixed(table: NetworkTable, seed: int) -> tuple[list[int], list[int]]:
    """Random widths of the layers that fix none: of weights, and of activations."""
    random = np.random.default_rng(seed)
    weights = random.integers(2, 9, sum(layer.weight_bits is None for layer in table.weighted_layers))
    acts = random.integers(2, 9, sum(layer.act_bits is None for layer in table.weighted_layers))
    return weights.tolist(), acts.tolist()


def check(table: NetworkTable, seed: int, images: int) -> None:
    weights, acts = mixed(table, seed)
    model = random_model(table, seed, weight_bits=weights, act_bits=acts)
    graph = lower(model)
    pixels = np.random.default_rng(seed).integers(0, 256, (images, *table.input_shape))
    expected = ConvertedModel(model)(torch.from_numpy(pixels)).numpy()
    assert np.array_equal(run(graph, pixels), expected)
    assert len(np.unique(expected)) > 4


@pytest.mark.parametrize("name", NAMES)
def test_interpreter_and_converted_model_agree(name: str) -> None:
    check(small(name), 7, 20)


@pytest.mark.slow
@pytest.mark.parametrize("name", network_names())
def test_they_agree_at_full_size(name: str) -> None:
    check(network(name), 8, 20 if network(name).input_shape[2] < 200 else 4)


@pytest.mark.parametrize("name", NAMES)
def test_float_and_fixed_widths_share_their_weights(name: str) -> None:
    table = small(name)
    plain = float_model(table)
    made = (
        quantised_model(plain, weight_bits=[8], act_bits=[8]) if name != "ultranet_ismart" else quantised_model(plain)
    )
    own, other = plain.state_dict(), made.state_dict()
    assert set(own) <= set(other) and all(torch.equal(value, other[key]) for key, value in own.items())
    output = plain.eval()(torch.rand(2, *table.input_shape))
    assert tuple(output.shape[1:]) == table.shapes()[-1][: output.ndim - 1]


@pytest.mark.parametrize(
    "name", ["resnet8", "ultranet_bypass", "ds_cnn", pytest.param("skynetk5", marks=pytest.mark.slow)]
)
def test_supernets_learn_and_give_networks(name: str) -> None:
    table = small(name)
    torch.manual_seed(0)
    supernet = Supernet(SearchSpace(table, weight_widths=(2, 4, 8), act_widths=(3, 8)))
    images = torch.rand(4, *table.input_shape)
    optimizer = torch.optim.SGD(supernet.parameters(), lr=0.02)
    target = torch.randn_like(supernet(images).detach())
    losses = []
    for _ in range(8):
        loss = F.mse_loss(supernet(images), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0]
    assert all(alpha.grad is not None for alpha in supernet.architecture_parameters())
    model = supernet.eval().extract()
    with supernet.fixed(model.weight_bits, model.act_bits):
        assert torch.equal(supernet(images), model(images))
    assert (model.weight_bits, model.act_bits) == supernet.argmax()


@pytest.mark.parametrize("name", NAMES)
def test_training_reduces_the_loss(name: str) -> None:
    table = small(name)
    torch.manual_seed(1)
    model = build_model(table)
    images = torch.rand(4, *table.input_shape)
    target = torch.randn_like(model(images).detach())
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    losses = []
    for _ in range(6):
        loss = F.mse_loss(model(images), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0]
    assert all(value.grad is not None for value in model.parameters())


def test_the_bypass_forks_before_it_is_requantised_where_widths_differ() -> None:
    table = small("ultranet_bypass")
    acts = [8, 4, 4, 4, 4, 4, 4, 5, 4]
    graph = lower(random_model(table, 0, act_bits=acts))
    readers = graph.consumers(graph.node("conv4").output)
    assert [graph.tensor(node.output).format.width for node in readers] == [4, 5]
    equal = lower(random_model(table, 0, act_bits=[8] + [4] * 8))
    (reader,) = equal.consumers(equal.node("conv4").output)
    assert {node.op for node in equal.consumers(reader.output)} == {"max_pool", "space_to_depth"}
    (join,) = [node for node in graph.nodes if isinstance(node, Concat)]
    assert [graph.producer(name).op for name in join.inputs] == ["space_to_depth", "requantise"]  # type: ignore[union-attr]


def test_residual_blocks_add_codes_and_sums() -> None:
    graph = lower(random_model("resnet8", 0))
    adds = [node for node in graph.nodes if isinstance(node, Add)]
    assert len(adds) == 3
    # The first block adds what its convolution reads, the others a 1x1 convolution's sums.
    kinds = [[type(graph.producer(name)).__name__ for name in node.inputs] for node in adds]
    assert kinds == [["Conv", "Requantise"], ["Conv", "Conv"], ["Conv", "Conv"]]
    assert [node.window for node in graph.nodes if isinstance(node, SumPool)] == [(8, 8)]
    strided = [node.sides for node in graph.nodes if isinstance(node, Conv) and node.stride == 2 and node.kernel == 3]
    assert strided == [(0, 0, 1, 1), (0, 0, 1, 1)]


def test_names_of_modules_and_of_quantisers() -> None:
    assert input_names(network("ultranet")) == ("image", *(f"conv{n}_act" for n in range(1, 9)))
    assert input_names(network("ultranet_bypass"))[4:8] == ("conv4_act", "conv5_act", "conv6_act", "concat1_act")
    assert input_names(network("resnet8")) == (
        *("image", "stem_act", "conv1a_act", "add1_act", "conv2a_act", "conv2s_in"),
        *("add2_act", "conv3a_act", "conv3s_in", "mean1_act"),
    )
    steps = {step.name: step.reads for step in module_steps(network("resnet8"))}
    assert steps["add1"] == ("conv1b_norm", "stem_act")
    assert steps["conv2a_pad"] == ("add1_act",) and steps["conv2a"] == ("conv2a_pad",)
    assert steps["mean1"] == ("mean1_in",) and steps["flatten"] == ("mean1_act",)


def test_tables_that_do_not_join() -> None:
    conv = ConvSpec(channels=2)
    cases = [
        ((conv, AddSpec(reads=("conv1",))), "layer add1 must read several, not (0,)"),
        ((conv, ConcatSpec(reads=("conv1", "conv2"))), "layer concat1 must read layers before it, not 'conv2'"),
        ((conv, PoolSpec(reads=("conv1", "conv1"))), "layer pool1 must read one, not (0, 0)"),
        ((conv, ConvSpec(channels=2, name="conv1")), "layers must have different names, not ('conv1', 'conv1')"),
    ]
    for layers, message in cases:
        with pytest.raises(ValueError) as failure:
            NetworkTable(name="odd", input_shape=(1, 4, 4), layers=layers, weight_bits=(4,), act_bits=(4,))
        assert str(failure.value) == message


def test_branches_have_names_of_their_own_and_plain_chains_keep_theirs() -> None:
    keys = set(build_model(network("ultranet")).state_dict())
    assert {"conv1.weight", "conv1_norm.running_var", "conv9.bias"} <= keys
