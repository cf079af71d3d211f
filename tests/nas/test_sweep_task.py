"""Tasks: what they may be, and their digests."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path
from typing import Any

import pytest

from mixq.errors import UserError
from nas.sweep_task import Task, TaskFolder, one_line
from nas.sweep_worker import Attempt

NAME = "name must be up to 100 letters, digits, '.', '_' and '-', a letter or digit first, not "
FUNCTION = "function must be of the form 'package.module:function', not "


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"name": 1}, TypeError, "name must be text, not 1"),
        *[({"name": n}, ValueError, f"{NAME}{n!r}") for n in ("", "..", ".a", "a/b", "a\n", "ä", "x" * 101)],
        ({"function": None}, TypeError, "function must be text, not None"),
        *[({"function": f}, ValueError, f"{FUNCTION}{f!r}") for f in ("a", "a:", ":f", "a.:f", "a:b.c", "a b:c")],
        ({"arguments": [1]}, TypeError, "arguments must be a mapping, not [1]"),
        ({"arguments": {"a": (1,)}}, TypeError, "arguments must hold plain JSON values, not (1,)"),
        ({"arguments": {1: 2}}, TypeError, "arguments must have text as keys, not 1"),
        ({"arguments": {"a": float("inf")}}, ValueError, "arguments must hold finite numbers, not inf"),
        ({"arguments": {"folder": "x"}}, ValueError, "arguments must leave 'folder' to the sweep, not {'folder': 'x'}"),
    ],
)
def test_wrong_tasks(changes: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error) as caught:
        Task(**{"name": "a", "function": "a.b:c", "arguments": {}, **changes})
    assert str(caught.value) == message


def test_the_digest_is_of_function_and_arguments_in_any_order() -> None:
    one = Task(name="a", function="m:f", arguments={"b": 1, "a": [2, None]})
    # Written out by hand, as documented: JSON of both with sorted keys.
    assert one.digest == hashlib.sha256(b'["m:f", {"a": [2, null], "b": 1}]').hexdigest()
    assert dataclasses.replace(one, name="z", arguments={"a": [2, None], "b": 1}).digest == one.digest
    assert dataclasses.replace(one, arguments={"a": [2, None], "b": 1.0}).digest != one.digest
    assert dataclasses.replace(one, function="m:g").digest != one.digest


def test_a_task_does_not_change_with_what_it_was_made_of() -> None:
    values = [1]
    one = Task(name="a", function="m:f", arguments={"values": values})
    values.append(2)
    assert one.arguments == {"values": [1]}
    with pytest.raises(TypeError):
        one.arguments["values"] = 3  # type: ignore[index]


def test_an_attempt_survives_its_journey() -> None:
    one = Task(name="a", function="m:f", arguments={"x": ["ä\n", 0.1, None]})
    attempt = Attempt(task=one, folder="/f", stale_seconds=1.5, known="k", node="n", dead_nodes=["d"])
    assert "\n" not in attempt.to_json()
    assert Attempt.from_json(attempt.to_json()) == attempt


def test_a_file_that_is_no_result_is_refused(tmp_path: Path) -> None:
    one = Task(name="a", function="m:f", arguments={})
    place = TaskFolder(tmp_path, one)
    place.prepare()
    (tmp_path / "a" / "result.json").write_text(f'{{"digest": "{one.digest}"}}')
    with pytest.raises(UserError) as caught:
        place.result()
    expected = f"{tmp_path}/a/result.json holds no result; give another folder, or --fresh to start over"
    assert str(caught.value) == expected


def test_a_result_that_could_not_be_read_again_is_refused(tmp_path: Path) -> None:
    place = TaskFolder(tmp_path, Task(name="a", function="m:f", arguments={}))
    place.prepare()
    with pytest.raises(UserError, match=r"^the result is larger than 8388608 bytes; write it into a file of its own$"):
        place.write_result({"a": "x" * (8 << 20)})
    assert place.result() is None


def test_errors_become_one_short_line() -> None:
    assert one_line(ValueError("a\n  b")) == "ValueError: a b"
    assert one_line(KeyboardInterrupt()) == "KeyboardInterrupt"
    assert one_line(UserError("told")) == "told"
    assert len(one_line(ValueError("x" * 999))) == 300
