"""The log: JSON lines, and TensorBoard where it is installed."""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from mixq.errors import UserError
from mixq.training import EpochResult
from mixq.training.logs import EpochLog, log_line


def result(epoch: int) -> EpochResult:
    return EpochResult(
        epoch=epoch,
        loss=0.1 * epoch,
        penalty=2.0,
        train_metric=0.5,
        validation_metric=0.25,
        learning_rate=0.01,
        facts={"cycles": 192.0, "odd": float("nan")},
        seconds=1.23456,
    )


def test_a_line_has_everything() -> None:
    assert json.loads(log_line(result(3), "top1")) == {
        "epoch": 3,
        "loss": 0.1 * 3,
        "penalty": 2.0,
        "metric": "top1",
        "train": 0.5,
        "validation": 0.25,
        "learning_rate": 0.01,
        "facts": {"cycles": 192.0, "odd": None},
        "seconds": 1.235,
    }


def test_a_log_holds_what_is_done_and_grows(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text('{"epoch": 1}\n{"epoch": 2}\nhalf a li')
    log = EpochLog(tmp_path, "iou", [result(1)])
    assert path.read_text() == log_line(result(1), "iou") + "\n"
    log.append(result(2))
    log.close()
    assert [json.loads(line)["epoch"] for line in path.read_text().splitlines()] == [1, 2]


def test_a_log_that_cannot_be_written(tmp_path: Path) -> None:
    log = EpochLog(tmp_path, "iou")
    (tmp_path / "log.jsonl").unlink()
    (tmp_path / "log.jsonl").mkdir()
    with pytest.raises(UserError, match=r"cannot write .*log\.jsonl: Is a directory"):
        log.append(result(1))


def test_tensorboard_gets_the_same_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[Any, ...]] = []

    class Writer:
        def __init__(self, folder: str, purge_step: int) -> None:
            calls.append((folder, purge_step))

        def add_scalar(self, *arguments: Any) -> None:
            calls.append(arguments)

        def flush(self) -> None:
            calls.append(("flush",))

        def close(self) -> None:
            calls.append(("close",))

    module = types.ModuleType("torch.utils.tensorboard")
    module.SummaryWriter = Writer  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    log = EpochLog(tmp_path, "top1", [result(1)])
    log.append(result(2))
    log.close()
    assert calls[0] == (str(tmp_path / "tensorboard"), 2)
    assert calls[1:6] == [
        ("loss", 0.2, 2),
        ("top1/train", 0.5, 2),
        ("top1/validation", 0.25, 2),
        ("learning rate", 0.01, 2),
        ("facts/cycles", 192.0, 2),
    ]
    assert calls[-2:] == [("flush",), ("close",)]


def test_without_tensorboard_nothing_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    log = EpochLog(tmp_path, "top1")
    log.append(result(1))
    log.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["log.jsonl"]
