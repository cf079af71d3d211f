"""The whole network: one stage for each layer, converters between them, FIFOs on the branches."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from amaranth.hdl import Const, Module, Value
from amaranth.lib import wiring

from mixq.errors import UserError
from mixq.graph import Add, Concat, Conv, Dense, Graph, Threshold
from mixq.packing import SoftMultipliers
from mixq.plan import Plan
from mixq.plan.fifos import shallow
from mixq.plan.units import INPUT, Unit, units
from mixq.streams import StreamShape
from rtl_gen.convolution import Convolution, Scaling
from rtl_gen.dsp import Target
from rtl_gen.fork import Fork
from rtl_gen.handshakes import INPUT as INPUT_STREAM
from rtl_gen.handshakes import OUTPUT, PayloadLabel, StreamLabel, name_handshakes, name_payloads
from rtl_gen.interfaces import Stage, stage_signature
from rtl_gen.joins import AddStage, ConcatStage, JoinStage
from rtl_gen.packed_chain import check_target
from rtl_gen.rom import merged_images
from rtl_gen.simple_stages import scaling_values, simple_stage
from rtl_gen.threshold_scaling import ThresholdScaling
from rtl_gen.wires import End, Wires


class Accelerator(wiring.Component):
    """A planned graph as a network of stages.

    Parameters: graph; plan, made for this graph; target, see :class:`rtl_gen.dsp.Dsp`.

    Members: ``i``: pixels, in beats of ``input_shape``; ``o``: the last tensor, in beats of ``output_shape``.
    The streams between the stages have names in the Verilog, see :mod:`rtl_gen.handshakes`.

    Throughput: a frame in ``cycles_per_frame`` cycles, frames back to back. Where ``fast_clock`` is true there is a
    second clock domain, "fast", see :class:`rtl_gen.pumped_array.PumpedArray`.
    """

    def __init__(self, graph: Graph, plan: Plan, *, target: Target = "dsp48e2") -> None:
        self._wires = Wires()
        first = graph.tensor(graph.input)
        self._input_shape = StreamShape(*first.shape, first.format, pixels=1, lanes=plan.input_lanes)
        found = units(graph)
        shapes = {INPUT: self._input_shape}
        branches = {
            place: [
                (index, number)
                for index, unit in enumerate(found)
                for number, own in enumerate(unit.reads)
                if own == place
            ]
            for place in range(INPUT, len(found))
        }
        ends: dict[tuple[int, int], End] = {}
        self._wires.payloads[None] = PayloadLabel.of(graph.input, self._input_shape)
        self._fork(ends, branches[INPUT], None, found, shapes[INPUT], plan)
        for index, unit in enumerate(found):
            stage = _stage(unit, plan, target)
            name = self._wires.free_name(_instance_name(unit.node.name))
            for number, needed in enumerate(_input_shapes(stage)):
                # Multipliers take every code of the width; the graph may say that not all of them occur.
                shape = replace(needed, format=unit.sources[number].format)
                label = unit.node.name if number == 0 else f"{unit.node.name}_{number}"
                end = self._wires.converted(ends[index, number], shapes[unit.reads[number]], shape, label)
                self._wires.join(end, (name, f"i{number}" if unit.joins else "i"))
            self._wires.add(name, stage)
            shapes[index] = stage.output_shape
            self._wires.payloads[name, "o"] = PayloadLabel.of(unit.target.name, stage.output_shape)
            self._fork(ends, branches[index], (name, "o"), found, stage.output_shape, plan)
            if not branches[index]:
                self._wires.join((name, "o"), None)
                self._output_shape = stage.output_shape
        super().__init__(stage_signature(self.input_shape.payload_bits, self.output_shape.payload_bits))

    def _fork(
        self,
        ends: dict[tuple[int, int], End],
        branches: list[tuple[int, int]],
        source: End,
        found: list[Unit],
        shape: StreamShape,
        plan: Plan,
    ) -> None:
        """Put the FIFOs on a stage's branches, which there are at forks and in front of joins."""
        depths = []
        for index, number in branches:
            fifos = plan.layer(found[index].node.name).fifos
            depths.append(fifos[number] if fifos else 0)
        if not any(depths):
            for branch in branches:
                ends[branch] = source
            return
        place = "input" if source is None else source[0]
        name = self._wires.free_name(f"{place}_fork" if len(branches) > 1 else f"{place}_fifo")
        self._wires.add(name, Fork(shape.payload_bits, depths))
        self._wires.join(source, (name, "i"))
        for position, branch in enumerate(branches):
            ends[branch] = (name, f"o{position}")
            self._wires.payloads[ends[branch]] = self._wires.payloads[source]

    @property
    def stages(self) -> list[tuple[str, Stage | JoinStage]]:
        """Instance name and stage of all that compute, and of the converters, from input to output."""
        return [(name, part) for name, part in self._wires.parts if not isinstance(part, Fork)]

    @property
    def forks(self) -> list[tuple[str, Fork]]:
        """Instance name and component of all forks and of the FIFOs in front of joins."""
        return [(name, part) for name, part in self._wires.parts if isinstance(part, Fork)]

    @property
    def input_shape(self) -> StreamShape:
        """Shape of the image and of its beats."""
        return self._input_shape

    @property
    def output_shape(self) -> StreamShape:
        """Shape of the last tensor and of its beats."""
        return self._output_shape

    @property
    def cycles_per_frame(self) -> int:
        """Cycles between frames: those of the slowest stage."""
        return max(stage.cycles_per_frame for _, stage in self.stages)

    @property
    def fast_clock(self) -> bool:
        """Whether some stage has the second clock domain, "fast"."""
        return any(stage.fast_clock for _, stage in self.stages)

    @property
    def memory_images(self) -> dict[str, str]:
        """Memory files of all stages: bare name -> text."""
        return merged_images(stage for _, stage in self.stages)

    def elaborate(self, platform: object) -> Module:
        """Connect the stages."""
        m = Module()
        for name, part in self._wires.parts:
            m.submodules[name] = part
        labels, streams, room = [], [], []
        for source, target in self._wires.ends:
            given = self._port(source, "i")
            wiring.connect(m, given, self._port(target, "o"))
            labels.append(self._label(source, target))
            streams.append(given)
            room.append(self._room(source))
        name_handshakes(m, labels, streams, room)
        name_payloads(m, labels, streams, [self._wires.payloads[source] for source, _ in self._wires.ends])
        return m

    def _label(self, source: End, target: End) -> StreamLabel:
        """The parts at both ends of a stream."""
        taker = OUTPUT if target is None else target[0]
        if source is None:
            return StreamLabel(INPUT_STREAM, taker)
        part = dict(self._wires.parts)[source[0]]
        depth = part.depths[_output_number(source[1])] if isinstance(part, Fork) else 0
        return StreamLabel(source[0], taker, depth, source[0] in self._wires.converters)

    def _room(self, source: End) -> Value:
        """Whether the FIFO that a stream comes out of takes a beat, 1 where it comes out of none."""
        part = None if source is None else dict(self._wires.parts)[source[0]]
        if source is None or not isinstance(part, Fork):
            return Const(1, 1)
        return part.room[_output_number(source[1])]

    def _port(self, end: End, own: str) -> Any:
        """A part's stream, or the accelerator's own."""
        if end is None:
            return wiring.flipped(getattr(self, own))
        name, port = end
        return getattr(dict(self._wires.parts)[name], port)


def build(graph: Graph, plan: Plan, target: Target = "dsp48e2") -> Accelerator:
    """The accelerator of a planned graph; see :class:`Accelerator`.

    Raises ValueError for a plan of another graph, or of packings that the target is too small for; UserError for FIFOs
    with which it would come to a standstill.
    """
    _check_plan(graph, units(graph), plan)
    for layer in plan.layers:
        if layer.folding is not None and not isinstance(layer.folding.packing, SoftMultipliers):
            check_target(layer.folding.packing, target)
    return Accelerator(graph, plan, target=target)


def _check_plan(graph: Graph, units: list[Unit], plan: Plan) -> None:
    """Hold a plan to the graph: a layer for every node, foldings of the layers' sizes, FIFOs that are deep enough."""
    planned = {layer.name: layer for layer in plan.layers}
    channels = graph.tensor(graph.input).shape[0]
    if channels % plan.input_lanes:
        raise ValueError(f"plan must take channels that divide {channels} at the input, not {plan.input_lanes!r}")
    for unit in units:
        names = [unit.node.name] + ([unit.requantise.name] if unit.requantise else [])
        for name in names:
            if name not in planned:
                raise ValueError(f"plan must have every layer of the graph, not one without {name!r}")
        folding = planned[unit.node.name].folding
        if unit.is_layer and (folding is None or folding.shape != unit.shape):
            raise ValueError(f"plan must fold {unit.node.name} as {unit.shape}, not {folding!r}")
        if unit.is_layer and folding is not None:
            codes = (folding.packing.act_bits, folding.packing.act_signed)
            if codes != (unit.source.format.width, unit.source.format.signed):
                raise ValueError(f"plan must pack {unit.node.name} for its input {unit.source.format}, not {codes!r}")
    starving = shallow(units, graph, plan)
    if starving:
        raise UserError(starving[0])


def _stage(unit: Unit, plan: Plan, target: Target) -> Stage | JoinStage:
    """The stage of one unit."""
    node, layer = unit.node, plan.layer(unit.node.name)
    if isinstance(node, Conv | Dense):
        assert layer.folding is not None
        method = "multiply" if unit.requantise is None else plan.layer(unit.requantise.name).method
        scaling = _scaling(unit, node, method or "multiply")
        return Convolution(layer.folding, unit.stream_weights, scaling, name=node.name, target=target)
    return _join(unit, plan) if unit.joins else simple_stage(unit, lanes=layer.lanes, method=layer.method)


def _output_number(port: str) -> int:
    """Of the stream of a fork that is called so."""
    return int(port.removeprefix("o"))


def _input_shapes(stage: Stage | JoinStage) -> tuple[StreamShape, ...]:
    return stage.input_shapes if isinstance(stage, JoinStage) else (stage.input_shape,)


def _join(unit: Unit, plan: Plan) -> JoinStage:
    """The stage of a unit that reads several tensors."""
    node, lanes = unit.node, plan.layer(unit.node.name).lanes
    shapes = [StreamShape(*tensor.shape, tensor.format, pixels=1, lanes=lanes) for tensor in unit.sources]
    if isinstance(node, Concat):
        return ConcatStage(shapes)
    assert isinstance(node, Add)
    sums = node.sum_format([tensor.format for tensor in unit.sources])
    values = None if unit.requantise is None else scaling_values(unit.requantise, sums, unit.target.format)
    method = "multiply" if unit.requantise is None else plan.layer(unit.requantise.name).method
    factors = [tuple(own) for own in node.multipliers.tolist()]
    return AddStage(shapes, factors, sums, values, name=node.name, method=method or "multiply")


def _scaling(unit: Unit, node: Conv | Dense, method: str) -> Scaling | ThresholdScaling:
    """From the sums of products to the codes that leave the stage."""
    bias = np.zeros(len(node.weights), np.int64) if node.bias is None else node.bias
    if unit.requantise is None:
        return Scaling.none(tuple(bias.tolist()), unit.target.format)
    scale = unit.requantise
    if isinstance(scale, Threshold):
        bounds = scale.thresholds - bias[:, None]
        steps = tuple(scale.first.tolist()), tuple(scale.step.tolist())
        return ThresholdScaling(tuple(map(tuple, bounds.tolist())), *steps, unit.target.format)
    # Python integers: a bias of the sums times a multiplier may need more than 64 bits.
    total = tuple(
        b * m + c for b, m, c in zip(bias.tolist(), scale.multiplier.tolist(), scale.bias.tolist(), strict=True)
    )
    return Scaling(tuple(scale.multiplier.tolist()), total, scale.shift, unit.target.format, method)


def _instance_name(name: str) -> str:
    """A layer's name, where it is not a word of Verilog that graphs allow."""
    return f"{name}_stage" if name.lower() in ("input", "output") else name
