"""What the placing of quantisers knows: its settings, the steps that it makes, and what it follows of each value."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from torch import nn

from mixq.network_table import Shape
from mixq.packing import WeightRange
from mixq.quantizers import QuantizerKind, WeightScale

JOIN_BITS = 8
"""Width of codes that no layer with weights reads: those of means, of additions, of the output."""

IMAGE_STEP = "image"

Order = tuple[int, ...]
"""Of channels: the number that each has in the float module."""

Rectifiers = frozenset[tuple[float, float]]
"""Slope and greatest value of each part of a tensor."""

NO_RECTIFIER: Rectifiers = frozenset({(1.0, math.inf)})


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Widths of the weighted layers by path; kind, range and scale of the quantisers."""

    image_shape: Shape
    weight_bits: Mapping[str, int]
    act_bits: Mapping[str, int]
    weight_range: WeightRange
    quantizer: QuantizerKind
    weight_scale: WeightScale


@dataclass(frozen=True, kw_only=True)
class PlacedStep:
    """A module of the training model, its path, and the paths of what it reads (`INPUT` for the image)."""

    path: str
    module: nn.Module
    reads: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Placed:
    """The steps of a training model, its output's path, and a line for each layer that cannot be where it is."""

    steps: tuple[PlacedStep, ...]
    output: str
    problems: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Value:
    """A tensor of the training model.

    path: of the step that gives it. shape: (C, H, W), flattened or not. codes: whether it holds codes. bare: whether it
    is a weighted layer's own output. moved: kinds of the steps that moved it since it was computed. rectifiers: slope
    and greatest value of each of its parts. terms: layers whose sums it adds. positive: whether it is never negative.
    order: of its channels, None where it is the float module's. padding: (left, right, top, bottom) zeros that the
    layer behind is to add.
    """

    path: str
    shape: Shape
    codes: bool = False
    bare: bool = False
    flat: bool = False
    moved: frozenset[str] = frozenset()
    rectifiers: Rectifiers = NO_RECTIFIER
    terms: int = 1
    positive: bool = False
    order: Order | None = None
    padding: tuple[int, ...] | None = None

    @property
    def plain(self) -> bool:
        """Whether it is a sum that was neither rectified nor moved, or codes."""
        return self.codes or (not self.moved and self.rectifiers == NO_RECTIFIER)
