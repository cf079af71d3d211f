"""A run that is cut short anywhere ends with the bits of an unbroken one."""

from __future__ import annotations

import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from mixq.errors import UserError
from mixq.training import Progress, Trainer, TrainResult
from mixq.training.state import RunFolder
from tests.mixq.training.toy import (
    FULL,
    LONG,
    ToyExtension,
    digest,
    log_without_times,
    run_long,
    toy_data,
    toy_model,
    train_full,
)


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, TrainResult]:
    """Folder, digest and result of a run that nothing disturbs."""
    folder = tmp_path_factory.mktemp("unbroken")
    model, extension, result = train_full(str(folder))
    return folder, digest(model, extension), result


def test_saving_changes_nothing(unbroken: tuple[Path, str, TrainResult]) -> None:
    model, extension, result = train_full(None)
    assert (digest(model, extension), result) == unbroken[1:]


class Stop(Exception):
    """Ends a run from within."""


def stop_after(writings: int, folder: Path, monkeypatch: pytest.MonkeyPatch, **options: Any) -> None:
    """A run that ends as if it was killed right after so many writings of its state, and one more."""
    write = RunFolder.write
    written = 0

    def stopping(self: RunFolder, state: Mapping[str, Any]) -> None:
        nonlocal written
        write(self, state)
        written += 1
        if written > writings:
            raise Stop

    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "write", stopping)
        with pytest.raises(Stop):
            train_full(str(folder), **options)


@pytest.mark.parametrize("step", [0, 4, 9])
def test_learned_steps_go_on_bit_for_bit(step: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, extension, result = train_full(None, quantizer="lsq")
    stop_after(step, tmp_path, monkeypatch, quantizer="lsq")
    other, extension_, again = train_full(str(tmp_path), quantizer="lsq")
    assert digest(other, extension_) == digest(model, extension)
    assert again == result


@pytest.mark.parametrize("step", range(17))
def test_a_run_stopped_at_any_step_goes_on_bit_for_bit(
    step: int, tmp_path: Path, unbroken: tuple[Path, str, TrainResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    stop_after(step, tmp_path, monkeypatch)
    model, extension, result = train_full(str(tmp_path))
    assert (digest(model, extension), result) == unbroken[1:]
    assert log_without_times(tmp_path) == log_without_times(unbroken[0])


@pytest.mark.parametrize("seed, most", [(2, 20)])
def test_killed_at_random_moments(seed: int, most: int, tmp_path: Path) -> None:
    # The fork server has imported everything, so that a run's time is that of training and saving.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.mixq.training.toy"])

    def start(folder: Path) -> multiprocessing.process.BaseProcess:
        started = context.Event()
        process = context.Process(target=run_long, args=(str(folder), started))
        process.start()
        assert started.wait(60)
        return process

    model, extension, _ = train_full(make(tmp_path / "unbroken"), LONG)
    expected = digest(model, extension)
    process = start(Path(make(tmp_path / "timed")))
    began = time.monotonic()
    process.join()
    duration = time.monotonic() - began
    moments = random.Random(seed)
    kills = runs = begun = 0
    while kills < most:
        runs += 1
        folder = Path(make(tmp_path / f"run{runs}"))
        while not (folder / "digest").exists():
            process = start(folder)
            process.join(moments.uniform(0, duration) if kills < most else None)
            if process.exitcode is None:
                assert process.pid is not None
                os.kill(process.pid, signal.SIGKILL)
                process.join()
                kills += process.exitcode == -signal.SIGKILL
                begun += (folder / "last.pt").exists()
            else:
                assert process.exitcode == 0
        assert (folder / "digest").read_text() == expected, f"run {runs} of seed {seed}"
        assert log_without_times(folder) == log_without_times(tmp_path / "unbroken")
        assert not [path for path in folder.glob(".*.tmp") if not path.name.startswith(".digest.")]
    assert begun > most / 2, f"{begun} of {kills} kills of seed {seed} came after the first save"


def make(folder: Path) -> str:
    folder.mkdir()
    return str(folder)


def test_a_finished_run_is_not_repeated(unbroken: tuple[Path, str, TrainResult], tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(unbroken[0], folder)
    told: list[Progress] = []
    model = toy_model()
    extension = ToyExtension(model)
    result = Trainer(
        model, toy_data(), FULL, run_dir=folder, extension=extension, settings={"a": 1}, progress=told.append
    ).run()
    assert (digest(model, extension), result) == unbroken[1:]
    assert told == []


def test_fresh_starts_over(unbroken: tuple[Path, str, TrainResult], tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(unbroken[0], folder)
    config = replace(FULL, epochs=1)
    model = toy_model()
    result = Trainer(model, toy_data(), config, run_dir=folder, fresh=True).run()
    assert len(result.epochs) == len(log_without_times(folder)) == 1


@pytest.mark.parametrize(
    "change, message",
    [
        ({"config": {"batch": 8}}, "batch is 16 there and 8 here"),
        ({"config": {"learning_rate": 0.2}}, "learning_rate is 0.1 there and 0.2 here"),
        ({"settings": {"a": 2}}, "a is 1 there and 2 here"),
        ({"settings": {}}, "a is 1 there and None here"),
        ({"train": 49}, "its training data differs from this one"),
        ({"extension": False}, "extension is 'ToyExtension' there and None here"),
        ({"initialise": False}, "its model differs from this one"),
    ],
)
def test_a_folder_of_another_run_is_refused(
    change: dict[str, Any], message: str, unbroken: tuple[Path, str, TrainResult]
) -> None:
    model = toy_model()
    extension = ToyExtension(model) if change.get("extension", True) else None
    trainer = Trainer(
        model,
        toy_data(train=change.get("train", 50)),
        replace(FULL, **change.get("config", {})),
        run_dir=unbroken[0],
        extension=extension,
        settings=change.get("settings", {"a": 1}),
        initialise=change.get("initialise", True),
    )
    before = {path: path.read_bytes() for path in unbroken[0].iterdir()}
    with pytest.raises(UserError) as raised:
        trainer.run()
    fix = "give another folder, or --fresh to start over"
    assert str(raised.value) == f"{unbroken[0]} holds another run: {message}; {fix}"
    assert {path: path.read_bytes() for path in unbroken[0].iterdir()} == before


def test_how_often_to_save_is_no_part_of_the_run(unbroken: tuple[Path, str, TrainResult]) -> None:
    assert train_full(str(unbroken[0]), replace(FULL, checkpoint_seconds=5.0))[2] == unbroken[2]


def damaged(state: dict[str, Any], damage: str) -> None:
    learner = state["learner"]
    if damage == "shape":
        learner["model"]["1.weight"] = torch.zeros(4, 1, 5, 5)
    elif damage == "name":
        learner["model"]["other"] = learner["model"].pop("1.weight")
    elif damage == "momentum":
        learner["optimizers"][0]["state"][0]["momentum_buffer"] = torch.zeros(7)
    elif damage == "schedule":
        learner["schedules"][0]["step"] = 1
    elif damage == "generator":
        state["random"]["now"] = torch.zeros(3, dtype=torch.uint8)
    elif damage == "position":
        state["step"] = 99
    elif damage == "missing":
        del learner["totals"]
    elif damage == "extension":
        learner["extension"] = {"scale": torch.zeros(9), "steps": 0}
    elif damage == "sparse":
        learner["model"]["1.weight"] = torch.zeros(4, 1, 3, 3).to_sparse()
    elif damage == "results":
        state["results"][0]["unknown"] = 1
    elif damage == "best":
        state["best"]["epoch"] = 17


@pytest.mark.parametrize(
    "damage",
    [
        "shape",
        "name",
        "momentum",
        "schedule",
        "generator",
        "position",
        "missing",
        "extension",
        "sparse",
        "results",
        "best",
    ],
)
def test_a_state_that_does_not_fit_is_refused(
    damage: str, unbroken: tuple[Path, str, TrainResult], tmp_path: Path
) -> None:
    state = torch.load(unbroken[0] / "last.pt", weights_only=True)
    damaged(state, damage)
    torch.save(state, tmp_path / "last.pt")
    with pytest.raises(UserError, match=r"last\.pt does not fit this run \(.*\); give another folder, or --fresh"):
        train_full(str(tmp_path))


class Bomb:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, ("touch exploded",)


@pytest.mark.parametrize(
    "content, message",
    [
        (b"no state", "cannot be read as the state of a run"),
        ("half", "cannot be read as the state of a run"),
        ("pickle", "is damaged, or holds more than tensors and plain values"),
        ("other", "is no state of a run, or one of another version"),
        ("large", "is no state of this run"),
    ],
)
def test_a_damaged_file_is_refused(
    content: bytes | str,
    message: str,
    unbroken: tuple[Path, str, TrainResult],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "last.pt"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content == "half":
        whole = (unbroken[0] / "last.pt").read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
    elif content == "pickle":
        torch.save({"format": 1, "bomb": Bomb()}, path)
    elif content == "other":
        torch.save({"format": 0}, path)
    else:
        with path.open("wb") as stream:
            stream.truncate(1 << 30)
    with pytest.raises(UserError, match=message):
        train_full(str(tmp_path))
    assert not (tmp_path / "exploded").exists()


def test_an_extension_whose_state_could_not_be_read_again_is_refused(tmp_path: Path) -> None:
    class Opaque(ToyExtension):
        def state_dict(self) -> dict[str, Any]:
            return {"path": tmp_path}

    model = toy_model()
    message = "state_dict of an extension must hold tensors and plain values only, not 'Weights only load failed"
    with pytest.raises(TypeError, match=message):
        Trainer(model, toy_data(), FULL, run_dir=tmp_path, extension=Opaque(model)).run()


def test_two_runs_in_one_folder_are_refused(tmp_path: Path) -> None:
    inner: list[str] = []

    def again(state: Progress) -> None:
        with pytest.raises(UserError) as raised:
            Trainer(toy_model(), toy_data(), FULL, run_dir=tmp_path).run()
        inner.append(str(raised.value))

    Trainer(toy_model(), toy_data(), replace(FULL, epochs=1), run_dir=tmp_path, progress=again).run()
    assert inner == [f"another training runs in {tmp_path}; wait for it or give another folder"]


FULL_DISK = """
import resource, sys
from pathlib import Path
from mixq.errors import UserError
from tests.mixq.training import toy

folder = Path(sys.argv[1])
def limit(size):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))

saved = []
def fill(state):
    if state.result is None:  # within an epoch, which a slow machine tells of
        return
    saved.append((folder / "last.pt").read_bytes())
    limit(4096)

try:
    toy.train_full(str(folder), progress=fill)
except UserError as error:
    print(error)
assert len(saved) == 1 and (folder / "last.pt").read_bytes() == saved[0]
assert not list(folder.glob(".*.tmp"))
limit(10)
try:
    toy.train_full(str(folder))
except UserError as error:
    print(error)
limit(resource.RLIM_INFINITY)
model, extension, _ = toy.train_full(str(folder))
print(toy.digest(model, extension))
"""


def test_a_full_disk_is_one_line_and_leaves_the_old_state(
    tmp_path: Path, root: Path, unbroken: tuple[Path, str, TrainResult]
) -> None:
    # A limit on the size of files stands in for a disk that is full.
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", FULL_DISK, str(tmp_path)],
        capture_output=True,
        text=True,
        cwd=root,
        check=False,
        env={**os.environ, "PYTHONPATH": str(root)},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        f"cannot write {tmp_path}/last.pt: File too large",
        f"cannot write {tmp_path}/best.pt: File too large",
        unbroken[1],
    ]
    assert log_without_times(tmp_path) == log_without_times(unbroken[0])
