"""The conversion report: what it counts, and that a wrong conversion fails its check."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from mixq.checkpoints import random_model
from mixq.conversion import LayerDifference, measure_conversion
from mixq.converted import ConvertedModel
from mixq.data import Samples
from mixq.errors import CheckFailed
from mixq.integer_layers import IntegerRequantise
from mixq.layers import quantised_weights
from mixq.models import TrainingModel
from mixq.quantizers import ImageQuantizer
from mixq.tracing import trace
from tests.mixq.torch_models import OutOfOrder, conv, random_network, scramble


def samples(seed: int, count: int, *shape: int) -> Samples:
    random = np.random.default_rng(seed)
    images = random.integers(0, 256, (count, *shape), dtype=np.uint8)
    return Samples(images, random.integers(0, 10, count))


def low_precision(seed: int) -> tuple[TrainingModel, ConvertedModel, Samples]:
    """With 4 instead of 16 bits of precision many codes differ, so that the bound is really exercised."""
    model = random_model("digits_cnn", seed)
    return model, ConvertedModel(model, fraction_bits=4), samples(seed, 64, 1, 8, 8)


@pytest.mark.parametrize("seed", range(5))
def test_differences_stay_within_the_bound(seed: int) -> None:
    model, converted, images = low_precision(seed)
    report = measure_conversion(model, images, converted=converted, batch=24)
    report.check()
    assert set(report.layers) == {"conv1", "conv2", "conv3"}
    assert report.layers["conv1"].codes == 64 * 16 * 4 * 4
    assert report.layers["conv3"].codes == 64 * 32 * 2 * 2
    assert report.different > 0
    assert {layer.largest_difference for layer in report.layers.values()} <= {0, 1}
    assert report.output.values == 640
    assert report.output.largest_difference <= 0.5 + 1e-6


def test_every_difference_is_counted() -> None:
    # Counted again, in another way: the training model's own modules in float64 on the converted model's codes.
    model, converted, images = low_precision(1)
    report = measure_conversion(model, images, converted=converted)
    inner: Any = converted.network
    double: Any = model.double()
    made = converted.integers(torch.from_numpy(images.images))
    codes, integer = inner.image(torch.from_numpy(images.images).long()), made["conv1_act"]
    real = double.pool1(double.conv1_norm(double.conv1(codes.double() * double.image.step))).detach().numpy()
    trained = np.rint(np.clip(real / double.conv1_act.step, 0, 2**double.conv1_act.bits - 1))
    assert int((trained != integer.numpy()).sum()) == report.layers["conv1"].different > 0


def test_normal_precision_differs_rarely() -> None:
    report = measure_conversion(random_model("digits_cnn", 2), samples(2, 128, 1, 8, 8))
    report.check()
    assert report.codes == 128 * (256 + 128 + 128)
    assert report.different < 10
    assert report.accuracy is not None
    assert report.accuracy.agreement > 0.9


@pytest.mark.parametrize("seed", range(6))
def test_random_networks_pass(seed: int) -> None:
    model = random_network(seed)
    measure_conversion(model, samples(seed, 4, *model.input_shape), classify=False).check()


def test_a_model_in_another_order_passes() -> None:
    model = scramble(OutOfOrder(), 3)
    report = measure_conversion(model, samples(0, 8, 1, 10, 14))
    report.check()
    assert set(report.layers) == {"body_first", "second"}


def corrupt_multiplier(network: Any) -> None:
    multiplier = network.conv2_act.parts[0].multipliers[0]
    multiplier[3] += multiplier[3] // 50


def corrupt_bias(network: Any) -> None:
    part = network.conv2_act.parts[0]
    part.bias[3] += 1 << (part.shift - 3)


def corrupt_weight(network: Any) -> None:
    network.conv2.codes[3, 0, 1, 1] += 1


def corrupt_rounding(network: Any) -> None:
    class Truncate(IntegerRequantise):
        def forward(self, scaled: torch.Tensor) -> torch.Tensor:
            return (scaled >> self.shift).clamp(self.format.low, self.format.high)

    own = network.conv2_act.requantise
    network.conv2_act.requantise = Truncate(own.shift, own.format)


@pytest.mark.parametrize("corrupt", [corrupt_multiplier, corrupt_bias, corrupt_weight, corrupt_rounding])
def test_a_wrong_conversion_fails(corrupt: Callable[[Any], None]) -> None:
    model = random_model("digits_cnn", 3)
    converted = ConvertedModel(model)
    corrupt(converted.network)
    report = measure_conversion(model, samples(3, 64, 1, 8, 8), converted=converted)
    assert report.layers["conv2"].outside_bound > 0
    assert report.layers["conv1"].outside_bound == report.layers["conv3"].outside_bound == 0
    with pytest.raises(CheckFailed, match=r"layer conv2: .* differ from the training model by more than rounding"):
        report.check()


def test_codes_that_differ_by_more_than_one_fail() -> None:
    # Without bits of precision beyond the widths the bound itself exceeds a whole step.
    model = random_model("digits_cnn", 3)
    report = measure_conversion(model, samples(3, 64, 1, 8, 8), converted=ConvertedModel(model, fraction_bits=0))
    worst = max(report.layers.values(), key=lambda layer: layer.largest_difference)
    assert worst.largest_difference > 1
    assert 0 < worst.outside_bound < worst.different
    with pytest.raises(CheckFailed, match=rf"largest difference {worst.largest_difference}\)"):
        report.check()


def test_a_multiplier_off_by_two_fails() -> None:
    # Rounding explains half a unit of the multiplier; a channel whose multiplier is off by two shows where
    # the precision is low, and only there: nothing else is granted beside the bound.
    model, converted, images = low_precision(4)
    network: Any = converted.network
    network.conv1_act.parts[0].multipliers[0] += 2
    report = measure_conversion(model, images, converted=converted)
    assert report.layers["conv1"].outside_bound > report.layers["conv1"].different // 2
    assert report.layers["conv1"].largest_difference == 1


def test_a_wrong_last_layer_fails() -> None:
    model = random_model("digits_cnn", 3)
    converted = ConvertedModel(model)
    network: Any = converted.network
    network.dense.bias[4] += 2
    report = measure_conversion(model, samples(3, 8, 1, 8, 8), converted=converted)
    assert report.output.outside_bound == 8
    with pytest.raises(CheckFailed) as raised:
        report.check()
    largest = f"{report.output.largest_difference:.3f}"
    assert str(raised.value) == (
        f"8 of 80 outputs differ from the training model by more than the rounding of the bias (largest difference "
        f"{largest})"
    )


def test_the_hooks_are_gone_afterwards() -> None:
    model = random_model("digits_cnn", 0)
    converted = ConvertedModel(model)
    measure_conversion(model, samples(0, 2, 1, 8, 8), converted=converted)
    assert not any(module._forward_pre_hooks for module in converted.modules())


def test_accuracies() -> None:
    # The class is the brighter of two pixels, which both models get right.
    layer = conv(1, 2, 8, kernel=3, padding=0)
    nn.init.zeros_(layer.weight)
    layer.weight.data[0, 0, 0, 0] = layer.weight.data[1, 0, 2, 2] = 1.0
    model = nn.Sequential(ImageQuantizer(8), layer)
    images = np.zeros((4, 1, 3, 3), dtype=np.uint8)
    images[:2, 0, 0, 0], images[2:, 0, 2, 2] = 200, 200
    report = measure_conversion(model, Samples(images, np.array([0, 0, 1, 0])))
    assert report.accuracy is not None
    assert (report.accuracy.training, report.accuracy.integer, report.accuracy.agreement) == (0.75, 0.75, 1.0)
    assert report.layers == {}


def test_the_file(tmp_path: Path) -> None:
    report = measure_conversion(random_model("digits_cnn", 0), samples(0, 4, 1, 8, 8))
    path = report.write(tmp_path)
    assert path == tmp_path / "report" / "conversion.json"
    content = json.loads(path.read_text())
    assert list(content) == ["codes", "different", "samples", "layers", "output", "accuracy", "clamped_weights"]
    assert content["samples"] == 4
    assert content["codes"] == 4 * (256 + 128 + 128)
    assert set(content["layers"]["conv1"]) == {
        *("codes", "different", "largest_difference", "outside_bound", "different_float32"),
    }
    assert set(content["accuracy"]) == {"training", "integer", "agreement"}


def test_sets_of_codes_add_up() -> None:
    one = LayerDifference(codes=10, different=2, largest_difference=1, outside_bound=0, different_float32=3)
    other = LayerDifference(codes=5, different=1, largest_difference=4, outside_bound=1, different_float32=0)
    both = LayerDifference(codes=15, different=3, largest_difference=4, outside_bound=1, different_float32=3)
    assert one.plus(other) == both


def test_differences_of_float32_are_counted_too() -> None:
    model, converted, images = low_precision(2)
    report = measure_conversion(model, images, converted=converted)
    made = converted.integers(torch.from_numpy(images.images))
    codes, integer = made["image"], made["conv1_act"]
    single: Any = model
    values = (codes.double() * single.image.step).float()
    trained = single.conv1_act.codes(single.pool1(single.conv1_norm(single.conv1(values))))
    assert int((trained != integer).sum()) == report.layers["conv1"].different_float32 > 0


def test_clamped_weights_are_counted_by_layer() -> None:
    bits = [3, 4, 4, 4]
    full = random_model("digits_cnn", 0, weight_bits=bits)
    expected = {
        step.path: int((quantised_weights(full.get_submodule(step.path), step.path)[0] == -8).sum())  # type: ignore[arg-type]
        for step in trace(full).weighted[1:]
    }
    images = samples(0, 2, 1, 8, 8)
    report = measure_conversion(random_model("digits_cnn", 0, weight_bits=bits, weight_range="narrow"), images)
    report.check()
    assert report.clamped_weights == expected
    assert sum(expected.values()) > 0
    assert measure_conversion(full, images).clamped_weights == {}
