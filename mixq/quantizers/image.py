"""The quantiser of a network's input, the same for all kinds."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from mixq.formats import IntFormat
from mixq.quantizers.base import check_bits

PIXEL_BITS = 8
"""Width of an image's pixels; an image network takes ``pixel / 2**PIXEL_BITS`` as its real input."""


class _TruncateImage(torch.autograd.Function):
    """Codes of ``pixel / 256`` times their step, with a gradient of one."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, bits: int, white: int) -> Tensor:
        return torch.floor(value * 2.0**bits) * 2.0 ** (PIXEL_BITS - bits) / white

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return gradients[0], None, None


class ImageQuantizer(nn.Module):
    """Quantiser of a network's input, ``pixel / 256`` of an 8-bit image: codes ``pixel >> (8 - b)``.

    Parameters:
        bits: width of the first layer's activations, 1..8.
        white: the pixel that counts as 1.0: 256, or 255 for networks that were trained so. Codes are the same, the
            step is not.

    Raises:
        TypeError, ValueError: ``bits`` is not an integer in 1..8; ``white`` is neither 255 nor 256.
    """

    def __init__(self, bits: int, *, white: int = 1 << PIXEL_BITS) -> None:
        super().__init__()
        self.bits = check_bits("bits", bits)
        if white not in (255, 256):
            raise ValueError(f"white must be 255 or 256, not {white!r}")
        self.white = white

    @property
    def format(self) -> IntFormat:
        """Format of the codes: unsigned, ``bits`` wide."""
        return IntFormat(self.bits, signed=False)

    @property
    def step(self) -> float:
        """The step, ``2^(8 - bits) / white``."""
        return 2.0 ** (PIXEL_BITS - self.bits) / self.white

    def codes(self, value: Tensor) -> Tensor:
        """Integer codes of ``pixel / 256``, in its own dtype, detached."""
        return torch.floor(value.detach() * 2.0**self.bits)

    def forward(self, value: Tensor) -> Tensor:
        """``codes * step`` in the dtype of the value, which holds ``pixel / 256`` in [0, 1)."""
        truncated: Tensor = _TruncateImage.apply(value, self.bits, self.white)
        return truncated

    def extra_repr(self) -> str:
        """Show the width where PyTorch prints the module."""
        return f"bits={self.bits}" + ("" if self.white == 1 << PIXEL_BITS else f", white={self.white}")
