"""The board files against the devices' data sheets, and what is refused as a board."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import boards.library
from boards import board_names, load_board
from mixq.board import Board, Resources, VivadoBoard
from mixq.errors import UserError
from mixq.files import dump_yaml, load_yaml

RECORD: dict[str, Any] = {
    "name": "mine",
    "part": "xczu2eg-sfva625-1-e",
    "device": "dsp48e2",
    "resources": {"LUT": 47232, "FF": 94464, "DSP": 240, "BRAM_36K": 150, "URAM": 0},
    "dsp_columns": 5,
    "dsp_column_height": 48,
    "clock_mhz": 250.5,
}


def test_ultra96() -> None:
    board = load_board("ultra96-v2")
    assert board.part == "xczu3eg-sbva484-1-i"
    assert board.resources == Resources(lut=70_560, ff=141_120, dsp=360, bram36=216, uram=0)
    assert (board.dsp_columns, board.dsp_column_height, board.device) == (5, 72, "dsp48e2")
    assert board.clock_mhz == 300


def test_zcu104() -> None:
    board = load_board("zcu104")
    assert board.part == "xczu7ev-ffvc1156-2-e"
    assert board.resources == Resources(lut=230_400, ff=460_800, dsp=1_728, bram36=312, uram=96)
    # A column spans clock regions of 24 DSPs.
    assert board.dsp_column_height % 24 == 0
    assert board.dsp_columns * board.dsp_column_height == 1_728


# Part, LUT, FF, DSP, 36 Kb block RAMs and UltraRAMs as in the data sheets DS891, DS987, DS190 and DS962; the clock.
SHEETS = {
    "zcu102": ("xczu9eg-ffvb1156-2-e", 274_080, 548_160, 2_520, 912, 0, 300),
    "kv260": ("xck26-sfvc784-2LV-c", 117_120, 234_240, 1_248, 144, 64, 250),
    "pynq-z2": ("xc7z020clg400-1", 53_200, 106_400, 220, 140, 0, 125),
    "u250": ("xcu250-figd2104-2L-e", 1_728_000, 3_456_000, 12_288, 2_688, 1_280, 250),
}


@pytest.mark.parametrize("name", SHEETS)
def test_the_data_sheets_figures(name: str) -> None:
    board = load_board(name)
    part, lut, ff, dsp, bram36, uram, clock = SHEETS[name]
    assert (board.part, board.clock_mhz) == (part, clock)
    assert board.resources == Resources(lut=lut, ff=ff, dsp=dsp, bram36=bram36, uram=uram)
    # Clock regions are 24 DSPs high, 20 in 7-series devices; columns are counted in pieces of one region each.
    assert (board.dsp_column_height, board.device) == ((20, "dsp48e1") if name == "pynq-z2" else (24, "dsp48e2"))
    assert board.dsp_columns * board.dsp_column_height == dsp


def test_what_a_block_design_starts_from() -> None:
    assert {name: load_board(name).vivado for name in board_names()} == {
        "ultra96-v2": VivadoBoard("zynq-ultrascale+", "avnet.com:ultra96v2:part0:1.2", 128),
        "zcu104": VivadoBoard("zynq-ultrascale+", "xilinx.com:zcu104:part0:1.1", 128),
        "zcu102": VivadoBoard("zynq-ultrascale+", "xilinx.com:zcu102:part0:3.4", 128),
        "kv260": VivadoBoard("zynq-ultrascale+", "xilinx.com:kv260_som:part0:1.4", 128),
        "pynq-z2": VivadoBoard("zynq-7000", "tul.com.tw:pynq-z2:part0:1.0", 64),
        "u250": VivadoBoard("none", "xilinx.com:au250:part0:1.3", 512),
    }


FINN_NAMES = {
    "Ultra96-V2": "ultra96-v2",
    "ZCU104": "zcu104",
    "ZCU102": "zcu102",
    "KV260_SOM": "kv260",
    "Pynq-Z2": "pynq-z2",
    "U250": "u250",
}


@pytest.mark.parametrize("spelling", FINN_NAMES)
def test_the_names_that_finn_gives(spelling: str) -> None:
    board = load_board(spelling)
    assert board.name == FINN_NAMES[spelling]
    assert spelling in board.aliases


def test_the_page_has_every_board(root: Path) -> None:
    lines = (root / "docs" / "boards.md").read_text().splitlines()
    rows: dict[int, list[list[str]]] = {11: [], 4: []}
    for line in lines:
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("| `") and len(cells) in rows:
            rows[len(cells)].append(cells)
    every = [load_board(name) for name in board_names()]
    assert rows[11] == [
        [
            *(f"`{board.name}`", board.description, f"`{board.part}`", board.device.upper()),
            *(f"{getattr(board.resources, kind):,}" for kind in ("lut", "ff", "dsp", "bram36", "uram")),
            f"{board.clock_mhz:g}",
            ", ".join(board.aliases),
        ]
        for board in every
    ]
    assert rows[4] == [
        [f"`{board.name}`", board.vivado.ps, f"`{board.vivado.board_part}`", str(board.vivado.dma_bits)]
        for board in every
        if board.vivado
    ]


@pytest.mark.parametrize("spelling", ["ultra96-v2", "Ultra96-V2", "ULTRA96_V2", "ultra96v2", "Ultra96 V2"])
def test_spellings(spelling: str) -> None:
    assert load_board(spelling).name == "ultra96-v2"
    assert load_board("ZCU104").name == "zcu104"


def test_every_file_is_a_board_of_its_name_and_no_spelling_means_two() -> None:
    owners: dict[str, str] = {}
    assert {"ultra96-v2", "zcu104"} <= set(board_names())
    assert list(board_names()) == sorted(board_names())
    for name in board_names():
        board = load_board(name)
        assert board.name == name
        for spelling in {"".join(c for c in s.lower() if c.isalnum()) for s in (name, *board.aliases)}:
            assert owners.setdefault(spelling, name) == name


def test_the_planned_clock_is_called_an_assumption() -> None:
    for name in board_names():
        text = (Path(boards.library.__file__).parent / "data" / f"{name}.yaml").read_text()
        assert "assumption" in text


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(UserError) as failure:
        load_board("nexys")
    names = ", ".join(board_names())
    assert str(failure.value) == f"no board is named 'nexys'; use one of {names}, or the path of a board file"


def write(folder: Path, record: Any) -> Path:
    path = folder / "mine.yaml"
    path.write_text(dump_yaml(record))
    return path


def test_a_file_of_ones_own(tmp_path: Path) -> None:
    path = write(tmp_path, RECORD)
    expected = Board("mine", "xczu2eg-sfva625-1-e", Resources(47232, 94464, 240, 150, 0), 5, 48, 250.5)
    assert load_board(path) == load_board(str(path)) == expected


@pytest.mark.parametrize(("change", "limit"), [({}, 645), ({"dsp_clock_mhz": 891}, 891), ({"device": "dsp48e1"}, 464)])
def test_the_clock_of_the_dsps_is_the_files_or_that_of_the_slowest(
    change: dict[str, Any], limit: float, tmp_path: Path
) -> None:
    assert load_board(write(tmp_path, RECORD | change)).dsp_limit_mhz == limit


def test_a_new_file_is_all_that_a_board_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, {**RECORD, "aliases": ["My Board"], "description": "a board"})
    monkeypatch.setattr(boards.library, "_DATA", tmp_path)
    assert board_names() == ("mine",)
    assert load_board("my_board") == load_board("mine")
    assert load_board("mine").description == "a board"


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.yaml: no such file"):
        load_board(tmp_path / "none.yaml")


def test_a_file_may_say_what_a_block_design_needs(tmp_path: Path) -> None:
    assert load_board(write(tmp_path, RECORD)).vivado is None
    assert load_board(write(tmp_path, RECORD | {"vivado": DESIGN})).vivado == VivadoBoard(
        "zynq-ultrascale+", "me.org:mine:part0:1.0", 64
    )


COUNTS = RECORD["resources"]
DESIGN = {"ps": "zynq-ultrascale+", "board_part": "me.org:mine:part0:1.0", "dma_bits": 64}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"part": None}, "part must be a text, not None"),
        ({"name": " "}, "name must be a text, not ' '"),
        ({"device": "dsp58"}, "device must be one of dsp48e1, dsp48e2, not 'dsp58'"),
        ({"dsp_columns": 4}, "dsp_columns times dsp_column_height must hold 240 DSPs, not 192"),
        ({"dsp_columns": True}, "dsp_columns must be a whole number of at least 0, not True"),
        ({"dsp_column_height": 1.5}, "dsp_column_height must be a whole number of at least 0, not 1.5"),
        ({"clock_mhz": 0}, "clock_mhz must be a number above 0 and at most 2000, not 0"),
        ({"clock_mhz": "fast"}, "clock_mhz must be a number above 0 and at most 2000, not 'fast'"),
        ({"clock_mhz": float("nan")}, "clock_mhz must be a number above 0 and at most 2000, not nan"),
        ({"dsp_clock_mhz": 2001}, "dsp_clock_mhz must be a number above 0 and at most 2000, not 2001"),
        ({"aliases": "mine2"}, "aliases must be a list of names, not 'mine2'"),
        ({"aliases": [3]}, "aliases must be a text, not 3"),
        ({"resources": 5}, "resources must be keys and values, not 5"),
        ({"resources": {**COUNTS, "LUT": -1}}, "resources.LUT must be a whole number of at least 0, not -1"),
        (
            {"resources": {key: COUNTS[key] for key in ("LUT", "FF", "DSP", "BRAM_36K")}},
            "resources must have the key 'URAM'",
        ),
        (
            {"resources": {**COUNTS, "BRAM": 3}},
            "resources must have no keys but LUT, FF, DSP, BRAM_36K, URAM, not 'BRAM'",
        ),
        (
            {"clock": 3},
            "the file must have no keys but name, part, device, resources, dsp_columns, dsp_column_height, clock_mhz, "
            "description, aliases, dsp_clock_mhz, vivado, not 'clock'",
        ),
        ({"vivado": "zynq"}, "vivado must be keys and values, not 'zynq'"),
        ({"vivado": {"ps": "none", "board_part": "a:b:c:1"}}, "vivado must have the key 'dma_bits'"),
        ({"vivado": DESIGN | {"dma": 1}}, "vivado must have no keys but ps, board_part, dma_bits, not 'dma'"),
        ({"vivado": DESIGN | {"ps": None}}, "vivado.ps must be a text, not None"),
        (
            {"vivado": DESIGN | {"ps": "versal"}},
            "vivado.ps must be one of zynq-ultrascale+, zynq-7000, none, not 'versal'",
        ),
        (
            {"vivado": DESIGN | {"board_part": "zcu104"}},
            "vivado.board_part must be VENDOR:BOARD:part0:VERSION, not 'zcu104'",
        ),
        ({"vivado": DESIGN | {"dma_bits": 48}}, "vivado.dma_bits must be one of 32, 64, 128, 256, 512, not 48"),
        ({"vivado": DESIGN | {"dma_bits": "64"}}, "vivado.dma_bits must be one of 32, 64, 128, 256, 512, not '64'"),
        ({"vivado": DESIGN | {"dma_bits": [64]}}, "vivado.dma_bits must be one of 32, 64, 128, 256, 512, not [64]"),
    ],
)
def test_what_is_wrong_is_named_with_file_and_key(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = write(tmp_path, RECORD | change)
    with pytest.raises(UserError) as failure:
        load_board(path)
    assert str(failure.value) == f"{path}: {message}"


@pytest.mark.parametrize("key", sorted(RECORD))
def test_a_missing_key_is_named(key: str, tmp_path: Path) -> None:
    path = write(tmp_path, {name: value for name, value in RECORD.items() if name != key})
    with pytest.raises(UserError) as failure:
        load_board(path)
    assert str(failure.value) == f"{path}: the file must have the key {key!r}"


def test_the_files_are_plain_yaml() -> None:
    folder = Path(boards.library.__file__).parent / "data"
    for path in folder.iterdir():
        assert path.suffix == ".yaml"
        assert load_yaml(path)["name"] == path.stem
