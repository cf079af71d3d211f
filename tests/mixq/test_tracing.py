"""Tracing: order of the data, and one clear line for every model that cannot be lowered."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from mixq.errors import UserError
from mixq.layers import QuantLinear
from mixq.models import build_model
from mixq.networks import network
from mixq.quantizers import ActivationQuantizer, ImageQuantizer
from mixq.tracing import trace
from tests.mixq.torch_models import OutOfOrder, conv


def chain(*layers: nn.Module) -> nn.Sequential:
    return nn.Sequential(ImageQuantizer(4), *layers)


def test_layers_come_in_the_order_of_the_data() -> None:
    traced = trace(OutOfOrder())
    assert traced.image_path == "image" and traced.image.bits == 4
    assert [stage.path for stage in traced.stages] == ["body.first", "second", "last"]
    assert [stage.norm_path for stage in traced.stages] == ["norm_a", "norm_b", ""]
    assert [stage.quantizer_path for stage in traced.stages] == ["quant_a", "quant_b", ""]
    assert [len(stage.pools) for stage in traced.stages] == [1, 0, 0]
    assert traced.stages[0].pools[0][1].kernel_size == 2


def test_stages_of_a_network_of_the_tables() -> None:
    traced = trace(build_model(network("digits_cnn")))
    assert [stage.path for stage in traced.stages] == ["conv1", "conv2", "conv3", "dense"]
    assert [[path for path, _ in stage.pools] for stage in traced.stages] == [["pool1"], ["pool2"], [], []]
    assert traced.stages[-1].norm is None and traced.stages[-1].quantizer is None


def test_pools_of_the_image_and_behind_the_quantiser() -> None:
    traced = trace(chain(nn.MaxPool2d(2), conv(1, 2), ActivationQuantizer(2), nn.MaxPool2d(3, 1), conv(2, 2)))
    assert [path for path, _ in traced.image_pools] == ["1"]
    assert [path for path, _ in traced.stages[0].pools] == ["4"]


class Custom(nn.Module):
    """Calls ``function`` with the quantised image and two convolutions."""

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


@pytest.mark.parametrize(
    "function, message",
    [
        (
            lambda m, x: m.two(m.quant(m.one(x))) + m.other(m.quant(m.one(x))),
            "image (ImageQuantizer) feeds one (QuantConv2d), one (QuantConv2d); only a chain of layers can be lowered",
        ),
        (
            lambda m, x: (lambda y: m.two(y) + m.other(y))(m.quant(m.one(x))),
            "quant (ActivationQuantizer) feeds two (QuantConv2d), other (QuantConv2d); "
            "only a chain of layers can be lowered",
        ),
        (
            lambda m, x: torch.sigmoid(m.plain(m.quant(m.one(x)))),
            "these operations cannot be lowered: plain (Conv2d), sigmoid (sigmoid); use ImageQuantizer, QuantConv2d, "
            "QuantLinear, ActivationQuantizer, batch norm with running statistics, square max-pooling without padding, "
            "flatten from dimension 1, dropout",
        ),
        (
            lambda m, x: m.two(m.quant(m.two(m.quant(m.one(x))))),
            "layer quant is called 2 times; give each call its own layer",
        ),
        (lambda m, x: m.one(x).view(-1), "these operations cannot be lowered: view (view)"),
        (
            lambda m, x: m.linear(m.quant(torch.flatten(m.one(x)))),
            "these operations cannot be lowered: flatten (flatten)",
        ),
        (
            branch,
            "the model cannot be traced (symbolically traced variables cannot be used as inputs to control flow); "
            "write its forward without branches on data",
        ),
        (
            lambda m, x: m.one(1.0),
            "one (QuantConv2d) reads nothing; each layer must read the one before it, image (ImageQuantizer)",
        ),
        (
            lambda m, x: {"boxes": m.one(x)},
            "the model must return one tensor, the output of its last layer, one (QuantConv2d)",
        ),
    ],
)
def test_operations_that_cannot_be_lowered(function: Callable[[Custom, Tensor], object], message: str) -> None:
    with pytest.raises(UserError) as raised:
        trace(Custom(function))
    assert str(raised.value).startswith(message)
    assert "\n" not in str(raised.value)


def test_two_inputs_are_refused() -> None:
    class Two(nn.Module):
        def forward(self, one: Tensor, other: Tensor) -> Tensor:
            return one + other

    with pytest.raises(UserError) as raised:
        trace(Two())
    assert str(raised.value) == "the model must take one tensor, the image, not 2 arguments"


def test_a_layer_beside_the_chain_is_refused() -> None:
    class Beside(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.image, self.one = ImageQuantizer(4), conv(1, 2)
            self.table = nn.Parameter(torch.ones(1, 1, 4, 4))

        def forward(self, image: Tensor) -> Tensor:
            output: Tensor = self.one(self.image(self.table))
            return output

    with pytest.raises(UserError, match=r"these operations cannot be lowered: table \(table\)"):
        trace(Beside())


@pytest.mark.parametrize(
    "layers, message",
    [
        (
            [conv(1, 2), conv(2, 2)],
            "2 (QuantConv2d) cannot follow 1: after a convolution or dense layer come batch norm, a max-pool or an "
            "ActivationQuantizer",
        ),
        (
            [conv(1, 2), nn.MaxPool2d(2), nn.BatchNorm2d(2), ActivationQuantizer(2), conv(2, 2)],
            "3 (BatchNorm2d) cannot follow 2: after a max-pool of unquantised values comes an ActivationQuantizer",
        ),
        (
            [conv(1, 2), nn.BatchNorm2d(2), conv(2, 2)],
            "3 (QuantConv2d) cannot follow 2: after batch norm come a max-pool, a flatten or an ActivationQuantizer",
        ),
        (
            [ActivationQuantizer(2), conv(1, 2)],
            "1 (ActivationQuantizer) cannot follow 0: after a quantiser come a max-pool, a flatten, a QuantConv2d or a "
            "QuantLinear",
        ),
        (
            [conv(1, 2), nn.BatchNorm2d(2)],
            "the model ends with 2; its output must be that of a convolution or dense layer, with neither batch norm, "
            "pooling nor quantiser behind it",
        ),
        ([conv(1, 2), ActivationQuantizer(2)], "the model ends with 2; its output must be"),
        ([conv(1, 2), nn.MaxPool2d(2)], "the model ends with 2; its output must be"),
        ([], "the model ends with 0; its output must be"),
        (
            [conv(1, 2), ActivationQuantizer(2), QuantLinear(4, 2, weight_bits=2)],
            "3 (QuantLinear) reads an image; put an nn.Flatten before it",
        ),
        (
            [conv(1, 2), ActivationQuantizer(2), nn.Flatten(), conv(2, 2)],
            "4 (QuantConv2d) reads flattened values; move the flatten",
        ),
        ([nn.Flatten(), nn.MaxPool2d(2)], "2 (MaxPool2d) reads flattened values; move the flatten"),
        ([nn.MaxPool2d(2, padding=1), conv(1, 2)], "these operations cannot be lowered: 1 (MaxPool2d); use"),
        ([nn.MaxPool2d(2, ceil_mode=True), conv(1, 2)], "these operations cannot be lowered: 1 (MaxPool2d); use"),
        ([nn.MaxPool2d((2, 3)), conv(1, 2)], "these operations cannot be lowered: 1 (MaxPool2d); use"),
        ([nn.MaxPool2d(2, dilation=2), conv(1, 2)], "these operations cannot be lowered: 1 (MaxPool2d); use"),
        (
            [conv(1, 2), nn.BatchNorm2d(2, track_running_stats=False), ActivationQuantizer(2), conv(2, 2)],
            "these operations cannot be lowered: 2 (BatchNorm2d); use",
        ),
        ([conv(1, 2), nn.ReLU(), ActivationQuantizer(2)], "these operations cannot be lowered: 2 (ReLU); use"),
    ],
)
def test_orders_that_cannot_be_lowered(layers: list[nn.Module], message: str) -> None:
    with pytest.raises(UserError) as raised:
        trace(chain(*layers))
    assert str(raised.value).startswith(message)


def test_a_model_must_begin_with_the_image_quantiser() -> None:
    with pytest.raises(UserError) as raised:
        trace(nn.Sequential(conv(1, 2), ActivationQuantizer(2), conv(2, 2)))
    assert str(raised.value) == ("0 (QuantConv2d) cannot follow the input: the first layer must be an ImageQuantizer")


def test_identities_and_dropout_are_left_out() -> None:
    traced = trace(chain(nn.Identity(), conv(1, 2), nn.Dropout(), ActivationQuantizer(2), nn.Dropout2d(), conv(2, 2)))
    assert [stage.path for stage in traced.stages] == ["2", "6"]
