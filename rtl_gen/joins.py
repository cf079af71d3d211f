"""Stages that join several streams: concatenation of channels, and addition with constant multipliers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from amaranth.hdl import Cat, Module, Signal, signed, unsigned
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from mixq.formats import IntFormat
from mixq.plan.join_costs import product_format
from mixq.streams import StreamShape
from rtl_gen.counters import loop_counter
from rtl_gen.credits import CreditedOutput
from rtl_gen.fifo import StreamFifo
from rtl_gen.interfaces import merged_images
from rtl_gen.names import joined_name
from rtl_gen.pipeline import delayed
from rtl_gen.requantise import requantise_unit
from rtl_gen.requantise_multiply import MultiplyUnit
from rtl_gen.requantise_unit import Values
from rtl_gen.requantise_values import RequantiseValues


class JoinStage(wiring.Component):
    """Base of the joins: streams ``i0``, ``i1`` ... whose beats are of one pixel and as many lanes, and ``o``.

    Parameters: ``input_shapes``; ``output_shape``. Raises ValueError for beats of several pixels or different lanes.
    """

    def __init__(self, input_shapes: Sequence[StreamShape], output_shape: StreamShape) -> None:
        self.input_shapes = tuple(input_shapes)
        self.output_shape = output_shape
        for shape in (*self.input_shapes, output_shape):
            if shape.pixels != 1 or shape.lanes != output_shape.lanes:
                raise ValueError(f"shapes must be of 1 pixel and {output_shape.lanes} lanes a beat, not {shape!r}")
        members: dict[str, Any] = {
            f"i{number}": In(stream.Signature(unsigned(shape.payload_bits)))
            for number, shape in enumerate(self.input_shapes)
        }
        super().__init__({**members, "o": Out(stream.Signature(unsigned(output_shape.payload_bits)))})

    @property
    def inputs(self) -> list[Any]:
        """The input streams, in order."""
        return [getattr(self, f"i{number}") for number in range(len(self.input_shapes))]

    @property
    def latency(self) -> int:
        """Cycles from the first beats of a frame, taken from all inputs, to its first output beat."""
        raise NotImplementedError

    @property
    def cycles_per_frame(self) -> int:
        """Cycles between frames: output beats."""
        return self.output_shape.beats

    @property
    def fast_clock(self) -> bool:
        """Joins have one clock."""
        return False

    @property
    def memory_images(self) -> dict[str, str]:
        """Memory files: bare file name -> text."""
        return {}


class ConcatStage(JoinStage):
    """Concatenation: of each pixel the channels of the first input, then those of the next, beat by beat.

    Latency: 1 cycle. Throughput: a beat a cycle.
    """

    def __init__(self, input_shapes: Sequence[StreamShape]) -> None:
        channels = sum(shape.channels for shape in input_shapes)
        super().__init__(input_shapes, replace(input_shapes[0], channels=channels))

    @property
    def latency(self) -> int:
        """Cycles from the first input's first beat to the first output beat."""
        return 1

    def elaborate(self, platform: Any) -> Module:
        """Take from one input after the other."""
        m = Module()
        m.submodules.fifo = fifo = StreamFifo(self.output_shape.payload_bits, 2)
        turn = Signal(range(len(self.inputs)))
        for number, (source, shape) in enumerate(zip(self.inputs, self.input_shapes, strict=True)):
            taken = Signal(name=f"taken{number}")
            last = loop_counter(
                m, taken, Signal(range(shape.channel_groups), name=f"group{number}"), shape.channel_groups
            )
            with m.If(turn == number):
                m.d.comb += [
                    fifo.i.payload.eq(source.payload),
                    fifo.i.valid.eq(source.valid),
                    source.ready.eq(fifo.i.ready),
                    taken.eq(source.valid & fifo.i.ready),
                ]
                with m.If(taken & last):
                    m.d.sync += turn.eq((number + 1) % len(self.inputs))
        wiring.connect(m, fifo.o, wiring.flipped(self.o))
        return m


class AddStage(JoinStage):
    """Weighted sum ``sum over i of x_i[c] * factors[i][c]``, and what makes codes of it.

    Parameters: ``input_shapes``, of one tensor shape; ``factors``, integers by input and channel; ``values`` of the
    requantisation or thresholds, of the sums' format, None where sums leave as they are; ``name`` begins the names of
    memory files; ``method`` of the requantisation.

    Multipliers are adders in look-up tables, see :class:`rtl_gen.requantise_multiply.MultiplyUnit`. Throughput: a beat
    a cycle.
    """

    def __init__(
        self,
        input_shapes: Sequence[StreamShape],
        factors: Sequence[Sequence[int]],
        sums: IntFormat,
        values: Values | None,
        *,
        name: str,
        method: str = "multiply",
    ) -> None:
        lanes = input_shapes[0].lanes
        self._sums = sums
        self._products = [
            _multiplier(shape, tuple(own), joined_name(name, f"factor{number}"))
            for number, (shape, own) in enumerate(zip(input_shapes, factors, strict=True))
        ]
        self._unit = (
            None if values is None else requantise_unit(values, name=name, method=method, pixels=1, lanes=lanes)
        )
        target = sums if values is None else values.output_format
        super().__init__(input_shapes, replace(input_shapes[0], format=target))
        self._before = max(unit.latency for unit in self._products) + 1
        latency = self._before + (0 if self._unit is None else self._unit.latency)
        self._output = CreditedOutput(self.output_shape.payload_bits, latency=latency)

    @property
    def latency(self) -> int:
        """Cycles from the first beats of a frame to its first output beat, when nothing stalls."""
        return self._output.latency

    @property
    def memory_images(self) -> dict[str, str]:
        """Memory files: bare file name -> text."""
        units = self._products if self._unit is None else [*self._products, self._unit]
        return merged_images(units)

    def elaborate(self, platform: Any) -> Module:
        """Multiply each input, add, requantise."""
        m = Module()
        m.submodules.output = output = self._output
        groups = self.output_shape.channel_groups
        group, issue = Signal(range(groups), name="group"), Signal()
        all_valid = Cat(source.valid for source in self.inputs).all()
        m.d.comb += [issue.eq(all_valid & output.can_issue), output.issue.eq(issue)]
        loop_counter(m, issue, group, groups)
        total = self._total(m, issue, group)
        m.d.comb += [source.ready.eq(issue) for source in self.inputs]
        valid = delayed(m, issue, self._before, name="valid", reset=True)
        if self._unit is None:
            m.d.comb += [output.result.eq(total), output.result_valid.eq(valid)]
        else:
            m.submodules.requantise = unit = self._unit
            m.d.comb += [
                unit.x.eq(total),
                unit.group.eq(delayed(m, group, self._before, name="sum_group")),
                unit.valid.eq(valid),
                output.result.eq(unit.y),
                output.result_valid.eq(unit.y_valid),
            ]
        wiring.connect(m, output.o, wiring.flipped(self.o))
        return m

    def _total(self, m: Module, issue: Any, group: Any) -> Any:
        """The sums of a beat, lane by lane, ``_before`` cycles after the beats were taken."""
        words = []
        for number, (source, unit) in enumerate(zip(self.inputs, self._products, strict=True)):
            m.submodules[f"factor{number}"] = unit
            m.d.comb += [unit.x.eq(source.payload), unit.group.eq(group), unit.valid.eq(issue)]
            words.append(delayed(m, unit.y, self._before - 1 - unit.latency, name=f"product{number}"))
        width = self._sums.width
        sums = []
        for lane in range(self.output_shape.lanes):
            parts = [
                word.word_select(lane, unit.values.output_format.width).as_signed()
                for word, unit in zip(words, self._products, strict=True)
            ]
            lane_sum = Signal(signed(width), name=f"sum{lane}", reset_less=True)
            m.d.sync += lane_sum.eq(sum(parts[1:], parts[0]))
            sums.append(lane_sum)
        return Cat(sums)


def _multiplier(shape: StreamShape, factors: tuple[int, ...], name: str) -> MultiplyUnit:
    """Products of codes with a constant of each channel."""
    target = product_format(shape.format, list(factors))
    values = RequantiseValues(factors, (0,) * len(factors), 0, shape.format, target)
    return MultiplyUnit(values, name=name, pixels=1, lanes=shape.lanes)
