"""Between the containers of an AXI4-Stream bus and the beats of a tensor, both ways.

A frame on the bus is its codes, pixel by pixel with channels innermost, each in the smallest container of 8, 16, 32
or 64 bits that holds it; see :mod:`mixq.containers`. It starts with a new beat.
"""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from mixq.containers import container_bits
from mixq.streams import StreamShape
from rtl_gen.checks import checked_int
from rtl_gen.converters import convert
from rtl_gen.fifo import StreamFifo
from rtl_gen.gearbox import BeatsToCodes, CodesToBeats
from rtl_gen.interfaces import Stage


def bus_containers(name: str, bus_bits: object, shape: StreamShape) -> int:
    """Return how many containers of ``shape``'s codes a bus of ``bus_bits`` holds.

    Raises: TypeError for no integer, ValueError where it is not a whole number of containers; both name the
    parameter ``name``.
    """
    container = container_bits(shape.format)
    bits = checked_int(name, bus_bits, low=container)
    if bits % container:
        raise ValueError(f"{name} must be a multiple of the container's {container} bits, not {bits!r}")
    return bits // container


def bus_word(bus_bits: int) -> data.StructLayout:
    """Return the payload of a bus: ``data``, ``keep`` (a bit for each byte) and ``last``, least significant first."""
    return data.StructLayout({"data": unsigned(bus_bits), "keep": unsigned(bus_bits // 8), "last": 1})


def single_pixel(shape: StreamShape, cycles: int) -> StreamShape:
    """Return the tensor in beats of one pixel that keep up with ``shape`` at ``cycles`` a frame.

    The channels of a beat are those of ``shape``, or the least multiple that divides the channels and needs no more
    than ``cycles`` beats; all of them where none does.
    """
    whole = shape.channels
    multiples = [lanes for lanes in range(shape.lanes, whole + 1, shape.lanes) if whole % lanes == 0]
    candidates = [shape.with_beat(pixels=1, lanes=lanes) for lanes in multiples]
    return next((beat for beat in candidates if beat.beats <= cycles), candidates[-1])


class BusToBeats(wiring.Component):
    """Take a frame's codes out of the containers of the bus and give them as beats of ``shape``.

    Parameters: ``bus_bits``; ``shape`` of the tensor and of the output's beats; ``cycles`` that a frame may take,
    for beats of several pixels.

    Members: ``i``: stream of ``bus_bits``; ``o``: stream of beats of ``shape``. Bits of a container above the code are
    not looked at, nor are containers of a frame's last beat beyond the frame.

    Latency: ``latency``. Throughput: ``cycles_per_frame``: the bus's beats, or those of the slowest stage behind it.
    ``i.ready`` comes from a register.

    Raises: TypeError, ValueError for a bus that is not a whole number of containers.
    """

    def __init__(self, bus_bits: int, shape: StreamShape, *, cycles: int) -> None:
        self._containers = bus_containers("bus_bits", bus_bits, shape)
        self._bus_bits = int(bus_bits)
        self._shape = shape
        pixel = single_pixel(shape, cycles)
        self._gearbox = CodesToBeats(self._containers, pixel)
        self._stages = convert(pixel, shape)
        super().__init__(
            {
                "i": In(stream.Signature(unsigned(self._bus_bits))),
                "o": Out(stream.Signature(unsigned(shape.payload_bits))),
            }
        )

    @property
    def bus_beats(self) -> int:
        """Beats of the bus a frame."""
        return self._gearbox.bus_beats

    @property
    def latency(self) -> int:
        """Cycles from the first beat of the bus to the first beat of the tensor, when nothing stalls."""
        return 1 + self._gearbox.latency + sum(stage.latency for stage in self._stages)

    @property
    def cycles_per_frame(self) -> int:
        """Cycles between frames in steady state, when nothing outside stalls."""
        return max(self._gearbox.cycles_per_frame, *(stage.cycles_per_frame for stage in self._stages), 0)

    def elaborate(self, platform: Any) -> Module:
        """Bus register, gearbox, converters."""
        m = Module()
        m.submodules.register = register = StreamFifo(self._bus_bits, 2)
        m.submodules.gearbox = gearbox = self._gearbox
        container, width = self._bus_bits // self._containers, self._shape.format.width
        word = register.o.payload
        codes = [word[at * container : at * container + width] for at in range(self._containers)]
        m.d.comb += [
            gearbox.i.payload.eq(Cat(*codes)),
            gearbox.i.valid.eq(register.o.valid),
            register.o.ready.eq(gearbox.i.ready),
        ]
        wiring.connect(m, wiring.flipped(self.i), register.i)
        wiring.connect(m, chained(m, gearbox.o, self._stages), wiring.flipped(self.o))
        return m


class BeatsToBus(wiring.Component):
    """Put the codes of a tensor's beats into the containers of the bus.

    Parameters: ``bus_bits``; ``shape`` of the tensor and of the input's beats; ``cycles`` that a frame may take, for
    beats of several pixels.

    Members: ``i``: stream of beats of ``shape``; ``o``: stream of :func:`bus_word`. Codes are sign-extended where the
    format is signed, else filled up with zeros; bytes of a frame's last beat beyond the frame are 0 and marked so in
    ``keep``.

    Latency: ``latency``. Throughput: ``cycles_per_frame``: the bus's beats, or those of the slowest stage before it.
    ``o.valid``, ``data`` and ``last`` come from registers.

    Raises: TypeError, ValueError for a bus that is not a whole number of containers.
    """

    def __init__(self, bus_bits: int, shape: StreamShape, *, cycles: int) -> None:
        self._containers = bus_containers("bus_bits", bus_bits, shape)
        self._bus_bits = int(bus_bits)
        self._shape = shape
        pixel = single_pixel(shape, cycles)
        self._stages = convert(shape, pixel)
        self._gearbox = BeatsToCodes(self._containers, pixel)
        super().__init__(
            {
                "i": In(stream.Signature(unsigned(shape.payload_bits))),
                "o": Out(stream.Signature(bus_word(self._bus_bits))),
            }
        )

    @property
    def bus_beats(self) -> int:
        """Beats of the bus a frame."""
        return self._gearbox.bus_beats

    @property
    def latency(self) -> int:
        """Cycles from the first beat of the tensor to the first beat of the bus, when nothing stalls."""
        return sum(stage.latency for stage in self._stages) + self._gearbox.latency

    @property
    def cycles_per_frame(self) -> int:
        """Cycles between frames in steady state, when nothing outside stalls."""
        return max(self._gearbox.cycles_per_frame, *(stage.cycles_per_frame for stage in self._stages), 0)

    def elaborate(self, platform: Any) -> Module:
        """Converters, gearbox, containers."""
        m = Module()
        m.submodules.gearbox = gearbox = self._gearbox
        wiring.connect(m, chained(m, wiring.flipped(self.i), self._stages), gearbox.i)
        container, width = self._bus_bits // self._containers, self._shape.format.width
        word = gearbox.o.payload
        filled = []
        for at in range(self._containers):
            code = word.codes[at * width : (at + 1) * width]
            sign = code[-1] if self._shape.format.signed else Const(0, 1)
            filled += [code, sign.replicate(container - width)]
        codes = self._shape.channels * self._shape.height * self._shape.width
        # Only the last beat is partial, always by as much: its marks are constants.
        rest = codes - (self.bus_beats - 1) * self._containers
        marks = [(1 << count * container // 8) - 1 for count in (self._containers, rest)]
        m.d.comb += [
            self.o.payload.data.eq(Cat(*filled)),
            self.o.payload.keep.eq(Mux(word.last, marks[1], marks[0])),
            self.o.payload.last.eq(word.last),
            self.o.valid.eq(gearbox.o.valid),
            gearbox.o.ready.eq(self.o.ready),
        ]
        return m


def chained(m: Module, source: Any, stages: list[Stage]) -> Any:
    """Add ``stages`` as submodules ``convert_0``, ..., connect them behind ``source``, and return the last output."""
    for at, stage in enumerate(stages):
        m.submodules[f"convert_{at}"] = stage
        wiring.connect(m, source, stage.i)
        source = stage.o
    return source
