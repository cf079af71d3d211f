"""First-in first-out buffer between two streams."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Signal, unsigned
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from rtl_gen.checks import checked_int
from rtl_gen.counters import loop_counter, up_down
from rtl_gen.memory import DualPortMemory, memory_style


class StreamFifo(wiring.Component):
    """FIFO that takes and gives one beat every cycle; neither side's ready or valid passes through.

    ``i.ready``, ``o.valid`` and ``o.payload`` come from registers. A depth of 2 is two registers; a deeper
    one is a memory of ``depth - 1`` words with its read register as the output.

    Parameters: ``width`` of a beat in bits; ``depth`` in beats, 2 at least; ``style`` of the memory, as
    :func:`rtl_gen.memory.memory_style` takes it.

    Members: ``i``, ``o``: streams of ``unsigned(width)``; ``level``: beats inside, 0 to ``depth``.

    Latency: ``latency`` cycles from a beat's acceptance at the input of an empty FIFO to its appearance at
    the output: 1 at depth 2, else 2. Throughput: 1 beat a cycle at any depth.

    Raises: TypeError, ValueError for a width below 1 or a depth below 2.
    """

    def __init__(self, width: int, depth: int, *, style: str = "auto") -> None:
        self._width = checked_int("width", width, low=1)
        self._depth = checked_int("depth", depth, low=2)
        self._style = memory_style(self._width, self._depth, style)
        super().__init__(
            {
                "i": In(stream.Signature(unsigned(self._width))),
                "o": Out(stream.Signature(unsigned(self._width))),
                "level": Out(range(self._depth + 1)),
            }
        )

    @property
    def depth(self) -> int:
        """Beats that fit."""
        return self._depth

    @property
    def style(self) -> str:
        """Style of the memory; meaningless at depth 2."""
        return self._style

    @property
    def latency(self) -> int:
        """Cycles from input to output of an empty FIFO."""
        return 1 if self._depth == 2 else 2

    def elaborate(self, platform: Any) -> Module:
        """Build the registers or the memory."""
        m = Module()
        push, pop = Signal(), Signal()
        m.d.comb += [
            push.eq(self.i.valid & self.i.ready),
            pop.eq(self.o.valid & self.o.ready),
        ]
        if self._depth == 2:
            self._registers(m, push, pop)
        else:
            self._memory(m, push, pop)
        return m

    def _registers(self, m: Module, push: Signal, pop: Signal) -> None:
        """Two words: the one at the output and the one behind it."""
        behind = Signal(self._width, reset_less=True)
        head = Signal(self._width, reset_less=True)
        some, room = Signal(), Signal(init=1)
        m.d.comb += [
            self.i.ready.eq(room),
            self.o.valid.eq(some),
            self.o.payload.eq(head),
            self.level.eq(Cat(some & room, ~room)),
        ]
        m.d.sync += [some.eq(push | (some & ~pop) | ~room), room.eq(pop | (room & ~(push & some)))]
        with m.If(push):
            m.d.sync += behind.eq(self.i.payload)
        # The head is free in the next cycle when it is empty now, or when the last beat leaves.
        with m.If(push & (~some | pop)):
            m.d.sync += head.eq(self.i.payload)
        with m.Elif(pop):
            m.d.sync += head.eq(behind)

    def _memory(self, m: Module, push: Signal, pop: Signal) -> None:
        """Memory with a registered read: the read register is the output's.

        The memory cannot be full while the output is empty: a word that lies in it for one cycle is read
        in the next. So ``depth`` beats fit whatever the order of pushes and pops.
        """
        words = self._depth - 1
        m.submodules.memory = storage = DualPortMemory(self._width, words, style=self._style)
        stored = Signal(range(words + 1))
        produce, consume = Signal(range(words)), Signal(range(words))
        fetch = Signal()
        valid, room, some = Signal(), Signal(init=1), Signal()
        m.d.comb += [
            self.i.ready.eq(room),
            self.o.valid.eq(valid),
            self.o.payload.eq(storage.read_data),
            fetch.eq(some & (~valid | self.o.ready)),
            storage.write_en.eq(push),
            storage.write_addr.eq(produce),
            storage.write_data.eq(self.i.payload),
            storage.read_en.eq(fetch),
            storage.read_addr.eq(consume),
        ]
        loop_counter(m, push, produce, words)
        loop_counter(m, fetch, consume, words)
        with m.If(fetch):
            m.d.sync += valid.eq(1)
        with m.Elif(pop):
            m.d.sync += valid.eq(0)
        up_down(m, stored, up=push, down=fetch)
        up_down(m, self.level, up=push, down=pop)
        # What the next count will say of itself.
        m.d.sync += [
            some.eq(push | (stored > 1) | ((stored == 1) & ~fetch)),
            room.eq(fetch | (stored < words - 1) | ((stored == words - 1) & ~push)),
        ]
