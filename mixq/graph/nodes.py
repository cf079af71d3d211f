"""Nodes of the integer graph: convolution, dense layer, requantisation and max-pooling.

A node is immutable and knows which output it makes of an input; the graph holds it to that. Arrays are
copied, int64 and read-only.
"""

from __future__ import annotations

import dataclasses
from dataclasses import KW_ONLY, dataclass
from typing import Any, ClassVar

import numpy as np

from mixq.formats import IntFormat
from mixq.graph.bounds import MAX_ACCUMULATOR_BITS, accumulator_format
from mixq.graph.checks import GraphError, IntArray, check_int, frozen_array
from mixq.graph.names import check_name
from mixq.graph.tensor import Tensor

WEIGHT_BITS = (2, 8)
ACTIVATION_BITS = (2, 8)
CONV_KERNELS = (1, 3, 5)
CONV_STRIDES = (1, 2)
MAX_CONV_PADDING = 2
POOL_KERNELS = (2, 3)
MAX_SHIFT = 62

Shape = tuple[int, int, int]


@dataclass(frozen=True, eq=False)
class Node:
    """What all nodes have: a legal ``name``, and the names of the tensors read and written."""

    op: ClassVar[str] = ""
    arrays: ClassVar[tuple[str, ...]] = ()

    name: str
    input: str
    output: str

    def __post_init__(self) -> None:
        check_name("name of a node", self.name)
        check_name(f"input of node {self.name}", self.input)
        check_name(f"output of node {self.name}", self.output)

    def output_shape(self, shape: Shape) -> Shape:
        """Return the output's shape (C, H, W) for an input of ``shape``; GraphError when it does not fit."""
        raise NotImplementedError

    def check_formats(self, source: Tensor, target: Tensor) -> None:
        """Raise GraphError unless the formats (and scales) of input and output go with this node."""
        raise NotImplementedError

    def macs(self, output_shape: Shape) -> int:
        """Return the multiplications by weights in a frame."""
        return 0

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return all(_same(getattr(self, field.name), getattr(other, field.name)) for field in dataclasses.fields(self))

    def __hash__(self) -> int:
        return hash((self.op, self.name, self.input, self.output))

    def _label(self, parameter: str) -> str:
        return f"{parameter} of node {self.name}"

    def _set(self, parameter: str, value: object) -> None:
        object.__setattr__(self, parameter, value)


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, np.ndarray) or isinstance(other, np.ndarray):
        return np.array_equal(one, other) if one is not None and other is not None else False
    return bool(one == other)


@dataclass(frozen=True, eq=False)
class Conv(Node):
    """Two-dimensional convolution to raw accumulators: ``sum over ci, y, x of input * weights (+ bias)``.

    Parameters: ``weights`` int (C_out, C_in, K, K), K one of 1, 3, 5, inside ``weight_format`` (signed, 2
    to 8 bits); ``stride`` 1 or 2; ``padding`` zeros on all sides, 0 to min(2, K - 1); ``bias`` int (C_out,)
    in units of the accumulator, or None. As in CNN frameworks the kernel is not flipped.
    """

    op: ClassVar[str] = "conv"
    arrays: ClassVar[tuple[str, ...]] = ("weights", "bias")

    _: KW_ONLY
    weights: IntArray
    weight_format: IntFormat
    stride: int = 1
    padding: int = 0
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
        most = min(MAX_CONV_PADDING, self.kernel - 1)
        self._set("padding", check_int(self._label("padding"), self.padding, 0, most))
        self._set("bias", _checked_bias(self, self.bias, len(self.weights)))

    @property
    def kernel(self) -> int:
        """Height and width K of the kernel."""
        return int(self.weights.shape[2])

    def output_shape(self, shape: Shape) -> Shape:
        """Return (C_out, (H + 2 * padding - K) // stride + 1, likewise of W)."""
        channels, height, width = shape
        if channels != self.weights.shape[1]:
            raise GraphError(
                f"{self._label('weights')} must read {channels} input channels, not {self.weights.shape[1]!r}"
            )
        if min(height, width) + 2 * self.padding < self.kernel:
            raise GraphError(f"{self._label('kernel')} must fit in {height} x {width} pixels, not {self.kernel!r}")
        out_height, out_width = ((axis + 2 * self.padding - self.kernel) // self.stride + 1 for axis in (height, width))
        return len(self.weights), out_height, out_width

    def check_formats(self, source: Tensor, target: Tensor) -> None:
        """The output is the exact accumulator format, at most 48 bits."""
        _check_accumulator(self, self.weights, self.bias, source, target)

    def macs(self, output_shape: Shape) -> int:
        """Return C_out * C_in * K * K * H_out * W_out."""
        return int(self.weights.size) * output_shape[1] * output_shape[2]


@dataclass(frozen=True, eq=False)
class Dense(Node):
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


@dataclass(frozen=True, eq=False)
class Requantise(Node):
    """Integer scaling to the next activation's codes, a channel at a time.

    ``y = clamp((x * multiplier + bias + half) >> shift, low, high)`` with ``half = 2^(shift - 1)``, 0 for
    shift 0, an arithmetic shift, and low..high the range of the output's format.

    Parameters: ``multiplier`` and ``bias`` int (C,), any sign; ``shift`` 0 to 62.
    """

    op: ClassVar[str] = "requantise"
    arrays: ClassVar[tuple[str, ...]] = ("multiplier", "bias")

    _: KW_ONLY
    multiplier: IntArray
    bias: IntArray
    shift: int

    def __post_init__(self) -> None:
        super().__post_init__()
        self._set("multiplier", frozen_array(self._label("multiplier"), self.multiplier, 1))
        self._set("bias", frozen_array(self._label("bias"), self.bias, 1))
        if self.bias.shape != self.multiplier.shape:
            raise GraphError(f"{self._label('bias')} must have {len(self.multiplier)} values, not {len(self.bias)!r}")
        self._set("shift", check_int(self._label("shift"), self.shift, 0, MAX_SHIFT))

    def output_shape(self, shape: Shape) -> Shape:
        """Return the shape unchanged."""
        if shape[0] != len(self.multiplier):
            raise GraphError(
                f"{self._label('multiplier')} must have a value for each of {shape[0]} channels, "
                f"not {len(self.multiplier)!r}"
            )
        return shape

    def check_formats(self, source: Tensor, target: Tensor) -> None:
        """Any format goes: the output's is what the result is clamped to."""


@dataclass(frozen=True, eq=False)
class MaxPool(Node):
    """Maximum over ``kernel`` x ``kernel`` windows, without padding, incomplete windows left out.

    Parameters: ``kernel`` 2 or 3; ``stride`` 1 to kernel.
    """

    op: ClassVar[str] = "max_pool"

    _: KW_ONLY
    kernel: int
    stride: int

    def __post_init__(self) -> None:
        super().__post_init__()
        self._set("kernel", check_int(self._label("kernel"), self.kernel, *POOL_KERNELS))
        self._set("stride", check_int(self._label("stride"), self.stride, 1, self.kernel))

    def output_shape(self, shape: Shape) -> Shape:
        """Return (C, (H - kernel) // stride + 1, likewise of W)."""
        channels, height, width = shape
        if min(height, width) < self.kernel:
            raise GraphError(f"{self._label('kernel')} must fit in {height} x {width} pixels, not {self.kernel!r}")
        return channels, (height - self.kernel) // self.stride + 1, (width - self.kernel) // self.stride + 1

    def check_formats(self, source: Tensor, target: Tensor) -> None:
        """Format and scale pass unchanged."""
        if target.format != source.format:
            raise GraphError(f"format of tensor {target.name} must equal its input's, not {target.format!r}")
        if target.scale != source.scale:
            raise GraphError(f"scale of tensor {target.name} must equal its input's, not {target.scale!r}")


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


NODE_TYPES: dict[str, type[Node]] = {kind.op: kind for kind in (Conv, Dense, Requantise, MaxPool)}
