"""Position of a beat in windows that lie side by side along one axis."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Const, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from rtl_gen.counters import decremented, loop_counter


class Windows(wiring.Component):
    """Windows of ``kernel`` positions along an axis of ``size``; those that are left over at its end belong to none.

    Members: ``step`` advances by one position. ``first``, ``last``: the position begins, or ends, a window (``first``
    means nothing in what is left over). ``inside``: it belongs to one. ``end``: it is the last of the axis, from which
    a step goes to the first. All follow from registers that are set a step ahead.
    """

    def __init__(self, size: int, kernel: int) -> None:
        self._size, self._kernel = size, kernel
        super().__init__({"step": In(1), "first": Out(1), "last": Out(1), "inside": Out(1), "end": Out(1)})

    def elaborate(self, platform: Any) -> Module:
        """Count positions up, and down to the end of the window."""
        m = Module()
        size, kernel = self._size, self._kernel
        position = Signal(range(size))
        m.d.comb += [self.end.eq(loop_counter(m, self.step, position, size)), self.inside.eq(self._inside(m, position))]
        if kernel == 1:
            m.d.comb += [self.first.eq(1), self.last.eq(1)]
            return m
        missing = Signal(range(kernel), init=kernel - 1)
        first, last = Signal(name="window_first", init=1), Signal(name="window_last")
        m.d.comb += [self.first.eq(first), self.last.eq(last)]
        with m.If(self.step):
            m.d.sync += [
                missing.eq(Mux(last, kernel - 1, decremented(missing))),
                first.eq(last),
                last.eq(~last & (missing == 1)),
            ]
            with m.If(self.end):
                m.d.sync += [missing.eq(kernel - 1), first.eq(1), last.eq(0)]
        return m

    def _inside(self, m: Module, position: Signal) -> Any:
        """Whether the position belongs to a window; position: along the axis."""
        whole = self._size // self._kernel * self._kernel
        if whole == self._size:
            return Const(1, 1)
        inside = Signal(name="inside_window", init=1)
        with m.If(self.step):
            m.d.sync += inside.eq(self.end | (inside & (position != whole - 1)))
        return inside
