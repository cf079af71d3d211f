"""Float modules of different styles, as people write them, and random numbers for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

Made = tuple[nn.Module, tuple[int, int, int]]


def sequential() -> Made:
    """One layer behind the other, with what is nothing in inference between."""
    layers = [
        nn.Conv2d(3, 6, 3, padding="same"),
        nn.BatchNorm2d(6),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
        nn.Dropout2d(0.2),
        nn.Conv2d(6, 5, 5, stride=2, padding=2, dilation=1, bias=False),
        nn.BatchNorm2d(5, affine=False),
        nn.ReLU6(),
        nn.Identity(),
        nn.Flatten(),
        nn.Dropout(),
        nn.Linear(45, 7),
    ]
    return nn.Sequential(*layers), (3, 12, 12)


class Block(nn.Module):
    """A residual block as in torchvision: one rectifier for both calls, a shortcut that may be empty."""

    def __init__(self, channels: int, out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(out)
        self.conv2 = nn.Conv2d(out, out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out)
        self.relu = nn.ReLU(inplace=True)
        self.shortcut = nn.Sequential()
        if stride > 1 or channels != out:
            self.shortcut = nn.Sequential(nn.Conv2d(channels, out, 1, stride, bias=False), nn.BatchNorm2d(out))

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out += self.shortcut(x)
        return self.relu(out)


class Residual(nn.Module):
    """Residual blocks, a mean over the image, a dense layer."""

    input_shape = (3, 10, 10)

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), nn.ReLU())
        self.layer1 = nn.Sequential(Block(4, 4, 1), Block(4, 6, 2))
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(6, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.avgpool(self.layer1(self.stem(x)))
        return self.fc(torch.flatten(x, 1))


class Bottlenecks(nn.Module):
    """Inverted residuals: depthwise layers, linear ends whose values are of both signs."""

    input_shape = (3, 9, 9)

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, 2, 1)
        self.expand = nn.Sequential(nn.Conv2d(4, 8, 1), nn.BatchNorm2d(8), nn.ReLU6())
        self.depthwise = nn.Sequential(nn.Conv2d(8, 8, 3, 1, 1, groups=8, bias=False), nn.BatchNorm2d(8), nn.ReLU6())
        self.project = nn.Sequential(nn.Conv2d(8, 4, 1, bias=False), nn.BatchNorm2d(4))
        self.head = nn.Conv2d(4, 6, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        x = x + self.project(self.depthwise(self.expand(x)))
        return self.head(F.avg_pool2d(x, x.size()[2:])).view(x.size(0), -1)


class Branches(nn.Module):
    """Concatenated branches of different rectifiers, dense connections, upsampling; an image as output."""

    input_shape = (2, 8, 8)

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Conv2d(2, 3, 3, padding=1)
        self.two = nn.Conv2d(2, 4, 1)
        self.three = nn.Conv2d(7, 5, 3, 2, 1)
        self.norm = nn.BatchNorm2d(12)
        self.last = nn.Conv2d(12, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        joined = torch.cat([F.relu(self.one(x)), F.relu6(self.two(x))], 1)
        deep = F.interpolate(F.leaky_relu(self.three(joined), 0.1), scale_factor=2)
        return self.last(F.relu(self.norm(torch.cat((joined, deep), dim=1))))


class Functional(nn.Module):
    """Everything but the layers with weights as functions and methods."""

    input_shape = (1, 13, 11)

    def __init__(self) -> None:
        super().__init__()
        self.c1 = nn.Conv2d(1, 4, 3)
        self.c2 = nn.Conv2d(4, 6, 3, padding=(1, 0))
        self.b2 = nn.BatchNorm2d(6)
        self.c3 = nn.Conv2d(6, 6, 3, stride=2, groups=2)
        self.f1 = nn.Linear(6 * 2, 8)
        self.f2 = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.c1(x)), 2)
        x = torch.relu(self.b2(self.c2(x)))
        x = self.c3(F.pad(x, (1, 1, 0, 1))).relu()
        x = F.dropout(x.reshape(x.shape[0], -1), 0.5, self.training)
        return self.f2(F.relu(self.f1(x)))


class MeanHead(nn.Module):
    """Pixels to channels in PyTorch's order, depthwise layers on them, a mean as the last layer but batch norm's."""

    input_shape = (3, 8, 12)

    def __init__(self) -> None:
        super().__init__()
        self.unshuffle = nn.PixelUnshuffle(2)
        self.depthwise = nn.Conv2d(12, 24, 3, padding=1, groups=12)
        self.norm = nn.BatchNorm2d(24)
        self.act = nn.LeakyReLU(0.125)
        self.point = nn.Conv2d(24, 5, 1)
        self.end = nn.BatchNorm2d(5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.norm(self.depthwise(self.unshuffle(x))))
        return self.end(self.point(x)).mean((2, 3))


def mlp() -> Made:
    """Dense layers alone, with batch norm."""
    layers = [nn.Flatten(), nn.Linear(32, 12), nn.BatchNorm1d(12), nn.ReLU(), nn.Linear(12, 9), nn.LeakyReLU(0.2)]
    return nn.Sequential(*layers, nn.Linear(9, 6, bias=False)), (2, 4, 4)


class PreActivation(nn.Module):
    """Batch norm and rectifiers in front of layers, sums that are never rectified, an average of windows."""

    input_shape = (3, 8, 8)

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.norms = nn.ModuleList(nn.BatchNorm2d(4) for _ in range(3))
        self.convs = nn.ModuleList(nn.Conv2d(4, 4, 3, padding=1) for _ in range(3))
        self.pool = nn.AvgPool2d(2)
        self.fc = nn.Linear(64, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for norm, conv in zip(self.norms, self.convs, strict=True):
            x = x + conv(F.relu(norm(x)))
        return self.fc(self.pool(x).flatten(1))


def made(kind: type[nn.Module]) -> Callable[[], Made]:
    """A class as a function that makes one, with the shape of its images."""

    def make() -> Made:
        module: Any = kind()
        return module, module.input_shape

    make.__name__ = kind.__name__
    return make


STYLES: tuple[Callable[[], Made], ...] = (
    sequential,
    mlp,
    *(made(kind) for kind in (Residual, Bottlenecks, Branches, Functional, MeanHead, PreActivation)),
)


def randomise(module: nn.Module, seed: int) -> nn.Module:
    """Random weights, biases and statistics of batch norm, whose scales have both signs."""
    random = np.random.default_rng(seed)

    def fill(tensor: Tensor | None, values: np.ndarray) -> None:
        if tensor is not None:
            tensor.data.copy_(torch.from_numpy(values))

    for own in module.modules():
        if isinstance(own, nn.Conv2d | nn.Linear):
            fill(own.weight, random.standard_normal(own.weight.shape) * (1.5 / own.weight[0].numel()) ** 0.5)
            if own.bias is not None:
                fill(own.bias, random.standard_normal(own.bias.shape) * 0.2)
        elif isinstance(own, nn.BatchNorm1d | nn.BatchNorm2d):
            size = own.num_features
            if own.affine:
                fill(own.weight, random.uniform(0.5, 1.5, size) * np.where(random.random(size) < 0.2, -1, 1))
                fill(own.bias, random.standard_normal(size) * 0.3)
            fill(own.running_mean, random.standard_normal(size) * 0.2)
            fill(own.running_var, random.uniform(0.2, 1.5, size))
    return module.eval()
