"""Trains quantised networks: classification and detection, on a CPU, a GPU or several, repeatable and resumable.

The same model, samples and configuration give the same weights, bit for bit, on the same machine's CPU with the same
PyTorch, whatever ran before and however often the run was cut short.
"""

from mixq.training.config import TrainConfig
from mixq.training.detection import Detection
from mixq.training.evaluation import accuracy, evaluate, real_images
from mixq.training.extension import Extension
from mixq.training.progress import EpochResult, Progress, ProgressCallback, TrainResult
from mixq.training.task import Classification, Task
from mixq.training.trainer import Trainer, train

__all__ = [
    "Classification",
    "Detection",
    "EpochResult",
    "Extension",
    "Progress",
    "ProgressCallback",
    "Task",
    "TrainConfig",
    "TrainResult",
    "Trainer",
    "accuracy",
    "evaluate",
    "real_images",
    "train",
]
