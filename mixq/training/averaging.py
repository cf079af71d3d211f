"""A running average of a model's weights."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class AveragedWeights:
    """Exponential moving average of a model's parameters and floating-point buffers.

    ``average = d * average + (1 - d) * weight`` after each step, with ``d = min(decay, (1 + n) / (10 + n))`` after n
    steps, so that the random weights of the start are soon forgotten.

    Parameters:
        model: whose weights; the average starts as a copy of them.
        decay: 0..1.
        skip: parameters that are left out.
    """

    def __init__(self, model: nn.Module, decay: float, skip: Collection[Tensor] = ()) -> None:
        self._decay = decay
        left_out = {id(parameter) for parameter in skip}
        self._names = [
            name
            for name, value in model.state_dict(keep_vars=True).items()
            if value.is_floating_point() and id(value) not in left_out
        ]
        self.steps = 0
        self.values = {name: value.clone() for name, value in self._live(model).items()}

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Take in the weights after a step."""
        self.steps += 1
        decay = min(self._decay, (1 + self.steps) / (10 + self.steps))
        for name, value in self._live(model).items():
            self.values[name].lerp_(value, 1 - decay)

    @contextmanager
    def applied(self, model: nn.Module) -> Iterator[None]:
        """Context in which ``model`` has the average as its weights."""
        before = {name: value.clone() for name, value in self._live(model).items()}
        self.copy_to(model)
        try:
            yield
        finally:
            _copy(before, self._live(model))

    def copy_to(self, model: nn.Module) -> None:
        """Give ``model`` the average as its weights."""
        _copy(self.values, self._live(model))

    def _live(self, model: nn.Module) -> dict[str, Tensor]:
        state = model.state_dict()
        return {name: state[name] for name in self._names}


@torch.no_grad()
def _copy(values: dict[str, Tensor], into: dict[str, Tensor]) -> None:
    for name, value in into.items():
        value.copy_(values[name])
