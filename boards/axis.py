"""Top level of the generated Verilog: an accelerator between two AXI4-Stream buses, with registers on AXI4-Lite."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import ClockDomain, DomainRenamer, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from boards.axilite import AXILITE_PORTS, AxiLite
from boards.axis_ports import BeatsToBus, BusShape, BusToBeats
from boards.frame_guard import FrameGuard
from boards.output_gate import OutputGate
from boards.register_file import RegisterFile
from mixq.containers import frame_bytes
from mixq.plan.early_outputs import early_beats
from mixq.streams import StreamShape
from rtl_gen.interfaces import memory_images
from rtl_gen.pumped_array import FAST_FANOUT

#: Name of the top module, and of its file without the suffix.
TOP = "mixq_top"

#: Verdicts on frames come in a memory of so many words, or a multiple.
_VERDICTS = 32


class AxisTop(wiring.Component):
    """Module ``mixq_top``: the accelerator, one bus in, one bus out, and registers.

    Frames follow each other without a gap. A frame is held to ``s_axis_0_tlast`` and ``s_axis_0_tkeep`` as
    :class:`boards.frame_guard.FrameGuard` says: of a short one or a long one nothing comes out. The bytes of a frame
    are laid out as :mod:`mixq.containers` says, in beats of the bus, lowest byte first. ``BATCH`` of the registers
    (:mod:`boards.registers`) says how many frames are a packet, which has one ``tlast``.

    Parameters: ``accelerator``, a component with streams ``i`` and ``o``, ``input_shape`` and ``output_shape`` of its
    beats, ``cycles_per_frame`` and, where it has any, ``memory_images``; where they are less than all that fits,
    ``early_pixels`` of an output frame that may come before its input is whole, and where it is more than a few,
    ``frames_inside``; ``input_bus_bits``, ``output_bus_bits``: widths of ``tdata``, a whole number of containers each;
    ``build_hash``: of 64 bits, for the registers.

    Members: ``ap_clk``; where ``fast_clock`` of the accelerator is true, ``ap_clk2x``, of twice its frequency and in
    phase with it; ``ap_rst_n``, active low, sampled by ``ap_clk``, for one cycle at least; ``s_axis_0_*`` and
    ``m_axis_0_*`` with ``tdata``, ``tvalid``, ``tready``, ``tlast`` and ``tkeep``; ``s_axilite_*``, see
    :data:`boards.axilite.AXILITE_PORTS`, whose inputs may all be 0. ``s_axis_0_tready`` and ``m_axis_0_tvalid`` are low
    from the first clock edge in reset to the second one after it. No output follows an input within a cycle.

    A soft reset closes both buses, but for a beat that stands on ``m_axis_0``; when that is taken it does what
    ``ap_rst_n`` does to all but ``s_axilite`` and ``BATCH``.

    Throughput: ``cycles_per_frame``, the largest of accelerator, buses and converters. Latency: what the parts have,
    and the cycles in which a wider beat waits for its codes; simulation tells it.

    Raises: TypeError for an accelerator without shapes or a width that is no integer, ValueError for a width that is
    not a whole number of containers, or a hash of more bits.
    """

    def __init__(self, accelerator: Any, *, input_bus_bits: int, output_bus_bits: int, build_hash: int = 0) -> None:
        for name in ("input_shape", "output_shape"):
            shape = getattr(accelerator, name, None)
            if not isinstance(shape, StreamShape):
                raise TypeError(f"accelerator must have a StreamShape as its {name}, not {shape!r}")
        if not 0 <= build_hash < 1 << 64:
            raise ValueError(f"build_hash must be of 64 bits, not {build_hash!r}")
        self._accelerator = accelerator
        self._build_hash = build_hash
        self._input = _bus_shape("input_bus_bits", input_bus_bits, accelerator.input_shape, accelerator)
        self._output = _bus_shape("output_bus_bits", output_bus_bits, accelerator.output_shape, accelerator)
        super().__init__(
            {
                "ap_clk": In(1),
                **({"ap_clk2x": In(1)} if self.fast_clock else {}),
                "ap_rst_n": In(1),
                **_bus("s_axis_0", self._input.bits, source=In, sink=Out),
                **_bus("m_axis_0", self._output.bits, source=Out, sink=In),
                **{f"s_axilite_{name}": member for name, member in AXILITE_PORTS.items()},
            }
        )

    @property
    def fast_clock(self) -> bool:
        """Whether there is ``ap_clk2x``: some layer's DSPs run at twice the clock."""
        return bool(getattr(self._accelerator, "fast_clock", False))

    @property
    def build_hash(self) -> int:
        """What the registers say of the build."""
        return self._build_hash

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
    def waiting_beats(self) -> int:
        """Beats of the output bus for which there is a place until their input frame is whole."""
        shape = self._accelerator.output_shape
        pixels = getattr(self._accelerator, "early_pixels", shape.height * shape.width)
        return max(2, early_beats(pixels, shape, self._output.bits))

    @property
    def memory_images(self) -> dict[str, str]:
        """Memory files that the Verilog reads: bare file name -> text."""
        return memory_images(self._accelerator)

    def elaborate(self, platform: Any) -> Module:
        """Clock and reset, the parts in a row between the buses, and the registers beside them."""
        m = Module()
        registers = self._registers(m)
        m.submodules.guard = guard = FrameGuard(self._input)
        m.submodules.input_bus = given = BusToBeats(self._input)
        m.submodules.accelerator = accelerator = self._accelerator
        m.submodules.output_bus = taken = BeatsToBus(self._output, depth=self.waiting_beats)
        m.submodules.gate = gate = OutputGate(self._output.bits, self._verdicts)
        running = self._clock_and_reset(m, registers, gate)
        for source, target in (
            (guard.o, given.i),
            (given.o, accelerator.i),
            (accelerator.o, taken.i),
            (taken.o, gate.i),
            (guard.verdicts, gate.verdicts),
        ):
            wiring.connect(m, source, target)
        opened = running & ~registers.closing
        m.d.comb += [
            guard.i.payload.data.eq(self.s_axis_0_tdata),
            guard.i.payload.keep.eq(self.s_axis_0_tkeep),
            guard.i.payload.last.eq(self.s_axis_0_tlast),
            guard.i.valid.eq(self.s_axis_0_tvalid & opened),
            self.s_axis_0_tready.eq(guard.i.ready & opened),
            self.m_axis_0_tdata.eq(gate.o.payload.data),
            self.m_axis_0_tkeep.eq(gate.o.payload.keep),
            self.m_axis_0_tlast.eq(gate.o.payload.last),
            self.m_axis_0_tvalid.eq(gate.o.valid & running),
            # In reset all is forgotten, and in the cycle after it there is nothing: what is taken then is none.
            gate.o.ready.eq(self.m_axis_0_tready),
            guard.batch.eq(registers.batch),
            gate.batch.eq(registers.batch),
            gate.closing.eq(registers.closing),
            registers.taken.eq(guard.taken),
            registers.short.eq(guard.short),
            registers.long.eq(guard.long),
            registers.given.eq(gate.given),
            registers.busy.eq(guard.busy | gate.waiting),
        ]
        return m

    @property
    def _verdicts(self) -> int:
        """Frames whose verdicts can wait at the gate: those that may be inside, in whole memories."""
        frames = getattr(self._accelerator, "frames_inside", 1) + 4
        # One more than the memory has words: the FIFO has a register behind it.
        return -(-frames // _VERDICTS) * _VERDICTS + 1

    def _registers(self, m: Module) -> RegisterFile:
        """The registers and their bus, which a soft reset leaves as they are."""
        m.submodules.registers = registers = RegisterFile(
            build_hash=self._build_hash,
            input_bytes=self.input_frame_bytes,
            output_bytes=self.output_frame_bytes,
            input_bits=self._input.bits,
            output_bits=self._output.bits,
        )
        bus = AxiLite()
        m.submodules.axilite = DomainRenamer("control")(bus)
        for name, member in AXILITE_PORTS.items():
            port, inner = getattr(self, f"s_axilite_{name}"), getattr(bus, name)
            m.d.comb += inner.eq(port) if member.flow is In else port.eq(inner)
        for name in ("write", "write_word", "write_data", "write_strobe", "read", "read_word"):
            m.d.comb += getattr(registers, name).eq(getattr(bus, name))
        m.d.comb += bus.read_data.eq(registers.read_data)
        return registers

    def _clock_and_reset(self, m: Module, registers: RegisterFile, gate: OutputGate) -> Signal:
        """Make domains ``sync``, ``control`` and ``fast``; return the signal that is 1 while the buses may move."""
        reset = Signal(init=1)
        running = Signal()
        soft = registers.closing & ~gate.offering
        # A register of its own drives the reset of the whole accelerator: its fan-out is the largest there is.
        m.domains.port = port = ClockDomain("port", reset_less=True, local=True)
        m.domains.control = control = ClockDomain("control", local=True)
        m.domains.sync = sync = ClockDomain("sync", local=True)
        port.clk = control.clk = sync.clk = self.ap_clk
        control.rst = Signal(name="control_reset")
        sync.rst = reset
        m.d.comb += [control.rst.eq(~self.ap_rst_n), registers.resetting.eq(reset)]
        m.d.port += [reset.eq(~self.ap_rst_n | soft), running.eq(self.ap_rst_n & ~reset & ~soft)]
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
