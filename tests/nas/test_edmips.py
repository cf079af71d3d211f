"""The published complexity terms: published values, a hand calculation, and gradients."""

from __future__ import annotations

import pytest
import torch

from mixq.errors import UserError
from mixq.networks import ConvSpec, DenseSpec, NetworkTable, network
from nas.edmips import Complexity, layer_sizes
from nas.space import SearchSpace
from nas.supernet import LayerProbabilities, Supernet


def probabilities(space: SearchSpace) -> tuple[LayerProbabilities, ...]:
    """Those of a new supernet, in float64."""
    with torch.no_grad():
        return Supernet(space).double().probabilities()


def at_the_start(name: str) -> tuple[float, float, float]:
    """The three terms of a new supernet."""
    space = SearchSpace(network(name))
    complexity = Complexity(space)
    own = probabilities(space)
    return float(complexity.dsps(own)), float(complexity.trivial(own)), float(complexity.memory(own))


def test_published_values_of_vgg_tiny_at_the_start() -> None:
    dsps, trivial, _ = at_the_start("vgg_tiny")
    assert round(dsps, 2) == 1195.90
    assert round(trivial, 2) == 2158.33


def test_published_values_of_ultranet_at_the_start() -> None:
    dsps, trivial, memory = at_the_start("ultranet")
    assert round(dsps, 2) == 125.04
    assert round(trivial, 1) == 225.5
    assert round(memory, 1) == 557.7


@pytest.mark.parametrize(("name", "value"), [("ultranet_bypass", 143.51), ("skynet", 5105.75)])
def test_published_values_of_branched_and_depthwise_networks(name: str, value: float) -> None:
    assert round(at_the_start(name)[0], 2) == value


def test_skynet_with_5x5_kernels_by_hand() -> None:
    # How often each density stands in the published tables. They give 1961.52, where 1961.76 is published.
    wide = {20: 1, 15: 1, 12.5: 1, 10: 3, 7.5: 4, 20 / 3: 3, 5: 19, 10 / 3: 9, 2.5: 7, 2: 1}
    point = {12: 1, 10: 1, 8: 4, 6: 9, 4: 21, 3: 2, 2: 11}
    depthwise = 25 * (3 * 51200 + 48 * 12800 + 96 * 3200 + (192 + 384 + 512) * 800)
    pairs = 3 * 48 * 51200 + 48 * 96 * 12800 + 96 * 192 * 3200
    pairs += (192 * 384 + 384 * 512 + 512 * 96 + 96 * 36) * 800
    inverses = [sum(count / density for density, count in own.items()) / 49 for own in (wide, point)]
    by_hand = 64 * (depthwise * inverses[0] + pairs * inverses[1]) / (25 * 3 * 51200)
    value = at_the_start("skynetk5")[0]
    assert value == pytest.approx(by_hand, rel=1e-12)
    assert round(value, 2) == 1961.52


def test_sizes_leave_out_the_last_dense_layer_alone() -> None:
    table = NetworkTable(
        name="two_dense",
        input_shape=(3, 8, 6),
        layers=(ConvSpec(channels=4, kernel=5, padding=2), DenseSpec(units=7), DenseSpec(units=2)),
        weight_bits=(4,),
        act_bits=(4,),
    )
    # Kernel, multiplications, weights, elements of a row of the input: 8 rows of 6 pixels of 3 channels, then 4 * 48.
    conv = (5, 48 * 4 * 75, 4 * 75, 18)
    dense = (1, 7 * 192, 7 * 192, 192)
    assert [tuple(size) for size in layer_sizes(SearchSpace(table))] == [conv, dense]


def test_one_width_for_each_layer_by_hand() -> None:
    # Multiplications of VGG-tiny over those of conv1: 1, 64/3 four times in all, 32/3 twice. Published densities of 3x3
    # kernels: 4-bit weights and 8-bit activations 3, with 4-bit activations 6; 2-bit weights and activations 18.
    space = SearchSpace(network("vgg_tiny"))
    complexity = Complexity(space)
    own = complexity.of_widths((4, 4, 4, 4, 4, 2, 8), (8, 4, 4, 4, 4, 2, 8))
    rest = 64 / 3 + 32 / 3 + 64 / 3 + 32 / 3
    assert float(complexity.dsps(own)) == pytest.approx(64 * (1 / 3 + rest / 6 + 64 / 3 / 18), rel=1e-12)
    assert float(complexity.trivial(own)) == pytest.approx(32 + 16 * rest + 4 * 64 / 3, rel=1e-12)
    # B: weights 1728, 36864, 73728, 147456, 294912, 589824; rows 32*3, 32*64, 16*64, 16*128, 8*128, 8*256, of which 4.
    weights = 4 * (1728 + 36864 + 73728 + 147456 + 294912) + 2 * 589824
    rows = 8 * 96 + 4 * (2048 + 1024 + 2048 + 1024) + 2 * 2048
    assert float(complexity.memory(own)) == pytest.approx(64 / 3.072 * (weights + 4 * rows) / 1000, rel=1e-12)


def test_fixed_widths_count_with_their_own() -> None:
    space = SearchSpace(network("ultranet_ismart"), weight_widths=(2,), act_widths=(2,))
    complexity = Complexity(space)
    own = probabilities(space)
    expected = [(float(weight), float(act)) for weight, act in complexity.expected_widths(own)]
    assert expected == [(8, 2)] + [(2, 2)] * 7 + [(8, 2)]
    # Published densities: w8a2 3x3 is 6, w2a2 3x3 is 18, w8a2 1x1 is 4; multiplications over those of conv1.
    middle = 8 / 3 + 8 / 3 + 4 / 3 + 4 / 3
    assert float(complexity.dsps(own)) == pytest.approx(64 * (1 / 6 + middle / 18 + 1 / 48 / 4), rel=1e-12)


def test_a_density_of_ones_own() -> None:
    space = SearchSpace(network("vgg_tiny"))
    own = probabilities(space)
    asked = []

    def density(kernel: int, weight_bits: int, act_bits: int) -> float:
        asked.append((kernel, weight_bits, act_bits))
        return 4.0 if weight_bits == 2 else 2.0

    value = float(Complexity(space, density=density).dsps(own))
    assert value == pytest.approx(64 * (1 + 4 * 64 / 3) * (1 / 4 + 6 / 2) / 7, rel=1e-12)
    assert set(asked) == {(3, w, a) for w in range(2, 9) for a in range(2, 9)}


@pytest.mark.parametrize("term", ["dsps", "trivial", "memory"])
def test_gradients_are_finite_differences(term: str) -> None:
    space = SearchSpace(network("digits_cnn"), weight_widths=(2, 5), act_widths=(3, 4, 8))
    compute = getattr(Complexity(space), term)
    generator = torch.Generator().manual_seed(1)
    alphas = [
        torch.randn(len(widths), generator=generator, dtype=torch.float64, requires_grad=True)
        for layer in space.layers
        for widths in (layer.weight_widths, layer.act_widths)
    ]

    def value(*alphas: torch.Tensor) -> torch.Tensor:
        soft = [torch.softmax(alpha, 0) for alpha in alphas]
        result: torch.Tensor = compute(
            [LayerProbabilities(w, a) for w, a in zip(soft[::2], soft[1::2], strict=True)]
        ) / float(compute(Complexity(space).of_widths([2], [3])))
        return result

    assert torch.autograd.gradcheck(value, alphas)


def test_what_cannot_be_weighed_is_refused() -> None:
    wide = NetworkTable(
        name="wide",
        input_shape=(1, 9, 9),
        layers=(ConvSpec(channels=2, kernel=7, padding=3),),
        weight_bits=(4,),
        act_bits=(4,),
    )
    with pytest.raises(UserError, match=r"^there is no density for kernel 7; give a density that knows it$"):
        Complexity(SearchSpace(wide))
    with pytest.raises(ValueError, match=r"^density must be positive, not 0$"):
        Complexity(SearchSpace(wide), density=lambda kernel, w, a: 0)
    alone = NetworkTable(name="alone", input_shape=(1, 2, 2), layers=(DenseSpec(units=2),), weight_bits=(), act_bits=())
    with pytest.raises(UserError, match=r"^alone has no layer but its last dense one"):
        Complexity(SearchSpace(alone))
    space = SearchSpace(network("digits_cnn"))
    with pytest.raises(ValueError, match=r"^probabilities must be those of 4 layers, not of 3$"):
        Complexity(space).trivial(probabilities(space)[:3])
