"""The supernet: its modules, parameters and probabilities, and the networks that are held or taken out of it."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mixq.errors import UserError
from mixq.layers import QuantConv2d
from mixq.models import NetworkModel, build_model
from mixq.networks import ConvSpec, DenseSpec, NetworkTable, PoolSpec, network, network_names
from nas.space import SearchSpace
from nas.supernet import Supernet
from tests.nas import naive

TINY = NetworkTable(
    name="tiny",
    input_shape=(2, 8, 8),
    layers=(
        ConvSpec(channels=4, weight_bits=8),
        PoolSpec(),
        ConvSpec(channels=6, stride=2, bias=True),
        DenseSpec(units=5, batch_norm=True, weight_bits=None, act_bits=None),
        DenseSpec(units=3),
    ),
    weight_bits=(4, 4),
    act_bits=(8, 4, 4),
)


def images(table: NetworkTable, count: int = 6) -> Tensor:
    generator = torch.Generator().manual_seed(5)
    return torch.randint(0, 256, (count, *table.input_shape), generator=generator).float() / 256


def trained_a_little(supernet: Supernet) -> Supernet:
    """A supernet with other running statistics, norms and biases than at the start, in evaluation mode."""
    torch.manual_seed(3)
    with torch.no_grad():
        for parameter in supernet.weight_parameters():
            if parameter.dim() == 1:
                parameter.add_(torch.rand_like(parameter) * 0.3)
        supernet.train()(images(supernet.table, 32))
    return supernet.eval()


@pytest.mark.parametrize("name", network_names())
def test_modules_are_those_of_the_network(name: str) -> None:
    table = network(name)
    model, supernet = build_model(table), Supernet(SearchSpace(table))
    assert [n for n, _ in supernet.named_children()] == [n for n, _ in model.named_children()]
    for own, other in zip(supernet.children(), model.children(), strict=True):
        assert isinstance(own, nn.Module)
        if isinstance(other, QuantConv2d):
            assert isinstance(own, nn.Conv2d)
            for attribute in ("in_channels", "out_channels", "kernel_size", "stride", "padding", "groups", "dilation"):
                assert getattr(own, attribute) == getattr(other, attribute)
            assert (own.bias is None) == (other.bias is None)
    assert supernet.input_shape == table.input_shape
    # A network's own state loads: only the architecture parameters are not in it.
    missing, unexpected = supernet.load_state_dict(model.state_dict(), strict=False)
    assert all(key.endswith(".choice.alpha") for key in missing) and unexpected == []


def test_all_architecture_parameters_start_equal_and_are_no_weights() -> None:
    supernet = Supernet(SearchSpace(TINY, weight_widths=(2, 4, 8), act_widths=(3, 5)))
    own = supernet.architecture_parameters()
    # conv1: activations alone; conv2 and dense1: both; dense2: nothing is searched.
    assert [tuple(parameter.shape) for parameter in own] == [(2,), (3,), (2,), (3,), (2,)]
    assert all((parameter == torch.tensor(0.01)).all() for parameter in own)
    rest = supernet.weight_parameters()
    assert {id(p) for p in own} | {id(p) for p in rest} == {id(p) for p in supernet.parameters()}
    assert len(own) + len(rest) == len(list(supernet.parameters()))
    for weight, act in supernet.probabilities():
        assert weight.tolist() == pytest.approx([1 / len(weight)] * len(weight))
        assert act.tolist() == pytest.approx([1 / len(act)] * len(act))
    with torch.no_grad():
        own[0][1] = 5.0
    supernet.act_mixture("conv1").choice.reset_parameters()
    assert own[0].tolist() == pytest.approx([0.01, 0.01])


def test_probabilities_are_the_softmax_and_the_largest_is_taken() -> None:
    supernet = Supernet(SearchSpace(TINY, weight_widths=(2, 4, 8), act_widths=(3, 5)))
    assert supernet.argmax() == ((8, 2, 2, 8), (3, 3, 3, 8)), "of equal ones the smallest"
    with torch.no_grad():
        supernet.weight_mixture("conv2").choice.alpha.copy_(torch.tensor([0.0, 2.0, 1.0]))
        supernet.act_mixture("conv1").choice.alpha.copy_(torch.tensor([-1.0, 1.0]))
    assert supernet.argmax() == ((8, 4, 2, 8), (5, 3, 3, 8))
    own = supernet.probabilities()
    exponents = torch.tensor([0.0, 2.0, 1.0], dtype=torch.float64).exp()
    assert own[1].weight.tolist() == pytest.approx((exponents / exponents.sum()).tolist())
    assert own[0].weight.tolist() == [1.0] and own[3].act.tolist() == [1.0]
    own[1].weight[1].backward()
    assert supernet.weight_mixture("conv2").choice.alpha.grad is not None


@pytest.mark.parametrize("shared", [True, False])
def test_the_whole_supernet_is_the_written_sum(shared: bool) -> None:
    table = network("digits_cnn")
    space = SearchSpace(table, weight_widths=(2, 4, 7), act_widths=(2, 3, 8))
    torch.manual_seed(1)
    supernet = Supernet(space, shared=shared).double()
    for parameter in supernet.architecture_parameters():
        nn.init.normal_(parameter)
    x = images(table, 16).double()

    def layer(name: str) -> Any:
        return getattr(supernet, name)

    def weights(name: str) -> Tensor:
        probabilities = torch.softmax(layer(name).mixture.choice.alpha, 0)
        tensors = [layer(name).weight] * 3 if shared else list(layer(name).weight)
        return naive.mixture(
            [naive.weights(w, b, narrow=True) for w, b in zip(tensors, (2, 4, 7), strict=True)], probabilities
        )

    def acts(value: Tensor, name: str, term: Any = naive.activations) -> Tensor:
        probabilities = torch.softmax(layer(name).choice.alpha, 0)
        return naive.mixture([term(value, bits) for bits in (2, 3, 8)], probabilities)

    y = acts(x, "image", naive.image)
    for index in (1, 2, 3):
        y = F.batch_norm(F.conv2d(y, weights(f"conv{index}"), padding=1), None, None, training=True)
        y = acts(F.max_pool2d(y, 2) if index < 3 else y, f"conv{index}_act")
    y = F.linear(y.flatten(1), weights("dense"), layer("dense").bias)
    targets = torch.arange(16) % 10
    parameters = list(supernet.parameters())
    used = [p for p in parameters if not any(p is q for n in (1, 2, 3) for q in layer(f"conv{n}_norm").parameters())]
    expected = torch.autograd.grad(F.cross_entropy(y, targets), used)
    output = supernet.train()(x)
    torch.testing.assert_close(output, y, rtol=1e-9, atol=1e-9)
    for own, wanted in zip(torch.autograd.grad(F.cross_entropy(output, targets), used), expected, strict=True):
        torch.testing.assert_close(own, wanted, rtol=1e-7, atol=1e-10)


def some_widths(space: SearchSpace, seed: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    chooser = random.Random(seed)
    layers = space.layers
    return (
        tuple(chooser.choice(layer.weight_widths) for layer in layers),
        tuple(chooser.choice(layer.act_widths) for layer in layers),
    )


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("name", ["digits_cnn", "tiny"])
def test_certain_choices_are_the_extracted_network(name: str, shared: bool, seed: int) -> None:
    space = SearchSpace(TINY if name == "tiny" else network(name))
    supernet = trained_a_little(Supernet(space, shared=shared))
    weight_bits, act_bits = some_widths(space, seed)
    with torch.no_grad():
        for layer, weight, act in zip(space.layers, weight_bits, act_bits, strict=True):
            if len(layer.weight_widths) > 1:
                supernet.weight_mixture(layer.name).choice.alpha[layer.weight_widths.index(weight)] = 1e4
            if len(layer.act_widths) > 1:
                supernet.act_mixture(layer.name).choice.alpha[layer.act_widths.index(act)] = 1e4
        assert supernet.argmax() == (weight_bits, act_bits)
        model = supernet.extract()
        assert isinstance(model, NetworkModel) and not model.training
        assert (model.weight_bits, model.act_bits, model.weight_range) == (weight_bits, act_bits, "narrow")
        x = images(space.table)
        expected = model(x)
        assert expected.std() > 0
        assert torch.equal(supernet(x), expected)
        with supernet.fixed(weight_bits, act_bits) as held:
            assert torch.equal(held(x), expected)


def test_separate_weights_are_those_of_the_width() -> None:
    supernet = Supernet(SearchSpace(TINY, weight_widths=(2, 4, 8)), shared=False)
    weight = supernet.get_parameter("conv2.weight")
    assert weight.shape == (3, 6, 4, 3, 3)
    bound = 1 / (4 * 9) ** 0.5
    assert all(0.8 * bound < float(part.detach().abs().max()) <= bound for part in weight), "drawn as PyTorch does"
    assert len({tuple(part.flatten().tolist()) for part in weight.detach()}) == 3
    model = supernet.extract(weight_bits=(8, 4, 8, 8))
    assert torch.equal(model.get_parameter("conv2.weight"), weight[1])
    assert torch.equal(model.get_parameter("dense1.weight"), supernet.get_parameter("dense1.weight")[2])
    with torch.no_grad():
        weight.zero_()
    assert model.get_parameter("conv2.weight").abs().sum() > 0, "the network's weights must be its own"


def test_shared_weights_start_as_the_networks_from_the_same_seed() -> None:
    torch.manual_seed(7)
    model = build_model(TINY)
    supernet = Supernet(SearchSpace(TINY))
    for module in (model, supernet):
        torch.manual_seed(8)
        for layer in module.modules():
            getattr(layer, "reset_parameters", lambda: None)()
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, supernet.get_parameter(name)), name


def test_single_layers_can_be_held_and_contexts_end() -> None:
    space = SearchSpace(network("digits_cnn"))
    supernet = trained_a_little(Supernet(space))
    x = images(space.table)
    with torch.no_grad():
        mixed = supernet(x)
        with supernet.fixed([4], [5]):
            plain = supernet(x)
            with supernet.fixed(weights={"conv2": 2}, acts={"conv3": 8}):
                other = supernet(x)
            assert torch.equal(supernet(x), plain)
            assert supernet.argmax() == ((2,) * 4, (2,) * 4), "what is held does not change the probabilities"
        assert torch.equal(supernet(x), mixed)
        assert torch.equal(supernet.extract((4,) * 4, (5,) * 4)(x), plain)
        assert torch.equal(supernet.extract((4, 2, 4, 4), (5, 5, 8, 5))(x), other)
        with supernet.fixed([4], [5], weights={"conv2": 2}, acts={"conv3": 8}):
            assert torch.equal(supernet(x), other)
        with pytest.raises(KeyError), supernet.fixed([4]):
            raise KeyError
        assert torch.equal(supernet(x), mixed)


def test_widths_and_names_outside_the_space_are_refused() -> None:
    supernet = Supernet(SearchSpace(network("digits_cnn"), weight_widths=(2, 4)))
    with pytest.raises(UserError, match=r"^conv1 of digits_cnn has no weight width of 8"):
        supernet.extract([8])
    with pytest.raises(UserError, match=r"^conv2 of digits_cnn has no weight width of 3"), supernet.fixed([2, 3, 2, 2]):
        pass
    with pytest.raises(UserError, match=r"^digits_cnn has no layer 'conv7'"), supernet.fixed(acts={"conv7": 4}):
        pass


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"shared": 1}, TypeError, "shared must be True or False, not 1"),
        ({"quantizer": 3}, TypeError, "quantizer must be a text, not 3"),
        ({"weight_range": "wide"}, ValueError, "weight_range must be full or narrow, not 'wide'"),
    ],
)
def test_wrong_options_are_refused(options: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error) as failure:
        Supernet(SearchSpace(TINY), **options)
    assert str(failure.value) == message
    with pytest.raises(ValueError, match=r"^quantizer must be hwgq.*, not 'other'$"):
        Supernet(SearchSpace(TINY), quantizer="other")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"^space must be a SearchSpace, not 'tiny'$"):
        Supernet("tiny")  # type: ignore[arg-type]


def test_the_state_survives_being_saved() -> None:
    space = SearchSpace(TINY)
    one, other = Supernet(space, shared=False), Supernet(space, shared=False)
    for parameter in one.architecture_parameters():
        nn.init.normal_(parameter)
    other.load_state_dict(one.state_dict())
    assert one.argmax() == other.argmax()
    x = images(TINY)
    assert torch.equal(one.eval()(x), other.eval()(x))
