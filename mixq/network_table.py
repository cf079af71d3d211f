"""A network as a table: its layers, what each reads, the widths it has by default, and what follows from that.

A table is a list of layer specifications, each of which reads the layer before it unless it names others. Layers with
weights are *weighted layers*; each has a weight width and an activation width, the latter that of its *input*: the
first is the width to which the 8-bit image is truncated. A layer may fix a width of its own
(``weight_bits``/``act_bits`` of its spec); lists of widths then may leave it out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from mixq.errors import UserError

MIN_BITS, MAX_BITS = 2, 8
"""Widths that a weighted layer may have."""

IMAGE = -1
"""Place of the image among the layers that a layer reads."""

Shape = tuple[int, int, int]
Padding = tuple[int, int, int, int]


@dataclass(frozen=True, kw_only=True)
class LayerSpec:
    """What all layers have.

    ``reads``: names of the layers read, None for the one before. ``name``: by default its kind with a number.
    """

    name: str | None = None
    reads: tuple[str, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class ConvSpec(LayerSpec):
    """Convolution, by default 3x3, stride 1, padding 1, no bias, followed by batch norm.

    ``padding``: zeros on all sides, or at (top, left, bottom, right). ``depthwise``: each channel by itself;
    ``channels`` is then how many go in and out. ``weight_bits`` and ``act_bits`` are the layer's fixed widths, None
    where lists of widths set them.
    """

    channels: int
    kernel: int = 3
    stride: int = 1
    padding: int | Padding = 1
    dilation: int = 1
    depthwise: bool = False
    bias: bool = False
    batch_norm: bool = True
    weight_bits: int | None = None
    act_bits: int | None = None

    @property
    def groups(self) -> int:
        """Blocks of channels that are convolved by themselves."""
        return self.channels if self.depthwise else 1

    @property
    def sides(self) -> Padding:
        """Zeros at top, left, bottom and right."""
        return (self.padding,) * 4 if isinstance(self.padding, int) else self.padding


@dataclass(frozen=True, kw_only=True)
class PoolSpec(LayerSpec):
    """Max-pooling without padding, by default 2x2 with stride 2."""

    kernel: int = 2
    stride: int = 2


@dataclass(frozen=True, kw_only=True)
class MeanSpec(LayerSpec):
    """Mean over the whole image, of codes of ``bits``: what it reads is quantised for it."""

    bits: int = 8


@dataclass(frozen=True, kw_only=True)
class ReorgSpec(LayerSpec):
    """Space-to-depth: blocks of pixels become channels, ``(row offset * block + column offset) * C + c``."""

    block: int = 2


@dataclass(frozen=True, kw_only=True)
class ConcatSpec(LayerSpec):
    """Concatenation of the channels of the layers that ``reads`` names."""


@dataclass(frozen=True, kw_only=True)
class AddSpec(LayerSpec):
    """Sum of the layers that ``reads`` names.

    A layer of these that a weighted layer reads too is added as that one's quantiser leaves it.
    """


@dataclass(frozen=True, kw_only=True)
class UpsampleSpec(LayerSpec):
    """Every pixel ``factor`` times in each direction."""

    factor: int = 2


@dataclass(frozen=True, kw_only=True)
class DenseSpec(LayerSpec):
    """Dense layer, by default with bias and without batch norm, 8-bit weights and activations."""

    units: int
    bias: bool = True
    batch_norm: bool = False
    weight_bits: int | None = 8
    act_bits: int | None = 8


_KINDS = {
    ConvSpec: "conv",
    DenseSpec: "dense",
    PoolSpec: "pool",
    MeanSpec: "mean",
    ReorgSpec: "reorg",
    ConcatSpec: "concat",
    AddSpec: "add",
    UpsampleSpec: "up",
}


@dataclass(frozen=True, kw_only=True)
class LayerCounts:
    """Multiplications per frame and weights of one weighted layer."""

    name: str
    macs: int
    weights: int


@dataclass(frozen=True, kw_only=True)
class NetworkTable:
    """One network: its name, the shape (C, H, W) of its input, its layers, its default widths.

    Raises ValueError where a layer reads one that is not before it, or two have one name.
    """

    name: str
    input_shape: Shape
    layers: tuple[LayerSpec, ...]
    weight_bits: tuple[int, ...]
    act_bits: tuple[int, ...]

    def __post_init__(self) -> None:
        if len(set(self.layer_names)) < len(self.layers):
            raise ValueError(f"layers must have different names, not {self.layer_names!r}")
        for index, read in enumerate(self.inputs):
            joins = isinstance(self.layers[index], ConcatSpec | AddSpec)
            if (len(read) > 1) != joins:
                raise ValueError(
                    f"layer {self.layer_names[index]} must read {'several' if joins else 'one'}, not {read!r}"
                )

    @property
    def image_shape(self) -> Shape:
        """Shape (C, H, W) of an image."""
        return self.input_shape

    @cached_property
    def layer_names(self) -> tuple[str, ...]:
        """Name of every layer: conv1, conv2, ..., dense1, ... (``dense`` when there is one), pool1, ..."""
        kinds = [_KINDS[type(layer)] for layer in self.layers]
        numbered = [f"{kind}{kinds[:index].count(kind) + 1}" for index, kind in enumerate(kinds)]
        single = kinds.count("dense") == 1
        names = ["dense" if name == "dense1" and single else name for name in numbered]
        return tuple(layer.name or name for layer, name in zip(self.layers, names, strict=True))

    @cached_property
    def inputs(self) -> tuple[tuple[int, ...], ...]:
        """Places of the layers that each layer reads, `IMAGE` for the image."""
        found: list[tuple[int, ...]] = []
        for index, layer in enumerate(self.layers):
            if layer.reads is None:
                found.append((index - 1,))
                continue
            before = self.layer_names[:index]
            unknown = [name for name in layer.reads if name not in before]
            if unknown:
                raise ValueError(f"layer {self.layer_names[index]} must read layers before it, not {unknown[0]!r}")
            found.append(tuple(before.index(name) for name in layer.reads))
        return tuple(found)

    @property
    def weighted_layers(self) -> tuple[ConvSpec | DenseSpec, ...]:
        """The convolutions and dense layers, in order."""
        return tuple(layer for layer in self.layers if isinstance(layer, ConvSpec | DenseSpec))

    @property
    def weighted_places(self) -> tuple[int, ...]:
        """Their places among the layers."""
        return tuple(index for index, layer in enumerate(self.layers) if isinstance(layer, ConvSpec | DenseSpec))

    @property
    def weighted_names(self) -> tuple[str, ...]:
        """Names of the weighted layers."""
        return tuple(self.layer_names[index] for index in self.weighted_places)

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

    def shapes(self) -> tuple[Shape, ...]:
        """Shape (C, H, W) of every layer's output, in the order of ``layers``."""
        shapes: list[Shape] = []
        for layer, read in zip(self.layers, self.inputs, strict=True):
            own = [self.input_shape if index == IMAGE else shapes[index] for index in read]
            shapes.append(_output_shape(layer, own))
        return tuple(shapes)

    def input_shapes(self) -> tuple[Shape, ...]:
        """Shape (C, H, W) of what every layer reads, the first of several."""
        shapes = self.shapes()
        return tuple(self.input_shape if read[0] == IMAGE else shapes[read[0]] for read in self.inputs)

    def counts(self) -> tuple[LayerCounts, ...]:
        """Multiplications per frame (zero padding included) and weights (no biases) of weighted layers."""
        counts = []
        shapes, sources = self.shapes(), self.input_shapes()
        for index in self.weighted_places:
            layer, shape, (channels, height, width) = self.layers[index], shapes[index], sources[index]
            if isinstance(layer, ConvSpec):
                weights = shape[0] * channels // layer.groups * layer.kernel**2
            else:
                weights = shape[0] * channels * height * width
            macs = weights * shape[1] * shape[2]
            counts.append(LayerCounts(name=self.layer_names[index], macs=macs, weights=weights))
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


def _output_shape(layer: LayerSpec, sources: Sequence[Shape]) -> Shape:
    channels, height, width = sources[0]
    match layer:
        case ConvSpec():
            top, left, bottom, right = layer.sides
            extent = layer.dilation * (layer.kernel - 1) + 1
            rows = (height + top + bottom - extent) // layer.stride + 1
            return layer.channels, rows, (width + left + right - extent) // layer.stride + 1
        case DenseSpec():
            return layer.units, 1, 1
        case PoolSpec():
            return channels, (height - layer.kernel) // layer.stride + 1, (width - layer.kernel) // layer.stride + 1
        case MeanSpec():
            return channels, 1, 1
        case ReorgSpec():
            return channels * layer.block**2, height // layer.block, width // layer.block
        case ConcatSpec():
            return sum(shape[0] for shape in sources), height, width
        case UpsampleSpec():
            return channels, height * layer.factor, width * layer.factor
    return sources[0]
