"""A stream to several readers, each behind a FIFO of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from amaranth.hdl import Cat, Module, Signal, unsigned
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from rtl_gen.checks import checked_int
from rtl_gen.fifo import StreamFifo


class Fork(wiring.Component):
    """Gives every beat to all of its outputs, each of which has a FIFO: one may be ahead of another by as much as fits.

    Parameters: ``width`` of a beat in bits; ``depths`` of the FIFOs in beats, 2 at least.

    Members: ``i``; ``o0``, ``o1`` ...: streams of ``unsigned(width)``; ``room``: a bit for each output, whether its
    FIFO takes a beat. Throughput: a beat a cycle. Neither side's ready or valid passes through.

    Raises: TypeError, ValueError for a width below 1, a depth below 2, or no output.
    """

    def __init__(self, width: int, depths: Sequence[int]) -> None:
        self._width = checked_int("width", width, low=1)
        if not depths:
            raise ValueError(f"depths must be of one output or more, not {depths!r}")
        self._depths = tuple(checked_int("depths", depth, low=2) for depth in depths)
        outputs = {f"o{number}": Out(stream.Signature(unsigned(width))) for number in range(len(self._depths))}
        super().__init__(
            {"i": In(stream.Signature(unsigned(width))), **outputs, "room": Out(unsigned(len(self._depths)))}
        )

    @property
    def depths(self) -> tuple[int, ...]:
        """Beats that fit before each output."""
        return self._depths

    @property
    def outputs(self) -> list[Any]:
        """The output streams, in order."""
        return [getattr(self, f"o{number}") for number in range(len(self._depths))]

    def elaborate(self, platform: Any) -> Module:
        """Write into all FIFOs, or none."""
        m = Module()
        fifos = [StreamFifo(self._width, depth) for depth in self._depths]
        push = Signal()
        m.d.comb += [
            self.room.eq(Cat(fifo.i.ready for fifo in fifos)),
            push.eq(self.i.valid & self.room.all()),
            self.i.ready.eq(self.room.all()),
        ]
        for number, (fifo, output) in enumerate(zip(fifos, self.outputs, strict=True)):
            m.submodules[f"fifo{number}"] = fifo
            m.d.comb += [fifo.i.payload.eq(self.i.payload), fifo.i.valid.eq(push)]
            wiring.connect(m, fifo.o, wiring.flipped(output))
        return m
