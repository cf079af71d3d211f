"""Tracing: order of the data, and one clear line for every model that cannot be lowered."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mixq.conversion import measure_conversion
from mixq.data import Samples
from mixq.errors import UserError
from mixq.expressions import expressions
from mixq.layers import QuantConv2d, QuantLinear
from mixq.models import build_model
from mixq.networks import network
from mixq.quantizers import ActivationQuantizer, ImageQuantizer
from mixq.tracing import trace
from tests.mixq.torch_models import OutOfOrder, conv, pixels, scramble


def chain(*layers: nn.Module) -> nn.Sequential:
    return nn.Sequential(ImageQuantizer(4), *layers)


def refusal(model: nn.Module) -> str:
    with pytest.raises(UserError) as raised:
        expressions(trace(model))
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_layers_come_in_the_order_of_the_data() -> None:
    traced = trace(OutOfOrder())
    assert [step.path for step in traced.steps] == [
        *("image", "body.first", "norm_a", "max_pool2d", "quant_a"),
        *("second", "norm_b", "quant_b", "flatten", "last"),
    ]
    assert [step.kind for step in traced.steps] == [
        *("image", "weighted", "norm", "max_pool", "quantizer"),
        *("weighted", "norm", "quantizer", "flatten", "weighted"),
    ]
    assert [step.reads for step in traced.steps[:3]] == [("",), ("image",), ("body.first",)]
    assert traced.output == "last" and traced.step("second").reads == ("quant_a",)
    assert [step.path for step in traced.weighted] == ["body.first", "second", "last"]


def test_steps_of_a_network_of_the_tables() -> None:
    traced = trace(build_model(network("digits_cnn")))
    assert [step.path for step in traced.weighted] == ["conv1", "conv2", "conv3", "dense"]
    assert traced.output == "dense"


class Custom(nn.Module):
    """Calls ``function`` with the quantised image and some layers."""

    def __init__(self, function: Callable[[Custom, Tensor], object]) -> None:
        super().__init__()
        self.image, self.one, self.two = ImageQuantizer(4), conv(1, 2), conv(2, 2)
        self.other, self.quant = conv(2, 2), ActivationQuantizer(4)
        self.linear, self.plain = QuantLinear(8, 2, weight_bits=4), nn.Conv2d(2, 2, 1)
        self.function = function

    def forward(self, image: Tensor) -> object:
        return self.function(self, self.image(image))


def branch(m: Custom, x: Tensor) -> Tensor:
    return m.one(x) if x.sum() > 0 else m.two(x)


def test_operations_become_modules() -> None:
    def function(m: Custom, x: Tensor) -> Tensor:
        a = m.quant(F.relu(m.one(x)))
        b = torch.cat([a, a + a], dim=1)
        c = F.interpolate(F.avg_pool2d(b, 2), scale_factor=2)
        return F.pad(c.mean((2, 3), keepdim=True), (1, 0, 0, 1)) + F.leaky_relu(x, 0.5) + torch.flatten(F.relu6(x), 1)

    traced = trace(Custom(function))
    assert [step.kind for step in traced.steps] == [
        *("image", "weighted", "pointwise", "quantizer", "add", "concat", "average_pool", "upsample"),
        *("average_pool", "pad", "pointwise", "add", "pointwise", "flatten", "add"),
    ]
    assert traced.step("add").reads == ("quant", "quant")
    assert traced.step("cat").reads == ("quant", "add")


@pytest.mark.parametrize(
    "function, message",
    [
        (
            lambda m, x: torch.sigmoid(m.plain(m.quant(m.one(x)))) * x,
            "these operations cannot be lowered: plain (Conv2d): use QuantConv2d; sigmoid (sigmoid): apply it to the "
            "network's output; mul (mul): scale by batch norm, or in the weights",
        ),
        (
            lambda m, x: m.two(m.quant(m.two(m.quant(m.one(x))))),
            "layer quant is called 2 times; give each call its own layer",
        ),
        (lambda m, x: m.one(x).view(-1), "these operations cannot be lowered: view (view): use torch.flatten(x, 1)"),
        (
            lambda m, x: m.linear(m.quant(torch.flatten(m.one(x)))),
            "these operations cannot be lowered: flatten (flatten): use",
        ),
        (lambda m, x: m.one(x) + 1.0, "these operations cannot be lowered: add (add): use"),
        (lambda m, x: torch.cat([x, x], 2), "these operations cannot be lowered: cat (cat): use"),
        (lambda m, x: x.mean(1), "these operations cannot be lowered: mean (mean): use"),
        (
            lambda m, x: F.interpolate(x, scale_factor=2, mode="bilinear"),
            "these operations cannot be lowered: interpolate",
        ),
        (
            branch,
            "the model cannot be traced (symbolically traced variables cannot be used as inputs to control flow); "
            "write its forward without branches on data",
        ),
        (lambda m, x: m.one(torch.ones(1)) + x, "these operations cannot be lowered: "),
        (
            lambda m, x: {"boxes": m.one(x)},
            "the model must return one tensor, the output of its last layer; return that one alone",
        ),
        (
            lambda m, x: m.one(x) if False else m.two(m.one(x)),
            "two (QuantConv2d) cannot follow one (QuantConv2d): behind",
        ),
        (
            lambda m, x: m.two(F.pad(m.one(x), (1, 1, 1, 1))),
            "pad (ZeroPad2d) cannot follow one (QuantConv2d): put it behind the quantiser, before the convolution",
        ),
        (
            lambda m, x: m.quant(F.relu(m.one(x)) + m.other(x)),
            "add (Add) cannot follow relu (ReLU), other (QuantConv2d): put an activation quantiser between it and relu "
            "(ReLU)",
        ),
        (
            lambda m, x: m.quant(F.avg_pool2d(F.relu(m.one(x)), 2)),
            "avg_pool2d (AvgPool2d) cannot follow relu (ReLU): put an activation quantiser before it: rounding comes "
            "before the mean",
        ),
        (
            lambda m, x: m.quant(F.max_pool2d(F.pad(x, (1, 1, 1, 1)), 2)),
            "max_pool2d (MaxPool2d) cannot follow pad (ZeroPad2d): zeros are padded before a convolution only",
        ),
        (
            lambda m, x: m.quant(m.one(x).mean((2, 3))),
            "mean (MeanOfImage) needs the shape of an image: give it, or the model an attribute input_shape",
        ),
    ],
)
def test_operations_that_cannot_be_lowered(function: Callable[[Custom, Tensor], object], message: str) -> None:
    assert refusal(Custom(function)).startswith(message)


def test_two_inputs_are_refused() -> None:
    class Two(nn.Module):
        def forward(self, one: Tensor, other: Tensor) -> Tensor:
            return one + other

    assert refusal(Two()) == "the model must take one tensor, the image, not 2 arguments"


def test_what_the_output_does_not_need_is_left_out() -> None:
    def function(m: Custom, x: Tensor) -> Tensor:
        torch.sigmoid(x)
        return m.one(x)

    assert [step.path for step in trace(Custom(function)).steps] == ["image", "one"]


def test_numbers_beside_the_layers_are_refused() -> None:
    class Beside(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.image, self.one = ImageQuantizer(4), conv(1, 2)
            self.table = nn.Parameter(torch.ones(1, 1, 4, 4))

        def forward(self, image: Tensor) -> Tensor:
            output: Tensor = self.one(self.image(image) + self.table)
            return output

    assert "table (a tensor of the model): only layers hold numbers" in refusal(Beside())


@pytest.mark.parametrize(
    "layers, message",
    [
        (
            [conv(1, 2), conv(2, 2)],
            "2 (QuantConv2d) cannot follow 1 (QuantConv2d): behind a convolution or dense layer comes an activation "
            "quantiser",
        ),
        (
            [conv(1, 2), nn.MaxPool2d(2), nn.BatchNorm2d(2), ActivationQuantizer(2), conv(2, 2)],
            "3 (BatchNorm2d) cannot follow 2 (MaxPool2d): behind pooling or moving of unquantised values comes an "
            "activation quantiser",
        ),
        (
            [conv(1, 2), nn.BatchNorm2d(2), conv(2, 2)],
            "3 (QuantConv2d) cannot follow 2 (BatchNorm2d): behind batch norm comes an activation quantiser",
        ),
        (
            [conv(1, 2), nn.ReLU(), nn.BatchNorm2d(2), ActivationQuantizer(2), conv(2, 2)],
            "3 (BatchNorm2d) cannot follow 2 (ReLU): batch norm comes before the rectifier; put a quantiser between",
        ),
        (
            [conv(1, 2), nn.BatchNorm2d(2)],
            "the model ends with 2 (BatchNorm2d); its output must be that of a convolution or dense layer, with "
            "neither batch norm nor pooling behind it, or codes: put an activation quantiser there",
        ),
        ([conv(1, 2), nn.MaxPool2d(2)], "the model ends with 2 (MaxPool2d); its output must be"),
        ([], "the model ends with 0 (ImageQuantizer); its output must be"),
        (
            [conv(1, 2), ActivationQuantizer(2), QuantLinear(4, 2, weight_bits=2)],
            "3 (QuantLinear) reads an image; put an nn.Flatten before it",
        ),
        (
            [conv(1, 2), ActivationQuantizer(2), nn.Flatten(), conv(2, 2)],
            "4 (QuantConv2d) reads flattened values; move the flatten",
        ),
        ([nn.Flatten(), nn.MaxPool2d(2)], "2 (MaxPool2d) reads flattened values; move the flatten"),
        *(
            ([pool, conv(1, 2)], "these operations cannot be lowered: 1 (MaxPool2d): use a square one")
            for pool in (
                nn.MaxPool2d(2, padding=1),
                nn.MaxPool2d(2, ceil_mode=True),
                nn.MaxPool2d((2, 3)),
                nn.MaxPool2d(2, dilation=2),
            )
        ),
        ([nn.AvgPool2d(3, 1), conv(1, 2)], "these operations cannot be lowered: 1 (AvgPool2d): use one whose stride"),
        (
            [nn.PixelUnshuffle(2), conv(1, 2)],
            "these operations cannot be lowered: 1 (PixelUnshuffle): use SpaceToDepth",
        ),
        (
            [conv(1, 2), nn.BatchNorm2d(2, track_running_stats=False), ActivationQuantizer(2), conv(2, 2)],
            "these operations cannot be lowered: 2 (BatchNorm2d): let it track running statistics",
        ),
        (
            [conv(1, 2), nn.Hardswish(), ActivationQuantizer(2)],
            "these operations cannot be lowered: 2 (Hardswish): use nn.R",
        ),
    ],
)
def test_orders_that_cannot_be_lowered(layers: list[nn.Module], message: str) -> None:
    assert refusal(chain(*layers)).startswith(message)


def test_a_model_must_begin_with_the_image_quantiser() -> None:
    message = "0 (QuantConv2d) cannot follow the input: the first layer must be an ImageQuantizer"
    assert refusal(nn.Sequential(conv(1, 2), ActivationQuantizer(2), conv(2, 2))) == message


def test_identities_and_dropout_are_left_out() -> None:
    traced = trace(chain(nn.Identity(), conv(1, 2), nn.Dropout(), ActivationQuantizer(2), nn.Dropout2d(), conv(2, 2)))
    assert [step.path for step in traced.steps] == ["0", "2", "4", "6"]
    assert traced.step("6").reads == ("4",)
    assert isinstance(traced.step("6").module, QuantConv2d)


class OneRectifier(nn.Module):
    """Two layers behind which the same module rectifies; both results are read at the end. A mean that drops pixels."""

    input_shape = (2, 6, 6)

    def __init__(self) -> None:
        super().__init__()
        self.image = ImageQuantizer(4)
        self.one, self.two = conv(2, 3), conv(3, 3)
        self.relu = nn.ReLU()
        self.quants = nn.ModuleList(ActivationQuantizer(4) for _ in range(3))
        self.mean_quant = ActivationQuantizer(4)
        self.last = QuantLinear(3, 4, weight_bits=4)

    def forward(self, x: Tensor) -> Tensor:
        first = self.relu(self.one(self.image(x)))
        second = self.relu(self.two(self.quants[0](first)))
        joined = self.quants[1](first) + self.quants[2](second)
        output: Tensor = self.last(self.mean_quant(joined.mean((2, 3))))
        return output


def test_a_rectifier_that_is_called_twice_has_two_results() -> None:
    model = scramble(OneRectifier(), 0)
    traced = trace(model)
    assert traced.step("quants.1").reads == ("relu",) and traced.step("quants.2").reads == ("relu:2",)
    assert traced.step("relu").reads == ("one",) and traced.step("relu:2").reads == ("two",)
    images = pixels(0, 4, *OneRectifier.input_shape)
    found = measure_conversion(model, Samples(images.astype(np.uint8), np.zeros(4, np.int64)), classify=False)
    found.check()
    assert found.codes > 0
