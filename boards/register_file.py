"""The accelerator's registers: counters, status and control behind AXI4-Lite."""

from __future__ import annotations

from functools import reduce
from operator import or_
from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from boards.axilite import WORD_BITS
from boards.registers import BATCH_BITS, MAGIC, MAP_VERSION, OFFSETS

_MOST = 1 << 32


class RegisterFile(wiring.Component):
    """All registers of :mod:`boards.registers`.

    Parameters: ``build_hash``, 64 bits; ``input_bytes``, ``output_bytes`` of a frame; ``input_bits``, ``output_bits``
    of the buses.

    Members: those of :class:`boards.axilite.AxiLite` towards the registers, flipped; ``taken``, ``short``, ``long``,
    ``given``: 1 for a cycle for each such frame; ``busy``; ``resetting``: the reset that was asked for is there;
    ``batch``; ``closing``: a reset is asked for, and stays so until ``resetting``.

    Two clock domains of one clock: "sync", which a soft reset resets, for counters and status; "control", which it does
    not, for the rest.
    """

    def __init__(
        self, *, build_hash: int, input_bytes: int, output_bytes: int, input_bits: int, output_bits: int
    ) -> None:
        self._constants = {
            "ID": MAGIC,
            "VERSION": MAP_VERSION,
            "BUILD_HASH_LOW": build_hash % _MOST,
            "BUILD_HASH_HIGH": build_hash // _MOST,
            "INPUT_BYTES": input_bytes,
            "OUTPUT_BYTES": output_bytes,
            "BUS_BITS": input_bits | output_bits << 16,
        }
        super().__init__(
            {
                "write": In(1),
                "write_word": In(WORD_BITS),
                "write_data": In(32),
                "write_strobe": In(4),
                "read": In(1),
                "read_word": In(WORD_BITS),
                "read_data": Out(32),
                "taken": In(1),
                "short": In(1),
                "long": In(1),
                "given": In(1),
                "busy": In(1),
                "resetting": In(1),
                "batch": Out(BATCH_BITS, init=1),
                "closing": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """Control, status, counters, and what is read of them."""
        m = Module()
        values: dict[str, Value] = {name: Const(value, 32) for name, value in self._constants.items()}
        self._control(m)
        values |= {"CONTROL": self.closing, "BATCH": self.batch, "STATUS": self._status(m)}
        events = {
            "FRAMES_IN": self.taken,
            "FRAMES_OUT": self.given,
            "SHORT_FRAMES": self.short,
            "LONG_FRAMES": self.long,
        }
        for name, event in events.items():
            values[name] = count = Signal(32, name=name.lower())
            with m.If(event):
                m.d.sync += count.eq(count + 1)
        values["CYCLES_LOW"], values["CYCLES_HIGH"] = self._cycles(m)
        values["FRAME_CYCLES"] = self._frame_cycles(m)
        self._read(m, values)
        return m

    def _read(self, m: Module, values: dict[str, Value]) -> None:
        """The word that is asked for, which is found a cycle before: so many words take several look-up tables."""
        given: list[Value] = []
        for name, offset in OFFSETS.items():
            chosen = Signal(name=f"read_{name.lower()}")
            m.d.control += chosen.eq(self.read_word == offset // 4)
            given.append(values[name] & chosen.replicate(32))
        m.d.comb += self.read_data.eq(reduce(or_, given))

    def _writes(self, name: str) -> Value:
        return self.write & (self.write_word == OFFSETS[name] // 4)

    def _control(self, m: Module) -> None:
        with m.If(self._writes("CONTROL") & self.write_strobe[0] & self.write_data[0]):
            m.d.control += self.closing.eq(1)
        with m.Elif(self.resetting):
            m.d.control += self.closing.eq(0)
        for byte in range(BATCH_BITS // 8):
            with m.If(self._writes("BATCH") & self.write_strobe[byte]):
                m.d.control += self.batch.word_select(byte, 8).eq(self.write_data.word_select(byte, 8))

    def _status(self, m: Module) -> Value:
        """What happened since it was cleared; what happens in the same cycle stays."""
        seen = Signal(2, name="seen")
        clear = Mux(self._writes("STATUS") & self.write_strobe[0], self.write_data[:2], 0)
        m.d.sync += seen.eq(seen & ~clear | Cat(self.short, self.long))
        return Cat(seen, self.busy)

    def _cycles(self, m: Module) -> tuple[Value, Value]:
        """Cycles since reset, in two halves, the carry between them a step ahead; the upper one as it was read last."""
        low, high, held = (Signal(32, name=f"cycles_{name}") for name in ("low", "high", "held"))
        carry = Signal(name="cycles_carry")
        m.d.sync += [low.eq(low + 1), carry.eq(low == _MOST - 2), high.eq(high + carry)]
        with m.If(self.read & (self.read_word == OFFSETS["CYCLES_LOW"] // 4)):
            m.d.sync += held.eq(high)
        return low, held

    def _frame_cycles(self, m: Module) -> Value:
        """Cycles between the two frames given out last, 0 where there were none or it took too long to count."""
        since, found = Signal(32, name="frame_cycles_since"), Signal(32, name="frame_cycles")
        over, some = Signal(name="frame_cycles_over"), Signal(name="frame_cycles_some")
        m.d.sync += [since.eq(since + 1), over.eq(over | (since == _MOST - 1))]
        with m.If(self.given):
            m.d.sync += [since.eq(1), over.eq(0), some.eq(1), found.eq(Mux(some & ~over, since, 0))]
        return found
