"""The published search as an extension of the trainer: architecture parameters and their penalty."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import SGD, Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler

from mixq.plan.restrictions import original_density
from nas.edmips import Complexity, Density
from nas.supernet import Supernet


@dataclass(frozen=True, kw_only=True)
class EdmipsConfig:
    """Penalty and optimiser of the architecture parameters; the defaults are those published for VGG-tiny.

    The penalty of each batch is ``scale * (decay_c * C + decay_t * T + decay_b * B)``, see `nas.edmips`.

    Parameters:
        decay_c, decay_t, decay_b: weights of the three terms. scale: of all of them.
        learning_rate, momentum, weight_decay: of SGD; the rate falls to zero along half a cosine, step by step.

    Raises:
        TypeError, ValueError: a value that is no number, not finite or negative; a learning rate of 0.
    """

    decay_c: float = 3e-5
    decay_t: float = 0.0
    decay_b: float = 0.0
    scale: float = 1.0
    learning_rate: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise TypeError(f"{name} must be a number, not {value!r}")
            if not (math.isfinite(value) and value >= 0):
                raise ValueError(f"{name} must be finite and not negative, not {value!r}")
        if self.learning_rate == 0:
            raise ValueError(f"learning_rate must be positive, not {self.learning_rate!r}")

    @classmethod
    def for_detection(
        cls, batch: int, *, decay_c: float = 1e-5, decay_t: float = 0.0, decay_b: float = 0.0
    ) -> EdmipsConfig:
        """The published balance for detection, in a training whose loss is a batch's mean.

        Published is ``loss * batch / 64 + 4 * penalty``; divided by ``batch / 64`` that is the loss plus
        ``256 / batch`` times the penalty, and learning rates times ``batch / 64`` make the steps the same.

        Raises:
            TypeError, ValueError: ``batch`` is not a positive integer; else as for the class.
        """
        if isinstance(batch, bool) or not isinstance(batch, int):
            raise TypeError(f"batch must be an integer, not {batch!r}")
        if batch < 1:
            raise ValueError(f"batch must be positive, not {batch!r}")
        return cls(decay_c=decay_c, decay_t=decay_t, decay_b=decay_b, scale=256 / batch)


class EdmipsExtension:
    """Trains a supernet's architecture parameters on the same batches as its weights.

    It is an `Extension` of the trainer. The architecture parameters are part of the supernet and saved with it, their
    optimiser's state is the trainer's to save; the extension's own state is the configuration, so that a run does not
    go on under another one.

    Parameters:
        supernet: the model that is trained. config: penalty and optimiser.
        density: multiplications per DSP that the term C counts with, see `nas.edmips.Complexity`.
    """

    def __init__(self, supernet: Supernet, config: EdmipsConfig, *, density: Density = original_density) -> None:
        self.supernet = supernet
        self.config = config
        self.complexity = Complexity(supernet.space, density=density)

    def own_parameters(self) -> list[nn.Parameter]:
        """The supernet's architecture parameters."""
        return self.supernet.architecture_parameters()

    def optimizers(self, steps: int) -> list[tuple[Optimizer, LRScheduler]]:
        """One SGD optimiser with a cosine schedule over ``steps`` steps; none where nothing is searched."""
        parameters = self.own_parameters()
        if not parameters:
            return []
        optimizer = SGD(
            parameters,
            lr=self.config.learning_rate,
            momentum=self.config.momentum,
            weight_decay=self.config.weight_decay,
        )
        return [(optimizer, CosineAnnealingLR(optimizer, steps))]

    def penalty(self) -> Tensor:
        """What is added to the loss of a batch, a scalar."""
        config, probabilities = self.config, self.supernet.probabilities()
        complexity = self._complexity(probabilities[0].weight.device)
        terms = (
            (config.decay_c, complexity.dsps),
            (config.decay_t, complexity.trivial),
            (config.decay_b, complexity.memory),
        )
        total = probabilities[0].weight.new_zeros(())
        for decay, term in terms:
            if decay:
                total = total + decay * term(probabilities)
        return config.scale * total

    def after_step(self) -> None:
        """Nothing is left to do."""

    def facts(self) -> dict[str, float]:
        """Terms and expected widths.

        ``C``, ``T``, and ``B`` where it is penalised; ``weight_bits`` and ``act_bits``, the means over the layers that
        count; then each layer's own, such as ``weight_bits.conv1``.
        """
        with torch.no_grad():
            probabilities = self.supernet.probabilities()
            complexity = self._complexity(probabilities[0].weight.device)
            values = {"C": complexity.dsps(probabilities), "T": complexity.trivial(probabilities)}
            if self.config.decay_b:
                values["B"] = complexity.memory(probabilities)
            expected = complexity.expected_widths(probabilities)
            values["weight_bits"] = torch.stack([weight for weight, _ in expected]).mean()
            values["act_bits"] = torch.stack([act for _, act in expected]).mean()
            for name, (weight, act) in zip(self.supernet.space.names, expected, strict=False):
                values[f"weight_bits.{name}"], values[f"act_bits.{name}"] = weight, act
            # One transfer for all of them: on a GPU each would wait for all work before it.
            return dict(zip(values, torch.stack(list(values.values())).tolist(), strict=True))

    def state_dict(self) -> dict[str, Any]:
        """The configuration, as plain values."""
        return {"config": asdict(self.config)}

    def load_state_dict(self, state: Mapping[str, Any], /) -> None:
        """Check that the state is of the same configuration.

        Raises:
            ValueError: it is not.
        """
        saved = state.get("config")
        if not isinstance(saved, Mapping):
            raise ValueError(f"config of the search's state must be a mapping, not {saved!r}")
        for name, value in asdict(self.config).items():
            if saved.get(name) != value:
                raise ValueError(f"{name} of the search must be {saved.get(name)!r}, as the run began, not {value!r}")

    def _complexity(self, device: torch.device) -> Complexity:
        """The terms, with their tables where the supernet is by now."""
        return self.complexity.to(device)
