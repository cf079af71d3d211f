"""Small data, a small model and a toy extension for the tests of the trainer, in processes of their own too."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch._dynamo  # the first optimiser loads it, which takes longer than the runs of these tests
from torch import Tensor, nn

from mixq.data import Dataset, Samples
from mixq.files import write_atomic
from mixq.layers import QuantConv2d, QuantLinear
from mixq.quantizers import ImageQuantizer, QuantizerKind, make_activation_quantizer
from mixq.training import ProgressCallback, TrainConfig, Trainer, TrainResult

CLASSES = 3


def toy_data(train: int = 50, validation: int = 12) -> Dataset[Samples]:
    """Random images of 6 x 6 whose class is the band of rows that is brightest."""
    random = np.random.default_rng(5)
    labels = random.integers(0, CLASSES, train + validation)
    images = random.integers(0, 120, (len(labels), 1, 6, 6))
    for image, label in zip(images, labels, strict=True):
        image[0, 2 * label : 2 * label + 2] += 100
    samples = Samples(images.astype(np.uint8), labels.astype(np.int64))
    parts = samples.take(slice(0, train)), samples.take(slice(train, None))
    return Dataset(name="toy", train=parts[0], validation=parts[1], test=parts[1], class_names=("0", "1", "2"))


def toy_model(seed: int = 0, quantizer: QuantizerKind = "hwgq") -> nn.Sequential:
    """Quantised convolution with batch norm, dropout, which draws from PyTorch's own generator, and a dense layer."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(
            ImageQuantizer(4),
            QuantConv2d(1, 4, kernel=3, padding=1, weight_bits=3, quantizer=quantizer),
            nn.BatchNorm2d(4),
            make_activation_quantizer(quantizer, 3),
            nn.Dropout(0.2),
            nn.Flatten(),
            QuantLinear(4 * 36, CLASSES, weight_bits=4, quantizer=quantizer),
        )


class ToyExtension:
    """Scales the first convolution by a parameter of its own, pulls it to 2, and counts its steps into the penalty."""

    def __init__(self, model: nn.Module) -> None:
        self.scale = nn.Parameter(torch.ones(4, dtype=next(model.parameters()).dtype))
        self.rate = 0.0
        self.steps = 0
        model.get_submodule("1").register_forward_hook(lambda module, inputs, out: out * self.scale.view(-1, 1, 1))

    def own_parameters(self) -> list[nn.Parameter]:
        return [self.scale]

    def optimizers(self, steps: int) -> list[tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]]:
        adam = torch.optim.Adam([self.scale], lr=0.02)
        return [(adam, torch.optim.lr_scheduler.StepLR(adam, max(1, steps // 3), 0.5))]

    def penalty(self) -> Tensor:
        # The steps so far are state: without them a resumed run goes another way.
        return (self.scale - 2).square().sum() * (0.1 + 0.01 * self.steps)

    def after_step(self) -> None:
        self.steps += 1

    def facts(self) -> dict[str, float]:
        return {"scale": float(self.scale.detach().mean()), "steps": float(self.steps)}

    def state_dict(self) -> dict[str, Any]:
        return {"scale": self.scale.detach(), "steps": self.steps}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        with torch.no_grad():
            self.scale.copy_(state["scale"])
        self.steps = int(state["steps"])


#: Everything that has a state: momentum, averages, all random changes of images, warm-up, a last batch that is smaller.
FULL = TrainConfig(
    epochs=4,
    batch=16,
    learning_rate=0.1,
    shift=1,
    flip=True,
    crop=0.3,
    brightness=0.2,
    contrast=0.2,
    saturation=0.2,
    ema=0.9,
    warmup=3,
    seed=3,
    checkpoint_seconds=0.0,
)


def train_full(
    folder: str | None,
    config: TrainConfig = FULL,
    *,
    progress: ProgressCallback | None = None,
    quantizer: QuantizerKind = "hwgq",
) -> tuple[nn.Module, ToyExtension, TrainResult]:
    """A run with everything that has a state, saved after every step."""
    model = toy_model(quantizer=quantizer)
    extension = ToyExtension(model)
    trainer = Trainer(
        model,
        toy_data(),
        config,
        run_dir=None if folder is None else Path(folder),
        extension=extension,
        settings={"a": 1},
        progress=progress,
    )
    return model, extension, trainer.run()


#: As many saves as leave time to kill it between them.
LONG = replace(FULL, epochs=12)


def run_long(folder: str, started: Event) -> None:
    """A longer one in a process of its own, which says when it starts and notes the digest of what it ended with."""
    torch.set_num_threads(1)
    started.set()
    model, extension, _ = train_full(folder, LONG)
    write_atomic(Path(folder) / "digest", digest(model, extension))


def digest(model: nn.Module, extension: ToyExtension | None = None) -> str:
    """Tells weights apart, bit for bit."""
    values = list(model.state_dict().values()) + ([] if extension is None else [extension.scale.detach()])
    return hashlib.sha256(b"".join(value.numpy().tobytes() for value in values)).hexdigest()


def log_without_times(folder: Path) -> list[dict[str, Any]]:
    """The lines of a run's log, but for the seconds, in which alone equal runs differ."""
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]
