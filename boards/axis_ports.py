"""Between the containers of an AXI4-Stream bus and the beats of a tensor, both ways.

A frame on the bus is its codes, pixel by pixel with channels innermost, each in the smallest container of 8, 16, 32
or 64 bits that holds it; see :mod:`mixq.containers`. It starts with a new beat.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from mixq.containers import container_bits
from mixq.plan.conversion import bridge, bridge_cycles
from mixq.streams import StreamShape
from rtl_gen.converters import converter
from rtl_gen.fifo import StreamFifo
from rtl_gen.gearbox import BeatsToCodes, CodesToBeats


@dataclass(frozen=True)
class BusShape:
    """A tensor on a bus and in beats beside it.

    bits: width of ``tdata``, a whole number of containers. tensor: the tensor in the accelerator's beats. cycles: that
    the accelerator takes for a frame, which the conversion to beats of one pixel keeps up with where it can.

    Example: 3 channels of 8 bits in 5 x 3 pixels are 45 containers of 8 bits: on 32 bits 12 beats, the last one of
    1 container.

    Raises: TypeError for a width that is no integer, ValueError for one that is no whole number of containers.
    """

    bits: int
    tensor: StreamShape
    cycles: int

    def __post_init__(self) -> None:
        if isinstance(self.bits, bool) or not isinstance(self.bits, int):
            raise TypeError(f"bits must be an integer, not {self.bits!r}")
        if self.bits < 1 or self.bits % self.container_bits:
            raise ValueError(f"bits must be a multiple of the container's {self.container_bits}, not {self.bits!r}")

    @property
    def container_bits(self) -> int:
        """Bits of the container of one code."""
        return container_bits(self.tensor.format)

    @property
    def containers(self) -> int:
        """Containers in a beat."""
        return self.bits // self.container_bits

    @property
    def codes(self) -> int:
        """Codes of a frame."""
        return self.tensor.channels * self.tensor.height * self.tensor.width

    @property
    def beats(self) -> int:
        """Beats of a frame."""
        return -(-self.codes // self.containers)

    @property
    def rest(self) -> int:
        """Containers of a frame in its last beat."""
        return self.codes - (self.beats - 1) * self.containers

    @property
    def pixel(self) -> StreamShape:
        """The tensor in beats of one pixel, between gearbox and accelerator.

        The channels of a beat are the accelerator's, or the least multiple that divides the channels and needs no more
        than ``cycles`` beats; all of them where none does.
        """
        tensor = self.tensor
        multiples = [n for n in range(tensor.lanes, tensor.channels + 1, tensor.lanes) if tensor.channels % n == 0]
        candidates = [tensor.with_beat(pixels=1, lanes=lanes) for lanes in multiples]
        return next((shape for shape in candidates if shape.beats <= self.cycles), candidates[-1])

    @property
    def cycles_per_frame(self) -> int:
        """Cycles between frames that the bus, the gearbox and the converters allow, when nothing outside stalls.

        Converters take as many in both directions.
        """
        return max(self.beats, self.pixel.beats, bridge_cycles(bridge(self.pixel, self.tensor)))


def bus_word(bits: int) -> data.StructLayout:
    """Return the payload of a bus: ``data``, ``keep`` (a bit for each byte) and ``last``, least significant first."""
    return data.StructLayout({"data": unsigned(bits), "keep": unsigned(bits // 8), "last": 1})


class BusToBeats(wiring.Component):
    """Take a frame's codes out of the containers of the bus and give them as beats of the tensor.

    Parameters: ``bus``.

    Members: ``i``: stream of ``bus.bits``; ``o``: stream of beats of ``bus.tensor``. Bits of a container above the code
    are not looked at, nor are containers of a frame's last beat beyond the frame.

    Throughput: ``bus.cycles_per_frame``. Latency: the bus register's cycle, those of gearbox and converters, and those
    in which a wider beat waits for its codes. ``i.ready`` comes from a register.
    """

    def __init__(self, bus: BusShape) -> None:
        self._bus = bus
        super().__init__(
            {
                "i": In(stream.Signature(unsigned(bus.bits))),
                "o": Out(stream.Signature(unsigned(bus.tensor.payload_bits))),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """Bus register, gearbox, converters."""
        m = Module()
        bus = self._bus
        m.submodules.register = register = StreamFifo(bus.bits, 2)
        m.submodules.gearbox = gearbox = CodesToBeats(bus.containers, bus.pixel)
        container, width = bus.container_bits, bus.tensor.format.width
        word = register.o.payload
        m.d.comb += [
            gearbox.i.payload.eq(Cat(word[at * container : at * container + width] for at in range(bus.containers))),
            gearbox.i.valid.eq(register.o.valid),
            register.o.ready.eq(gearbox.i.ready),
        ]
        wiring.connect(m, wiring.flipped(self.i), register.i)
        wiring.connect(m, _converted(m, gearbox.o, bus.pixel, bus.tensor), wiring.flipped(self.o))
        return m


class BeatsToBus(wiring.Component):
    """Put the codes of a tensor's beats into the containers of the bus.

    Parameters: ``bus``; ``depth``: beats of the bus that can wait at the output, 2 at least.

    Members: ``i``: stream of beats of ``bus.tensor``; ``o``: stream of :func:`bus_word`. Codes are sign-extended where
    the format is signed, else filled up with zeros; bytes of a frame's last beat beyond the frame are 0 and marked so
    in ``keep``.

    Throughput: ``bus.cycles_per_frame``. Latency: those of converters and gearbox, and the cycles in which a wider beat
    waits for its codes. ``o.valid``, ``data`` and ``last`` come from registers.
    """

    def __init__(self, bus: BusShape, *, depth: int = 2) -> None:
        self._bus, self._depth = bus, depth
        super().__init__(
            {
                "i": In(stream.Signature(unsigned(bus.tensor.payload_bits))),
                "o": Out(stream.Signature(bus_word(bus.bits))),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """Converters, gearbox, containers."""
        m = Module()
        bus = self._bus
        m.submodules.gearbox = gearbox = BeatsToCodes(bus.containers, bus.pixel, depth=self._depth)
        wiring.connect(m, _converted(m, wiring.flipped(self.i), bus.tensor, bus.pixel), gearbox.i)
        width = bus.tensor.format.width
        word = gearbox.o.payload
        filled = []
        for at in range(bus.containers):
            code = word.codes[at * width : (at + 1) * width]
            sign = code[-1] if bus.tensor.format.signed else Const(0, 1)
            filled += [code, sign.replicate(bus.container_bits - width)]
        # Only the last beat is partial, and always by as much: its marks are a constant.
        whole, partial = ((1 << count * bus.container_bits // 8) - 1 for count in (bus.containers, bus.rest))
        m.d.comb += [
            self.o.payload.data.eq(Cat(*filled)),
            self.o.payload.keep.eq(Mux(word.last, partial, whole)),
            self.o.payload.last.eq(word.last),
            self.o.valid.eq(gearbox.o.valid),
            gearbox.o.ready.eq(self.o.ready),
        ]
        return m


def _converted(m: Module, source: Any, before: StreamShape, after: StreamShape) -> Any:
    """Add the converters between two shapes behind ``source``, and return the last one's output."""
    for at, shapes in enumerate(bridge(before, after)):
        m.submodules[f"converter_{at}"] = stage = converter(*shapes)
        wiring.connect(m, source, stage.i)
        source = stage.o
    return source
