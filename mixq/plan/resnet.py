"""ResNet-18 as a list of layer sizes (He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, Table 1).

There is no hardware for some of its layers, so it is no :class:`mixq.networks.NetworkTable`; what it takes at least can
be said all the same.
"""

from __future__ import annotations

from collections.abc import Sequence

from mixq.errors import UserError
from mixq.networks import MAX_BITS, MIN_BITS
from mixq.plan.footprint import LayerSize

NAME = "resnet18"
INPUT_SHAPE = (3, 224, 224)
CLASSES = 1000

UNSUPPORTED = ("conv1 (kernel 7)", "maxpool (3x3 with padding)")
"""Layers that no hardware is built for."""

_LAYERS = 21


def resnet18_sizes(
    input_shape: tuple[int, int, int] = INPUT_SHAPE,
    *,
    weight_bits: Sequence[int] | None = None,
    act_bits: Sequence[int] | None = None,
) -> tuple[LayerSize, ...]:
    """Sizes of its 20 convolutions and its dense layer.

    weight_bits, act_bits: one width for all or one for each layer, 2..8; by default 4, and 8 for the image.

    Raises UserError for wrong widths, and for images that leave nothing of the last rows.
    """
    channels, height, width = input_shape
    if min(height, width) < 32:
        raise UserError(f"images of {NAME} must be at least 32 x 32, not {height} x {width}")
    weights = _widths("weight", weight_bits, (4,) * _LAYERS)
    acts = _widths("act", act_bits, (8,) + (4,) * (_LAYERS - 1))
    found: list[LayerSize] = []

    def conv(name: str, source: tuple[int, int, int], out: int, kernel: int, stride: int) -> tuple[int, int, int]:
        rows, columns = (-(-size // stride) for size in source[1:])  # padding of half the kernel
        count = out * source[0] * kernel**2
        at = len(found)
        found.append(
            LayerSize(
                name=name,
                weights=count,
                macs=count * rows * columns,
                line_values=source[0] * source[2] * (min(kernel, source[1]) - 1),
                weight_bits=weights[at],
                act_bits=acts[at],
            )
        )
        return out, rows, columns

    shape = conv("conv1", (channels, height, width), 64, 7, 2)
    shape = shape[0], -(-shape[1] // 2), -(-shape[2] // 2)
    for stage, out in enumerate((64, 128, 256, 512), 1):
        for block in (0, 1):
            source, stride = shape, 2 if stage > 1 and block == 0 else 1
            prefix = f"layer{stage}.{block}"
            shape = conv(f"{prefix}.conv1", source, out, 3, stride)
            shape = conv(f"{prefix}.conv2", shape, out, 3, 1)
            if stride == 2:
                conv(f"{prefix}.downsample", source, out, 1, 2)
    conv("fc", (shape[0], 1, 1), CLASSES, 1, 1)
    return tuple(found)


def _widths(kind: str, given: Sequence[int] | None, default: tuple[int, ...]) -> tuple[int, ...]:
    bits = default if given is None else tuple(given)
    if any(not MIN_BITS <= width <= MAX_BITS for width in bits):
        raise UserError(f"{kind} widths of {NAME} must be integers from {MIN_BITS} to {MAX_BITS}, not {bits!r}")
    if len(bits) not in (1, _LAYERS):
        raise UserError(f"{NAME} takes {_LAYERS} {kind} widths, one for each layer, or 1 for all; not {len(bits)}")
    return bits * _LAYERS if len(bits) == 1 else bits
