"""Sweeps on one machine: equal results however they are run, interrupted and shared; what is refused."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import nas.sweep
from mixq.errors import CheckFailed, UserError
from nas.sweep import Task, sweep

FUNCTIONS = "tests.nas.sweep_functions"

PROGRAM = """
import json, sys
from pathlib import Path
from nas.sweep import Task, sweep
tasks = [Task(**task) for task in json.loads(sys.argv[2])]
print(json.dumps(sweep(tasks, folder=sys.argv[1], jobs=int(sys.argv[3]))))
"""


def task(name: str, function: str, **arguments: Any) -> Task:
    return Task(name=name, function=f"{FUNCTIONS}:{function}", arguments=arguments)


def squares(count: int, seconds: float = 0.0) -> list[Task]:
    return [task(f"t{value}", "square", value=value, seconds=seconds) for value in reversed(range(count))]


def expected(count: int) -> dict[str, Any]:
    return {
        f"t{value}": {
            "square": value**2,
            "third": value / 3,
            "text": "ä",
            "none": None,
            "list": [True, {"a": 1}],
        }
        for value in reversed(range(count))
    }


def start_program(root: Path, folder: Path, tasks: list[Task], jobs: int) -> subprocess.Popen[str]:
    text = json.dumps([{"name": t.name, "function": t.function, "arguments": dict(t.arguments)} for t in tasks])
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(folder), text, str(jobs)],
        cwd=root,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell has programs in the background ignore Ctrl-C, and so would this one, if the tests run there.
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    )


def wait_for(path: Path) -> str:
    for _ in range(600):
        if path.exists() and (text := path.read_text()):
            return text
        time.sleep(0.02)
    raise AssertionError(f"{path} did not appear")


def is_gone(pid: int) -> bool:
    for _ in range(250):
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.02)
    return False


@pytest.mark.parametrize("jobs", [1, 2])
def test_results_are_in_the_order_of_the_tasks_whatever_the_jobs(tmp_path: Path, jobs: int) -> None:
    told: list[tuple[int, int]] = []
    results = sweep(squares(4), folder=tmp_path / "s", jobs=jobs, progress=lambda *state: told.append(state))
    assert results == expected(4) and list(results) == list(expected(4))
    assert told == [(done, 4) for done in range(5)]
    assert sorted(p.name for p in (tmp_path / "s" / "t1").iterdir()) == [
        "log.txt",
        "result.json",
        "runs.txt",
        "task.json",
    ]


def test_a_finished_task_is_not_run_again_and_new_ones_are_merged(tmp_path: Path) -> None:
    sweep(squares(2), folder=tmp_path)
    assert sweep(squares(3), folder=tmp_path) == expected(3)
    assert [len((tmp_path / f"t{i}" / "runs.txt").read_text().splitlines()) for i in range(3)] == [1, 1, 1]
    assert sweep([], folder=tmp_path) == {}


def test_fresh_runs_everything_anew_and_removes_only_tasks(tmp_path: Path) -> None:
    sweep([task("a", "square", value=2)], folder=tmp_path)
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "mine.txt").write_text("kept")
    results = sweep([task("a", "square", value=3), task("b", "square", value=4)], folder=tmp_path, fresh=True)
    assert [r["square"] for r in results.values()] == [9, 16]
    assert (tmp_path / "a" / "runs.txt").read_text().count("\n") == 1
    assert (tmp_path / "b" / "mine.txt").read_text() == "kept"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "b"]


def test_other_arguments_are_refused_before_anything_runs(tmp_path: Path) -> None:
    sweep([task("a", "square", value=2)], folder=tmp_path)
    with pytest.raises(UserError) as caught:
        sweep([task("b", "square", value=1), task("a", "square", value=2.0)], folder=tmp_path)
    assert str(caught.value) == (
        f"{tmp_path}/a/task.json is of another function or other arguments than task a now has; "
        "give another folder, or --fresh to start over"
    )
    assert not (tmp_path / "b" / "runs.txt").exists()


def test_a_result_of_other_arguments_is_refused(tmp_path: Path) -> None:
    sweep([task("a", "square", value=2)], folder=tmp_path / "1")
    sweep([task("a", "square", value=3)], folder=tmp_path / "2")
    (tmp_path / "1" / "a" / "result.json").replace(tmp_path / "2" / "a" / "result.json")
    with pytest.raises(UserError) as caught:
        sweep([task("a", "square", value=3)], folder=tmp_path / "2")
    assert str(caught.value) == (
        f"{tmp_path}/2/a/result.json is of another function or other arguments than task a now has; "
        "give another folder, or --fresh to start over"
    )


def test_a_failed_task_leaves_the_others_running_and_is_tried_again(tmp_path: Path) -> None:
    tasks = [task("bad", "refuse", message="no\n good"), task("good", "square", value=2)]
    line = f"1 of 2 tasks failed: bad; bad: ValueError: no good; see {tmp_path}/bad/log.txt, then run the sweep again"
    for _ in range(2):
        with pytest.raises(CheckFailed) as caught:
            sweep(tasks, folder=tmp_path)
        assert str(caught.value) == line
    log = (tmp_path / "bad" / "log.txt").read_text()
    assert log.count("before the failure") == log.count("Traceback") == 2
    assert json.loads((tmp_path / "bad" / "error.json").read_text())["error"] == "ValueError: no good"
    (tmp_path / "mended").touch()
    assert sweep(tasks, folder=tmp_path)["bad"] == {"mended": True}
    assert not (tmp_path / "bad" / "error.json").exists()
    assert (tmp_path / "good" / "runs.txt").read_text().count("\n") == 1


@pytest.mark.parametrize(
    ("function", "arguments", "error"),
    [
        (f"{FUNCTIONS}:leave", {}, "SystemExit: 3"),
        (f"{FUNCTIONS}:none", {}, f"no function none in the module {FUNCTIONS}"),
        ("nas.nowhere:f", {}, "no module nas.nowhere for the function nas.nowhere:f"),
        (f"{FUNCTIONS}:give", {"kind": "set"}, "TypeError: the result must hold plain JSON values, not {1}"),
        (f"{FUNCTIONS}:give", {"kind": "tuple"}, "TypeError: the result must hold plain JSON values, not (1, 2)"),
        (f"{FUNCTIONS}:give", {"kind": "nan"}, "ValueError: the result must hold finite numbers, not nan"),
        (f"{FUNCTIONS}:give", {"kind": "list"}, "TypeError: the result must be a dict, not [1]"),
        (f"{FUNCTIONS}:give", {"kind": "key"}, "TypeError: the result must have text as keys, not 1"),
        (f"{FUNCTIONS}:die", {"times": 2}, "killed by signal 9, 2 times"),
        (f"{FUNCTIONS}:die", {"times": 2, "status": 0}, "ended without a result, exit status 0, 2 times"),
        (f"{FUNCTIONS}:die", {"times": 2, "status": 7}, "ended without a result, exit status 7, 2 times"),
    ],
)
def test_how_a_task_fails(tmp_path: Path, function: str, arguments: dict[str, Any], error: str) -> None:
    with pytest.raises(CheckFailed) as caught:
        sweep([Task(name="a", function=function, arguments=arguments)], folder=tmp_path)
    end = f"see {tmp_path}/a/log.txt, then run the sweep again"
    assert str(caught.value) == f"1 of 1 tasks failed: a; a: {error}; {end}"


@pytest.mark.parametrize("status", [-9, 0, 7])
def test_a_task_whose_process_dies_once_is_run_again(tmp_path: Path, status: int) -> None:
    assert sweep([task("a", "die", times=1, status=status)], folder=tmp_path) == {"a": {"deaths": 1}}
    assert (tmp_path / "a" / "deaths.txt").read_text() == "died\n" * 2


def test_each_process_has_its_share_of_threads_and_an_empty_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MKL_NUM_THREADS", "77")
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    share = str(max(1, len(os.sched_getaffinity(0)) // 2))
    tasks = [task("a", "threads"), task("b", "ask")]
    results = sweep(tasks, folder=tmp_path / "1", jobs=2)
    assert results == {"a": dict(zip(names, (share, "77", share), strict=True)), "b": {"input": "", "tty": False}}
    assert sweep(tasks, folder=tmp_path / "2", cores=5)["a"] == dict(zip(names, ["5", "77", "5"], strict=True))


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_sweep_killed_at_any_moment_goes_on_and_runs_no_finished_task(root: Path, tmp_path: Path, jobs: int) -> None:
    seed = random.SystemRandom().randrange(1 << 30)
    print(f"seed {seed}")  # noqa: T201
    generator = random.Random(seed)
    tasks = squares(5, seconds=0.15)
    for _ in range(6):
        process = start_program(root, tmp_path, tasks, jobs)
        time.sleep(generator.uniform(0.1, 0.8))
        process.kill()
        process.communicate()
    process = start_program(root, tmp_path, tasks, jobs)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    assert json.loads(out) == expected(5)
    for one in tasks:
        runs = (tmp_path / one.name / "runs.txt").read_text().splitlines()
        assert {line.split()[0] for line in runs} == {"run"}, "run again after its result was written"


def test_ctrl_c_ends_everything_at_once(root: Path, tmp_path: Path) -> None:
    process = start_program(root, tmp_path, [task("a", "sleep", seconds=300), task("b", "sleep", seconds=300)], 2)
    pids = [int(pid) for name in "ab" for pid in wait_for(tmp_path / name / "processes.txt").split()]
    started = time.monotonic()
    process.send_signal(signal.SIGINT)
    try:
        _, err = process.communicate(timeout=20)
    finally:
        process.kill()
    assert time.monotonic() - started < 5
    assert err.rstrip().endswith("KeyboardInterrupt")
    assert len(pids) == 4 and all(is_gone(pid) for pid in pids)


def test_workers_of_a_killed_sweep_end_with_what_they_started(root: Path, tmp_path: Path) -> None:
    process = start_program(root, tmp_path, [task("a", "sleep", seconds=300)], 1)
    pids = [int(pid) for pid in wait_for(tmp_path / "a" / "processes.txt").split()]
    process.kill()
    process.communicate()
    assert len(pids) == 2 and all(is_gone(pid) for pid in pids)


def test_two_sweeps_in_one_folder_divide_the_tasks(root: Path, tmp_path: Path) -> None:
    tasks = squares(6, seconds=0.2)
    others = [start_program(root, tmp_path, tasks, 1) for _ in range(2)]
    for other in others:
        out, err = other.communicate(timeout=60)
        assert (json.loads(out), err) == (expected(6), "")
    runs = [(tmp_path / t.name / "runs.txt").read_text().splitlines() for t in tasks]
    assert [len(lines) for lines in runs] == [1] * 6


def test_a_task_that_another_machine_fails_at_is_not_tried_again_by_this_sweep(tmp_path: Path) -> None:
    tasks = [task("a", "sleep", seconds=0.5), task("b", "refuse", message="no")]
    found: list[str] = []

    def other() -> None:
        with pytest.raises(CheckFailed) as caught:
            sweep(tasks, folder=tmp_path)
        found.append(str(caught.value))

    thread = threading.Thread(target=other)
    thread.start()
    wait_for(tmp_path / "a" / "processes.txt")
    with pytest.raises(CheckFailed):
        sweep(tasks, folder=tmp_path)
    thread.join()
    assert len(found) == 1 and "tasks failed: b; b: ValueError: no;" in found[0]
    assert (tmp_path / "b" / "log.txt").read_text().count("Traceback") == 1


def test_fresh_is_refused_while_another_sweep_runs_a_task(root: Path, tmp_path: Path) -> None:
    tasks = [task("a", "sleep", seconds=300)]
    process = start_program(root, tmp_path, tasks, 1)
    pid = wait_for(tmp_path / "a" / "processes.txt").split()[0]
    with pytest.raises(UserError) as caught:
        sweep(tasks, folder=tmp_path, fresh=True)
    process.kill()
    process.communicate()
    host = os.uname().nodename
    assert str(caught.value) == (
        f"{tmp_path}/a is in use by process {pid} of {host}; wait for it or give another folder"
    )


def test_many_failures_are_told_in_one_short_line(tmp_path: Path) -> None:
    line = nas.sweep._failure_line({f"t{i}": "bad" for i in range(30)}, 40, tmp_path)
    named = ", ".join(f"t{i}" for i in range(20))
    assert line == (
        f"30 of 40 tasks failed: {named} and 10 more; t0: bad; see {tmp_path}/t0/log.txt, then run the sweep again"
    )


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"tasks": [1]}, TypeError, "tasks must hold Task, not 1"),
        ({"tasks": [*squares(1), Task(name="T0", function="a:b", arguments={})]}, ValueError, "'T0' twice"),
        ({"jobs": 0}, ValueError, "jobs must be positive, not 0"),
        ({"jobs": True}, TypeError, "jobs must be an integer, not True"),
        ({"cores": 0}, ValueError, "cores must be positive, not 0"),
        ({"ray": 1}, TypeError, "ray must be text or None, not 1"),
        ({"ray": ""}, ValueError, "ray must be 'auto' or an address, not ''"),
        ({"stale_seconds": "x"}, TypeError, "stale_seconds must be a number, not 'x'"),
        ({"stale_seconds": 0}, ValueError, "stale_seconds must be positive and finite, not 0"),
    ],
)
def test_wrong_parameters(tmp_path: Path, changes: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error) as caught:
        sweep(**{"tasks": squares(1), "folder": tmp_path, **changes})
    assert str(caught.value).endswith(message)


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError) as caught:
        sweep(squares(1), folder=tmp_path / "file")
    assert str(caught.value) == f"cannot make the folder {tmp_path}/file/t0: Not a directory"
