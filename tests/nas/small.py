"""A small search, and what it finds as a file."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch

from boards import load_board
from mixq.board import Resources
from mixq.data import Dataset, Samples
from mixq.networks import ConvSpec, DenseSpec, NetworkTable, PoolSpec
from mixq.training import TrainConfig
from nas.config import Hardware, SearchConfig
from nas.search import Report, SearchResult, search

TABLE = NetworkTable(
    name="three_layers",
    input_shape=(1, 6, 6),
    layers=(ConvSpec(channels=4), PoolSpec(), ConvSpec(channels=6), DenseSpec(units=3)),
    weight_bits=(4, 4),
    act_bits=(4, 4),
)
HARDWARE = Hardware(board=load_board("ultra96-v2"), limits=Resources(lut=3100, ff=6500, dsp=8, bram36=6))
RECIPE = TrainConfig(epochs=4, batch=16, learning_rate=0.05, seed=3, checkpoint_seconds=0.0)
BUDGETS = (36, 72)


def dataset() -> Dataset[Samples]:
    """Bright halves of noisy images: upper, lower, none."""
    random = np.random.default_rng(7)

    def part(count: int) -> Samples:
        labels = random.integers(0, 3, count)
        images = random.integers(0, 120, (count, 1, 6, 6))
        for image, label in zip(images, labels, strict=True):
            if label < 2:
                image[0, 3 * label : 3 * label + 3] += 100
        return Samples(images.astype(np.uint8), labels)

    return Dataset(name="halves", train=part(96), validation=part(48), test=part(48), class_names=("a", "b", "c"))


CONFIG = SearchConfig(
    weight_widths=(2, 4, 8), act_widths=(2, 4, 8), quantizer="hwgq", budgets=BUDGETS, samples=48, points=3
)


def run(folder: Path, method: str = "budget", report: Report | None = None, **changes: object) -> SearchResult:
    config = replace(CONFIG, **{"method": method, **changes})  # type: ignore[arg-type]
    return search(TABLE, dataset(), config, RECIPE, HARDWARE, run_dir=folder, report=report)


def write(folder: Path, method: str, answer: Path) -> None:
    """Search in a folder with one thread, in a process of its own, and write the result as JSON."""
    torch.set_num_threads(1)
    found = run(folder, method)
    document = [allocation.document() for allocation in found.allocations]
    answer.write_text(json.dumps([document, [asdict(point) for point in found.front]]))
