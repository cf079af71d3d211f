"""A step is done again exactly where something that it follows from, or that it made, has changed."""

from __future__ import annotations

from pathlib import Path

import pytest

import mixq.cli.steps
from mixq.build_folder import BuildFolder
from mixq.cli.steps import Steps, source_digest


@pytest.fixture
def folder(tmp_path: Path) -> BuildFolder:
    (tmp_path / "rtl").mkdir()
    for name in ("in", "out", "rtl/a"):
        (tmp_path / name).write_text(name)
    return BuildFolder(tmp_path)


def test_a_step_is_done_until_something_changes(folder: BuildFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    steps, inputs, made = Steps(folder), (folder.path / "in", folder.rtl), (folder.path / "out",)

    def done(settings: object = (1,)) -> bool:
        return steps.is_done("x", settings=settings, inputs=inputs, made=made)

    assert not done()
    steps.record("x", settings=[1], inputs=inputs, made=made)
    assert done([1]) and not done([2]) and not steps.is_done("y", settings=[1], inputs=inputs, made=made)
    for name in ("in", "out", "rtl/a"):
        (folder.path / name).write_text("other")
        assert not done([1])
        (folder.path / name).write_text(name)
        assert done([1])
    (folder.rtl / "b").write_text("")
    assert not done([1])
    (folder.rtl / "b").unlink()
    monkeypatch.setattr(mixq.cli.steps, "source_digest", lambda: "another version")
    assert not done([1])


def test_a_missing_file_is_never_done(folder: BuildFolder) -> None:
    steps, gone = Steps(folder), (folder.path / "gone",)
    assert not steps.is_done("x", made=gone)
    with pytest.raises(ValueError, match=r"made must name files that are there, not \[.*gone.*\]$"):
        steps.record("x", made=gone)
    assert not steps.is_done("x", made=gone)


def test_a_damaged_record_means_not_done(folder: BuildFolder) -> None:
    steps, made = Steps(folder), (folder.path / "out",)
    steps.record("x", made=made)
    for text in ("{", "[1]"):
        folder.steps.write_text(text)
        assert not steps.is_done("x", made=made)
    steps.record("x", made=made)
    assert steps.is_done("x", made=made)


def test_the_digest_of_the_code_is_stable() -> None:
    first = source_digest()
    source_digest.cache_clear()
    assert source_digest() == first and len(first) == 64
