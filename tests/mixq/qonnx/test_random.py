"""Random networks are equal to the qonnx package's executor."""

from __future__ import annotations

from pathlib import Path

import pytest

from mixq.qonnx import read_qonnx
from tests.mixq.qonnx.models import check
from tests.mixq.qonnx.random_networks import RandomNetwork


@pytest.mark.parametrize("seed", range(24))
def test_scales_of_powers_of_two(seed: int, tmp_path: Path) -> None:
    network = RandomNetwork(seed, binary=True)
    check(network.model.save(network.output, tmp_path / "net.onnx"), network.shape, 4, least=1)


@pytest.mark.parametrize("seed", range(24))
def test_any_scales(seed: int, tmp_path: Path) -> None:
    network = RandomNetwork(seed, binary=False)
    path = network.model.save(network.output, tmp_path / "net.onnx")
    if "float32_ties" in read_qonnx(path).metadata:
        pytest.fail("this seed draws a tie, which the executor's float32 decides; take another")
    check(path, network.shape, 4, least=1)
