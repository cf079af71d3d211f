"""Top level of the generated Verilog: an accelerator between two AXI4-Stream buses."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import ClockDomain, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from boards.axis_ports import BeatsToBus, BusShape, BusToBeats
from mixq.containers import frame_bytes
from mixq.streams import StreamShape
from rtl_gen.interfaces import memory_images
from rtl_gen.pumped_array import FAST_FANOUT

#: Name of the top module, and of its file without the suffix.
TOP = "mixq_top"


class AxisTop(wiring.Component):
    """Module ``mixq_top``: the accelerator, one bus in and one bus out.

    Frames follow each other without a gap. A frame's end is found by counting its codes; ``s_axis_0_tlast`` and
    ``s_axis_0_tkeep`` are not looked at: a frame that is too short takes the missing codes from the next one. The
    bytes of a frame are laid out as :mod:`mixq.containers` says, in beats of the bus, lowest byte first.

    Parameters: ``accelerator``, a component with streams ``i`` and ``o``, ``input_shape`` and ``output_shape`` of its
    beats, ``cycles_per_frame`` and, where it has any, ``memory_images``; ``input_bus_bits``, ``output_bus_bits``:
    widths of ``tdata``, a whole number of containers each.

    Members: ``ap_clk``; where ``fast_clock`` of the accelerator is true, ``ap_clk2x``, of twice its frequency and in
    phase with it; ``ap_rst_n``, active low, sampled by ``ap_clk``, for one cycle at least; ``s_axis_0_*`` and
    ``m_axis_0_*`` with ``tdata``, ``tvalid``, ``tready``, ``tlast`` and ``tkeep``. ``s_axis_0_tready`` and
    ``m_axis_0_tvalid`` are low from the first clock edge in reset to the second one after it. No output follows an
    input within a cycle.

    Throughput: ``cycles_per_frame``, the largest of accelerator, buses and converters. Latency: what the parts have,
    and the cycles in which a wider beat waits for its codes; simulation tells it.

    Raises: TypeError for an accelerator without shapes or a width that is no integer, ValueError for a width that is
    not a whole number of containers.
    """

    def __init__(self, accelerator: Any, *, input_bus_bits: int, output_bus_bits: int) -> None:
        for name in ("input_shape", "output_shape"):
            shape = getattr(accelerator, name, None)
            if not isinstance(shape, StreamShape):
                raise TypeError(f"accelerator must have a StreamShape as its {name}, not {shape!r}")
        self._accelerator = accelerator
        self._input = _bus_shape("input_bus_bits", input_bus_bits, accelerator.input_shape, accelerator)
        self._output = _bus_shape("output_bus_bits", output_bus_bits, accelerator.output_shape, accelerator)
        super().__init__(
            {
                "ap_clk": In(1),
                **({"ap_clk2x": In(1)} if self.fast_clock else {}),
                "ap_rst_n": In(1),
                **_bus("s_axis_0", self._input.bits, source=In, sink=Out),
                **_bus("m_axis_0", self._output.bits, source=Out, sink=In),
            }
        )

    @property
    def fast_clock(self) -> bool:
        """Whether there is ``ap_clk2x``: some layer's DSPs run at twice the clock."""
        return bool(getattr(self._accelerator, "fast_clock", False))

    @property
    def input_frame_bytes(self) -> int:
        """Bytes of a frame on the input bus."""
        shape = self._accelerator.input_shape
        return frame_bytes(shape.shape, shape.format)

    @property
    def output_frame_bytes(self) -> int:
        """Bytes of a frame on the output bus."""
        shape = self._accelerator.output_shape
        return frame_bytes(shape.shape, shape.format)

    @property
    def cycles_per_frame(self) -> int:
        """Cycles between frames in steady state, when nothing outside stalls."""
        return max(self._input.cycles_per_frame, self._accelerator.cycles_per_frame, self._output.cycles_per_frame)

    @property
    def memory_images(self) -> dict[str, str]:
        """Memory files that the Verilog reads: bare file name -> text."""
        return memory_images(self._accelerator)

    def elaborate(self, platform: Any) -> Module:
        """Clock and reset, then the three parts in a row."""
        m = Module()
        running = self._clock_and_reset(m)
        m.submodules.input_bus = given = BusToBeats(self._input)
        m.submodules.accelerator = accelerator = self._accelerator
        m.submodules.output_bus = taken = BeatsToBus(self._output)
        wiring.connect(m, given.o, accelerator.i)
        wiring.connect(m, accelerator.o, taken.i)
        m.d.comb += [
            given.i.payload.eq(self.s_axis_0_tdata),
            given.i.valid.eq(self.s_axis_0_tvalid & running),
            self.s_axis_0_tready.eq(given.i.ready & running),
            self.m_axis_0_tdata.eq(taken.o.payload.data),
            self.m_axis_0_tkeep.eq(taken.o.payload.keep),
            self.m_axis_0_tlast.eq(taken.o.payload.last),
            self.m_axis_0_tvalid.eq(taken.o.valid & running),
            taken.o.ready.eq(self.m_axis_0_tready & running),
        ]
        return m

    def _clock_and_reset(self, m: Module) -> Signal:
        """Make domain ``sync`` of the ports, and ``fast``; return the signal that is 1 while the buses may move."""
        reset = Signal(init=1)
        running = Signal()
        # A register of its own drives the reset of the whole accelerator: its fan-out is the largest there is.
        m.domains.port = port = ClockDomain("port", reset_less=True, local=True)
        m.domains.sync = sync = ClockDomain("sync", local=True)
        port.clk = sync.clk = self.ap_clk
        sync.rst = reset
        m.d.port += [reset.eq(~self.ap_rst_n), running.eq(self.ap_rst_n & ~reset)]
        if self.fast_clock:
            self._fast_domain(m, reset)
        return running

    def _fast_domain(self, m: Module, reset: Signal) -> None:
        """Make domain ``fast`` of the faster clock, whose reset is that of ``sync`` half a cycle later."""
        late = Signal(init=1, name="fast_reset", attrs={"max_fanout": FAST_FANOUT})
        m.domains.fast_port = port = ClockDomain("fast_port", reset_less=True, local=True)
        m.domains.fast = fast = ClockDomain("fast", local=True)
        port.clk = fast.clk = self.ap_clk2x
        fast.rst = late
        m.d.fast_port += late.eq(reset)


def _bus_shape(name: str, bits: int, shape: StreamShape, accelerator: Any) -> BusShape:
    """The tensor on its bus; what is wrong with its width is said of the parameter ``name`` too."""
    try:
        return BusShape(bits, shape, accelerator.cycles_per_frame)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{name}: {error}") from None


def _bus(prefix: str, bits: int, *, source: Any, sink: Any) -> dict[str, Any]:
    """The ports of one bus: ``source`` is the direction of what its source drives, ``sink`` that of ``tready``."""
    return {
        f"{prefix}_tdata": source(bits),
        f"{prefix}_tvalid": source(1),
        f"{prefix}_tready": sink(1),
        f"{prefix}_tlast": source(1),
        f"{prefix}_tkeep": source(bits // 8),
    }
