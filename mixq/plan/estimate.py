"""Estimates of what stages take, from their numbers alone.

DSPs, block RAM and cycles are exact. Look-up tables and flip-flops are estimates of what Yosys counts: sums of terms
that the hardware tells, with fitted coefficients (:mod:`mixq.plan.cost_model`); ``docs/estimates.md`` has their errors.
"""

from __future__ import annotations

from functools import cache
from math import ceil, gcd, log2

from mixq.board import Resources
from mixq.containers import container_bits
from mixq.packing import SoftMultipliers
from mixq.plan import layer_features, pump_features, soft_features, spatial_features, stage_features
from mixq.plan.cost_model import cost_model
from mixq.plan.folding import Folding
from mixq.plan.layer_features import Terms
from mixq.plan.memories import ram
from mixq.plan.spatial_shapes import BlockRows
from mixq.plan.stage_features import Scale
from mixq.streams import StreamShape

__all__ = [
    "Scale",
    "converters",
    "convolution",
    "fifo",
    "gatherer",
    "latency",
    "layer",
    "max_pool",
    "output_beats",
    "requantisation",
    "requantise_alone",
    "requantise_methods",
    "serialiser",
    "shell_input",
    "shell_output",
    "space_to_depth",
    "sum_bits",
    "sum_pool",
    "unit_latency",
    "upsample",
]


#: Registers, AXI4-Lite, the guard's state and the gate, as Yosys counts them around streams of several widths.
_CONTROL = Resources(lut=380, ff=415)


def sum_bits(folding: Folding) -> int:
    """Width that holds every sum of a layer, by its widths and sizes alone."""
    low, high = folding.packing.sum_bounds(1)
    terms = folding.shape.group_inputs * folding.shape.kernel**2
    # Random signs make real sums about half the range of the worst case.
    return max(1, ceil(log2(terms * (high - low) + 1)) - 1)


def convolution(folding: Folding, bits: int | None = None) -> Resources:
    """A convolution or dense layer, from line buffer to overlap-add.

    bits: width of its sums, by default :func:`sum_bits`.
    """
    bits = sum_bits(folding) if bits is None else bits
    memories = layer_memories(folding, bits)
    blocks = sum(memory.bram36 for memory in memories)
    total = _total(_components(folding, bits, memories, apart=False), dsp=folding.dsps, bram36=blocks)
    if isinstance(folding.packing, SoftMultipliers):
        total += soft_features.array(folding, folding.packing, bits)
    if folding.pump > 1:
        total += pump_features.array(folding, share=layer_features.live(folding))
    return total


def layer_memories(folding: Folding, bits: int) -> tuple[Resources, Resources, Resources]:
    """Memories of a layer: of its rows, of its weights, and of what padding contributes."""
    contributes = folding.shape.pads_columns and not isinstance(folding.packing, SoftMultipliers)
    padding = layer_features.padding_table(folding, bits) if contributes else Resources()
    return layer_features.line_memory(folding), layer_features.weight_memory(folding), padding


def layer_components(folding: Folding, bits: int, *, apart: bool = False) -> dict[str, Terms]:
    """Terms of each component of a layer, without its requantisation and FIFO.

    apart: each for itself, with sums that nothing reads, which synthesis of the whole leaves out.
    """
    return _components(folding, bits, layer_memories(folding, bits), apart=apart)


def _components(
    folding: Folding, bits: int, memories: tuple[Resources, Resources, Resources], *, apart: bool
) -> dict[str, Terms]:
    rows, weights, padding = memories
    share = 1.0 if apart else layer_features.live(folding)
    found = {
        "sequencer": layer_features.sequencer(folding),
        "control": layer_features.control(folding, layer_features.array_latency(folding)),
        "line_buffer": layer_features.line_buffer(folding, rows),
        "array_memory": ((weights.lut,), (weights.ff,)),
        "overlap": layer_features.overlap(folding, bits),
        "padding_memory": ((padding.lut,), (padding.ff,)),
    }
    if isinstance(folding.packing, SoftMultipliers):
        return found
    found["array"] = layer_features.array(folding, share=share)
    found["sums"] = layer_features.sums(folding, bits, share=share)
    return found


def serialiser(folding: Folding, bits: int | None = None) -> Resources:
    """What gives out a block's channels one after another; see :func:`convolution`."""
    own = layer_features.serialiser(folding, sum_bits(folding) if bits is None else bits)
    return _total({"serialiser": own})


def gatherer(folding: Folding, out_bits: int) -> Resources:
    """What joins the codes of a beat where its pixels are requantised one after another. out_bits: of a code."""
    if folding.turns == 1:
        return Resources()
    return _total({"gatherer": gatherer_terms(folding, out_bits)})


def gatherer_terms(folding: Folding, out_bits: int) -> Terms:
    """Terms of :func:`gatherer`."""
    return stage_features.gatherer(folding.out_pixels // folding.turns * folding.out_lanes * out_bits, folding.turns)


# What a multiplying requantisation can hold, less what an estimated width of sums may be off by, and carries.
_WIDEST_PRODUCT = 60


def requantisation(scale: Scale, method: str) -> Resources:
    """Requantisation units, with parameters for channels / lanes groups of channels."""
    return _requantisation(scale, method)


@cache
def _requantisation(scale: Scale, method: str) -> Resources:
    memory = stage_features.requantise_memory(scale, method)
    return _total(requantise_components(scale, method), bram36=memory.bram36)


def requantise_components(scale: Scale, method: str) -> dict[str, Terms]:
    """Terms of a requantisation unit and of its memories."""
    unit = stage_features.threshold(scale) if method == "threshold" else stage_features.multiply(scale)
    return {method: unit, "requantise_memory": stage_features.requantise_words(scale, method)}


def requantise_methods(scale: Scale) -> list[str]:
    """The implementations that can hold the numbers, which give the same codes; a product has at most 64 bits."""
    if scale.explicit or max(scale.bits + scale.multiplier_bits, scale.bias_bits) > _WIDEST_PRODUCT:
        return ["threshold"]
    return ["threshold", "multiply"]


def latency(folding: Folding) -> int:
    """Cycles from the last step of a block to its outputs, before the serialiser; near enough to size a FIFO."""
    added = layer_features.accumulates(folding) + (folding.chains - 1).bit_length()
    return layer_features.array_latency(folding) + added + 1


def unit_latency(scale: Scale, method: str) -> int:
    """Cycles of a requantisation, likewise."""
    return stage_features.unit_latency(scale, method)


def output_beats(folding: Folding, behind: int) -> int:
    """Beats that a layer's FIFO holds. behind: cycles of the requantisation."""
    whole = latency(folding) + int(folding.fold_beats > 1) + behind
    return stage_features.places(whole, folding.steps) * folding.fold_beats


def layer(folding: Folding, bits: int, scale: Scale, method: str) -> Resources:
    """A layer with its requantisation and its FIFO."""
    depth = output_beats(folding, unit_latency(scale, method))
    behind = serialiser(folding, bits) + requantisation(scale, method) + gatherer(folding, scale.out_bits)
    return convolution(folding, bits) + behind + fifo(scale.out_bits * folding.out_pixels * folding.out_lanes, depth)


def requantise_alone(scale: Scale, method: str) -> Resources:
    """A requantisation as a stage of its own, with its FIFO."""
    own = {"alone": stage_features.alone(scale, method)}
    memory = stage_features.requantise_memory(scale, method)
    return _total({**requantise_components(scale, method), **own}, bram36=memory.bram36)


def max_pool(source: StreamShape, kernel: int, stride: int | None = None) -> Resources:
    """A max-pooling stage on beats of one pixel; stride: by default that of windows side by side."""
    terms, memory = stage_features.max_pool(source, kernel, stride or kernel)
    return _total({"max_pool": terms}, bram36=memory.bram36)


def sum_pool(source: StreamShape, kernel: tuple[int, int]) -> Resources:
    """A sum-pooling stage on beats of one pixel; kernel: (rows, columns)."""
    terms, memory = spatial_features.sum_pool(source, kernel)
    return _total({"sum_pool": terms}, bram36=memory.bram36)


def space_to_depth(source: StreamShape, block: int) -> Resources:
    """A space-to-depth stage on beats of one pixel."""
    if not BlockRows.of(source, block).words:
        return fifo(source.payload_bits, 2)
    terms, memory = spatial_features.space_to_depth(source, block)
    return _total({"space_to_depth": terms}, bram36=memory.bram36)


def upsample(source: StreamShape, factor: int) -> Resources:
    """An upsampling stage on beats of one pixel."""
    terms, memory = spatial_features.upsample(source, factor)
    return _total({"upsample": terms}, bram36=memory.bram36)


@cache
def fifo(bits: int, depth: int) -> Resources:
    """A FIFO of ``depth`` beats of ``bits``."""
    depth = max(depth, 2)
    blocks = ram(bits, depth - 1).bram36 if depth > 2 else 0.0
    return _total({"fifo": stage_features.fifo(bits, depth)}, bram36=blocks)


def converters(pairs: list[tuple[StreamShape, StreamShape]]) -> Resources:
    """Converters, each given as the shapes before and after it."""
    return sum((converter(before, after) for before, after in pairs), Resources())


@cache
def converter(before: StreamShape, after: StreamShape) -> Resources:
    """One converter."""
    if before.pixels != after.pixels:
        terms, memory = stage_features.pixels(before, after)
        return _total({"ungroup" if after.pixels == 1 else "group": terms}, bram36=memory.bram36)
    kind = "split" if after.lanes < before.lanes else "gather"
    return _total({kind: stage_features.channels(before, after)})


def shell_input(beats: StreamShape, bus_bits: int) -> Resources:
    """The AXI4-Stream at the input: the guard of its frames, a register, and what cuts codes into beats of one pixel.

    With what stands once in a design, whatever its buses: registers, AXI4-Lite, the packets of both sides.
    """
    codes = bus_bits // container_bits(beats.format)
    bus = codes * beats.format.width
    frame = ceil(beats.channels * beats.height * beats.width / codes)
    guard = Resources(lut=3 * bus_bits // 5) + _CONTROL
    return guard + _two_words(bus) + _gearbox(beats, codes) + _two_words(beats.payload_bits) + _counter(frame)


def shell_output(beats: StreamShape, bus_bits: int, waiting: int = 2) -> Resources:
    """The AXI4-Stream at the output: what joins beats of one pixel to the codes of the bus, and their FIFO.

    waiting: beats of the bus that can wait there until their input frame is whole, 2 at least. With the clock's and the
    reset's registers, which stand once in a design.
    """
    codes = bus_bits // container_bits(beats.format)
    marked = codes * beats.format.width + 1
    held = _two_words(marked) if waiting == 2 else fifo(marked, waiting)
    return _gearbox(beats, codes) + held + _counter(beats.beats) + Resources(lut=4, ff=4)


def _two_words(bits: int) -> Resources:
    """A FIFO of two registers."""
    return Resources(lut=bits + 5, ff=2 * bits + 3)


def _counter(states: int) -> Resources:
    bits = max(1, (states - 1).bit_length())
    return Resources(lut=bits, ff=bits)


def _gearbox(beats: StreamShape, codes: int) -> Resources:
    """Units of the greatest common divisor that are held, each taken from as many places as it can come in at."""
    unit = gcd(codes, beats.lanes)
    bus, beat = codes // unit, beats.lanes // unit
    held = (bus + beat - 1) * unit * beats.format.width
    places = min(bus, beat) + (bus + beat > 2)
    return Resources(lut=held * (places // 2) + 3 * places, ff=held + 2 * (bus + beat).bit_length())


def _total(components: dict[str, Terms], *, dsp: int = 0, bram36: float = 0.0) -> Resources:
    model = cost_model()
    costs = [model.cost(name, terms) for name, terms in components.items()]
    return Resources(sum(lut for lut, _ in costs), sum(ff for _, ff in costs), dsp, bram36)
