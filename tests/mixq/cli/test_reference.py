"""The command reference in docs/ is that of the code."""

from __future__ import annotations

from pathlib import Path

from mixq.cli.reference import render

VERBS = (
    "quickstart doctor init check search train test import run plan generate verify estimate report package export "
    "packings"
)


def test_the_page_is_current(root: Path) -> None:
    assert (root / "docs/commands.md").read_text() == render(), (
        "renew it with: python -m mixq.cli.reference > docs/commands.md"
    )


def test_every_verb_has_its_section() -> None:
    headings = [line.removeprefix("## mixq ") for line in render().splitlines() if line.startswith("## ")]
    assert headings == VERBS.split()


def test_the_exit_statuses_are_told_for_every_verb(root: Path) -> None:
    page = (root / "docs/exit-status.md").read_text()
    assert [verb for verb in VERBS.split() if f"| `{verb}` |" not in page] == []
