"""What docs/vivado.md says of files, addresses and registers is what is written."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from boards import load_board
from boards.registers import MAGIC, OFFSETS
from boards.vivado_design import vivado_design
from boards.vivado_files import vivado_files
from mixq.cli.reference import render
from tests.boards.stand_in_build import write_build


@pytest.fixture
def page(root: Path) -> str:
    return (root / "docs" / "vivado.md").read_text()


def test_the_files_are_those_that_are_written(page: str, tmp_path: Path) -> None:
    table = page.partition("| file | what it is |")[2].partition("\n\n")[0]
    named = {
        name for row in table.splitlines() for name in re.findall(r"`([^`]+)`", row.split("|")[1:2][0] if row else "")
    }
    assert named == set(vivado_files(vivado_design(write_build(tmp_path / "b", fast=True), load_board("zcu104"))))


def test_the_addresses_are_those_of_the_scripts(page: str, tmp_path: Path) -> None:
    rows = re.findall(r"^\| registers of the (\w+) \| `(\w+)` \| `(\w+)` \|$", page, flags=re.MULTILINE)
    assert [row[0] for row in rows] == ["accelerator", "DMA"]
    for column, board in ((1, "ultra96-v2"), (2, "pynq-z2")):
        text = vivado_files(vivado_design(write_build(tmp_path / board, board=board), load_board(board)))[
            "block_design.tcl"
        ]
        assigned = re.findall(r"-offset (\w+) .*\\\n    \[get_bd_addr_segs (\w+)/", text)
        assert assigned == [(row[column].replace("_", ""), row[0].lower()) for row in rows]


def test_the_registers_are_at_their_offsets(page: str) -> None:
    named = dict(re.findall(r"`([A-Z_]+)` \((?:offset )?`(0x[0-9A-F]{2})`\)", page))
    assert len(named) >= 9
    assert named == {name: f"0x{OFFSETS[name]:02X}" for name in named}
    assert f"`0x{MAGIC:08X}`" in page


def test_the_commands_are_those_there_are(page: str) -> None:
    verbs = set(re.findall(r"^## mixq (\w+)$", render(), flags=re.MULTILINE))
    used = set(re.findall(r"^ {4}mixq (\w+) |`mixq (\w+)[ `]", page, flags=re.MULTILINE))
    assert {one or other for one, other in used} <= verbs
