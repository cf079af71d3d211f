"""Chooses how every layer is built, so that the slowest is as fast as a board allows."""

from __future__ import annotations

from dataclasses import replace
from functools import reduce
from math import ceil, inf
from operator import add

import numpy as np
import numpy.typing as npt

from mixq.board import REPORT_KEYS, Board, Resources
from mixq.containers import container_bits
from mixq.errors import CheckFailed, UserError
from mixq.graph import Conv, Dense, Graph, MaxPool, Tensor
from mixq.packing import PORTS, RESIDUE_BITS
from mixq.plan import estimate
from mixq.plan.chain import Unit, chain
from mixq.plan.conversion import bridge, bridge_cycles
from mixq.plan.folding import Folding
from mixq.plan.options import Options, divisors, least_lanes, options, requantise_method, requantise_resources, scale_of
from mixq.plan.values import LayerPlan, Plan
from mixq.plan.weight_order import deepened
from mixq.streams import StreamShape

BUS_BITS = (8, 16, 32, 64, 128)
"""Widths of an AXI stream."""

Design = tuple[int, list[LayerPlan]]

# Relative prices of the kinds of resources, tried in turn: the right ones depend on what runs out first.
_PRICES = ((1.0, 1.0, 1.0), (1.0, 4.0, 1.0), (1.0, 1.0, 4.0), (4.0, 1.0, 1.0), (4.0, 1.0, 4.0), (1.0, 4.0, 4.0))


def plan(
    graph: Graph,
    board: Board,
    *,
    clock_mhz: float | None = None,
    target_fps: float | None = None,
    max_cycles: int | None = None,
    limits: Resources | None = None,
    budget: float = 1.0,
    residue_bits: int = 0,
    real_weights: bool = False,
) -> Plan:
    """Plan a graph for a board: the fastest design that fits, or the smallest that is fast enough.

    clock_mhz: by default the board's. target_fps, max_cycles: how fast is fast enough. limits: what may be taken, by
    default all the board has. budget: the share of it, above 0 and up to 1. residue_bits: how many low bits of lanes
    packings may know from look-up tables, 0, 1 or 2; with 1 and 2 they may be carry-tracked, too. real_weights: sum as
    many products in the DSPs as these weights allow rather than any: fewer look-up tables, but other weights need
    another plan.

    Raises CheckFailed, with the numbers, where nothing fits or is fast enough; UserError for wrong arguments and for
    graphs that are not a chain.
    """
    if board.device not in PORTS:
        raise UserError(f"board {board.name} has {board.device}; plans are made for {', '.join(PORTS)} alone")
    clock = board.clock_mhz if clock_mhz is None else clock_mhz
    for name, value in (("clock_mhz", clock), ("target_fps", target_fps), ("max_cycles", max_cycles)):
        if value is not None and not 0 < value < inf:
            raise UserError(f"{name} must be positive and finite, not {value!r}")
    if not 0 < budget <= 1:
        raise UserError(f"budget must be above 0 and at most 1, not {budget!r}")
    if residue_bits not in RESIDUE_BITS:
        raise UserError(f"residue_bits must be 0, 1 or 2, not {residue_bits!r}")
    planner = _Planner(graph, board, _share(limits or board.resources, budget), residue_bits)
    if target_fps is not None:
        # A rate next to nothing allows more cycles than a float tells apart.
        most = int(min(clock * 1e6 / target_fps, 2.0**53))
        max_cycles = most if max_cycles is None else min(most, max_cycles)
    lanes, layers = planner.fastest() if max_cycles is None else planner.smallest(max_cycles, clock)
    cycles = max(layer.cycles for layer in layers)
    return Plan(
        board=board.name,
        clock_mhz=float(clock),
        layers=tuple(planner.deepened(layers) if real_weights else layers),
        input_lanes=lanes,
        input_bus_bits=_bus_bits(graph.tensor(graph.input), cycles),
        output_bus_bits=_bus_bits(graph.tensor(graph.output), cycles),
        limits=planner.limits,
    )


class _Planner:
    """The search for one graph and one set of limits.

    A design is given as the channels in a beat at its input and the plans of its layers.
    """

    def __init__(self, graph: Graph, board: Board, limits: Resources, residue_bits: int) -> None:
        self.limits = limits
        self._board = board
        self._units = chain(graph)
        self._options: dict[str, Options] = {}
        for unit in self._units:
            if unit.is_layer:
                found = options(unit, board.device, limits, residue_bits)
                if not found.foldings:
                    raise CheckFailed(f"layer {unit.node.name} does not fit: it needs a DSP, {limits.dsp} are allowed")
                self._options[unit.node.name] = found

    def fastest(self) -> Design:
        """The plan with the fewest cycles that fits."""
        targets = self._targets()
        best: Design | None = None
        low, high = 0, len(targets) - 1
        while low <= high:
            middle = (low + high) // 2
            found = self._fitting(int(targets[middle]))
            if found is None:
                low = middle + 1
            else:
                best, high = found, middle - 1
        if best is None:
            raise CheckFailed(self._does_not_fit(int(targets[-1])))
        return best

    def deepened(self, layers: list[LayerPlan]) -> list[LayerPlan]:
        """The layers with sums in their DSPs as deep as their weights allow: fewer look-up tables, the same cycles."""
        units = {unit.node.name: unit for unit in self._units}
        return [layer if layer.folding is None else self._deepened(units[layer.name], layer) for layer in layers]

    @staticmethod
    def _deepened(unit: Unit, layer: LayerPlan) -> LayerPlan:
        assert layer.folding is not None
        folding = deepened(layer.folding, unit.stream_weights)
        saved = estimate.convolution(layer.folding).excess(estimate.convolution(folding))
        resources = replace(
            layer.resources, **{name: getattr(layer.resources, name) - amount for name, amount in saved.items()}
        )
        return replace(layer, folding=folding, resources=resources)

    def _targets(self) -> npt.NDArray[np.int64]:
        """Numbers of cycles that are worth trying, rising: those of all foldings, or of beats where none multiplies."""
        choices = [found.cycles for found in self._options.values()]
        if not choices:
            choices = [_beats(unit.source) for unit in self._units]
        targets = np.unique(np.concatenate(choices))
        # Stages that only move codes may take longer than any folding: at worst a cycle for each code of a tensor.
        slowest = max(max(unit.source.elements, unit.target.elements) for unit in self._units)
        return targets if slowest <= targets[-1] else np.append(targets, slowest)

    def smallest(self, max_cycles: int, clock: float) -> Design:
        """The cheapest plan that takes at most so many cycles."""
        found = self._fitting(max_cycles)
        if found is None:
            fastest = max(layer.cycles for layer in self.fastest()[1])
            raise CheckFailed(
                f"no plan takes at most {max_cycles} cycles on {self._board.name}: the fastest that fits takes "
                f"{fastest} cycles, {clock * 1e6 / fastest:.1f} frames per second at {clock:g} MHz"
            )
        return found

    def _fitting(self, cycles: int) -> Design | None:
        """The cheapest plan within so many cycles and the limits, by the first prices that lead to one."""
        for prices in _PRICES:
            design = self._design(cycles, self._prices(prices))
            if design is not None and not _total(design[1]).excess(self.limits):
                return design
        return None

    def _prices(self, weights: tuple[float, float, float]) -> npt.NDArray[np.float64]:
        """Price of a unit of each resource: a share of the limit, by weights of LUTs, DSPs and block RAM."""
        lut, dsp, bram = weights
        weight = {"lut": lut, "ff": 0.25, "dsp": dsp, "bram36": bram, "uram": 1.0}
        return np.array([weight[name] / max(getattr(self.limits, name), 1) for name in REPORT_KEYS])

    def _design(self, cycles: int, prices: npt.NDArray[np.float64]) -> Design | None:
        """Layer by layer the cheapest that is fast enough, converters from the one before included."""
        layers: list[LayerPlan] = []
        first = self._units[0].source
        lanes = least_lanes(first.shape[0], first.shape[1] * first.shape[2], cycles)
        if lanes is None:
            return None
        source = StreamShape(*first.shape, first.format, pixels=1, lanes=lanes)
        for unit in self._units:
            choose = self._layer if unit.is_layer else self._simple
            chosen = choose(unit, source, cycles, prices)
            if chosen is None:
                return None
            layers += chosen
            last = chosen[-1]
            source = StreamShape(*unit.target.shape, unit.target.format, pixels=last.pixels, lanes=last.lanes)
        return lanes, layers

    def _layer(
        self, unit: Unit, source: StreamShape, cycles: int, prices: npt.NDArray[np.float64]
    ) -> list[LayerPlan] | None:
        """A convolution or dense layer, and its requantisation."""
        best: tuple[float, Folding, Resources, int] | None = None
        for folding in self._options[unit.node.name].within(cycles, prices):
            for in_pixels in sorted({1, folding.packing.pixels}):
                choice = replace(folding, in_pixels=in_pixels)
                pairs = bridge(source, input_stream(unit, choice))
                taken = max(choice.cycles_per_frame, bridge_cycles(pairs))
                if taken > cycles:
                    continue
                resources = estimate.convolution(choice) + estimate.converters(pairs)
                price = float(np.array([getattr(resources, name) for name in REPORT_KEYS]) @ prices)
                if best is None or price < best[0]:
                    best = price, choice, resources, taken
        if best is None:
            return None
        _, folding, resources, taken = best
        pixels, lanes = folding.out_pixels, folding.out_lanes
        method = requantise_method(unit, folding)
        behind = requantise_resources(unit, folding, method)
        if unit.requantise is None:
            return [LayerPlan(unit.node.name, unit.node.op, taken, resources + behind, pixels, lanes, folding=folding)]
        return [
            LayerPlan(unit.node.name, unit.node.op, taken, resources, pixels, lanes, folding=folding),
            LayerPlan(
                unit.requantise.name,
                unit.requantise.op,
                folding.output_beats,
                behind,
                pixels,
                lanes,
                method=method,
                fused=unit.node.name,
            ),
        ]

    def _simple(
        self, unit: Unit, source: StreamShape, cycles: int, prices: npt.NDArray[np.float64]
    ) -> list[LayerPlan] | None:
        """A stage that works on beats of one pixel: max-pooling, or requantisation on its own."""
        channels, height, width = unit.source.shape
        lanes = least_lanes(channels, height * width, cycles)
        if lanes is None:
            return None
        here = source.with_beat(pixels=1, lanes=lanes)
        pairs = bridge(source, here)
        taken = max(here.beats, bridge_cycles(pairs))
        if taken > cycles:
            return None
        method = None
        if isinstance(unit.node, MaxPool):
            resources = estimate.max_pool(here, unit.node.kernel)
        else:
            method = "multiply"
            bits, out_bits = unit.source.format.width, unit.target.format.width
            resources = estimate.fifo(out_bits * lanes, 8)
            if not _only_shifts(unit):
                scale = scale_of(unit, bits, 1, lanes)
                method = estimate.requantise_method(scale)
                resources += estimate.requantisation(scale, method)
        resources += estimate.converters(pairs)
        return [LayerPlan(unit.node.name, unit.node.op, taken, resources, 1, lanes, method=method)]

    def _does_not_fit(self, cycles: int) -> str:
        """One line with what is missing, for the smallest plan there is."""
        prices = self._prices(_PRICES[0])
        design = self._design(cycles, prices)
        bits = sum(
            unit.node.weights.size * unit.weight_bits for unit in self._units if isinstance(unit.node, Conv | Dense)
        )
        memory = self.limits.bram36 * 36 * 1024
        total = Resources() if design is None else _total(design[1])
        over = total.excess(self.limits)
        lacking = ", ".join(
            f"{REPORT_KEYS[name]} {getattr(total, name):g} of {getattr(self.limits, name):g} ({amount:g} too many)"
            for name, amount in over.items()
        )
        return (
            f"the network does not fit {self._board.name}: {lacking or 'no folding is slow enough'}; "
            f"weights need {bits / 1e6:.1f} Mb, block RAM holds {memory / 1e6:.1f} Mb"
        )


def input_stream(unit: Unit, folding: Folding) -> StreamShape:
    """Beats that a convolution or dense layer takes."""
    shape = folding.shape
    return StreamShape(
        shape.in_channels,
        shape.height,
        shape.width,
        unit.source.format,
        pixels=folding.in_pixels,
        lanes=folding.lanes,
    )


def _beats(tensor: Tensor) -> npt.NDArray[np.int64]:
    """Beats of one pixel that carry a tensor, for every number of channels that divides its channels."""
    channels, height, width = tensor.shape
    return np.array([height * width * lanes for lanes in divisors(channels)], np.int64)


def _only_shifts(unit: Unit) -> bool:
    """Whether a requantisation is the same power of two for all channels: wires then."""
    multiplier = getattr(unit.node, "multiplier", None)
    return multiplier is not None and bool((multiplier == multiplier[0]).all()) and int(multiplier[0]).bit_count() == 1


def _total(layers: list[LayerPlan]) -> Resources:
    return reduce(add, (layer.resources for layer in layers), Resources())


def _share(resources: Resources, budget: float) -> Resources:
    if budget == 1:
        return resources
    return Resources(
        int(resources.lut * budget),
        int(resources.ff * budget),
        int(resources.dsp * budget),
        int(resources.bram36 * budget),
        int(resources.uram * budget),
    )


def _bus_bits(tensor: Tensor, cycles: int) -> int:
    """The narrowest bus that carries a frame in so many cycles, or the widest there is."""
    channels, height, width = tensor.shape
    container = container_bits(tensor.format)
    codes = channels * height * width
    fitting = (bits for bits in BUS_BITS if bits >= container and ceil(codes / (bits // container)) <= cycles)
    return next(fitting, BUS_BITS[-1])
