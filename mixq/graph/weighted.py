"""Nodes with weights: convolution and dense layer."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Any, ClassVar

from mixq.formats import IntFormat
from mixq.graph.bounds import MAX_ACCUMULATOR_BITS, accumulator_format
from mixq.graph.checks import GraphError, IntArray, check_int, frozen_array
from mixq.graph.node import Node, Shape, Unary
from mixq.graph.tensor import Tensor

WEIGHT_BITS = (2, 8)
ACTIVATION_BITS = (2, 8)
CONV_KERNELS = (1, 3, 5)
CONV_STRIDES = (1, 2)
CONV_DILATIONS = (1, 2)

Padding = tuple[int, int, int, int]
"""Zeros at top, left, bottom and right."""


@dataclass(frozen=True, eq=False)
class Conv(Unary):
    """Two-dimensional convolution to raw accumulators: ``sum over ci, y, x of input * weights (+ bias)``.

    Parameters: ``weights`` int (C_out, C_in / groups, K, K), K one of 1, 3, 5, inside ``weight_format``
    (signed, 2 to 8 bits); ``stride`` 1 or 2; ``padding`` zeros at (top, left, bottom, right), or one number
    for all of them (kept as four), each 0 to dilation * (K - 1); ``groups``: output channels in so many equal
    blocks, each of which reads its own block of the input channels (as many as these: depthwise);
    ``dilation`` 1 or 2, pixels between neighbouring taps; ``bias`` int (C_out,) in units of the accumulator,
    or None. As in CNN frameworks the kernel is not flipped.
    """

    op: ClassVar[str] = "conv"
    arrays: ClassVar[tuple[str, ...]] = ("weights", "bias")

    _: KW_ONLY
    weights: IntArray
    weight_format: IntFormat
    stride: int = 1
    padding: Padding | int = 0
    groups: int = 1
    dilation: int = 1
    bias: IntArray | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self._set("weights", frozen_array(self._label("weights"), self.weights, 4))
        if self.weights.shape[2] != self.weights.shape[3]:
            raise GraphError(f"{self._label('weights')} must have a square kernel, not {self.weights.shape!r}")
        if self.kernel not in CONV_KERNELS:
            raise GraphError(f"{self._label('kernel')} must be 1, 3 or 5, not {self.kernel!r}")
        _check_weights(self, self.weights, self.weight_format)
        self._set("stride", check_int(self._label("stride"), self.stride, *CONV_STRIDES))
        self._set("dilation", check_int(self._label("dilation"), self.dilation, *CONV_DILATIONS))
        self._set("groups", check_int(self._label("groups"), self.groups, 1, len(self.weights)))
        if len(self.weights) % self.groups:
            raise GraphError(f"{self._label('groups')} must divide {len(self.weights)} channels, not {self.groups!r}")
        self._set("padding", self._checked_padding(self.padding))
        self._set("bias", _checked_bias(self, self.bias, len(self.weights)))

    @property
    def kernel(self) -> int:
        """Height and width K of the kernel."""
        return int(self.weights.shape[2])

    @property
    def extent(self) -> int:
        """Pixels that the kernel spans in each direction, dilation included."""
        return self.dilation * (self.kernel - 1) + 1

    @property
    def sides(self) -> Padding:
        """The padding, side by side."""
        assert isinstance(self.padding, tuple)
        return self.padding

    def _checked_padding(self, padding: Any) -> Padding:
        sides = padding if isinstance(padding, (tuple, list)) else (padding,) * 4
        if len(sides) != 4:
            raise GraphError(f"{self._label('padding')} must be (top, left, bottom, right), not {padding!r}")
        top, left, bottom, right = (
            check_int(self._label("padding"), side, 0, self.dilation * (self.kernel - 1)) for side in sides
        )
        return top, left, bottom, right

    def output_shape(self, shape: Shape) -> Shape:
        """Return (C_out, (H + top + bottom - extent) // stride + 1, likewise of W)."""
        channels, height, width = shape
        if channels != self.weights.shape[1] * self.groups:
            raise GraphError(
                f"{self._label('weights')} must read {channels} input channels, "
                f"not {self.weights.shape[1] * self.groups!r}"
            )
        top, left, bottom, right = self.sides
        padded = height + top + bottom, width + left + right
        if min(padded) < self.extent:
            raise GraphError(f"{self._label('kernel')} must fit in {height} x {width} pixels, not {self.kernel!r}")
        out_height, out_width = ((axis - self.extent) // self.stride + 1 for axis in padded)
        return len(self.weights), out_height, out_width

    def check_formats(self, source: Tensor, target: Tensor) -> None:
        """The output is the exact accumulator format, at most 48 bits."""
        _check_accumulator(self, self.weights, self.bias, source, target)

    def macs(self, output_shape: Shape) -> int:
        """Return C_out * C_in / groups * K * K * H_out * W_out."""
        return int(self.weights.size) * output_shape[1] * output_shape[2]


@dataclass(frozen=True, eq=False)
class Dense(Unary):
    """Dense layer to raw accumulators, output shape (C_out, 1, 1).

    Parameters: ``weights`` int (C_out, C * H * W), inputs in the order channel, row, column;
    ``weight_format`` and ``bias`` as for :class:`Conv`.
    """

    op: ClassVar[str] = "dense"
    arrays: ClassVar[tuple[str, ...]] = ("weights", "bias")

    _: KW_ONLY
    weights: IntArray
    weight_format: IntFormat
    bias: IntArray | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self._set("weights", frozen_array(self._label("weights"), self.weights, 2))
        _check_weights(self, self.weights, self.weight_format)
        self._set("bias", _checked_bias(self, self.bias, len(self.weights)))

    def output_shape(self, shape: Shape) -> Shape:
        """Return (C_out, 1, 1)."""
        inputs = shape[0] * shape[1] * shape[2]
        if inputs != self.weights.shape[1]:
            raise GraphError(f"{self._label('weights')} must read {inputs} inputs, not {self.weights.shape[1]!r}")
        return len(self.weights), 1, 1

    def check_formats(self, source: Tensor, target: Tensor) -> None:
        """The output is the exact accumulator format, at most 48 bits."""
        _check_accumulator(self, self.weights, self.bias, source, target)

    def macs(self, output_shape: Shape) -> int:
        """Return C_out * inputs."""
        return int(self.weights.size)


def _check_weights(node: Node, weights: IntArray, weight_format: IntFormat) -> None:
    label = f"weight_format of node {node.name}"
    if not isinstance(weight_format, IntFormat):
        raise TypeError(f"{label} must be an IntFormat, not {weight_format!r}")
    if not WEIGHT_BITS[0] <= weight_format.width <= WEIGHT_BITS[1]:
        raise GraphError(f"{label} must be {WEIGHT_BITS[0]} to {WEIGHT_BITS[1]} bits wide, not {weight_format.width!r}")
    if not weight_format.signed:
        raise GraphError(f"{label} must be signed, not {weight_format!r}")
    if not weight_format.contains(weights):
        span = f"{int(weights.min())}..{int(weights.max())}"
        raise GraphError(
            f"weights of node {node.name} must lie in {weight_format.low}..{weight_format.high}, not {span!r}"
        )


def _checked_bias(node: Node, bias: Any, channels: int) -> IntArray | None:
    if bias is None:
        return None
    array = frozen_array(f"bias of node {node.name}", bias, 1)
    if len(array) != channels:
        raise GraphError(f"bias of node {node.name} must have {channels} values, not {len(array)!r}")
    return array


def _check_accumulator(node: Node, weights: IntArray, bias: IntArray | None, source: Tensor, target: Tensor) -> None:
    if not ACTIVATION_BITS[0] <= source.format.width <= ACTIVATION_BITS[1]:
        raise GraphError(
            f"input of node {node.name} must be {ACTIVATION_BITS[0]} to {ACTIVATION_BITS[1]} bits wide, "
            f"not {source.format.width!r}"
        )
    try:
        exact = accumulator_format(weights, source.format, bias)
    except ValueError as error:
        raise GraphError(f"accumulator of node {node.name}: {error}") from error
    if exact.width > MAX_ACCUMULATOR_BITS:
        raise GraphError(
            f"accumulator of node {node.name} must fit in {MAX_ACCUMULATOR_BITS} bits, not {exact.width!r}"
        )
    if target.format != exact:
        raise GraphError(f"format of tensor {target.name} must be the exact accumulator {exact}, not {target.format!r}")
