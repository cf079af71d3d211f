"""Data sets as 8-bit images with labels, split for training, validation and test."""

from mixq.data.dataset import Dataset, Samples

__all__ = ["Dataset", "Samples"]
