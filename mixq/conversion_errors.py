"""How far a code of the integer model may be from the boundary at which the training model's code differs.

Rounding a multiplier or a bias moves it by a half of ``2^-T`` at most, so a value of terms ``x_i * m_i + b`` is off by
at most ``(sum of |x_i| + 1) * 2^-(T+1)`` next steps; a slope of 1 at most adds ``|y| * 2^-(SLOPE_BITS+1)`` where a
leaky rectifier's value y is negative. What moves values or takes maxima moves the bounds.

The training model's real value is itself a float64 with rounding errors. A value that n + k operations make from exact
operands, with magnitudes that sum to M, is off by at most ``(n + k) * 2^-52 * M``; here n is the number of
products in a sum, k = 16 for each term covers steps, bias, batch norm and the division by the next step. That is added
to the bound; it is some 10^5 times smaller.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from mixq.converted import ConvertedModel, leaves
from mixq.expressions import Real, Term, Terms
from mixq.folding import FloatArray, rounding_bound
from mixq.integer_layers import IntegerSums, moved, window_sums
from mixq.rectified import SLOPE_BITS

_EXTRA_OPERATIONS = 16


def along(values: FloatArray, like: Tensor) -> Tensor:
    """Values of channels, (C,) or (1,), beside a tensor (N, C, ...)."""
    return torch.from_numpy(np.ascontiguousarray(values)).reshape((1, -1) + (1,) * (like.ndim - 2))


class FloatErrors:
    """Bounds for the quantisers of a converted model, in steps of their codes."""

    def __init__(self, converted: ConvertedModel) -> None:
        self._converted = converted

    def of_codes(self, path: str, made: dict[str, Tensor]) -> Tensor:
        """Bound for each code of a quantiser, float64 of the codes' shape; made: integers of the steps by path."""
        quantizer: Any = self._converted.network.get_submodule(path)
        value = self._converted.expressions.quantised[path]
        steps = dict(zip(map(id, leaves(value)), quantizer.parts, strict=True))
        next_step = self._converted.expressions.codes(path).step
        assert isinstance(next_step, float)
        return self._bound(value, made, steps, next_step)

    def _bound(self, value: Real, made: dict[str, Tensor], parts: dict[int, Any], next_step: float) -> Tensor:
        if not isinstance(value, Terms):
            return moved(value.step, [self._bound(part, made, parts, next_step) for part in value.parts])
        part = parts[id(value)]
        total: Tensor | None = None
        for term in value.terms:
            sums = made[term.source].abs()
            if term.window is not None:
                sums = window_sums(sums, term.window)
            total = sums if total is None else total + sums
        assert total is not None
        bound = torch.from_numpy(rounding_bound(total.double().numpy(), part.shift))
        if part.slope:
            slope = part.slope * 2.0**-SLOPE_BITS
            before = part(made).abs().double() * 2.0**-part.out_shift / slope
            bound = bound * max(1.0, slope) + before * 2.0 ** -(SLOPE_BITS + 1)
        return bound + along(self._of_floats(value) / next_step, total)

    def of_sums(self, value: Terms) -> tuple[FloatArray, FloatArray]:
        """Step of a weighted layer's sums, (C,) or (1,), and the error of its real values in units of that."""
        (term,) = value.terms
        step = np.atleast_1d(np.prod(np.broadcast_arrays(*term.steps), axis=0))
        return step, self._of_floats(value) / step

    def _of_floats(self, value: Terms) -> FloatArray:
        """How far a channel's real value may be off for float64's rounding; (C,)."""
        total = np.zeros(1)
        operations = _EXTRA_OPERATIONS
        for term in value.terms:
            magnitude, products = self._magnitude(term)
            total = total + magnitude
            operations += products + _EXTRA_OPERATIONS
        error: FloatArray = operations * 2.0**-52 * (total + value.magnitude)
        return error

    def _magnitude(self, term: Term) -> tuple[FloatArray, int]:
        """Largest magnitude of a term's real values, (C,), and of how many products its integers are sums."""
        module: Any = None
        codes = self._converted.expressions.values[term.source]
        if isinstance(codes, Terms):
            module = self._converted.network.get_submodule(term.source)
        window = 1 if term.window is None else term.window.rows * term.window.columns
        most, products = np.array([float((1 << term.bits) - 1)]), window
        if isinstance(module, IntegerSums):
            most, products = module.largest.double().numpy() * window, module.codes[0].numel() * window
        for step in term.steps:
            most = most * step
        magnitude: FloatArray = most * np.abs(term.scale)
        return magnitude, products
