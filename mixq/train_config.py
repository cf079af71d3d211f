"""The recipe of a training: every value that its result follows from, apart from model and data.

This module does without PyTorch, so that a project file can be read without it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

Precision = Literal["float32", "bf16"]
Keep = Literal["last", "best"]


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Recipe of a training: SGD with momentum along half a cosine.

    Parameters:
        epochs, batch: passes over the samples, samples a step over all processes; both positive.
        learning_rate: at the start; it falls to zero along half a cosine, step by step.
        momentum, weight_decay: of SGD.
        warmup: so many steps at the start let the learning rate rise in a straight line; 0 for none.
        shift: images move by up to so many pixels each way, at random; 0 for none.
        flip: images are mirrored left to right, every other one, at random.
        crop: images are cropped at random, around their box where they have one, by up to this share of width and
            height, and enlarged to their size; 0 for none, below 1.
        brightness, contrast, saturation: of images are multiplied by random factors from 1 minus this to 1 plus this,
            0..1; 0 for none.
        ema: decay, 0..1, of a running average of the weights, which is then what is measured and kept; 0 for none.
        seed: of the weights, the order of the samples, and of all that is random about images.
        threads: of PyTorch; part of the recipe, since it decides the order of sums.
        precision: "float32", or "bf16", in which convolutions and dense layers compute in bfloat16.
        compile: compile the model on a GPU; without effect on the CPU and in several processes.
        label_smoothing: share, 0..1, of the target that is spread over all classes.
        distill_weight: share, 0..1, of the loss that compares with a teacher's outputs; 0 for none.
        distill_temperature: what both outputs are divided by before they are compared.
        checkpoint_seconds: an epoch that takes longer is saved so often; after each epoch the state is saved anyway.
        keep: weights that the model ends with, those of the "last" epoch or of the "best" in validation.

    Raises:
        TypeError: a value of the wrong type. ValueError: a value out of range.
    """

    epochs: int = 30
    batch: int = 32
    learning_rate: float = 0.05
    momentum: float = 0.9
    weight_decay: float = 5e-4
    warmup: int = 0
    shift: int = 1
    flip: bool = False
    crop: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    ema: float = 0.0
    seed: int = 0
    threads: int = 1
    precision: Precision = "float32"
    compile: bool = False
    label_smoothing: float = 0.0
    distill_weight: float = 0.0
    distill_temperature: float = 4.0
    checkpoint_seconds: float = 60.0
    keep: Keep = "last"

    def __post_init__(self) -> None:
        for name in ("epochs", "batch", "threads"):
            if _integer(name, getattr(self, name)) < 1:
                raise ValueError(f"{name} must be positive, not {getattr(self, name)!r}")
        for name in ("warmup", "shift", "seed"):
            if _integer(name, getattr(self, name)) < 0:
                raise ValueError(f"{name} must not be negative, not {getattr(self, name)!r}")
        for name in ("learning_rate", "distill_temperature"):
            if not _number(name, getattr(self, name)) > 0:
                raise ValueError(f"{name} must be positive, not {getattr(self, name)!r}")
        for name in ("momentum", "weight_decay", "checkpoint_seconds"):
            if not _number(name, getattr(self, name)) >= 0:
                raise ValueError(f"{name} must not be negative, not {getattr(self, name)!r}")
        for name in ("crop", "ema", "label_smoothing"):
            if not 0 <= _number(name, getattr(self, name)) < 1:
                raise ValueError(f"{name} must be in 0..1, below 1, not {getattr(self, name)!r}")
        for name in ("brightness", "contrast", "saturation", "distill_weight"):
            if not 0 <= _number(name, getattr(self, name)) <= 1:
                raise ValueError(f"{name} must be in 0..1, not {getattr(self, name)!r}")
        for name in ("flip", "compile"):
            if not isinstance(getattr(self, name), bool):
                raise TypeError(f"{name} must be a bool, not {getattr(self, name)!r}")
        for name, choices in (("precision", get_args(Precision)), ("keep", get_args(Keep))):
            if not isinstance(getattr(self, name), str):
                raise TypeError(f"{name} must be a text, not {getattr(self, name)!r}")
            if getattr(self, name) not in choices:
                raise ValueError(f"{name} must be {' or '.join(choices)}, not {getattr(self, name)!r}")


def _integer(name: str, value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name} must be an integer, not {value!r}")
    return value


def _number(name: str, value: object) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise TypeError(f"{name} must be a number, not {value!r}")
    if not math.isfinite(value):
        raise ValueError(f"{name} must be finite, not {value!r}")
    return value
