"""Models with branches: lowered graph, converted model and training model agree."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from mixq.conversion import measure_conversion
from mixq.converted import ConvertedModel
from mixq.data import Samples
from mixq.execute import run
from mixq.graph import Graph
from mixq.lowering import lower
from tests.mixq.branched_models import images, random_branches


def check(seed: int) -> Graph:
    model = random_branches(seed)
    graph = lower(model)
    pixels = images(seed, model)
    expected = ConvertedModel(model)(pixels).numpy()
    assert np.array_equal(run(graph, pixels.numpy()), expected)
    return graph


@pytest.mark.parametrize("seed", range(60))
def test_interpreter_and_converted_model_agree(seed: int) -> None:
    check(seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(60, 260))
def test_more_of_them(seed: int) -> None:
    check(seed)


def test_all_kinds_of_nodes_occur() -> None:
    kinds = Counter(node.op for seed in range(60) for node in lower(random_branches(seed)).nodes)
    assert set(kinds) == {
        *("conv", "dense", "requantise", "threshold", "max_pool", "sum_pool"),
        *("space_to_depth", "upsample", "add", "concat"),
    }


@pytest.mark.parametrize("seed", range(30))
def test_differences_from_the_training_model_stay_within_the_bound(seed: int) -> None:
    model = random_branches(seed)
    pixels = images(seed, model, 6).numpy().astype(np.uint8)
    samples = Samples(pixels, np.zeros(len(pixels), np.int64))
    for bits in (16, 5):
        report = measure_conversion(model, samples, converted=ConvertedModel(model, fraction_bits=bits), classify=False)
        report.check()
