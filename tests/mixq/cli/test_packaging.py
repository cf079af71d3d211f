"""`mixq package` on a build that was generated, for the boards there are."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest

from boards import board_names
from boards.manifest import BuildManifest
from tests.boards.vivado.model import Vivado
from tests.boards.vivado.session import run_script
from tests.mixq.cli.conftest import Run

_FACTS = [
    "board",
    "clock",
    "input",
    "output",
    "registers",
    "scripts",
    "IP",
    "driver",
    "timing alone",
    "bitstream",
    "then",
]


def scripts_run(vivado: Path) -> None:
    for script in ("package_ip.tcl", "project.tcl", "bitstream.tcl", "ooc.tcl"):
        status, said = run_script(vivado / script, Vivado())
        assert status == 0, said


def test_the_table_says_what_was_made_and_what_comes_next(built: Path, tmp_path: Path, mixq: Run) -> None:
    build = shutil.copytree(built, tmp_path / "my build")
    done = mixq("package", build, "--board", "ultra96-v2")
    assert (done.status, done.err) == (0, "")
    lines = done.out.splitlines()
    assert [line[:14].strip() for line in lines] == _FACTS
    assert lines[0].endswith("ultra96-v2, xczu3eg-sbva484-1-i, board part avnet.com:ultra96v2:part0:1.2")
    assert f"make -C '{build / 'vivado'}' bitstream" in done.out
    assert f"{build / 'vivado'} (written)" in done.out
    assert f"{build / 'vivado'} (the same as before)" in mixq("package", build, "--board", "ultra96-v2").out
    noted = BuildManifest.load(build).stages["vivado"]["files"]
    files = {f"vivado/{path.name}" for path in (build / "vivado").iterdir() if path.is_file()}
    assert set(noted) == files and len(files) > 5
    assert noted["vivado/project.tcl"] == hashlib.sha256((build / "vivado/project.tcl").read_bytes()).hexdigest()
    carried = {path.relative_to(build).as_posix() for path in (build / "driver").rglob("*") if path.is_file()}
    assert set(BuildManifest.load(build).stages["driver"]["files"]) == carried
    assert {"driver/accelerator.json", "driver/run.py", "driver/mixq_driver/__init__.py"} <= carried
    scripts_run(build / "vivado")


@pytest.mark.parametrize("board", [*board_names()])
def test_verilog_for_any_device_is_packaged_for_every_board(board: str, built: Path, tmp_path: Path, mixq: Run) -> None:
    build = shutil.copytree(built, tmp_path / "build")
    done = mixq("package", build, "--board", board)
    assert (done.status, done.err) == (0, "")
    assert json.loads((build / "driver/accelerator.json").read_text())["board"] == board
    assert (", planned for ultra96-v2, " in done.out) is (board != "ultra96-v2")


def test_mistakes_end_with_one_line(built: Path, tmp_path: Path, mixq: Run) -> None:
    done = mixq("package", tmp_path, "--board", "ultra96-v2")
    assert done.status == 2 and "holds no Verilog; make it with: mixq generate" in done.complaint
    done = mixq("package", built, "--board", "zcu1")
    assert done.status == 2 and "no board is named 'zcu1'" in done.complaint
    board = tmp_path / "small.yaml"
    text = Path(str(Path(__file__).parents[3] / "boards" / "data" / "ultra96-v2.yaml")).read_text()
    board.write_text(text.replace("LUT: 70560", "LUT: 10"))
    done = mixq("package", built, "--board", board)
    assert done.status == 1 and "does not fit ultra96-v2: LUT " in done.complaint and "of 10 (" in done.complaint
    assert not (built / "vivado").exists()
