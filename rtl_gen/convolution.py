"""Convolution (or dense layer) and the requantisation behind it, as one stage."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

import numpy as np
from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import data

from mixq.formats import IntFormat
from mixq.packing import SoftMultipliers
from mixq.plan.first_output import first_block_end
from mixq.plan.folding import Folding
from mixq.plan.weight_order import tap_bounds
from mixq.streams import StreamShape
from rtl_gen.beat_gatherer import BeatGatherer
from rtl_gen.control import Control
from rtl_gen.convolution_constants import ConvolutionConstants, IntArray
from rtl_gen.counters import decremented, incremented, loop_counter
from rtl_gen.credits import count_places
from rtl_gen.dsp import Target
from rtl_gen.fifo import StreamFifo
from rtl_gen.interfaces import Stage
from rtl_gen.lane_accumulator import LaneAccumulator
from rtl_gen.line_buffer import LineBuffer
from rtl_gen.mac_array import MacArray
from rtl_gen.overlap_add import OverlapAdd
from rtl_gen.padding_table import PaddingTable
from rtl_gen.pipeline import delayed
from rtl_gen.pumped_array import PumpedArray
from rtl_gen.requantise import RequantiseValues, requantise_unit
from rtl_gen.rom import merged_images
from rtl_gen.sequencer import Sequencer
from rtl_gen.serialiser import Serialiser
from rtl_gen.soft_array import ConstantArray, SoftArray
from rtl_gen.sum_accumulator import SumAccumulator
from rtl_gen.threshold_scaling import ThresholdScaling

# Cycles up to which control bits are delayed by registers that a reset clears.
_SHORT = 16


@dataclass(frozen=True)
class Scaling:
    """How finished sums become output codes: ``clamp((sum * multiplier + bias + half) >> shift)``, channel by channel.

    method: "multiply" or "threshold", see :func:`rtl_gen.requantise.requantise_unit`.
    """

    multiplier: tuple[int, ...]
    bias: tuple[int, ...]
    shift: int
    output_format: IntFormat
    method: str = "multiply"

    @classmethod
    def none(cls, bias: tuple[int, ...], output_format: IntFormat) -> Scaling:
        """The sums themselves, plus a bias."""
        return cls((1,) * len(bias), bias, 0, output_format)

    def values(self, sum_format: IntFormat, offset: tuple[int, ...]) -> RequantiseValues:
        """The numbers for sums that come in a format, each less than the true one by a channel's offset."""
        return RequantiseValues(self.multiplier, self.bias, self.shift, sum_format, self.output_format, offset)


def _array(
    folding: Folding, weights: IntArray, *, sum_bits: int, name: str, target: Target
) -> MacArray | PumpedArray | SoftArray | ConstantArray:
    """The multipliers that a folding asks for."""
    packing = folding.packing
    if not isinstance(packing, SoftMultipliers):
        array = PumpedArray if folding.pump == 2 else MacArray
        return array(folding, weights, name=name, target=target)
    if packing.constant:
        return ConstantArray(folding, weights, sum_bits=sum_bits)
    return SoftArray(folding, weights, sum_bits=sum_bits, name=name)


class Convolution(Stage):
    """Streaming convolution on packed DSPs or on multipliers without DSPs, with its requantisation.

    Line buffer -> multipliers -> lane sums -> overlap-add -> requantisation -> FIFO. All but the first and the last run
    freely: work starts only when its data is there and its outputs have a place.

    Parameters
    ----------
    folding: parallelism. weights: codes (C_out, C_in / groups, K, K), C_in in the order of the stream. scaling: from
    exact sums to output codes. name: of the layer, for memory files. target: see :class:`rtl_gen.dsp.Dsp`. Where
    ``folding.pump`` is 2 there is a second clock domain, see :class:`rtl_gen.pumped_array.PumpedArray`.

    Throughput: a frame in ``folding.cycles_per_frame`` cycles.

    Raises ValueError where weights do not fit the folding or its packing.
    """

    def __init__(
        self,
        folding: Folding,
        weights: IntArray,
        scaling: Scaling | ThresholdScaling,
        *,
        name: str,
        target: Target = "dsp48e2",
    ) -> None:
        shape, packing = folding.shape, folding.packing
        weights = np.asarray(weights, np.int64)
        if weights.shape != shape.weight_shape:
            raise ValueError(f"weights must have shape {shape.weight_shape}, not {weights.shape!r}")
        low, high = packing.weight_bounds
        if weights.min() < low or weights.max() > high:
            raise ValueError(f"weights must be from {low} to {high}, not {int(weights.min())}..{int(weights.max())}")
        if folding.bounds is not None:
            least, most = tap_bounds(folding, weights)
            if least < folding.bounds[0] or most > folding.bounds[1]:
                raise ValueError(
                    f"weights must add from {folding.bounds[0]} to {folding.bounds[1]}, not {least}..{most}"
                )
        self.folding = folding
        self._constants = constants = ConvolutionConstants.of(folding, weights)
        act_format = IntFormat(packing.act_bits, packing.act_signed)
        super().__init__(
            StreamShape(
                shape.in_channels, shape.height, shape.width, act_format, pixels=folding.in_pixels, lanes=folding.lanes
            ),
            StreamShape(
                shape.out_channels,
                shape.out_height,
                shape.out_width,
                scaling.output_format,
                pixels=folding.out_pixels,
                lanes=folding.out_lanes,
            ),
        )
        self._array = _array(folding, weights, sum_bits=constants.sum_bits, name=name, target=target)
        accumulator = SumAccumulator if isinstance(packing, SoftMultipliers) else LaneAccumulator
        self._sums: LaneAccumulator | SumAccumulator = accumulator(folding, constants.sum_bits)
        self._padding = PaddingTable(folding, constants, name=name)
        self._serialiser = Serialiser(folding, constants.sum_bits)
        self._unit = requantise_unit(
            scaling.values(constants.sum_format, tuple(constants.offset.tolist())),
            name=name,
            method=scaling.method,
            pixels=folding.out_pixels // folding.turns,
            lanes=folding.out_lanes,
        )
        # Groups of outputs that are on their way at a time when the output does not stall, and one more.
        self._places = ceil((self._pipeline_latency + folding.steps + 4) / folding.steps) + 1
        self._fifo = StreamFifo(self.output_shape.payload_bits, self._places * folding.fold_beats)

    @property
    def _pipeline_latency(self) -> int:
        """Cycles from the last step of a block to the first code at the FIFO."""
        freely = self._array.latency + self._sums.latency + OverlapAdd.LATENCY
        return freely + self._serialiser.latency + self._unit.latency + self.folding.turns - 1

    @property
    def latency(self) -> int:
        """Cycles from a frame's first accepted input beat to its first output beat, when nothing stalls."""
        return first_block_end(self.folding) + self._pipeline_latency + self._fifo.latency

    @property
    def cycles_per_frame(self) -> int:
        """See :attr:`mixq.plan.folding.Folding.cycles_per_frame`."""
        return self.folding.cycles_per_frame

    @property
    def fast_clock(self) -> bool:
        """Whether the DSPs run at twice the clock."""
        return self.folding.pump == 2

    @property
    def memory_images(self) -> dict[str, str]:
        """Memory files of weights, padding and requantisation: bare name -> text."""
        return merged_images([self._array, self._padding, self._unit])

    def elaborate(self, platform: object) -> Module:
        """Join the parts, and send the control bits along with the data."""
        m = Module()
        folding = self.folding
        m.submodules.sequencer = sequencer = Sequencer(folding)
        m.submodules.line_buffer = buffer = LineBuffer(folding)
        m.submodules.array = array = self._array
        m.submodules.sums = sums = self._sums
        m.submodules.overlap = overlap = OverlapAdd(folding, self._constants.sum_bits)
        m.submodules.padding = padding = self._padding
        m.submodules.serialiser = serialiser = self._serialiser
        m.submodules.requantise = unit = self._unit
        m.submodules.gatherer = gatherer = BeatGatherer(bits=len(unit.y), turns=folding.turns)
        m.submodules.fifo = fifo = self._fifo

        for name in ("step", "ends", "row", "group", "kernel_row"):
            m.d.comb += getattr(buffer, name).eq(getattr(sequencer, name))
        controls = self._controls(m, sequencer.control, array.latency + sums.latency)
        at_sums, at_overlap, before_overlap = controls[array.latency], controls[-1], controls[-1 - padding.LATENCY]
        m.d.comb += [
            buffer.i.payload.eq(self.i.payload),
            buffer.i.valid.eq(self.i.valid),
            self.i.ready.eq(buffer.i.ready),
            sequencer.granted.eq(buffer.granted),
            array.weight.eq(sequencer.weight),
            array.codes.eq(buffer.codes),
            array.go_on.eq(sequencer.control.go_on),
            sums.chains.eq(array.sums),
            padding.fold.eq(before_overlap.fold),
            overlap.next_fold.eq(before_overlap.fold),
            overlap.left.eq(padding.left),
            overlap.right.eq(padding.right),
            overlap.sums.eq(sums.sums),
            serialiser.sums.eq(overlap.outputs),
            serialiser.group.eq(overlap.group),
            serialiser.valid.eq(overlap.valid),
            unit.x.eq(serialiser.x),
            unit.group.eq(serialiser.x_group),
            unit.valid.eq(serialiser.x_valid),
            gatherer.part.eq(unit.y),
            gatherer.part_valid.eq(unit.y_valid),
            fifo.i.payload.eq(gatherer.beat),
            fifo.i.valid.eq(gatherer.valid),
            self.o.payload.eq(fifo.o.payload),
            self.o.valid.eq(fifo.o.valid),
            fifo.o.ready.eq(self.o.ready),
        ]
        m.d.comb += [getattr(sums, name).eq(at_sums[name]) for name in ("read", "load", "tap_pass")]
        m.d.comb += [
            getattr(overlap, name).eq(at_overlap[name]) for name in ("update", "start", "emit", "flush", "fold")
        ]
        self._credits(m, sequencer)
        return m

    def _controls(self, m: Module, control: data.View[Control], cycles: int) -> list[data.View[Control]]:
        """Control bits now and in each of the next cycles; nothing that a reset finds on its way gives outputs."""
        late = [control]
        long = cycles > _SHORT
        for cycle in range(cycles):
            word = delayed(m, late[-1].as_value(), 1, name=f"control_{cycle}", reset=not long)
            late.append(data.View(Control(self.folding), word))
        if long:
            # Shift registers cannot be cleared: what leaves them is void until all that was in them has left.
            void, passed = Signal(range(cycles + 1), init=cycles), Signal()
            with m.If(~passed):
                m.d.sync += [void.eq(decremented(void)), passed.eq(void == 1)]
            last = Signal(Control(self.folding))
            m.d.comb += [last.eq(late[-1]), last.emit.eq(late[-1].emit & passed)]
            m.d.comb += last.flush.eq(late[-1].flush & passed)
            late[-1] = last
        return late

    def _credits(self, m: Module, sequencer: Sequencer) -> None:
        """Count free places for groups of outputs; one is free again when the group's last beat has left."""
        left = self.o.valid & self.o.ready
        last = left & self._last_beat(m, left)
        # The neighbour's ready comes late in a cycle: the place counts from the next one on.
        freed = delayed(m, last, 1, name="freed", reset=True)
        m.d.comb += sequencer.credit.eq(count_places(m, self._places, taken=sequencer.take, freed=freed))

    def _last_beat(self, m: Module, left: Value) -> Value:
        """Whether the beat at the output is the last of its group; left: it leaves."""
        folding = self.folding
        beats, last_beats = folding.fold_beats, folding.last_fold_beats
        beat = Signal(range(beats), name="beat")
        if last_beats == beats:
            return loop_counter(m, left, beat, beats)
        last = Signal(name="beat_last")
        last_fold = loop_counter(m, left & last, Signal(range(folding.folds), name="leaving_fold"), folding.folds)
        m.d.comb += last.eq(beat == Mux(last_fold, last_beats - 1, beats - 1))
        with m.If(left):
            m.d.sync += beat.eq(Mux(last, 0, incremented(beat)))
        return last
