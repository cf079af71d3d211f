"""Quantisers whose steps are learned together with the weights.

Source of formulas: Esser et al., "Learned Step Size Quantization", ICLR 2020. With a step s and codes in ``low..high``
a value v becomes ``s * round(clamp(v / s, low, high))``. Gradients of that, where the rounding counts as the identity:

================  ======================  ============
place of v / s    gradient of s           gradient of v
================  ======================  ============
low or below      low                     0
between           round(v / s) - v / s    1
high or above     high                    0
================  ======================  ============

The gradient of s is summed over the tensor and multiplied by ``1 / sqrt(N * high)``, N being the number of weights of
the layer, or of the channel where each has a step, or of activations of one image: then steps and weights move at rates
that suit both, whatever the size of a batch. The first step is ``2 * mean(|v|) / sqrt(high)``; for activations the mean
is that of the rectified values, since the quantiser is the rectifier too.

The step is a parameter, of which the absolute value counts, and `LEAST_STEP` where it is smaller than that.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from mixq.errors import UserError
from mixq.packing import WeightRange
from mixq.quantizers.base import ActivationQuantizerBase, WeightQuantizerBase, along_channels, widened

LEAST_STEP = 2.0**-24
"""Least step that is computed with; a power of two, the same in every floating-point format."""


class LearnedStep(nn.Module):
    """A step that is a parameter, and whether it has got its first value.

    Parameters:
        high: highest code of the quantiser, at least 1. channels: C, for a step of each; None for one.

    Attributes:
        step: the parameter, a scalar or (C,); `value` is what counts. It is better not decayed, see
            `mixq.quantizers.parameters_without_decay`.
        initialised: a buffer, 0 or 1, so that a checkpoint goes on where it stood.
    """

    step: nn.Parameter
    initialised: Tensor

    def __init__(self, high: int, channels: int | None = None) -> None:
        super().__init__()
        self.high = high
        self.step = nn.Parameter(torch.ones(() if channels is None else channels))
        self.register_buffer("initialised", torch.zeros((), dtype=torch.uint8))
        # A copy of a buffer that says yes: reading one from a GPU in each forward pass would make the program wait.
        self._known = False

    @property
    def is_initialised(self) -> bool:
        """Whether the step has its first value."""
        if not self._known:
            self._known = bool(self.initialised)
        return self._known

    def reset_parameters(self) -> None:
        """Forget the step: the next training pass finds its first value anew."""
        with torch.no_grad():
            self.step.fill_(1.0)
            self.initialised.zero_()
        self._known = False

    def first(self, mean: Tensor) -> Tensor:
        """First step for values of this mean magnitude, of its shape, as it is stored; 1 where all values are 0."""
        step = torch.where(mean > 0, 2 * mean / math.sqrt(self.high), torch.ones_like(mean))
        return step.to(self.step)

    def initialise(self, mean: Tensor) -> None:
        """Give the step its first value, for values of this mean magnitude."""
        with torch.no_grad():
            self.step.copy_(self.first(mean))
            self.initialised.fill_(1)
        self._known = True

    def value(self) -> Tensor:
        """The positive step, detached, in the dtype of the parameter."""
        return positive_step(self.step)

    def _load_from_state_dict(self, *arguments: Any, **options: Any) -> None:
        self._known = False
        super()._load_from_state_dict(*arguments, **options)


def positive_step(parameter: Tensor) -> Tensor:
    """What counts of a step's parameter: its absolute value, `LEAST_STEP` at least; detached."""
    return parameter.detach().abs().clamp_(min=LEAST_STEP)


class _RoundToStep(torch.autograd.Function):
    """Nearest multiple of the step in [low * step, high * step]; the module's docstring has the gradients.

    ``dtype`` is that in which codes are computed, forwards.
    """

    @staticmethod
    def forward(
        ctx: Any, value: Tensor, parameter: Tensor, low: int, high: int, scale: float, dtype: torch.dtype
    ) -> Tensor:
        ctx.save_for_backward(value, parameter)
        ctx.low, ctx.high, ctx.scale = low, high, scale
        step = along_channels(positive_step(parameter), value).to(dtype)
        # The quotient is a new tensor, which the rest may overwrite.
        return (value.to(dtype) / step).clamp_(low, high).round_().mul_(step).to(value.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, None, None, None, None]:
        value, parameter = ctx.saved_tensors
        (gradient,) = gradients
        wide = widened(value)
        step = along_channels(positive_step(parameter), value)
        ratio = (wide / step.to(wide.dtype)).clamp_(ctx.low, ctx.high)
        # 1 between the ends, 0 at them: as a number, which is several times as fast as masks are.
        inside = ratio.sub(ctx.low).mul_(ctx.high - ratio).sign_()
        of_value, of_step = None, None
        if ctx.needs_input_grad[0]:
            of_value = (gradient * inside).to(value.dtype)
        if ctx.needs_input_grad[1]:
            slopes = torch.round(ratio).sub_(inside.mul_(ratio)).mul_(gradient)
            # The step is the parameter's absolute value.
            sign = torch.where(parameter < 0, -1.0, 1.0)
            total = slopes.sum() if parameter.ndim == 0 else slopes.flatten(1).sum(1)
            of_step = (total * sign * ctx.scale).to(parameter.dtype)
        return of_value, of_step, None, None, None, None


class LSQWeightQuantizer(WeightQuantizerBase):
    """Weight quantiser with a learned step: codes ``clamp(round(w / s), low, 2^(b-1) - 1)``.

    The first forward pass in training finds the first step from the weights; until then `step` is what it would find.

    Parameters, raises: as of `WeightQuantizerBase`, but for 1 bit, which is refused: the highest code would be 0.

    Attributes:
        learned: the step's parameter and state.
    """

    def __init__(self, bits: int, weight_range: WeightRange = "full", channels: int | None = None) -> None:
        super().__init__(bits, weight_range, channels)
        if bits == 1:
            raise ValueError(f"bits must be between 2 and 8 for a learned step, not {bits!r}")
        self.learned = LearnedStep(self.format.high, channels)

    def problem(self, weight: Tensor) -> str:
        """Weights or a step that are not finite."""
        finite = bool(torch.isfinite(weight).all()) and bool(torch.isfinite(self.step(weight)).all())
        return "" if finite else "its weights and their step must be finite"

    def initialise(self, weight: Tensor) -> None:
        """Find the first step for this tensor, whatever the step was before."""
        self.learned.initialise(self._mean_magnitude(weight))

    def step(self, weight: Tensor) -> Tensor:
        """Step for this tensor: a float64 scalar tensor, or (C,) for channels, detached."""
        if self.learned.is_initialised:
            return self.learned.value().double()
        return positive_step(self.learned.first(self._mean_magnitude(weight))).double()

    def _mean_magnitude(self, weight: Tensor) -> Tensor:
        magnitude = weight.detach().double().abs()
        return magnitude.mean() if self.channels is None else magnitude.flatten(1).mean(1)

    def step_for(self, weight: Tensor) -> Tensor:
        """What a forward pass with this tensor takes for its step: the parameter, which this may initialise."""
        if self.training and not self.learned.is_initialised:
            self.initialise(weight)
        return self.learned.step if self.learned.is_initialised else self.step(weight)

    def gradient_scale(self, weight: Tensor) -> float:
        """What the gradient of the step is multiplied by."""
        count = weight.numel() if self.channels is None else weight[0].numel()
        return 1 / math.sqrt(count * self.format.high)

    def forward(self, weight: Tensor) -> Tensor:
        """``codes * step`` in the dtype of the weights."""
        step, scale = self.step_for(weight), self.gradient_scale(weight)
        value: Tensor = _RoundToStep.apply(weight, step, self.format.low, self.format.high, scale, torch.float64)
        return value


class LSQActivationQuantizer(ActivationQuantizerBase):
    """Activation quantiser with a learned step: codes ``round(clamp(x / s, low, high))``.

    The first batch in training gives the first step: where several processes train together, the mean of theirs.
    Without one there is neither a step nor codes.

    Parameters, raises: as of `ActivationQuantizerBase`.

    Attributes:
        learned: the step's parameter and state.
    """

    def __init__(self, bits: int, signed: bool = False) -> None:
        super().__init__(bits, signed)
        self.learned = LearnedStep(self.format.high)

    @property
    def step(self) -> float:
        """The step as it is now.

        Raises:
            UserError: it has no value yet.
        """
        return float(self._value())

    def problem(self) -> str:
        """A step that has no value yet, or is not finite."""
        if not self.learned.is_initialised:
            return "its step has not been learned"
        return "" if math.isfinite(self.step) else "its step must be finite"

    def initialise(self, value: Tensor) -> None:
        """Find the first step for these values (N, ...), whatever the step was before."""
        value = value.detach()
        mean = (value.abs() if self.signed else value.clamp(min=0)).mean(dtype=torch.float64)
        self.learned.initialise(_mean_of_processes(mean))

    def codes(self, value: Tensor) -> Tensor:
        """Integer codes of this tensor, in its own dtype, detached; float32 for 16-bit ones."""
        value = widened(value.detach())
        return (value / self._value().to(value.dtype)).clamp_(self.format.low, self.format.high).round_()

    def step_for(self, value: Tensor) -> Tensor:
        """What a forward pass with these values takes for its step: the parameter, which this may initialise."""
        if self.training and not self.learned.is_initialised:
            self.initialise(value)
        self._check_initialised()
        return self.learned.step

    def gradient_scale(self, value: Tensor) -> float:
        """What the gradient of the step is multiplied by, for values (N, ...)."""
        return 1 / math.sqrt(max(1, math.prod(value.shape[1:])) * self.format.high)

    def forward(self, value: Tensor) -> Tensor:
        """``codes * step`` in the dtype of the value, (N, ...)."""
        step, scale = self.step_for(value), self.gradient_scale(value)
        dtype = widened(value.new_empty(0)).dtype
        rounded: Tensor = _RoundToStep.apply(value, step, self.format.low, self.format.high, scale, dtype)
        return rounded

    def _value(self) -> Tensor:
        self._check_initialised()
        return self.learned.value()

    def _check_initialised(self) -> None:
        if not self.learned.is_initialised:
            raise UserError("a learned step of activations has no value yet; train the network first")


def _mean_of_processes(value: Tensor) -> Tensor:
    """Mean of a scalar over the processes that train together; the scalar itself where there is one."""
    distributed = torch.distributed
    if not (distributed.is_available() and distributed.is_initialized()):
        return value
    total = value.clone()
    distributed.all_reduce(total)
    return total / distributed.get_world_size()
