"""The converted model alone: each integer module against its formula, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from mixq.converted import ConvertedModel
from mixq.errors import UserError
from mixq.formats import IntFormat
from mixq.integer_layers import IntegerImage, IntegerRequantise, IntegerSums, IntegerTerms
from mixq.layers import QuantConv2d, QuantLinear
from mixq.quantizers import ActivationQuantizer, ImageQuantizer
from tests.mixq.torch_models import conv


def test_the_image_is_shifted() -> None:
    pixels = torch.arange(256)
    assert IntegerImage(3)(pixels).tolist() == [pixel // 32 for pixel in range(256)]


def test_requantisation_rounds_half_up_and_clamps() -> None:
    values = torch.tensor([-(1 << 40), -9, -8, -7, 7, 8, 23, 24, 1 << 40])
    assert IntegerRequantise(4, IntFormat(2, False))(values).tolist() == [0, 0, 0, 0, 0, 1, 1, 2, 3]


def test_the_affine_map_is_per_channel() -> None:
    scale = IntegerTerms(
        sources=["a"],
        windows=[None],
        multipliers=[torch.tensor([2, -3])],
        bias=torch.tensor([1, 10]),
        shift=4,
        slope=None,
    )
    assert scale({"a": torch.tensor([[4, 5]])}).tolist() == [[9, -5]]
    assert scale({"a": torch.tensor([[[[4]], [[5]]]])}).tolist() == [[[[9]], [[-5]]]]


def test_sums_against_loops() -> None:
    random = np.random.default_rng(0)
    layer = QuantConv2d(2, 3, kernel=3, stride=2, padding=1, weight_bits=8)
    codes = random.integers(-128, 128, (3, 2, 3, 3))
    values = random.integers(0, 256, (1, 2, 5, 6))
    padded = np.pad(values, ((0, 0), (0, 0), (1, 1), (1, 1)))
    expected = np.array(
        [
            [
                [int((padded[0, :, 2 * y : 2 * y + 3, 2 * x : 2 * x + 3] * kernel).sum()) for x in range(3)]
                for y in range(3)
            ]
            for kernel in codes
        ]
    )
    found = IntegerSums(layer, torch.from_numpy(codes), 255)(torch.from_numpy(values))
    assert found.dtype == torch.int64
    assert np.array_equal(found[0].numpy(), expected)


def test_sums_beyond_float64_are_refused() -> None:
    layer = QuantLinear(2, 1, weight_bits=8)
    IntegerSums(layer, torch.tensor([[2**44, 0]]), 255)
    with pytest.raises(UserError, match=r"sums of a layer must stay below 2\^53, not 9392578080276480"):
        IntegerSums(layer, torch.tensor([[2**45, 2**40 * 3 // 2]]), 255)


def test_modules_keep_their_places() -> None:
    body = nn.Sequential(conv(1, 2), nn.BatchNorm2d(2), ActivationQuantizer(4))
    converted = ConvertedModel(nn.Sequential(ImageQuantizer(4), body, conv(2, 2)))
    kinds = {name: type(module).__name__ for name, module in converted.network.named_modules()}
    assert kinds["0"] == "IntegerImage"
    assert (kinds["1.0"], kinds["1.1"], kinds["1.2"]) == ("IntegerSums", "Identity", "IntegerQuantizer")
    assert (kinds["1.2.parts.0"], kinds["1.2.requantise"]) == ("IntegerTerms", "IntegerRequantise")


def test_pixels_are_checked() -> None:
    converted = ConvertedModel(nn.Sequential(ImageQuantizer(4), conv(1, 2)))
    with pytest.raises(TypeError) as wrong_type:
        converted(torch.zeros(1, 1, 4, 4))
    assert str(wrong_type.value) == "pixels must be integers, not torch.float32"
    with pytest.raises(ValueError) as wrong_value:
        converted(torch.tensor([[[[0, 256], [-3, 7]]]]))
    assert str(wrong_value.value) == "pixels must be 0 to 255, not -3 to 256"
    assert converted(torch.zeros(1, 1, 4, 4, dtype=torch.uint8)).shape == (1, 2, 4, 4)


def test_scaled_sums_beyond_int64_are_refused() -> None:
    norm = nn.BatchNorm2d(2)
    nn.init.constant_(norm.weight, 3e9)
    model = nn.Sequential(ImageQuantizer(8), conv(1, 2, 8), norm, ActivationQuantizer(8), conv(2, 2))
    with pytest.raises(UserError) as raised:
        ConvertedModel(model)
    assert str(raised.value) == "layer 1: its scaled sums need more than 64 bits; reduce its batch norm scale"


def test_dense_outputs_have_four_axes() -> None:
    model = nn.Sequential(ImageQuantizer(4), nn.Flatten(), QuantLinear(16, 3, weight_bits=4))
    assert ConvertedModel(model)(torch.zeros(2, 1, 4, 4, dtype=torch.int64)).shape == (2, 3, 1, 1)
