"""AXI4-Lite slave: turns its five channels into writes and reads of 32-bit words."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from boards.registers import ADDRESS_BITS

#: Bits of an address that say which word.
WORD_BITS = ADDRESS_BITS - 2

#: The ports: name -> member, as the slave has them.
AXILITE_PORTS: dict[str, Any] = {
    "awaddr": In(ADDRESS_BITS),
    "awprot": In(3),
    "awvalid": In(1),
    "awready": Out(1),
    "wdata": In(32),
    "wstrb": In(4),
    "wvalid": In(1),
    "wready": Out(1),
    "bresp": Out(2),
    "bvalid": Out(1),
    "bready": In(1),
    "araddr": In(ADDRESS_BITS),
    "arprot": In(3),
    "arvalid": In(1),
    "arready": Out(1),
    "rdata": Out(32),
    "rresp": Out(2),
    "rvalid": Out(1),
    "rready": In(1),
}


class AxiLite(wiring.Component):
    """AXI4-Lite slave of 32-bit words: a write and a read at a time, one beside the other.

    Address and data of a write are taken as they come, in either order. The next ones are taken as soon as the write is
    done, while its response may still wait. All responses are OKAY, ``awprot`` and ``arprot`` are not looked at.
    All outputs of the bus come from registers.

    Members: those of :data:`AXILITE_PORTS`; ``write``: 1 in the cycle in which ``write_data`` goes to the word
    ``write_word``, its bytes with a bit in ``write_strobe`` alone; ``read``: 1 in the cycle in which ``read_data`` is
    taken, which must be the word ``read_word``; that stands from the cycle before on.

    Latency: a write is done 1 cycle after its address and data were both taken, its response is there 1 cycle later,
    data of a read 3 cycles after its address.
    """

    def __init__(self) -> None:
        super().__init__(
            {
                **AXILITE_PORTS,
                "write": Out(1),
                "write_word": Out(WORD_BITS),
                "write_data": Out(32),
                "write_strobe": Out(4),
                "read": Out(1),
                "read_word": Out(WORD_BITS),
                "read_data": In(32),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """Both directions, which share nothing."""
        m = Module()
        self._writes(m)
        self._reads(m)
        return m

    def _writes(self, m: Module) -> None:
        """Hold address and data until both are there and the last response is gone."""
        held: list[Signal] = []
        for valid, ready in ((self.awvalid, self.awready), (self.wvalid, self.wready)):
            here = Signal(name=f"held_{len(held)}")
            still = (here | (valid & ready)) & ~self.write
            m.d.sync += [here.eq(still), ready.eq(~still)]
            held.append(here)
        m.d.comb += self.write.eq(held[0] & held[1] & ~self.bvalid)
        with m.If(self.awvalid & self.awready):
            m.d.sync += self.write_word.eq(self.awaddr[2:])
        with m.If(self.wvalid & self.wready):
            m.d.sync += [self.write_data.eq(self.wdata), self.write_strobe.eq(self.wstrb)]
        m.d.sync += self.bvalid.eq(self.write | (self.bvalid & ~self.bready))

    def _reads(self, m: Module) -> None:
        """Hold the address, then the data until they are taken."""
        taken, done = self.arvalid & self.arready, self.rvalid & self.rready
        asked = Signal()
        m.d.sync += [
            asked.eq(taken),
            self.read.eq(asked),
            self.rvalid.eq(self.read | (self.rvalid & ~self.rready)),
            self.arready.eq(~taken & ~asked & ~self.read & (~self.rvalid | done)),
        ]
        with m.If(taken):
            m.d.sync += self.read_word.eq(self.araddr[2:])
        with m.If(self.read):
            m.d.sync += self.rdata.eq(self.read_data)
