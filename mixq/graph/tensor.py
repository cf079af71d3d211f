"""Tensors of the integer graph."""

from __future__ import annotations

from dataclasses import dataclass

from mixq.formats import IntFormat
from mixq.graph.checks import GraphError, check_int, check_scale
from mixq.graph.names import check_name

MAX_AXIS = 1 << 16
MAX_ELEMENTS = 1 << 26
TENSOR_WIDTHS = (2, 64)

Scale = float | tuple[float, ...] | None


@dataclass(frozen=True)
class Tensor:
    """A tensor of one frame: ``shape`` (C, H, W), integer ``format``, and ``scale``.

    The real value of a code is code * scale: one number, or one for each channel (several that are all the same
    become one); None where nobody knows a scale. Raises: TypeError for a
    wrong type; GraphError for an illegal name, an axis outside 1 to 65536, more than 2^26 elements, a
    width outside 2 to 64 bits, codes beyond int64, or a scale that is not positive and finite.
    """

    name: str
    shape: tuple[int, int, int]
    format: IntFormat
    scale: Scale = None

    def __post_init__(self) -> None:
        check_name("name of a tensor", self.name)
        if not isinstance(self.shape, (tuple, list)) or len(self.shape) != 3:
            raise TypeError(f"shape of tensor {self.name} must be a tuple (C, H, W), not {self.shape!r}")
        shape = tuple(check_int(f"shape of tensor {self.name}", axis, 1, MAX_AXIS) for axis in self.shape)
        if shape[0] * shape[1] * shape[2] > MAX_ELEMENTS:
            raise GraphError(f"shape of tensor {self.name} must have at most {MAX_ELEMENTS} elements, not {shape!r}")
        object.__setattr__(self, "shape", shape)
        if not isinstance(self.format, IntFormat):
            raise TypeError(f"format of tensor {self.name} must be an IntFormat, not {self.format!r}")
        check_int(f"width of tensor {self.name}", self.format.width, *TENSOR_WIDTHS)
        if self.format.high >= 1 << 63:
            raise GraphError(f"high of tensor {self.name} must be below 2**63, not {self.format.high!r}")
        object.__setattr__(self, "scale", _checked_scale(f"scale of tensor {self.name}", self.scale, shape[0]))

    @property
    def elements(self) -> int:
        """Codes of one frame."""
        return self.shape[0] * self.shape[1] * self.shape[2]

    @property
    def channel_scales(self) -> tuple[float, ...] | None:
        """The scale of each channel, (C,); None where nobody knows."""
        if self.scale is None or isinstance(self.scale, tuple):
            return self.scale
        return (self.scale,) * self.shape[0]


def _checked_scale(name: str, value: object, channels: int) -> Scale:
    if not isinstance(value, (tuple, list)):
        return check_scale(name, value)
    if len(value) != channels:
        raise GraphError(f"{name} must have one value or {channels}, not {len(value)!r}")
    scales: list[float] = []
    for entry in value:
        scale = check_scale(name, entry)
        if scale is None:
            raise TypeError(f"{name} must hold floats only, not None")
        scales.append(scale)
    return scales[0] if len(set(scales)) == 1 else tuple(scales)
