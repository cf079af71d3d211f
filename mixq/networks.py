"""The networks as tables: layers, default widths, counts. `mixq.models.build_model` makes one a module.

A network is a chain of `ConvSpec`, `PoolSpec` and `DenseSpec`. Layers with weights are *weighted layers*;
each has a weight width and an activation width, the latter that of its *input*: the first is the width to
which the 8-bit image is truncated. A layer may fix a width of its own (``weight_bits``/``act_bits`` of its
spec); lists of widths then may leave it out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mixq.errors import UserError

MIN_BITS, MAX_BITS = 2, 8
"""Widths that a weighted layer may have."""


@dataclass(frozen=True, kw_only=True)
class ConvSpec:
    """Convolution, by default 3x3, stride 1, padding 1, no bias, followed by batch norm.

    ``weight_bits`` and ``act_bits`` are the layer's fixed widths, None where lists of widths set them.
    """

    channels: int
    kernel: int = 3
    stride: int = 1
    padding: int = 1
    bias: bool = False
    batch_norm: bool = True
    weight_bits: int | None = None
    act_bits: int | None = None


@dataclass(frozen=True, kw_only=True)
class PoolSpec:
    """Max-pooling without padding, by default 2x2 with stride 2."""

    kernel: int = 2
    stride: int = 2


@dataclass(frozen=True, kw_only=True)
class DenseSpec:
    """Dense layer, by default with bias and without batch norm, 8-bit weights and activations."""

    units: int
    bias: bool = True
    batch_norm: bool = False
    weight_bits: int | None = 8
    act_bits: int | None = 8


LayerSpec = ConvSpec | PoolSpec | DenseSpec


@dataclass(frozen=True, kw_only=True)
class LayerCounts:
    """Multiplications per frame and weights of one weighted layer."""

    name: str
    macs: int
    weights: int


@dataclass(frozen=True, kw_only=True)
class NetworkTable:
    """One network: its name, the shape (C, H, W) of its input, its layers, its default widths."""

    name: str
    input_shape: tuple[int, int, int]
    layers: tuple[LayerSpec, ...]
    weight_bits: tuple[int, ...]
    act_bits: tuple[int, ...]

    @property
    def weighted_layers(self) -> tuple[ConvSpec | DenseSpec, ...]:
        """The convolutions and dense layers, in order."""
        return tuple(layer for layer in self.layers if not isinstance(layer, PoolSpec))

    @property
    def weighted_names(self) -> tuple[str, ...]:
        """Names of the weighted layers: conv1, conv2, ..., dense1, ... (``dense`` when there is one)."""
        kinds = ["dense" if isinstance(layer, DenseSpec) else "conv" for layer in self.weighted_layers]
        numbered = [f"{kind}{kinds[:index].count(kind) + 1}" for index, kind in enumerate(kinds)]
        return tuple("dense" if n == "dense1" and kinds.count("dense") == 1 else n for n in numbered)

    def resolve_weight_bits(self, weight_bits: Sequence[int] | None = None) -> tuple[int, ...]:
        """Weight width of every weighted layer; see `resolve_act_bits` for what may be given."""
        return self._resolve("weight", weight_bits, self.weight_bits)

    def resolve_act_bits(self, act_bits: Sequence[int] | None = None) -> tuple[int, ...]:
        """Activation width of every weighted layer's input.

        Parameters:
            act_bits: None for the defaults; one width for all layers that fix none; one for each layer
                that fixes none; or one for every weighted layer.

        Raises:
            UserError: another number of widths, or one that is no integer in 2..8.
        """
        return self._resolve("act", act_bits, self.act_bits)

    def shapes(self) -> tuple[tuple[int, int, int], ...]:
        """Shape (C, H, W) of every layer's output, in the order of ``layers``."""
        shapes: list[tuple[int, int, int]] = []
        channels, height, width = self.input_shape
        for layer in self.layers:
            if isinstance(layer, DenseSpec):
                channels, height, width = layer.units, 1, 1
            else:
                margin = layer.kernel - (2 * layer.padding if isinstance(layer, ConvSpec) else 0)
                height = (height - margin) // layer.stride + 1
                width = (width - margin) // layer.stride + 1
                channels = layer.channels if isinstance(layer, ConvSpec) else channels
            shapes.append((channels, height, width))
        return tuple(shapes)

    def counts(self) -> tuple[LayerCounts, ...]:
        """Multiplications per frame (zero padding included) and weights (no biases) of weighted layers."""
        counts = []
        names = iter(self.weighted_names)
        channels, height, width = self.input_shape
        for layer, shape in zip(self.layers, self.shapes(), strict=True):
            if not isinstance(layer, PoolSpec):
                window = layer.kernel**2 if isinstance(layer, ConvSpec) else height * width
                weights = shape[0] * channels * window
                macs = weights * shape[1] * shape[2]
                counts.append(LayerCounts(name=next(names), macs=macs, weights=weights))
            channels, height, width = shape
        return tuple(counts)

    def _resolve(self, kind: str, given: Sequence[int] | None, default: tuple[int, ...]) -> tuple[int, ...]:
        fixed = [layer.weight_bits if kind == "weight" else layer.act_bits for layer in self.weighted_layers]
        free = fixed.count(None)
        bits = list(default if given is None else given)
        for width in bits:
            if isinstance(width, bool) or not isinstance(width, int) or not MIN_BITS <= width <= MAX_BITS:
                raise UserError(
                    f"{kind} widths of {self.name} must be integers from {MIN_BITS} to {MAX_BITS}, not {width!r}"
                )
        if len(bits) == len(fixed):
            return tuple(bits)
        if len(bits) == 1:
            bits *= free
        if len(bits) != free:
            every = f"{len(fixed)} {kind} widths, one for each of {', '.join(self.weighted_names)}"
            set_alone = [n for n, width in zip(self.weighted_names, fixed, strict=True) if width is not None]
            shorter = f", or {free} without {', '.join(set_alone)}" if set_alone else ""
            raise UserError(f"{self.name} takes {every}{shorter}, or 1 for all; not {len(bits)}")
        rest = iter(bits)
        return tuple(next(rest) if width is None else width for width in fixed)


def network_names() -> tuple[str, ...]:
    """Names of the networks that `network` knows, sorted."""
    return tuple(sorted(_tables()))


def network(name: str) -> NetworkTable:
    """Table of the network ``name``, in which hyphens do for underscores and case does not matter.

    Raises:
        UserError: no such network.
    """
    tables = _tables()
    key = name.strip().lower().replace("-", "_")
    if key not in tables:
        raise UserError(f"no network is called {name!r}; choose one of {', '.join(sorted(tables))}")
    return tables[key]


def _tables() -> dict[str, NetworkTable]:
    tables = (
        _vgg("vgg_tiny", (64, 64, 128, 128, 256, 256)),
        _vgg("vgg_tiny_quarter", (16, 16, 32, 32, 64, 64)),
        _vgg("vgg_small", (128, 128, 256, 256, 512, 512)),
        _ultranet("ultranet", edge_weight_bits=None),
        _ultranet("ultranet_ismart", edge_weight_bits=8),
        NetworkTable(
            name="digits_cnn",
            input_shape=(1, 8, 8),
            layers=(
                ConvSpec(channels=16),
                PoolSpec(),
                ConvSpec(channels=32),
                PoolSpec(),
                ConvSpec(channels=32),
                DenseSpec(units=10, weight_bits=None, act_bits=None),
            ),
            weight_bits=(4, 3, 2, 6),
            act_bits=(5, 4, 3, 6),
        ),
    )
    return {table.name: table for table in tables}


def _vgg(name: str, channels: tuple[int, ...]) -> NetworkTable:
    """Pairs of convolutions, each pair followed by pooling, and an 8-bit dense layer to ten classes."""
    layers: list[LayerSpec] = []
    for index, count in enumerate(channels):
        layers.append(ConvSpec(channels=count))
        if index % 2:
            layers.append(PoolSpec())
    return NetworkTable(
        name=name,
        input_shape=(3, 32, 32),
        layers=(*layers, DenseSpec(units=10)),
        weight_bits=(4,) * len(channels),
        act_bits=(8,) + (4,) * (len(channels) - 1),
    )


def _ultranet(name: str, *, edge_weight_bits: int | None) -> NetworkTable:
    """Eight convolutions and a 1x1 one to the 36 channels of the detection head.

    ``edge_weight_bits`` fixes the weight width of the first and the last layer.
    """
    channels = (16, 32, 64, 64, 64, 64, 64, 64)
    layers: list[LayerSpec] = []
    for index, count in enumerate(channels):
        layers.append(ConvSpec(channels=count, weight_bits=edge_weight_bits if index == 0 else None))
        if index < 4:
            layers.append(PoolSpec())
    head = ConvSpec(channels=36, kernel=1, padding=0, bias=True, batch_norm=False, weight_bits=edge_weight_bits)
    free = len(channels) + 1 - (2 if edge_weight_bits else 0)
    return NetworkTable(
        name=name,
        input_shape=(3, 160, 320),
        layers=(*layers, head),
        weight_bits=(4,) * free,
        act_bits=(8,) + (4,) * len(channels),
    )
