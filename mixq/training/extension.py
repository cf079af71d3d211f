"""What a search plugs into the trainer: parameters, optimisers and a penalty of its own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler


class Extension(Protocol):
    """Takes part in every step of a training.

    In each step the trainer adds `penalty` to the batch's loss, propagates back, steps its own optimiser and then
    those of `optimizers`, and calls `after_step`. In several processes each of them holds an equal extension; the
    gradients of its parameters are summed as all others are.
    """

    def own_parameters(self) -> Iterable[nn.Parameter]:
        """Parameters that the trainer's optimiser, weight decay and average of weights leave alone.

        Those that are part of the model are saved with it; others belong into `state_dict`. Asked once, after the
        model's weights are initialised and it is on its device.
        """

    def optimizers(self, steps: int) -> list[tuple[Optimizer, LRScheduler]]:
        """Optimisers of `own_parameters` with their schedules for ``steps`` steps; the trainer steps and saves them."""

    def penalty(self) -> Tensor:
        """What is added to the loss of a batch: a scalar, the same in every process."""

    def after_step(self) -> None:
        """Called after each step of the optimisers."""

    def facts(self) -> dict[str, float]:
        """Numbers for the progress line and the log."""

    def state_dict(self) -> dict[str, Any]:
        """Everything else that the next step depends on: tensors and plain values, in dicts and lists."""

    def load_state_dict(self, state: Mapping[str, Any], /) -> None:
        """Take over what `state_dict` gave; ValueError or TypeError where it does not fit."""
