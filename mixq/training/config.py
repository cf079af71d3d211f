"""The recipe of a training; it stands in `mixq.train_config`, which does without PyTorch."""

from mixq.train_config import Keep, Precision, TrainConfig

__all__ = ["Keep", "Precision", "TrainConfig"]
