"""A process killed at any point leaves the old folder or the new one, and the next call cleans up."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import boards.swap
from boards.swap import locked, recover, replace_folder
from mixq.errors import UserError

OLD: dict[str, bytes | str] = {"top.v": "old", "gone.mem": "1\n"}
NEW: dict[str, bytes | str] = {"top.v": "new", "fresh.mem": b"2\n"}
NEW_TEXT: dict[str, bytes | str] = {"top.v": "new", "fresh.mem": "2\n"}


class Killed(BaseException):
    """Like the end of the process: nothing in the code under test may catch it."""


def content(folder: Path) -> dict[str, bytes | str]:
    return {path.name: path.read_text() for path in folder.iterdir()}


def test_the_folder_holds_exactly_the_files(tmp_path: Path) -> None:
    target = tmp_path / "rtl"
    replace_folder(target, OLD)
    assert content(target) == OLD
    replace_folder(target, NEW)
    assert content(target) == NEW_TEXT
    assert list(tmp_path.iterdir()) == [target]


class Killer:
    """Ends the process, as it were, before or after the n-th step that changes the disk."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, exchange: bool) -> None:
        self.steps = 0
        self.stop: int | None = None
        monkeypatch.setattr(os, "fsync", self._counted(os.fsync))
        monkeypatch.setattr(Path, "mkdir", self._counted(Path.mkdir))
        monkeypatch.setattr(Path, "rename", self._counted(Path.rename))
        monkeypatch.setattr(shutil, "rmtree", self._counted(shutil.rmtree))
        change = boards.swap._exchange if exchange else _cannot_exchange
        monkeypatch.setattr(boards.swap, "_exchange", self._counted(change))

    def _counted(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            self._step()
            result = function(*args, **kwargs)
            self._step()
            return result

        return call

    def _step(self) -> None:
        self.steps += 1
        if self.steps == self.stop:
            raise Killed


def _cannot_exchange(first: Path, second: Path) -> bool:
    return False


@pytest.mark.parametrize("exchange", [True, False])
def test_killed_anywhere(exchange: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "rtl"
    replace_folder(target, OLD)
    killer = Killer(monkeypatch, exchange=exchange)
    replace_folder(target, NEW)
    total = killer.steps
    assert total > 12
    seen = set()
    for stop in range(1, total + 1):
        killer.stop = None
        replace_folder(target, OLD)
        killer.steps, killer.stop = 0, stop
        with pytest.raises(Killed):
            replace_folder(target, NEW)
        killer.stop = None
        if exchange:  # no moment without the folder
            assert target.is_dir()
        recover(target)
        assert content(target) in (OLD, NEW_TEXT)
        assert list(tmp_path.iterdir()) == [target]
        seen.add(content(target)["top.v"])
    assert seen == {"old", "new"}


def test_this_system_exchanges_folders_in_one_step(tmp_path: Path) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    for folder in (first, second):
        folder.mkdir()
        (folder / "name").write_text(folder.name)
    assert boards.swap._exchange(first, second)
    assert ((first / "name").read_text(), (second / "name").read_text()) == ("b", "a")


def test_a_full_disk_leaves_the_old_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "rtl"
    replace_folder(target, OLD)

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError) as failure:
        replace_folder(target, NEW)
    assert str(failure.value) == f"cannot write {target}: No space left on device"
    assert content(target) == OLD
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("name", ["a/b", "..", "", "/etc/passwd"])
def test_names_with_folders_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError) as failure:
        replace_folder(tmp_path / "rtl", {name: ""})
    assert str(failure.value) == f"files must have bare names, not {name!r}"


def test_one_process_at_a_time(tmp_path: Path) -> None:
    other = (
        "import sys\nfrom pathlib import Path\nfrom boards.swap import locked\nfrom mixq.errors import UserError\n"
        "try:\n    with locked(Path(sys.argv[1])): print('free')\nexcept UserError as error: print(error)\n"
    )

    def run() -> str:
        done = subprocess.run([sys.executable, "-c", other, tmp_path], capture_output=True, text=True, check=True)
        return done.stdout.strip()

    with locked(tmp_path):
        assert run() == f"{tmp_path} is being generated by another process; wait until it is done"
    assert run() == "free"


def test_a_folder_that_is_missing_cannot_be_held(tmp_path: Path) -> None:
    with pytest.raises(UserError) as failure, locked(tmp_path / "none"):
        pass
    assert str(failure.value) == f"cannot open the folder {tmp_path / 'none'}: No such file or directory"


def test_a_file_in_the_folders_place_stays(tmp_path: Path) -> None:
    target = tmp_path / "rtl"
    target.write_text("mine")
    with pytest.raises(UserError, match=r"rtl: it is no folder; remove it or rename it$"):
        replace_folder(target, NEW)
    assert target.read_text() == "mine" and list(tmp_path.iterdir()) == [target]


def test_a_link_is_replaced_and_what_it_points_at_stays(tmp_path: Path) -> None:
    elsewhere, target = tmp_path / "elsewhere", tmp_path / "rtl"
    replace_folder(elsewhere, OLD)
    target.symlink_to(elsewhere)
    for _ in range(2):
        replace_folder(target, NEW)
        assert content(target) == NEW_TEXT and not target.is_symlink() and content(elsewhere) == OLD
        assert sorted(tmp_path.iterdir()) == [elsewhere, target]
