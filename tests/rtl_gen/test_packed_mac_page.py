"""What docs/packed-mac-vivado.md tells to do is done: the command, the module, the script."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import numpy as np
import pytest

from mixq.cli import main
from sim.tools import find_icarus
from sim.verilog_source import library_sources, module_ports
from tests.boards.vivado.model import Vivado
from tests.boards.vivado.session import run_script

_BENCH = """
module bench;
  reg clk = 0, rst = 1, valid = 0;
  reg [7:0] pixels = 0, weights = 0;
  wire done;
  wire signed [10:0] dot00, dot01, dot10, dot11;
  four_dots dut(clk, rst, valid, pixels, weights, done, dot00, dot01, dot10, dot11);
  always #5 clk = ~clk;
  always @(posedge clk) if (done) $display("%0d %0d %0d %0d", dot00, dot01, dot10, dot11);
  initial begin
    repeat (3) @(negedge clk);
    rst = 0;
DRIVE
    valid = 0;
    repeat (20) @(negedge clk);
    $finish;
  end
endmodule
"""


def block(page: str, language: str) -> str:
    """The one block of a language on the page."""
    (text,) = re.findall(rf"^```{language}\n(.*?)^```$", page, flags=re.DOTALL | re.MULTILINE)
    return str(text)


@pytest.fixture
def page(root: Path) -> str:
    return (root / "docs" / "packed-mac-vivado.md").read_text()


@pytest.fixture
def project(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the files that the page says how to make."""
    monkeypatch.chdir(tmp_path)
    (command,) = re.findall(r"^    mixq (packings .* --verilog packed_mac.v)$", page, flags=re.MULTILINE)
    assert main(shlex.split(command)) == 0
    (tmp_path / "four_dots.v").write_text(block(page, "verilog"))
    (tmp_path / "four_dots.xdc").write_text(block(page, "xdc"))
    (tmp_path / "ooc.tcl").write_text(block(page, "tcl"))
    return tmp_path


@pytest.mark.icarus
def test_the_module_computes_four_dot_products(project: Path) -> None:
    rng = np.random.default_rng(5)
    pixels, weights = rng.integers(0, 16, (6, 8, 2)), rng.integers(-7, 8, (6, 8, 2))
    drive = []
    for number in range(6):
        for term in range(8):
            codes = [int(a) | int(b) << 4 for a, b in (pixels[number, term], weights[number, term] & 15)]
            drive.append(f"    valid = 1; pixels = {codes[0]}; weights = {codes[1]}; @(negedge clk);")
            if rng.random() < 0.3:
                drive.append("    valid = 0; pixels = 255; weights = 85; @(negedge clk);")
    (project / "bench.v").write_text(_BENCH.replace("DRIVE", "\n".join(drive)))
    sources = [project / name for name in ("bench.v", "four_dots.v", "packed_mac.v")]
    sources += library_sources([path.read_text() for path in sources])
    assert "DSP48E2.v" in [path.name for path in sources]
    icarus = find_icarus()
    words = [str(icarus.iverilog), "-g2012", "-s", "bench", "-o", str(project / "sim"), *map(str, sources)]
    subprocess.run(words, check=True, env=dict(icarus.environment))
    run = subprocess.run(
        [str(icarus.vvp), "-n", str(project / "sim")],
        check=True,
        capture_output=True,
        text=True,
        env=dict(icarus.environment),
    )
    seen = [[int(word) for word in line.split()] for line in run.stdout.splitlines() if re.match(r"-?\d", line)]
    expected = np.einsum("stm,ste->sme", weights, pixels).reshape(6, 4)
    assert seen == expected.tolist()


def test_what_the_page_says_of_the_file_is_so(page: str, project: Path) -> None:
    text = (project / "packed_mac.v").read_text()
    (name,) = re.findall(r"writes module `(\w+)`: four multiplications of 4 bits in one DSP48E2", page)
    instantiated = re.findall(r"\.(\w+)\(", block(page, "verilog"))
    assert sorted(instantiated) == sorted(module_ports(text, name))
    assert "4 useful multiplications per DSP" in text and text.count("DSP48E2 #(") == 1


def test_the_script_uses_what_vivado_has(project: Path) -> None:
    status, said = run_script(project / "ooc.tcl", Vivado())
    assert status == 0, said
    assert (project / "timing.rpt").is_file()
