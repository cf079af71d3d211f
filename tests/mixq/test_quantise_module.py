"""Float modules as training models: the same function, the same integers, and one line for what has none."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mixq.conversion import measure_conversion
from mixq.converted import ConvertedModel
from mixq.data import Samples
from mixq.errors import UserError
from mixq.execute import run
from mixq.graph import Conv, Graph, SpaceToDepth
from mixq.layers import QuantConv2d, QuantLinear
from mixq.lowering import lower
from mixq.quantise_module import Bits, FloatNetwork, QuantisedModule, quantise_module
from mixq.quantizers import ActivationQuantizerBase, ImageQuantizer, QuantizerKind, WeightQuantizerBase
from tests.mixq.float_modules import STYLES, Bottlenecks, Functional, Made, MeanHead, Residual, made, randomise

COUNT = 20


def images(seed: int, shape: tuple[int, int, int]) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (COUNT, *shape))


def calibrated(model: QuantisedModule, pixels: np.ndarray) -> QuantisedModule:
    """The model with learned steps as the images give them, and its statistics as they were."""
    model.train()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.eval()
    with torch.no_grad():
        model(torch.from_numpy(pixels).float() / 256)
    return model.eval()


def random_model(make: Callable[[], Made], seed: int, kind: QuantizerKind) -> tuple[QuantisedModule, np.ndarray]:
    """The training model of a module at random widths, and images."""
    module, shape = make()
    randomise(module, seed)
    random = np.random.default_rng(seed)
    layers = len(FloatNetwork.of(module, shape).weighted_names)
    widths = random.integers(2, 9, (2, layers)).tolist()
    model = quantise_module(module, shape, weight_bits=widths[0], act_bits=widths[1], quantizer=kind)
    pixels = images(seed, shape)
    return calibrated(model, pixels), pixels


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("make", STYLES, ids=lambda make: make.__name__)
def test_interpreter_and_converted_model_give_the_same_integers(make: Callable[[], Made], seed: int) -> None:
    model, pixels = random_model(make, seed, "lsq" if seed % 2 else "hwgq")
    found = run(lower(model), pixels)
    assert np.array_equal(found, ConvertedModel(model)(torch.from_numpy(pixels)).numpy())
    assert len(np.unique(found)) > 5
    report = measure_conversion(model, Samples(pixels[:4].astype(np.uint8), np.zeros(4, np.int64)), classify=False)
    report.check()


def without_quantisers(model: QuantisedModule) -> nn.Module:
    """The training model whose quantisers let everything pass."""
    plain = copy.deepcopy(model)
    for name, module in list(plain.named_modules()):
        if isinstance(module, WeightQuantizerBase | ActivationQuantizerBase | ImageQuantizer):
            above, _, own = name.rpartition(".")
            setattr(plain.get_submodule(above), own, nn.Identity())
    return plain.double().eval()


def dyadic(module: nn.Module, seed: int) -> nn.Module:
    """The module in float64 with numbers whose sums and products are exact, in whatever order they are summed."""
    random = np.random.default_rng(seed)
    for own in randomise(module, seed).double().modules():
        if isinstance(own, nn.Conv2d | nn.Linear | nn.BatchNorm1d | nn.BatchNorm2d):
            for tensor in (own.weight, own.bias):
                if tensor is not None:
                    tensor.data.copy_(torch.from_numpy(random.integers(-4, 5, tuple(tensor.shape)) / 4.0))
        if isinstance(own, nn.BatchNorm1d | nn.BatchNorm2d):
            own.eps = 0.0
            assert own.running_mean is not None and own.running_var is not None
            own.running_mean.copy_(torch.from_numpy(random.integers(-4, 5, own.num_features) / 4.0))
            own.running_var.copy_(torch.from_numpy(4.0 ** random.integers(-1, 2, own.num_features)))
    return module


@pytest.mark.parametrize("make", STYLES, ids=lambda make: make.__name__)
def test_without_its_quantisers_the_model_is_the_module(make: Callable[[], Made]) -> None:
    module, shape = make()
    dyadic(module, 3)
    model = without_quantisers(quantise_module(module, shape))
    pixels = torch.from_numpy(images(3, shape)).double() / 256
    with torch.no_grad():
        expected = module(pixels)
        assert torch.equal(model(pixels).flatten(1), expected.flatten(1))
    assert len(expected.unique()) > 5


def test_weights_keep_their_names_and_the_module_its_weights() -> None:
    module = Residual()
    randomise(module, 0)
    before = copy.deepcopy(module.state_dict())
    model = quantise_module(module, quantizer="hwgq")
    after = module.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert model.state_dict().keys() == before.keys()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    model.get_parameter("fc.weight").data.zero_()
    assert module.fc.weight.any()


def test_where_values_are_quantised() -> None:
    names = {
        name: (module.bits, getattr(module, "signed", False))
        for name, module in quantise_module(Bottlenecks(), act_bits=[7, 6, 5, 4, 3]).named_modules()
        if isinstance(module, ActivationQuantizerBase | ImageQuantizer)
    }
    # What the addition adds are the codes of the first layer that reads the same; the mean reads 8 bits.
    assert names == {
        "image": (7, False),
        "expand.0_in": (6, True),
        "depthwise.0_in": (5, False),
        "project.0_in": (4, False),
        "avg_pool2d_in": (8, True),
        "head_in": (3, True),
    }


def test_default_widths() -> None:
    model = quantise_module(Bottlenecks())
    assert (model.weight_bits, model.act_bits) == ((8, 4, 8, 4, 8), (8, 4, 4, 4, 8))


@pytest.mark.parametrize(
    ("bits", "found"),
    [(3, (3, 3, 3, 3, 3)), ([2, 3, 4, 5, 6], (2, 3, 4, 5, 6)), ({"c3": 2, "f2": 5}, (8, 4, 2, 4, 5))],
)
def test_widths(bits: Bits, found: tuple[int, ...]) -> None:
    model = quantise_module(Functional(), weight_bits=bits)
    assert model.weight_bits == found
    layers = [module for module in model.modules() if isinstance(module, QuantConv2d | QuantLinear)]
    assert tuple(layer.weight_quantizer.bits for layer in layers) == found


@pytest.mark.parametrize(
    ("bits", "line"),
    [
        ([2, 3], "Functional takes 5 weight widths, one for each of c1, c2, c3, f1, f2, or 1 for all; not 2"),
        ({"c9": 3}, "Functional has no layer 'c9'; its layers are c1, c2, c3, f1, f2"),
        (9, "weight widths of Functional must be integers from 2 to 8, not 9"),
        ({"c1": True}, "weight widths of Functional must be integers from 2 to 8, not True"),
    ],
)
def test_widths_that_are_refused(bits: Any, line: str) -> None:
    with pytest.raises(UserError) as caught:
        quantise_module(Functional(), weight_bits=bits)
    assert str(caught.value) == line


def test_depthwise_layers_and_padding_of_one_side_become_nodes() -> None:
    def nodes(make: Callable[[], Made]) -> Graph:
        model, _ = random_model(make, 0, "hwgq")
        return lower(model)

    found = [node for node in nodes(made(MeanHead)).nodes if isinstance(node, Conv | SpaceToDepth)]
    assert isinstance(found[0], SpaceToDepth) and found[0].block == 2
    assert isinstance(found[1], Conv) and (found[1].groups, len(found[1].weights)) == (12, 24)
    convs = [node for node in nodes(made(Functional)).nodes if isinstance(node, Conv)]
    assert [node.padding for node in convs] == [(0,) * 4, (1, 0, 1, 0), (0, 1, 1, 1)]


class Refused(nn.Module):
    """A little of everything that has no integer form."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 7, stride=3, padding=3)
        self.features = nn.Sequential(nn.GroupNorm(2, 8), nn.SiLU(), nn.MaxPool2d(3, 2, 1))
        self.up = nn.Upsample(scale_factor=2, mode="bilinear")
        self.scale = nn.Parameter(torch.ones(1))
        self.fc = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.up(self.features(self.stem(x))) * self.scale
        x = F.hardswish(x).mean((2, 3))
        return torch.softmax(self.fc(x), 1)


def test_everything_that_is_not_supported_stands_in_one_line() -> None:
    with pytest.raises(UserError) as caught:
        quantise_module(Refused(), (3, 24, 24))
    head, *lines = str(caught.value).replace("quantised: ", "quantised; ").split("; ")
    assert head == "Refused cannot be quantised"
    assert lines == [
        "stem (Conv2d): its kernel is 7 x 7, use square ones of 1, 3 or 5, such as three 3 x 3 layers",
        "features.0 (GroupNorm): it has no integer form, use nn.BatchNorm2d",
        "features.1 (SiLU): it has no integer form, use nn.ReLU or nn.LeakyReLU",
        "features.2 (MaxPool2d): it has no integer form, use a square one without padding, dilation and ceil_mode",
        'up (Upsample): it enlarges 2 times by bilinear, use mode="nearest" and one whole factor from 2 to 4',
        "scale: it is a tensor of the model's own, only layers hold numbers",
        "mul (mul): it has no integer form, scale by batch norm, or in the weights",
        "hardswish (hardswish): it has no integer form, use nn.ReLU or nn.LeakyReLU",
        "softmax (softmax): it has no integer form, apply it to the network's output",
    ]


class Shared(nn.Module):
    """One convolution called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.relu(self.conv(x)))


class Unequal(nn.Module):
    """An addition that spreads one pixel over the image."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)
        self.fc = nn.Conv2d(4, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        return self.fc(x + F.adaptive_avg_pool2d(x, 1))


class Branching(nn.Module):
    """A forward that depends on the values."""

    def forward(self, x: Tensor) -> Tensor:
        return x if x.sum() > 0 else -x


def conv(channels: int = 3, **options: Any) -> nn.Conv2d:
    return nn.Conv2d(3, channels, **{"kernel_size": 3, **options})


@pytest.mark.parametrize(
    ("module", "line"),
    [
        (Shared(), "Shared cannot be quantised: conv (Conv2d): it is called again, give each call its own layer"),
        (Unequal(), "add (Add): it adds tensors of 4 x 6 x 6 and 4 x 1 x 1, use tensors of one shape"),
        (Branching(), "the model cannot be traced (symbolically traced variables cannot be used as inputs to"),
        (nn.Sequential(conv(stride=3)), "0 (Conv2d): its stride is 3 x 3, use 1 or 2, with pooling or a second layer"),
        (nn.Sequential(conv(dilation=3, padding=1)), "0 (Conv2d): its dilation is 3 x 3, use 1 or 2"),
        (nn.Sequential(conv(padding=3)), "0 (Conv2d): its padding is 3 x 3, use 2 at most"),
        (
            nn.Sequential(conv(padding=1, padding_mode="reflect")),
            '0 (Conv2d): it pads by reflect, use padding_mode="zeros"',
        ),
        (nn.Sequential(conv(), nn.Linear(4, 2)), "1 (Linear): it reads tensors of 4 dimensions, put an nn.Flatten"),
        (nn.Sequential(conv(), nn.MaxPool2d(4)), "1 (MaxPool2d): its windows are 4 x 4 at a stride of 4, use 2 or 3"),
        (
            nn.Sequential(conv(), nn.AdaptiveAvgPool2d(3)),
            "1 (AdaptiveAvgPool2d): its windows of 4 x 4 pixels differ, use nn.AdaptiveAvgPool2d(1)",
        ),
        (nn.Sequential(conv(), nn.LeakyReLU(-1.0)), "1 (LeakyReLU): its slope is -1, use one from 0 to 1"),
        (
            nn.Sequential(nn.PixelUnshuffle(2), nn.Conv2d(12, 4, 1, groups=2)),
            "1 (Conv2d): it reads groups of channels of nn.PixelUnshuffle, use groups=1",
        ),
        (
            nn.Sequential(conv(), nn.Flatten(), nn.BatchNorm1d(48), nn.Linear(48, 2)),
            "2 (BatchNorm1d): it reads flattened images, put an nn.BatchNorm2d before the nn.Flatten",
        ),
        (nn.Sequential(nn.ReLU(), nn.Flatten()), "Sequential has no layer with weights; add an nn.Conv2d or nn.Linear"),
        (nn.Sequential(nn.Linear(5, 5)), "the model does not run on images of the shape 3,6,6 (mat1 and mat2 shapes"),
        (
            nn.Sequential(nn.ZeroPad2d(1), nn.ReLU(), conv()),
            "0 (ZeroPad2d): no nn.Conv2d reads it, zeros are padded before an nn.Conv2d only",
        ),
        (nn.Sequential(QuantConv2d(3, 3, kernel=1, weight_bits=4)), "0 (QuantConv2d): it is quantised already"),
    ],
)
def test_modules_that_are_refused(module: nn.Module, line: str) -> None:
    with pytest.raises(UserError) as caught:
        quantise_module(module, (3, 6, 6))
    assert line in str(caught.value)


def test_dorefa_has_no_codes_of_both_signs() -> None:
    with pytest.raises(UserError) as caught:
        quantise_module(Bottlenecks(), quantizer="dorefa")
    assert "expand.0 (Conv2d): it reads negative values, which dorefa has no codes for; put an nn.ReLU" in str(
        caught.value
    )
    assert quantise_module(Residual(), quantizer="dorefa").quantizer == "dorefa"


def test_the_shape_of_images_must_be_known() -> None:
    with pytest.raises(UserError) as caught:
        quantise_module(nn.Sequential(conv()))
    assert str(caught.value) == "Sequential does not say what images it takes; set input_shape: [C, H, W]"


class Awkward(nn.Module):
    """Layers called as the training model's own attributes are, and as what is put between."""

    input_shape = (3, 6, 6)

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU())
        self.image = nn.Conv2d(4, 4, 1)
        self.quantizer = nn.Conv2d(4, 4, 1)
        self.quantizer_in = nn.Conv2d(4, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.quantizer_in(F.relu(self.quantizer(F.relu(self.image(self.table(x))))))


def test_layers_may_be_called_anything() -> None:
    module = dyadic(Awkward(), 0)
    model = quantise_module(module)
    pixels = torch.from_numpy(images(0, Awkward.input_shape)).double() / 256
    assert torch.equal(without_quantisers(model)(pixels), module(pixels))
    assert model.table.weighted_names == ("table.0", "image", "quantizer", "quantizer_in")
    lower(calibrated(model, images(0, Awkward.input_shape)))
