"""Output of a pipeline that cannot stop: a FIFO whose places are reserved before work starts."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Signal, Value, unsigned
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from rtl_gen.checks import checked_int
from rtl_gen.counters import up_down
from rtl_gen.fifo import StreamFifo


def count_places(m: Module, places: int, *, taken: Value, freed: Value) -> Signal:
    """Count the free ones of ``places``; returns whether there is one, from a register.

    ``taken`` and ``freed``: one is taken, one is free again in the next cycle.
    """
    free, any_free = Signal(range(places + 1), init=places, name="free"), Signal(init=1, name="any_free")
    up_down(m, free, up=freed, down=taken)
    m.d.sync += any_free.eq(freed | (free > 1) | ((free == 1) & ~taken))
    return any_free


class CreditedOutput(wiring.Component):
    """Turns the results of a free-running pipeline into a stream that may stall.

    A pipeline without clock enables gives each result a fixed number of cycles after the work went in.
    Before a piece of work goes in, a place for its result is reserved here; work goes in only while a place
    is free, so a result never finds the FIFO full.

    How to use it: when ``can_issue`` is 1 and there is work, start the work and set ``issue`` in the same
    cycle; ``latency`` cycles later (or at any other time after that, order kept) set ``result_valid`` and
    ``result`` for one cycle. Each issue must give exactly one result. Never set ``issue`` while ``can_issue``
    is 0. A reset empties the FIFO and frees all places; the pipeline must clear its valid bits by the same
    reset.

    Parameters: ``width`` of a result in bits; ``latency`` of the pipeline in cycles from ``issue`` to
    ``result_valid`` (0: in the same cycle); ``depth`` in results, by default the smallest that lets the
    pipeline run at one issue a cycle when the output does not stall: ``latency`` of the pipeline + that of
    the FIFO + 1 cycle for the place to be free again; a smaller one lowers the throughput and nothing else;
    ``burst``: results that are added to the default depth, so that as many find a place while the output stalls;
    ``style`` of the FIFO's memory.

    Members: ``can_issue``: a place is free (from a register, no path from ``o.ready``); ``issue``: takes it;
    ``result``, ``result_valid``; ``o``: stream of ``unsigned(width)``.

    ``fifo_latency``: cycles from ``result_valid`` to ``o.valid``; 2 (1 at depth 2). The ``latency`` of this
    component is the pipeline's and the FIFO's: from ``issue`` to ``o.valid`` when nothing stalls.

    Raises: TypeError, ValueError for a width below 1, a negative latency or a depth below 2.
    """

    def __init__(
        self, width: int, *, latency: int, depth: int | None = None, burst: int = 0, style: str = "auto"
    ) -> None:
        self._width = checked_int("width", width, low=1)
        self._latency = checked_int("latency", latency, low=0)
        # 2 of the memory FIFO and 1 for the credit's way back.
        least = self._latency + 3 + checked_int("burst", burst, low=0)
        self._depth = least if depth is None else checked_int("depth", depth, low=2)
        self._fifo = StreamFifo(self._width, self._depth, style=style)
        super().__init__(
            {
                "can_issue": Out(1),
                "issue": In(1),
                "result": In(self._width),
                "result_valid": In(1),
                "o": Out(stream.Signature(unsigned(self._width))),
            }
        )

    @property
    def depth(self) -> int:
        """Results that fit."""
        return self._depth

    @property
    def fifo_latency(self) -> int:
        """Cycles from a result to its appearance at the output."""
        return self._fifo.latency

    @property
    def latency(self) -> int:
        """Cycles from an issue to its result's appearance at the output, when nothing stalls."""
        return self._latency + self._fifo.latency

    def elaborate(self, platform: Any) -> Module:
        """Build the FIFO and the count of free places."""
        m = Module()
        m.submodules.fifo = self._fifo
        pop = Signal()
        m.d.comb += [
            self._fifo.i.payload.eq(self.result),
            self._fifo.i.valid.eq(self.result_valid),
            self.o.payload.eq(self._fifo.o.payload),
            self.o.valid.eq(self._fifo.o.valid),
            self._fifo.o.ready.eq(self.o.ready),
            self.can_issue.eq(count_places(m, self._depth, taken=self.issue, freed=pop)),
            pop.eq(self.o.valid & self.o.ready),
        ]
        return m
