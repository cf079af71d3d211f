"""Data sets as 8-bit images with labels or boxes, split for training, validation and test."""

from mixq.data.dataset import BoxSamples, Dataset, Samples
from mixq.data.registry import load_dataset

__all__ = ["BoxSamples", "Dataset", "Samples", "load_dataset"]
