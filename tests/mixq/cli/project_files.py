"""Small projects for the tests of the verbs that take one, with a data set and a network of the tests' own."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mixq.data import BoxSamples, Dataset, Samples
from mixq.networks import AddSpec, ConvSpec, DenseSpec, MeanSpec, NetworkTable, PoolSpec

DIGITS = """\
name: tiny
network: digits-cnn
data: {name: digits, train_size: 320, validation_size: 64, test_size: 40}
budget: {cycles: 400, dsp: 40, lut: 20000}
search:
  epochs: 1
  batch: 32
  weight_widths: [2, 4]
  act_widths: [2, 4]
  samples: 64
  refinements: 0
  points: 2
train: {epochs: 2, batch: 32}
quick: {train: {epochs: 1}}
"""

RESIDUAL = """\
name: residual
model: tests.mixq.cli.project_files:residual
data: {name: "tests.mixq.cli.project_files:labels", options: {count: 32}}
budget: {cycles: 128, dsp: 12, lut: 8000}
search:
  epochs: 1
  batch: 16
  weight_widths: [2, 4]
  act_widths: [2, 4]
  samples: 32
  refinements: 0
  points: 2
train: {epochs: 1, batch: 16}
"""

BOXES = """\
name: boxes
model: tests.mixq.cli.project_files:detector
data: {name: "tests.mixq.cli.project_files:boxes", options: {count: 8}}
train: {epochs: 1, batch: 4, shift: 0}
"""


def write(folder: Path, text: str = DIGITS) -> Path:
    """A project file in a folder."""
    path = folder / "tiny.yaml"
    path.write_text(text)
    return path


def detector() -> NetworkTable:
    """A network of the tests' own for one box in images of 32 x 32: a 2 x 2 grid of six anchors."""
    convs = [layer for channels in (4, 4, 4, 4) for layer in (ConvSpec(channels=channels), PoolSpec())]
    head = ConvSpec(channels=36, kernel=1, padding=0, bias=True, batch_norm=False)
    return NetworkTable(
        name="tests_detector",
        input_shape=(3, 32, 32),
        layers=(*convs, head),
        weight_bits=(4,) * 5,
        act_bits=(8, 4, 4, 4, 4),
    )


def classifier() -> NetworkTable:
    """A network of the tests' own with three classes."""
    return NetworkTable(
        name="tests_classifier",
        input_shape=(1, 8, 8),
        layers=(ConvSpec(channels=4), PoolSpec(), DenseSpec(units=3)),
        weight_bits=(4,),
        act_bits=(8,),
    )


def residual() -> NetworkTable:
    """A network of the tests' own with three classes and a block with a 1x1 convolution around it."""
    layers = (
        ConvSpec(channels=4),
        ConvSpec(channels=4),
        ConvSpec(channels=4, kernel=1, padding=0, reads=("conv1",)),
        AddSpec(reads=("conv2", "conv3")),
        MeanSpec(),
        DenseSpec(units=3),
    )
    return NetworkTable(
        name="tests_residual", input_shape=(1, 8, 8), layers=layers, weight_bits=(4,) * 3, act_bits=(4,) * 3
    )


def boxes(*, count: int) -> Dataset[BoxSamples]:
    """Bright boxes on dark images, blue first."""
    random = np.random.default_rng(0)
    images = random.integers(0, 40, (3 * count, 3, 32, 32), dtype=np.uint8)
    places = random.uniform(0.3, 0.7, (3 * count, 2))
    for image, (x, y) in zip(images, places, strict=True):
        image[:, int(32 * y) - 4 : int(32 * y) + 4, int(32 * x) - 4 : int(32 * x) + 4] = 255
    found = BoxSamples(images, np.hstack([places, np.full((3 * count, 2), 0.25)]).astype(np.float32))
    parts = (found.take(slice(start, start + count)) for start in range(0, 3 * count, count))
    train, validation, test = parts
    return Dataset(
        name="boxes", train=train, validation=validation, test=test, class_names=("box",), channel_order="bgr"
    )


def labels(*, count: int = 8) -> Dataset[Samples]:
    """Images of 8 x 8 in three classes, at random."""
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (count, 1, 8, 8), dtype=np.uint8)
    samples = Samples(images, np.arange(count, dtype=np.int64) % 3)
    return Dataset(name="labels", train=samples, validation=samples, test=samples, class_names=("a", "b", "c"))
