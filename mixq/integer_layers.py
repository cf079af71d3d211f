"""Integer counterparts of the training model's layers, in PyTorch: what `mixq.converted` is made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mixq.errors import UserError
from mixq.expressions import Window
from mixq.formats import IntFormat
from mixq.layers import QuantConv2d, QuantLinear
from mixq.quantizers import PIXEL_BITS
from mixq.rectified import SLOPE_BITS
from mixq.tracing import Step


class IntegerImage(nn.Module):
    """Pixels shifted right to the first layer's width."""

    def __init__(self, bits: int) -> None:
        super().__init__()
        self.bits = bits

    def forward(self, pixels: Tensor) -> Tensor:
        """``pixels >> (8 - bits)``."""
        return pixels >> (PIXEL_BITS - self.bits)


class IntegerSums(nn.Module):
    """Sums of products of a weighted layer, in float64, which is exact below 2^53.

    Parameters:
        layer: the training layer, for its geometry. codes: its weights' codes, int64.
        most: largest magnitude of the codes that it reads. padding: further zeros at top, left, bottom, right.
        bias: int64 (C,), added, or None.

    Raises:
        UserError: sums may reach 2^53.
    """

    def __init__(
        self,
        layer: QuantConv2d | QuantLinear,
        codes: Tensor,
        most: int,
        *,
        padding: tuple[int, int, int, int] = (0, 0, 0, 0),
        bias: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.largest = codes.abs().flatten(1).sum(1) * most
        bound = int(self.largest.max())
        if bound >= 2**53:
            raise UserError(f"sums of a layer must stay below 2^53, not {bound!r}; use fewer channels")
        self.geometry: Any = None
        if isinstance(layer, QuantConv2d):
            self.geometry = (layer.stride, layer.padding, layer.dilation, layer.groups)
        self.padding = padding
        self.register_buffer("codes", codes.double())
        self.register_buffer("bias", bias)
        self.codes: Tensor
        self.bias: Tensor | None

    def forward(self, activations: Tensor) -> Tensor:
        """Int64 sums of int64 codes."""
        values = activations.double()
        if self.geometry is None:
            sums = F.linear(values, self.codes).to(torch.int64)
            return sums if self.bias is None else sums + self.bias
        top, left, bottom, right = self.padding
        sums = F.conv2d(F.pad(values, (left, right, top, bottom)), self.codes, None, *self.geometry).to(torch.int64)
        return sums if self.bias is None else sums + self.bias[:, None, None]


class IntegerTerms(nn.Module):
    """``sum over terms of x_i * multiplier_i + bias`` for each channel, in units of ``2^-out_shift`` steps.

    Parameters:
        sources: paths of the steps whose integers these are. windows: that each is summed over first,
            None for none. multipliers, bias: int64 (C,), or one for all channels. shift: T, of multipliers and bias.
        slope: of a leaky rectifier, in units of ``2^-SLOPE_BITS``; 0 for one that leaves nothing, None for none.
    """

    def __init__(
        self,
        *,
        sources: Sequence[str],
        windows: Sequence[Window | None],
        multipliers: Sequence[Tensor],
        bias: Tensor,
        shift: int,
        slope: int | None,
    ) -> None:
        super().__init__()
        self.sources = tuple(sources)
        self.windows = tuple(windows)
        self.multipliers = list(multipliers)
        self.bias = bias
        self.slope = slope
        self.shift = shift
        self.out_shift = shift + (SLOPE_BITS if slope else 0)
        self._raised = 0

    def raise_to(self, shift: int) -> None:
        """Give values in units of ``2^-shift``, which are finer or the same."""
        self._raised = shift - self.out_shift
        self.out_shift = shift

    def bound(self, largest: Mapping[str, Any]) -> int:
        """Largest magnitude of a value; largest: magnitudes of the sources' integers, one or one for each channel."""
        total: list[int] = []
        for source, window, multiplier in zip(self.sources, self.windows, self.multipliers, strict=True):
            count = 1 if window is None else window.rows * window.columns
            magnitudes = torch.as_tensor(largest[source]).flatten().tolist()
            own = multiplier.flatten().tolist()
            channels = max(len(magnitudes), len(own))
            terms = [magnitudes[i % len(magnitudes)] * count * abs(own[i % len(own)]) for i in range(channels)]
            total = terms if not total else [total[i % len(total)] + terms[i % len(terms)] for i in range(channels)]
        biases = self.bias.flatten().tolist()
        most = max(own + abs(biases[i % len(biases)]) for i, own in enumerate(total))
        return most << (self._raised + (SLOPE_BITS if self.slope else 0))

    def forward(self, made: Mapping[str, Tensor]) -> Tensor:
        """Values, of the integers of the steps by path."""
        total: Tensor | None = None
        for source, window, multiplier in zip(self.sources, self.windows, self.multipliers, strict=True):
            values = made[source] if window is None else window_sums(made[source], window)
            term = values * _broadcast(multiplier, values)
            total = term if total is None else total + term
        assert total is not None
        total = total + _broadcast(self.bias, total)
        if self.slope == 0:
            total = total.clamp(min=0)
        elif self.slope is not None:
            total = torch.where(total < 0, total * self.slope, total << SLOPE_BITS)
        return total << self._raised


class IntegerRequantise(nn.Module):
    """``clamp((y + 2^(T-1)) >> T, low, high)``: rounds half up."""

    def __init__(self, shift: int, format: IntFormat) -> None:
        super().__init__()
        self.shift = shift
        self.format = format

    def forward(self, scaled: Tensor) -> Tensor:
        """Codes of the next layer's input."""
        return ((scaled + (1 << (self.shift - 1))) >> self.shift).clamp(self.format.low, self.format.high)


def _broadcast(values: Tensor, like: Tensor) -> Tensor:
    return values.reshape((1, -1) + (1,) * (like.ndim - 2))


def window_sums(values: Tensor, window: Window) -> Tensor:
    """Sums over windows that do not overlap, incomplete ones left out: (N, C, H, W) to (N, C, H / rows, ...)."""
    rows, columns = window.rows, window.columns
    sums = values.unfold(2, rows, rows).unfold(3, columns, columns).sum(dim=(4, 5))
    return sums.flatten(1) if window.flat else sums


def moved(step: Step, values: Sequence[Tensor]) -> Tensor:
    """What an operation that moves values, or takes maxima, makes of integers, or of bounds."""
    if step.kind == "upsample":
        factor = cast(Any, step.module).scale_factor
        times = int(factor if isinstance(factor, int | float) else factor[0])
        return values[0].repeat_interleave(times, dim=2).repeat_interleave(times, dim=3)
    result: Tensor = step.module(*values)
    return result
