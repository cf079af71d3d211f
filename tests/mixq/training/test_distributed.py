"""Several processes compute what one does, but for the order in which numbers are added."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from mixq.errors import UserError
from mixq.training.batch_norm import synchronised_batch_norm
from mixq.training.distributed import ALONE, World
from tests.mixq.training import several


def launch(folder: Path, root: Path, processes: int) -> list[list[dict[str, Any]]]:
    """Outcomes of each process of the script, under torchrun where there are several."""
    folder.mkdir()
    script = [str(root / "tests/mixq/training/several.py"), str(folder)]
    command = [sys.executable, *script]
    if processes > 1:
        torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
        command = [sys.executable, *torchrun, *script]
    environment = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=240)
    assert done.returncode == 0, done.stderr
    return [json.loads((folder / f"outcome{rank}.json").read_text()) for rank in range(processes)]


@pytest.mark.parametrize("processes", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_processes_learn_as_one_does(processes: int, tmp_path: Path, root: Path) -> None:
    ((alone, again),) = launch(tmp_path / "one", root, 1)
    assert alone == again
    assert alone["losses"][-1] < 0.7 * alone["losses"][0]
    outcomes = launch(tmp_path / "several", root, processes)
    # Every process ends with the very same numbers, and reads them back.
    assert all(outcome == outcomes[0] for outcome in outcomes)
    several_, read = outcomes[0]
    assert several_ == read
    assert several_["losses"] == pytest.approx(alone["losses"], rel=1e-9)
    assert several_["penalties"] == pytest.approx(alone["penalties"], rel=1e-9)
    assert several_["metrics"] == alone["metrics"]
    assert several_["scale"] == pytest.approx(alone["scale"], rel=1e-9)
    for name, values in alone["state"].items():
        assert several_["state"][name] == pytest.approx(values, rel=1e-8, abs=1e-10), name
    lines = [
        [json.loads(line)["epoch"] for line in (tmp_path / name / "run/log.jsonl").read_text().splitlines()]
        for name in ("one", "several")
    ]
    assert lines == [[1, 2, 3, 4, 5]] * 2


def test_slices_divide_a_batch() -> None:
    for size in (1, 2, 3, 8):
        for count in (0, 1, 2, 7, 16):
            parts = [list(range(count))[World(rank=rank, size=size).slice_of(count)] for rank in range(size)]
            assert [index for part in parts for index in part] == list(range(count))
            assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_the_environment_says_who_this_is() -> None:
    assert World.of_environment({}) == ALONE
    environment = {"RANK": "2", "WORLD_SIZE": "4", "LOCAL_RANK": "1"}
    assert World.of_environment(environment) == World(rank=2, size=4, local_rank=1)
    for wrong in ({"RANK": "x"}, {"RANK": "4"}, {"WORLD_SIZE": "0"}):
        with pytest.raises(UserError, match=r"the environment says RANK=.*; start several processes with torchrun"):
            World.of_environment({**environment, **wrong})
    with pytest.raises(UserError):
        World.of_environment({"RANK": "0"})
    with pytest.raises(ValueError, match=r"rank must be in 0\.\.1, not 2"):
        World(rank=2, size=2)


def test_nothing_is_exchanged_by_one_process() -> None:
    value = torch.ones(3)
    ALONE.sum_all([value])
    ALONE.copy_first([value])
    assert value.tolist() == [1, 1, 1]
    assert ALONE.read_first(lambda: b"content", torch.device("cpu")) == b"content"


@pytest.fixture
def group() -> Iterator[None]:
    """A group of this process alone, in which exchanges change nothing."""
    store = torch.distributed.HashStore()  # type: ignore[attr-defined]
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize("momentum", [0.1, None])
@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("shape", [(6, 3, 4, 5), (7, 3)])
def test_synchronised_batch_norm_is_batch_norm(
    momentum: float | None, affine: bool, shape: tuple[int, ...], group: None
) -> None:
    torch.manual_seed(4)
    kind = nn.BatchNorm2d if len(shape) == 4 else nn.BatchNorm1d
    own, other = (kind(3, momentum=momentum, affine=affine).double() for _ in range(2))
    if affine:
        with torch.no_grad():
            own.weight.uniform_(-1, 2)
            own.bias.normal_()
        other.load_state_dict(own.state_dict())
    values = torch.randn(shape, dtype=torch.float64) * 3 + 1
    weights = torch.randn(shape, dtype=torch.float64)
    # Of two processes one may be all there is to see: what is replaced is how a norm computes, nothing else.
    with synchronised_batch_norm(own, World(size=2)):
        assert set(own.state_dict()) == set(other.state_dict())
        for _ in range(3):
            inputs = [values.clone().requires_grad_() for _ in range(2)]
            results = [norm(given) for norm, given in zip((own, other), inputs, strict=True)]
            assert torch.allclose(results[0], results[1], rtol=1e-12, atol=1e-12)
            for result in results:
                (result * weights).sum().backward()
            assert inputs[0].grad is not None and inputs[1].grad is not None
            assert torch.allclose(inputs[0].grad, inputs[1].grad, rtol=1e-10, atol=1e-12)
        assert torch.equal(own.eval()(values), other.eval()(values)) or torch.allclose(own(values), other(values))
    for name, value in other.state_dict().items():
        assert torch.allclose(own.state_dict()[name].double(), value.double(), rtol=1e-12), name
    for one, two in zip(own.parameters(), other.parameters(), strict=True):
        assert one.grad is not None and two.grad is not None
        assert torch.allclose(one.grad, two.grad, rtol=1e-10, atol=1e-12)
    assert "forward" not in own.__dict__


def test_the_script_is_one_for_all() -> None:
    assert "torch.distributed" not in Path(several.__file__).read_text()
