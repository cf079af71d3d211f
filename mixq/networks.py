"""The networks that MixQ has tables of. `mixq.models.build_model` makes one a module."""

from __future__ import annotations

from collections.abc import Sequence

from mixq.errors import UserError
from mixq.network_table import (
    MAX_BITS,
    MIN_BITS,
    AddSpec,
    ConcatSpec,
    ConvSpec,
    DenseSpec,
    LayerCounts,
    LayerSpec,
    MeanSpec,
    NetworkTable,
    PoolSpec,
    ReorgSpec,
    Shape,
    UpsampleSpec,
)

__all__ = [
    "MAX_BITS",
    "MIN_BITS",
    "AddSpec",
    "ConcatSpec",
    "ConvSpec",
    "DenseSpec",
    "LayerCounts",
    "LayerSpec",
    "MeanSpec",
    "NetworkTable",
    "PoolSpec",
    "ReorgSpec",
    "UpsampleSpec",
    "network",
    "network_names",
]


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
        _ultranet_bypass(),
        _skynet("skynet", kernel=3),
        _skynet("skynetk5", kernel=5),
        _resnet8(),
        _resnet20(),
        _mobilenet(),
        _ds_cnn(),
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


def _ultranet_bypass() -> NetworkTable:
    """UltraNet whose fourth convolution goes two ways: space-to-depth, and pooling and three convolutions."""
    layers: tuple[LayerSpec, ...] = (
        ConvSpec(channels=16),
        PoolSpec(),
        ConvSpec(channels=32),
        PoolSpec(),
        ConvSpec(channels=64),
        PoolSpec(),
        ConvSpec(channels=64),
        ReorgSpec(),
        PoolSpec(reads=("conv4",)),
        *(ConvSpec(channels=64) for _ in range(3)),
        ConcatSpec(reads=("reorg1", "conv7")),
        ConvSpec(channels=64),
        ConvSpec(channels=36, kernel=1, padding=0, bias=True, batch_norm=False),
    )
    return _table("ultranet_bypass", (3, 160, 320), layers)


def _skynet(name: str, *, kernel: int) -> NetworkTable:
    """Six depthwise and pointwise convolutions, pooling after the first three, and a 1x1 one to the detection head."""
    layers: list[LayerSpec] = []
    channels = 3
    for index, count in enumerate((48, 96, 192, 384, 512, 96)):
        layers.append(ConvSpec(channels=channels, kernel=kernel, padding=kernel // 2, depthwise=True))
        layers.append(ConvSpec(channels=count, kernel=1, padding=0))
        if index < 3:
            layers.append(PoolSpec())
        channels = count
    layers.append(ConvSpec(channels=36, kernel=1, padding=0, batch_norm=False))
    return _table(name, (3, 160, 320), layers)


def _resnet8() -> NetworkTable:
    """The residual network of MLPerf Tiny's image classification; strided convolutions pad behind alone."""
    layers: list[LayerSpec] = [ConvSpec(channels=16, name="stem")]
    _residual(layers, 16, 1, before="stem", number=1, behind=True)
    _residual(layers, 32, 2, before="add1", number=2, behind=True)
    _residual(layers, 64, 2, before="add2", number=3, behind=True)
    return _table("resnet8", (3, 32, 32), (*layers, MeanSpec(), DenseSpec(units=10)))


def _resnet20() -> NetworkTable:
    """The residual network of 20 layers for CIFAR-10; where the size changes the shortcut is a 1x1 convolution."""
    layers: list[LayerSpec] = [ConvSpec(channels=16, name="stem")]
    before = "stem"
    for number in range(1, 10):
        channels = 16 << ((number - 1) // 3)
        _residual(layers, channels, 2 if number in (4, 7) else 1, before=before, number=number, behind=False)
        before = f"add{number}"
    return _table("resnet20", (3, 32, 32), (*layers, MeanSpec(), DenseSpec(units=10)))


def _residual(layers: list[LayerSpec], channels: int, stride: int, *, before: str, number: int, behind: bool) -> None:
    """Append a block of two 3x3 convolutions and a shortcut, 1x1 where the size changes.

    behind: whether strided 3x3 convolutions have their padding behind the image alone.
    """
    first, second, around = f"conv{number}a", f"conv{number}b", f"conv{number}s"
    padding: int | tuple[int, int, int, int] = (0, 0, 1, 1) if behind and stride == 2 else 1
    layers.append(ConvSpec(channels=channels, stride=stride, padding=padding, name=first, reads=(before,)))
    layers.append(ConvSpec(channels=channels, name=second))
    if stride > 1:
        layers.append(ConvSpec(channels=channels, kernel=1, padding=0, stride=stride, name=around, reads=(before,)))
    layers.append(AddSpec(reads=(second, around if stride > 1 else before)))


def _mobilenet() -> NetworkTable:
    """MobileNetV1 with a quarter of its channels, for two classes of 96 x 96 images, as MLPerf Tiny has it."""
    layers: list[LayerSpec] = [ConvSpec(channels=8, stride=2, padding=(0, 0, 1, 1))]
    channels = 8
    strided = {2: 32, 4: 64, 6: 128, 12: 256}
    for index in range(1, 14):
        count = strided.get(index, 16 if index == 1 else channels)
        stride = 2 if index in strided else 1
        padding: int | tuple[int, int, int, int] = (0, 0, 1, 1) if stride == 2 else 1
        layers.append(ConvSpec(channels=channels, stride=stride, padding=padding, depthwise=True))
        layers.append(ConvSpec(channels=count, kernel=1, padding=0))
        channels = count
    return _table("mobilenetv1_025", (3, 96, 96), (*layers, MeanSpec(), DenseSpec(units=2)))


def _ds_cnn() -> NetworkTable:
    """Depthwise-separable network for keywords, of 49 x 10 spectral coefficients: MLPerf Tiny's.

    Its first kernel is 5 x 5, where the original has 10 x 4: kernels are square here.
    """
    layers: list[LayerSpec] = [ConvSpec(channels=64, kernel=5, stride=2, padding=2)]
    for _ in range(4):
        layers.append(ConvSpec(channels=64, depthwise=True))
        layers.append(ConvSpec(channels=64, kernel=1, padding=0))
    return _table("ds_cnn", (1, 49, 10), (*layers, MeanSpec(), DenseSpec(units=12)))


def _table(name: str, input_shape: Shape, layers: Sequence[LayerSpec]) -> NetworkTable:
    """A table of 4 bits but for the 8-bit image; depthwise layers, which have few weights, have 8-bit ones."""
    weighted = [layer for layer in layers if isinstance(layer, ConvSpec | DenseSpec)]
    free = [layer for layer in weighted if layer.weight_bits is None]
    acts = sum(layer.act_bits is None for layer in weighted)
    return NetworkTable(
        name=name,
        input_shape=input_shape,
        layers=tuple(layers),
        weight_bits=tuple(8 if isinstance(layer, ConvSpec) and layer.depthwise else 4 for layer in free),
        act_bits=(8,) + (4,) * (acts - 1),
    )
