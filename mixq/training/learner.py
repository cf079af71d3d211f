"""Takes one step at a time: a forward pass, a loss, a backward pass, the optimisers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from mixq.training.averaging import AveragedWeights
from mixq.training.config import TrainConfig
from mixq.training.distributed import World
from mixq.training.extension import Extension
from mixq.training.feed import real_pixels
from mixq.training.optimizer import limited_steps, make_optimizer, make_schedule
from mixq.training.state import check_tensors
from mixq.training.task import Task, distillation_loss


class Learner:
    """A model with all that learns in it, and sums over the epoch so far.

    Parameters:
        model: on ``device``. task, config, extension, teacher: as for `Trainer`; the teacher is on the device too.
        steps: of the whole training.
        world: the processes that each compute their slice of a batch.
    """

    def __init__(
        self,
        model: nn.Module,
        task: Task,
        config: TrainConfig,
        *,
        steps: int,
        device: torch.device,
        world: World,
        extension: Extension | None = None,
        teacher: nn.Module | None = None,
        without_decay: Iterable[nn.Parameter] = (),
    ) -> None:
        self.model = model
        self._task = task
        self._config = config
        self._world = world
        self._device = device
        self._extension = extension
        self._teacher = teacher
        self._dtype = next(model.parameters()).dtype
        compiled = config.compile and device.type == "cuda" and world.size == 1
        self._forward = torch.compile(model) if compiled else model
        own = list(extension.own_parameters()) if extension is not None else []
        self._steps_of_quantizers = list(without_decay)
        main = make_optimizer(model, config, skip=own, without_decay=self._steps_of_quantizers)
        self.schedules = [make_schedule(main, steps, warmup=config.warmup)]
        self.optimizers: list[Optimizer] = [main]
        for optimizer, schedule in extension.optimizers(steps) if extension is not None else ():
            self.optimizers.append(optimizer)
            self.schedules.append(schedule)
        self._parameters = list({id(value): value for value in [*model.parameters(), *own]}.values())
        self.average = AveragedWeights(model, config.ema, own) if config.ema else None
        self.totals = torch.zeros(3, dtype=torch.float64, device=device)
        self.seen = self.taken = 0
        self.last_rate = config.learning_rate
        """Learning rate of the step that was taken last."""

    def step(self, images: Tensor, targets: Tensor, count: int) -> None:
        """Learn from this process's slice, uint8 (n, C, H, W) and (n, ...), of a global batch of ``count``."""
        share = len(images) / count
        loss, metric = self._loss(images, targets)
        # An extension's penalty is the same in every process and must count once.
        penalty = None if self._extension is None else self._extension.penalty()
        objective = loss * share if penalty is None else loss * share + penalty / self._world.size
        for parameter in self._parameters:
            parameter.grad = None
        objective.backward()
        once = loss.new_zeros(()) if penalty is None or not self._world.is_first else penalty.detach()
        sums = torch.stack([loss.detach().double() * len(images), metric, once.double()])
        gradients = [parameter.grad for parameter in self._parameters if parameter.grad is not None]
        self._world.sum_all([*gradients, sums])
        self.last_rate = float(self.optimizers[0].param_groups[0]["lr"])
        with limited_steps(self._steps_of_quantizers):
            for optimizer in self.optimizers:
                optimizer.step()
        self.advance()
        if self.average is not None:
            self.average.update(self.model)
        if self._extension is not None:
            self._extension.after_step()
        self.totals += sums
        self.seen += count
        self.taken += 1

    def advance(self) -> None:
        """Move the learning rates on by a step, which is all that a batch left out does."""
        for schedule in self.schedules:
            schedule.step()

    def means(self) -> tuple[float, float, float]:
        """Mean loss, metric and penalty of the epoch so far."""
        loss, metric, penalty = self.totals.tolist()
        return loss / self.seen, metric / self.seen, penalty / self.taken

    def start_epoch(self) -> None:
        """Forget the sums."""
        self.totals.zero_()
        self.seen = self.taken = 0

    def prime(self, images: Tensor) -> None:
        """Let modules that start from their first batch see all of it, uint8 (N, C, H, W), in every process.

        Otherwise each process would start them from its own slice. Nothing else is changed.
        """
        norms = [module for module in self.model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
        before = [{name: value.clone() for name, value in norm.state_dict().items()} for norm in norms]
        random = torch.get_rng_state()
        self.model.train()
        with torch.no_grad(), self._autocast():
            self.model(real_pixels(images, self._dtype))
        torch.set_rng_state(random)
        for norm, state in zip(norms, before, strict=True):
            norm.load_state_dict(state)
        self.share_first()

    def share_first(self) -> None:
        """Give every process the first one's weights."""
        self._world.copy_first(list(self.model.state_dict().values()))
        self._world.copy_first(self._parameters)
        if self.average is not None:
            self._world.copy_first(list(self.average.values.values()))

    def state_dict(self) -> dict[str, Any]:
        """All that the next step depends on, as live tensors and plain values."""
        return {
            "model": self.model.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "schedules": [schedule.state_dict() for schedule in self.schedules],
            "average": None if self.average is None else dict(self.average.values),
            "average_steps": 0 if self.average is None else self.average.steps,
            "extension": None if self._extension is None else self._extension.state_dict(),
            "totals": self.totals,
            "seen": self.seen,
            "taken": self.taken,
            "rate": self.last_rate,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over a saved state; ValueError, KeyError or TypeError where it does not fit."""
        self.model.load_state_dict(check_tensors("model", state["model"], self.model.state_dict()))
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            _load_optimizer(optimizer, saved)
        for schedule, saved in zip(self.schedules, state["schedules"], strict=True):
            if set(saved) != set(schedule.state_dict()):
                raise ValueError("schedule has other values")
            schedule.load_state_dict(saved)
        if self.average is not None:
            values = check_tensors("average", state["average"], self.average.values)
            self.average.values = {name: value.to(self._device) for name, value in values.items()}
            self.average.steps = int(state["average_steps"])
        if self._extension is not None:
            self._extension.load_state_dict(state["extension"])
        check_tensors("totals", {"totals": state["totals"]}, {"totals": self.totals})
        self.totals.copy_(state["totals"])
        self.seen, self.taken = int(state["seen"]), int(state["taken"])
        self.last_rate = float(state["rate"])

    def _loss(self, images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Mean loss over the images, and the sum of their metric."""
        pixels = real_pixels(images, self._dtype)
        with self._autocast():
            outputs = self._forward(pixels)
        if outputs.dtype in (torch.bfloat16, torch.float16):
            outputs = outputs.float()
        if not len(images):  # a mean over nothing is not a number; the graph is needed for the exchange all the same
            return outputs.sum() * 0, self.totals.new_zeros(())
        loss = self._task.loss(outputs, targets)
        if self._teacher is not None:
            with torch.no_grad(), self._autocast():
                taught = self._teacher(pixels)
            weight = self._config.distill_weight
            soft = distillation_loss(outputs, taught.to(outputs.dtype), self._config.distill_temperature)
            loss = (1 - weight) * loss + weight * soft
        return loss, self._task.measure(outputs.detach(), targets).double().sum()

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self._device.type, torch.bfloat16, enabled=self._config.precision == "bf16")


def _load_optimizer(optimizer: Optimizer, saved: Mapping[str, Any]) -> None:
    """Load a saved state whose tensors have the shapes of the parameters they belong to."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for index, values in saved["state"].items():
        for name, value in values.items():
            if isinstance(value, Tensor) and value.shape not in (parameters[index].shape, torch.Size([])):
                raise ValueError(f"optimizer: {name} has another shape")
    for group, own in zip(saved["param_groups"], optimizer.param_groups, strict=True):
        if set(group) != set(own):
            raise ValueError("optimizer has other values")
    optimizer.load_state_dict(dict(saved))
