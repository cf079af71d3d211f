"""The whole network: one stage for each layer, converters between them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from amaranth.hdl import Module
from amaranth.lib import wiring

from mixq.graph import Conv, Dense, Graph, MaxPool, Requantise
from mixq.packing import SoftMultipliers
from mixq.plan import Plan
from mixq.plan.chain import Unit, chain
from mixq.plan.conversion import bridge
from mixq.streams import StreamShape
from rtl_gen.converters import converter
from rtl_gen.convolution import Convolution, Scaling
from rtl_gen.dsp import Target
from rtl_gen.interfaces import Stage, stage_signature
from rtl_gen.max_pool import MaxPoolStage
from rtl_gen.packed_chain import check_target
from rtl_gen.requantise import RequantiseStage, RequantiseValues
from rtl_gen.rom import merged_images


class Accelerator(wiring.Component):
    """A planned graph as one pipeline of stages.

    Parameters: graph; plan, made for this graph; target, see :class:`rtl_gen.dsp.Dsp`.

    Members: ``i``: pixels, in beats of ``input_shape``; ``o``: the last tensor, in beats of ``output_shape``.

    Throughput: a frame in ``cycles_per_frame`` cycles, frames back to back. Where ``fast_clock`` is true there is a
    second clock domain, "fast", see :class:`rtl_gen.pumped_array.PumpedArray`.
    """

    def __init__(self, graph: Graph, plan: Plan, *, target: Target = "dsp48e2") -> None:
        units = chain(graph)
        self._stages: list[tuple[str, Stage]] = []
        first = graph.tensor(graph.input)
        source = self._input_shape = StreamShape(*first.shape, first.format, pixels=1, lanes=plan.input_lanes)
        for unit in units:
            stage = _stage(unit, plan, target)
            # Multipliers take every code of the width; the graph may say that not all of them occur.
            target_shape = replace(stage.input_shape, format=unit.source.format)
            for number, (before, after) in enumerate(bridge(source, target_shape)):
                self._add(f"{unit.node.name}_converter_{number}", converter(before, after))
            self._add(_instance_name(unit.node.name), stage)
            source = stage.output_shape
        super().__init__(stage_signature(self.input_shape.payload_bits, self.output_shape.payload_bits))

    def _add(self, name: str, stage: Stage) -> None:
        """Put a stage behind the others, with underscores behind its name where another layer is called so."""
        taken = {other for other, _ in self._stages}
        while name in taken:
            name += "_"
        self._stages.append((name, stage))

    @property
    def stages(self) -> list[tuple[str, Stage]]:
        """Instance name and stage, from input to output, converters included."""
        return list(self._stages)

    @property
    def input_shape(self) -> StreamShape:
        """Shape of the image and of its beats."""
        return self._input_shape

    @property
    def output_shape(self) -> StreamShape:
        """Shape of the last tensor and of its beats."""
        return self._stages[-1][1].output_shape

    @property
    def cycles_per_frame(self) -> int:
        """Cycles between frames: those of the slowest stage."""
        return max(stage.cycles_per_frame for _, stage in self._stages)

    @property
    def fast_clock(self) -> bool:
        """Whether some stage has the second clock domain, "fast"."""
        return any(stage.fast_clock for _, stage in self._stages)

    @property
    def memory_images(self) -> dict[str, str]:
        """Memory files of all stages: bare name -> text."""
        return merged_images(stage for _, stage in self._stages)

    def elaborate(self, platform: object) -> Module:
        """Connect the stages in a row."""
        m = Module()
        source = wiring.flipped(self.i)
        for name, stage in self._stages:
            m.submodules[name] = stage
            wiring.connect(m, source, stage.i)
            source = stage.o
        wiring.connect(m, source, wiring.flipped(self.o))
        return m


def build(graph: Graph, plan: Plan, target: Target = "dsp48e2") -> Accelerator:
    """The accelerator of a planned graph; see :class:`Accelerator`.

    Raises ValueError for a plan of another graph, or of packings that the target is too small for.
    """
    _check_plan(chain(graph), plan)
    for layer in plan.layers:
        if layer.folding is not None and not isinstance(layer.folding.packing, SoftMultipliers):
            check_target(layer.folding.packing, target)
    return Accelerator(graph, plan, target=target)


def _check_plan(units: list[Unit], plan: Plan) -> None:
    """Hold a plan to the graph: a layer for every node, and foldings of the layers' sizes."""
    planned = {layer.name: layer for layer in plan.layers}
    channels = units[0].source.shape[0]
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


def _stage(unit: Unit, plan: Plan, target: Target) -> Stage:
    """The stage of one unit."""
    node, layer = unit.node, plan.layer(unit.node.name)
    if isinstance(node, Conv | Dense):
        assert layer.folding is not None
        method = "multiply" if unit.requantise is None else plan.layer(unit.requantise.name).method
        scaling = _scaling(unit, node, method or "multiply")
        return Convolution(layer.folding, unit.stream_weights, scaling, name=node.name, target=target)
    shape = StreamShape(*unit.source.shape, unit.source.format, pixels=1, lanes=layer.lanes)
    if isinstance(node, MaxPool):
        return MaxPoolStage(shape, kernel=node.kernel, stride=node.stride)
    assert isinstance(node, Requantise)
    values = RequantiseValues(
        tuple(node.multiplier.tolist()),
        tuple(node.bias.tolist()),
        node.shift,
        unit.source.format,
        unit.target.format,
    )
    return RequantiseStage(values, shape, name=node.name, method=layer.method or "multiply")


def _scaling(unit: Unit, node: Conv | Dense, method: str) -> Scaling:
    """From the sums of products to the codes that leave the stage."""
    bias = np.zeros(len(node.weights), np.int64) if node.bias is None else node.bias
    if unit.requantise is None:
        return Scaling.none(tuple(bias.tolist()), unit.target.format)
    scale = unit.requantise
    # Python integers: a bias of the sums times a multiplier may need more than 64 bits.
    total = tuple(
        b * m + c for b, m, c in zip(bias.tolist(), scale.multiplier.tolist(), scale.bias.tolist(), strict=True)
    )
    return Scaling(tuple(scale.multiplier.tolist()), total, scale.shift, unit.target.format, method)


def _instance_name(name: str) -> str:
    """A layer's name, where it is not a word of Verilog that graphs allow."""
    return f"{name}_stage" if name.lower() in ("input", "output") else name
