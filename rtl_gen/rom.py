"""Read-only memory with its contents in a file beside the Verilog."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from amaranth.hdl import ClockSignal, Instance, Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from rtl_gen.checks import checked_choice, checked_int
from rtl_gen.interfaces import memory_images, merged_images
from rtl_gen.names import checked_name

__all__ = ["ROM_STYLES", "Rom", "memory_images", "merged_images", "verilog_sources"]

ROM_STYLES = ("auto", "distributed", "block")


def verilog_sources() -> list[Path]:
    """Return the hand-written Verilog files that components instantiate, in order of name."""
    return sorted((Path(__file__).parent / "verilog").glob("*.v"))


class Rom(wiring.Component):
    """Synchronous read-only memory: an instance of ``mixq_rom`` that reads ``<name>.mem``.

    Parameters: ``name``, an identifier, unique in the design; ``width`` of a word in bits; ``depth`` in
    words; ``words``, unsigned integers, ``depth`` of them; ``style``: "distributed" (LUTs), "block", or
    "auto", which leaves the choice to synthesis; ``output_register``: a second register behind the
    memory's own.

    Members: ``addr``, ``en``, ``data``. The data of an address is there ``latency`` enabled cycles later
    and holds while ``en`` is 0.

    ``latency``: 1, or 2 with ``output_register``. Throughput: 1 word a cycle. ``memory_images``: the file,
    one word a line in hexadecimal.

    Raises: TypeError, ValueError for a wrong name, width, depth or style, for another number of words, and
    for a word that does not fit.
    """

    def __init__(
        self,
        name: str,
        width: int,
        depth: int,
        words: Iterable[int],
        *,
        style: str = "auto",
        output_register: bool = False,
    ) -> None:
        self._name = checked_name("name", name)
        self._width = checked_int("width", width, low=1)
        self._depth = checked_int("depth", depth, low=1)
        self._words = tuple(checked_int("words", word, low=0, high=(1 << self._width) - 1) for word in words)
        if len(self._words) != self._depth:
            raise ValueError(f"words must be {self._depth} of them, not {len(self._words)!r}")
        self._style = checked_choice("style", style, ROM_STYLES)
        if not isinstance(output_register, bool):
            raise TypeError(f"output_register must be a bool, not {output_register!r}")
        self._output_register = output_register
        # One word keeps an address bit that is always 0: a port of width 0 is not Verilog.
        self._address = max(1, ceil_log2(self._depth))
        super().__init__({"addr": In(self._address), "en": In(1, init=1), "data": Out(self._width)})

    @property
    def width(self) -> int:
        """Bits of a word."""
        return self._width

    @property
    def depth(self) -> int:
        """Words."""
        return self._depth

    @property
    def latency(self) -> int:
        """Enabled cycles from an address to its data."""
        return 2 if self._output_register else 1

    @property
    def file_name(self) -> str:
        """Bare name of the file with the contents."""
        return f"{self._name}.mem"

    @property
    def memory_images(self) -> dict[str, str]:
        """The file with the contents: its name -> its text."""
        digits = (self._width + 3) // 4
        return {self.file_name: "".join(f"{word:0{digits}x}\n" for word in self._words)}

    def elaborate(self, platform: Any) -> Module:
        """Instantiate the memory."""
        m = Module()
        m.submodules.rom = Instance(
            "mixq_rom",
            p_WIDTH=self._width,
            p_DEPTH=self._depth,
            p_ADDR_WIDTH=self._address,
            p_FILE=self.file_name,
            p_STYLE=self._style,
            p_OUTPUT_REGISTER=int(self._output_register),
            i_clk=ClockSignal(),
            i_en=self.en,
            i_addr=self.addr,
            o_data=self.data,
        )
        return m
