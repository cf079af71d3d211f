"""What an attempt does when others were at the task between its start and its claim."""

from __future__ import annotations

from pathlib import Path

from nas.sweep_claim import Claims, Owner
from nas.sweep_task import Task, TaskFolder
from nas.sweep_worker import Attempt, Status

TASK = Task(name="a", function="tests.nas.sweep_functions:square", arguments={"value": 3})


def prepared(folder: Path) -> TaskFolder:
    place = TaskFolder(folder, TASK)
    place.prepare()
    return place


def attempt(folder: Path, known: str = "") -> Attempt:
    return Attempt(task=TASK, folder=str(folder), stale_seconds=600, known=known)


def test_a_task_that_has_a_result_by_now_is_not_run(tmp_path: Path) -> None:
    place = prepared(tmp_path)
    place.write_result({"written": "by another"})
    assert attempt(tmp_path).run() is Status.DONE
    assert place.result() == {"written": "by another"}
    assert sorted(path.name for path in place.path.iterdir()) == ["result.json", "task.json"]


def test_a_task_that_somebody_runs_is_not_run(tmp_path: Path) -> None:
    place = prepared(tmp_path)
    with Claims(place.path, stale_seconds=600).claimed(Owner.this_process()):
        assert attempt(tmp_path).run() is Status.TAKEN
    assert not (place.path / "runs.txt").exists()


def test_only_the_known_failure_is_tried_again(tmp_path: Path) -> None:
    place = prepared(tmp_path)
    place.write_failure("by another")
    failure = place.failure()
    assert failure is not None
    assert attempt(tmp_path, known="an older one").run() is Status.FAILED
    assert not (place.path / "runs.txt").exists()
    assert attempt(tmp_path, known=failure.attempt).run() is Status.DONE
    assert place.result() is not None and place.failure() is None


def test_who_has_lost_the_claim_writes_nothing(tmp_path: Path) -> None:
    task = Task(name="a", function="tests.nas.test_sweep_worker:loses_its_claim", arguments={})
    place = TaskFolder(tmp_path, task)
    place.prepare()
    assert Attempt(task=task, folder=str(tmp_path), stale_seconds=600).run() is Status.TAKEN
    assert place.result() is None and place.failure() is None


def loses_its_claim(folder: Path) -> dict[str, bool]:
    """The next claim appears while the function runs."""
    (folder / "claim.2").touch()
    return {"lost": True}
