"""Nodes that join branches: addition and concatenation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import ClassVar

from mixq.formats import IntFormat
from mixq.graph.checks import GraphError, IntArray, frozen_array
from mixq.graph.node import Join, Shape
from mixq.graph.tensor import Tensor

MAX_SUM_BITS = 62


@dataclass(frozen=True, eq=False)
class Add(Join):
    """Weighted sum of tensors of one shape: ``y[c] = sum over i of x_i[c] * multipliers[i, c]``, exactly.

    The multipliers bring the inputs to one scale; a requantisation behind it rounds once.

    Parameters: ``multipliers`` int (number of inputs, C), any sign.
    """

    op: ClassVar[str] = "add"
    arrays: ClassVar[tuple[str, ...]] = ("multipliers",)

    _: KW_ONLY
    multipliers: IntArray

    def __post_init__(self) -> None:
        super().__post_init__()
        self._set("multipliers", frozen_array(self._label("multipliers"), self.multipliers, 2))
        if len(self.multipliers) != len(self.inputs):
            raise GraphError(
                f"{self._label('multipliers')} must be there for each of {len(self.inputs)} inputs, "
                f"not {len(self.multipliers)!r}"
            )

    def shape_from(self, shapes: Sequence[Shape]) -> Shape:
        """Return the shape, which all inputs have."""
        if len(set(shapes)) > 1:
            raise GraphError(f"{self._label('inputs')} must be of one shape, not {tuple(shapes)!r}")
        if shapes[0][0] != self.multipliers.shape[1]:
            raise GraphError(
                f"{self._label('multipliers')} must be there for each of {shapes[0][0]} channels, "
                f"not {self.multipliers.shape[1]!r}"
            )
        return shapes[0]

    def sum_format(self, sources: Sequence[IntFormat]) -> IntFormat:
        """Return the exact format of the sums of codes of these formats, signed.

        ValueError where 64 bits do not suffice.
        """
        low, high = 0, 0
        ends = []
        for channel in range(self.multipliers.shape[1]):
            low = high = 0
            for source, factor in zip(sources, self.multipliers[:, channel].tolist(), strict=True):
                products = source.low * factor, source.high * factor
                low, high = low + min(products), high + max(products)
            ends.append((low, high))
        return IntFormat.for_range(min(e[0] for e in ends), max(e[1] for e in ends), signed=True, min_width=2)

    def check_tensors(self, sources: Sequence[Tensor], target: Tensor) -> None:
        """The output is the exact format of the sums, at most 62 bits."""
        try:
            exact = self.sum_format([source.format for source in sources])
        except ValueError as error:
            raise GraphError(f"{self._label('sums')}: {error}") from error
        if exact.width > MAX_SUM_BITS:
            raise GraphError(f"{self._label('sums')} must fit in {MAX_SUM_BITS} bits, not {exact.width!r}")
        if target.format != exact:
            raise GraphError(f"format of tensor {target.name} must be the exact sums' {exact}, not {target.format!r}")


@dataclass(frozen=True, eq=False)
class Concat(Join):
    """The channels of all inputs, one input behind the other. Formats are equal; scales may differ."""

    op: ClassVar[str] = "concat"

    def shape_from(self, shapes: Sequence[Shape]) -> Shape:
        """Return (sum of C, H, W); all inputs have the same H and W."""
        if len({shape[1:] for shape in shapes}) > 1:
            raise GraphError(f"{self._label('inputs')} must be of one height and width, not {tuple(shapes)!r}")
        return sum(shape[0] for shape in shapes), *shapes[0][1:]

    def check_tensors(self, sources: Sequence[Tensor], target: Tensor) -> None:
        """Formats pass unchanged; the scale is that of the inputs, channel by channel, None where one is unknown."""
        for tensor in (*sources, target):
            if tensor.format != sources[0].format:
                raise GraphError(
                    f"format of tensor {tensor.name} must equal that of {sources[0].name}, not {tensor.format!r}"
                )
        scale = self.scale_from(sources)
        if target.scale != scale:
            raise GraphError(f"scale of tensor {target.name} must be that of the inputs, not {target.scale!r}")

    @staticmethod
    def scale_from(sources: Sequence[Tensor]) -> float | tuple[float, ...] | None:
        """Return the scale of the output."""
        scales: list[float] = []
        for source in sources:
            own = source.channel_scales
            if own is None:
                return None
            scales += own
        return scales[0] if len(set(scales)) == 1 else tuple(scales)
