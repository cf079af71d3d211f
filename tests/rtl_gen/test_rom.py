# amaranth: UnusedElaboratable=no
"""Read-only memories: contents in both simulators, mapping by Yosys, files, refusals."""

from __future__ import annotations

import random
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from amaranth.back import verilog
from amaranth.hdl import Module

from mixq.formats import IntFormat
from mixq.streams import StreamShape
from rtl_gen.credits import CreditedOutput
from rtl_gen.interfaces import Stage
from rtl_gen.pipeline import delayed
from rtl_gen.rom import Rom, memory_images, merged_images, verilog_sources
from sim.tools import find_yosys
from tests.rtl_gen.stages import hold


class Lookup(Stage):
    """Turns a stream of addresses into the words of a memory."""

    def __init__(self, rom: Rom) -> None:
        self.rom = rom
        beat = IntFormat(max(1, (rom.depth - 1).bit_length()), False)
        super().__init__(StreamShape(1, 1, 24, beat), StreamShape(1, 1, 24, IntFormat(rom.width, False)))
        self.output = CreditedOutput(rom.width, latency=rom.latency)

    @property
    def latency(self) -> int:
        return self.output.latency

    @property
    def cycles_per_frame(self) -> int:
        return 24

    @property
    def memory_images(self) -> dict[str, str]:
        return self.rom.memory_images

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.rom, m.submodules.output = self.rom, self.output
        issue = self.output.issue
        m.d.comb += [
            self.i.ready.eq(self.output.can_issue),
            issue.eq(self.i.valid & self.i.ready),
            self.rom.addr.eq(self.i.payload),
            # Enabled only where needed: an enable that does nothing would show.
            self.rom.en.eq(issue | delayed(m, issue, 1, name="second", reset=True)),
            self.output.result.eq(self.rom.data),
            self.output.result_valid.eq(delayed(m, issue, self.rom.latency, name="valid", reset=True)),
            self.o.payload.eq(self.output.o.payload),
            self.o.valid.eq(self.output.o.valid),
            self.output.o.ready.eq(self.o.ready),
        ]
        return m


def rom_of(depth: int, width: int, style: str, output_register: bool) -> tuple[Rom, list[int]]:
    rng = random.Random(depth)
    words = [rng.getrandbits(width) for _ in range(depth)]
    return Rom("table", width, depth, words, style=style, output_register=output_register), words


def check(depth: int, width: int, style: str, output_register: bool, simulator: str, work_dir: Path) -> None:
    rom, words = rom_of(depth, width, style, output_register)
    rng = random.Random(width)
    addresses = [rng.randrange(depth) for _ in range(3 * 24)]
    expected = [words[address] for address in addresses]
    hold(Lookup(rom), addresses, expected, frames=3, work_dir=work_dir, simulator=simulator)


@pytest.mark.cocotb
@pytest.mark.parametrize(
    "depth, width, style, output_register",
    [(1, 3, "auto", False), (5, 1, "distributed", True), (64, 37, "block", False), (64, 37, "block", True)],
)
def test_contents(depth: int, width: int, style: str, output_register: bool, tmp_path: Path) -> None:
    check(depth, width, style, output_register, "icarus", tmp_path)


@pytest.mark.cocotb
@pytest.mark.verilator
def test_contents_in_verilator(tmp_path: Path) -> None:
    check(64, 37, "block", True, "verilator", tmp_path)


@pytest.mark.parametrize("style, cells", [("block", {"RAMB18E2": 1}), ("distributed", {"LUT6": 20})])
def test_yosys_honours_the_style(style: str, cells: dict[str, int], tmp_path: Path) -> None:
    rom, _ = rom_of(64, 20, style, False)
    for name, text in memory_images(rom).items():
        (tmp_path / name).write_text(text)
    (tmp_path / "rom.v").write_text(verilog.convert(rom, name="rom_top", strip_internal_attrs=True))
    for source in verilog_sources():
        (tmp_path / source.name).write_text(source.read_text())
    sources = " ".join(["rom.v", *(source.name for source in verilog_sources())])
    yosys = find_yosys()
    script = f"read_verilog {sources}; synth_xilinx -family xcup -flatten -top rom_top; tee -o stat.txt stat"
    command = [*yosys.command, "-q", "-p", script]
    subprocess.run(command, cwd=tmp_path, env=yosys.environment, capture_output=True, check=True)
    found = re.findall(r"(\d+)\s+(RAMB\w+|LUT\d)\s", (tmp_path / "stat.txt").read_text())
    assert {name: int(count) for count, name in found} == cells


def test_file() -> None:
    rom = Rom("layer1_weights", 10, 3, [0, 0x3FF, 0x2A])
    assert memory_images(rom) == {"layer1_weights.mem": "000\n3ff\n02a\n"}
    verilog.convert(rom)


def test_merged_images() -> None:
    class Holder:
        def __init__(self, **images: str) -> None:
            self.memory_images = images

    assert list(merged_images([Holder(b="2"), Holder(a="1", b="2"), object()]).items()) == [("a", "1"), ("b", "2")]
    with pytest.raises(ValueError, match=r"^memory images must have one content for each name, not two for 'a'$"):
        merged_images([Holder(a="1"), Holder(a="2")])


@pytest.mark.parametrize(
    "arguments, message",
    [
        (("a b", 4, 1, [0]), "name must be a letter and up to 62 letters, digits or underscores, not 'a b'"),
        (("../a", 4, 1, [0]), "name must be a letter and up to 62 letters, digits or underscores, not '../a'"),
        (("a", 0, 1, [0]), "width must be at least 1, not 0"),
        (("a", 4, 0, []), "depth must be at least 1, not 0"),
        (("a", 4, 2, [0]), "words must be 2 of them, not 1"),
        (("a", 4, 1, [16]), "words must be at most 15, not 16"),
        (("a", 4, 1, [-1]), "words must be at least 0, not -1"),
    ],
)
def test_refuses(arguments: tuple[str, int, int, list[int]], message: str) -> None:
    with pytest.raises(ValueError) as error:
        Rom(*arguments)
    assert str(error.value) == message


def test_refuses_wrong_types_and_styles() -> None:
    with pytest.raises(ValueError, match=r"^style must be one of auto, distributed, block, not 'ultra'$"):
        Rom("a", 4, 1, [0], style="ultra")
    with pytest.raises(TypeError, match=r"^output_register must be a bool, not 1$"):
        Rom("a", 4, 1, [0], output_register=1)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"^name must be a string, not 7$"):
        Rom(7, 4, 1, [0])  # type: ignore[arg-type]
