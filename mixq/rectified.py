"""A quantiser behind an expression, in integers: multipliers, biases, the range of codes, and leaky rectifiers.

A leaky rectifier's slope a becomes ``A = round(a * 2^SLOPE_BITS)``. With ``y = sum of x_i * m_i + b``, the value in
units of ``2^-T`` steps, the code is::

    clamp((y + 2^(T-1)) >> T, low, high)                                         where y >= 0
    clamp((y * A + 2^(T+SLOPE_BITS-1)) >> (T + SLOPE_BITS), low, high)           where y < 0

rounded once, half up. It never decreases in y, so it is a staircase in the integers that y is made of: a `Threshold`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from mixq.expressions import Terms
from mixq.folding import Fold, IntArray, fold_terms
from mixq.formats import IntFormat
from mixq.tracing import Step

SLOPE_BITS = 16


def term_shift(value: Terms, fraction_bits: int) -> int:
    """The shift T of an expression's requantisation; of one layer that of `mixq.folding.requantise_shift`."""
    return fraction_bits + max(term.bits for term in value.terms) - 1 + (len(value.terms) - 1).bit_length()


def folded(value: Terms, step: Step, fraction_bits: int) -> Fold:
    """Multipliers of the terms and bias, in units of the codes of the quantiser ``step``.

    Raises UserError as `mixq.folding.fold_terms`.
    """
    quantizer: Any = step.module
    return fold_terms(
        [(term.scale, term.steps) for term in value.terms],
        value.shift,
        next_step=quantizer.step,
        shift=term_shift(value, fraction_bits),
        layer=value.terms[0].source,
    )


def quantised_format(value: Terms, step: Step) -> IntFormat:
    """Format of the codes: the quantiser's, without those that the rectifier keeps from occurring."""
    quantizer: Any = step.module
    format: IntFormat = quantizer.format
    low = 0 if value.rectifier.slope == 0 else format.low
    high = format.high
    if np.isfinite(value.rectifier.most):
        # A quantiser of the greatest value: nothing behind it gets beyond.
        high = min(high, int(quantizer.codes(torch.tensor([value.rectifier.most], dtype=torch.float64))[0]))
    return IntFormat(format.width, format.signed, max(low, format.low), max(high, low))


def slope_code(slope: float) -> int:
    """The slope in units of ``2^-SLOPE_BITS``."""
    return round(slope * 2**SLOPE_BITS)


def rectified_code(scaled: int, shift: int, slope: int) -> int:
    """The code, before it is clamped, of a value in units of ``2^-shift`` steps, behind a leaky rectifier."""
    if scaled < 0:
        scaled, shift = scaled * slope, shift + SLOPE_BITS
    return (scaled + (1 << (shift - 1))) >> shift


def rectified_thresholds(fold: Fold, slope: float, source: IntFormat, target: IntFormat) -> dict[str, IntArray]:
    """Thresholds, first codes and steps of `mixq.graph.Threshold` for ``x * multiplier + bias`` behind a rectifier."""
    count = target.high - target.low
    code = slope_code(slope)
    rows, firsts, steps = [], [], []
    for factor, bias in zip(fold.multipliers[0].tolist(), fold.bias.tolist(), strict=True):

        def staircase(x: int, factor: int = factor, bias: int = bias) -> int:
            return min(max(rectified_code(x * factor + bias, fold.shift, code), target.low), target.high)

        rises = factor >= 0
        firsts.append(target.low if rises else target.high)
        steps.append(1 if rises else -1)
        rows.append([_first_beyond(staircase, level, source, firsts[-1], steps[-1]) for level in range(1, count + 1)])
    return {
        "thresholds": np.array(rows, dtype=np.int64),
        "first": np.array(firsts, dtype=np.int64),
        "step": np.array(steps, dtype=np.int64),
    }


def _first_beyond(staircase: Any, level: int, source: IntFormat, first: int, step: int) -> int:
    """The least code of ``source`` at which a staircase has taken so many steps; one beyond all where it does not."""
    low, high = source.low, source.high + 1
    while low < high:
        middle = (low + high) // 2
        if (staircase(middle) - first) * step >= level:
            high = middle
        else:
            low = middle + 1
    return low
