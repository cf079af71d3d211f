"""A search within a budget: predicted cycles are held to a target while the supernet trains.

The constraint ``g = log(cycles / target) <= 0`` is kept by an augmented Lagrangian (Nocedal and Wright, "Numerical
Optimization", 2006, section 17.3): with a multiplier m and a weight r the penalty of a step is

    (max(0, m + r g)^2 - m^2) / (2 r)

and after each step m becomes max(0, m + rate * g). So nothing has to be tuned for a budget: m rises until it is met,
and where it is met with some to spare, m falls to 0 and the task's loss alone decides.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Adam, Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler

from nas.objective import CycleObjective
from nas.supernet import Supernet


@dataclass(frozen=True, kw_only=True)
class BudgetConfig:
    """How the architecture parameters are led into the budget.

    Parameters:
        cycles: of a frame, at most; positive.
        learning_rate: of Adam, which falls to zero along half a cosine, step by step.
        weight: r of the penalty; positive. rate: by how much the multiplier follows the excess in a step.

    Raises:
        TypeError, ValueError: a value that is no number, or not positive and finite.
    """

    cycles: float
    learning_rate: float = 0.02
    weight: float = 2.0
    rate: float = 0.05

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise TypeError(f"{name} must be a number, not {value!r}")
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"{name} must be positive and finite, not {value!r}")


class BudgetExtension:
    """Trains a supernet's architecture parameters within a budget; an `Extension` of the trainer.

    Parameters:
        supernet: the model that is trained. objective: predicts its cycles. config: the budget.
    """

    def __init__(self, supernet: Supernet, objective: CycleObjective, config: BudgetConfig) -> None:
        self.supernet, self.objective, self.config = supernet, objective, config
        self.multiplier = 0.0
        self._excess: Tensor | None = None

    def own_parameters(self) -> list[nn.Parameter]:
        """The supernet's architecture parameters."""
        return self.supernet.architecture_parameters()

    def optimizers(self, steps: int) -> list[tuple[Optimizer, LRScheduler]]:
        """Adam with a cosine schedule over ``steps`` steps; none where nothing is searched."""
        parameters = self.own_parameters()
        if not parameters:
            return []
        optimizer = Adam(parameters, lr=self.config.learning_rate, betas=(0.5, 0.999))
        return [(optimizer, CosineAnnealingLR(optimizer, steps))]

    def penalty(self) -> Tensor:
        """The augmented Lagrangian's part of a batch's loss."""
        excess = self.excess()
        self._excess = excess.detach()
        weight, multiplier = self.config.weight, self.multiplier
        return ((multiplier + weight * excess).clamp_min(0) ** 2 - multiplier**2) / (2 * weight)

    def excess(self) -> Tensor:
        """``log(cycles / target)``, differentiable in the architecture parameters."""
        probabilities = self.supernet.probabilities()
        self.objective.to(probabilities[0].weight.device)
        return self.objective(probabilities).float() - math.log(self.config.cycles)

    def after_step(self) -> None:
        """The multiplier follows the excess."""
        assert self._excess is not None
        self.multiplier = max(0.0, self.multiplier + self.config.rate * float(self._excess))

    def facts(self) -> dict[str, float]:
        """``cycles`` predicted for the probabilities as they are, the multiplier, and the mean expected widths."""
        with torch.no_grad():
            cycles = self.config.cycles * math.exp(float(self.excess()))
            found = {"cycles": cycles, "multiplier": self.multiplier}
            searched = [
                (own, widths)
                for own, widths in zip(self.supernet.probabilities(), self.supernet.space.layers, strict=True)
                if len(widths.weight_widths) > 1 or len(widths.act_widths) > 1
            ]
            for name in ("weight", "act"):
                means = [
                    float((getattr(own, name).cpu() * torch.tensor(getattr(widths, f"{name}_widths"))).sum())
                    for own, widths in searched
                ]
                found[f"{name}_bits"] = sum(means) / len(means) if means else 0.0
        return found

    def state_dict(self) -> dict[str, Any]:
        """The multiplier, and the configuration, under which alone a run goes on."""
        return {"config": asdict(self.config), "multiplier": self.multiplier}

    def load_state_dict(self, state: Mapping[str, Any], /) -> None:
        """Take over the multiplier; ValueError where the state is of another configuration."""
        if state.get("config") != asdict(self.config):
            raise ValueError(f"state must be of the search's configuration {asdict(self.config)!r}, not {state!r}")
        self.multiplier = float(state["multiplier"])
