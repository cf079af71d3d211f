"""Chooses how every layer is built: the fastest design that a board holds, or the smallest that is fast enough.

Choices are those of :mod:`mixq.plan.options`, the integer program is that of :mod:`mixq.plan.program`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import inf

import numpy as np

from mixq.board import REPORT_KEYS, Board, Resources
from mixq.errors import CheckFailed, UserError
from mixq.graph import Conv, Dense, Graph
from mixq.packing import PORTS, RESIDUE_BITS
from mixq.plan import estimate
from mixq.plan.assembly import assembled
from mixq.plan.choices import (
    FloatArray,
    Stage,
    from_vector,
    join_stage,
    layer_stage,
    simple_stage,
    vector,
)
from mixq.plan.fifos import depth_in_beats
from mixq.plan.folding import Folding
from mixq.plan.folding_file import Hold, check_names
from mixq.plan.network import Path
from mixq.plan.options import most_dsps, options, requantise_resources
from mixq.plan.restrictions import RESTRICTIONS, Restriction
from mixq.plan.search import Found, Search
from mixq.plan.units import Unit, units
from mixq.plan.values import WISH, LayerPlan, Plan
from mixq.plan.weight_order import deepened
from mixq.streams import StreamShape

TIME_LIMIT = 20.0
"""Seconds that one run of the solver may take; nearly all take some milliseconds."""

FRONTIER_POINTS = 12


@dataclass(frozen=True)
class FrontierPoint:
    """The smallest design of some speed: cycles of a frame, frames per second, and the resources in all."""

    cycles: int
    fps: float
    resources: Resources


def plan(
    graph: Graph,
    board: Board,
    *,
    clock_mhz: float | None = None,
    target_fps: float | None = None,
    max_cycles: int | None = None,
    limits: Resources | None = None,
    budget: float = 1.0,
    residue_bits: int = 2,
    real_weights: bool = False,
    packings: str | None = None,
    foldings: Mapping[str, Hold] | None = None,
    double_pump: bool = False,
    constant_weights: bool = True,
    time_limit: float = TIME_LIMIT,
) -> Plan:
    """Plan a graph for a board: the fastest design that fits, or the smallest that is fast enough.

    target_fps, max_cycles: how fast is fast enough. real_weights: sum as many products in the DSPs as these weights
    allow rather than any: fewer look-up tables, but other weights need another plan. Other arguments and errors:
    :class:`Planner`, of which this is :meth:`Planner.plan`.
    """
    planner = Planner(
        graph,
        board,
        clock_mhz=clock_mhz,
        limits=limits,
        budget=budget,
        residue_bits=residue_bits,
        packings=packings,
        foldings=foldings,
        double_pump=double_pump,
        constant_weights=constant_weights,
        time_limit=time_limit,
    )
    return planner.plan(target_fps=target_fps, max_cycles=max_cycles, real_weights=real_weights)


class Planner:
    """All ways to build one graph on one board, and questions about them.

    clock_mhz: by default the board's. limits: what may be taken, by default all the board has. budget: the share of it,
    above 0 and up to 1. residue_bits: how many low bits of lanes packings may know from look-up tables, 0, 1 or 2; with
    1 and 2 they may be carry-tracked, too. packings: the name of a restriction, see
    :data:`mixq.plan.restrictions.RESTRICTIONS`. foldings: what layers are held to, by name, see
    :mod:`mixq.plan.folding_file`. double_pump: DSPs of layers may run at twice the clock, of which
    ``board.dsp_limit_mhz`` is the limit; the design then has a second clock. constant_weights: layers may be circuits
    of their very weights; without, a plan does not depend on the weights' values but for the width of sums. time_limit:
    seconds for each run of the solver; where one runs out, the plan's ``gap`` tells how much faster a design might be.

    Of equally fast designs the one of the least price is taken: the sum of the shares of the limits that it takes,
    where a share of flip-flops counts a quarter. The same arguments give the same plan.

    Raises UserError for wrong arguments and for graphs with a node that no stage is built for.
    """

    def __init__(
        self,
        graph: Graph,
        board: Board,
        *,
        clock_mhz: float | None = None,
        limits: Resources | None = None,
        budget: float = 1.0,
        residue_bits: int = 2,
        packings: str | None = None,
        foldings: Mapping[str, Hold] | None = None,
        double_pump: bool = False,
        constant_weights: bool = True,
        time_limit: float = TIME_LIMIT,
    ) -> None:
        if board.device not in PORTS:
            raise UserError(f"board {board.name} has {board.device}; plans are made for {', '.join(PORTS)} alone")
        self._clock = board.clock_mhz if clock_mhz is None else clock_mhz
        for name, value in (("clock_mhz", self._clock), ("time_limit", time_limit)):
            _check_positive(name, value)
        if not 0 < budget <= 1:
            raise UserError(f"budget must be above 0 and at most 1, not {budget!r}")
        if residue_bits not in RESIDUE_BITS:
            raise UserError(f"residue_bits must be 0, 1 or 2, not {residue_bits!r}")
        if packings is not None and packings not in RESTRICTIONS:
            raise UserError(f"packings must be one of {', '.join(RESTRICTIONS)}, not {packings!r}")
        if double_pump and 2 * self._clock > board.dsp_limit_mhz:
            raise UserError(
                f"double_pump needs DSPs at {2 * self._clock:g} MHz, and those of {board.name} are taken to reach "
                f"{board.dsp_limit_mhz:g} MHz: plan for a clock of at most {board.dsp_limit_mhz / 2:g} MHz, "
                f"not {self._clock:g}"
            )
        self._double_pump, self._constant_weights = double_pump, constant_weights
        self._board, self._limits = board, _share(limits or board.resources, budget)
        self._units = units(graph)
        self._order = {node.name: place for place, node in enumerate(graph.nodes)}
        holds = foldings or {}
        check_names(holds, self._units)
        restriction = None if packings is None else RESTRICTIONS[packings]
        middle = [self._stage(unit, residue_bits, restriction, holds.get(unit.node.name)) for unit in self._units]
        made = assembled(graph, self._units, middle)
        self._stages, self._links, self._edges, self._depths = made.stages, made.links, made.edges, made.depths
        self._search = Search(self._stages, self._links, vector(self._limits), time_limit, self._edges)

    def _stage(self, unit: Unit, residue_bits: int, restriction: Restriction | None, hold: Hold | None) -> Stage:
        """The ways of one unit."""
        if not unit.is_layer:
            made = join_stage(unit) if unit.joins else simple_stage(unit)
            return made if hold is None else hold.simple(made)
        found = options(
            unit,
            self._board.device,
            most_dsps(self._limits.dsp),
            residue_bits,
            restriction,
            every=hold is not None,
            double_pump=self._double_pump,
            constant_weights=self._constant_weights,
        )
        return layer_stage(unit, found if hold is None else hold.layer(found))

    def plan(
        self, *, target_fps: float | None = None, max_cycles: int | None = None, real_weights: bool = False
    ) -> Plan:
        """The fastest plan, or the smallest that is fast enough; arguments as of :func:`plan`.

        Raises CheckFailed, with the numbers, where nothing fits or is fast enough; UserError for wrong arguments.
        """
        for name, value in (("target_fps", target_fps), ("max_cycles", max_cycles)):
            if value is not None:
                _check_positive(name, value)
        clock = self._clock
        if target_fps is not None:
            # A rate next to nothing allows more cycles than a float tells apart.
            most = int(min(clock * 1e6 / target_fps, 2.0**53))
            max_cycles = most if max_cycles is None else min(most, max_cycles)
        found = self._fastest() if max_cycles is None else self._smallest(max_cycles)
        path = found.path
        layers = self._layers(path)
        if real_weights:
            layers = self._deepened(layers)
        into, out_of = (stage.choices[path.numbers[at]] for at, stage in ((0, self._stages[0]), (-1, self._stages[-1])))
        ends = [(self._stages[at], path.numbers[at]) for at in (0, -1)]
        cycles = self._search.cycles_of(path)
        if max_cycles is None:
            limited_by, bound = self._search.limited_by(cycles), found.bound
        else:
            limited_by, bound = (WISH,), cycles
        assert into.bus_bits is not None and out_of.bus_bits is not None
        return Plan(
            board=self._board.name,
            clock_mhz=float(clock),
            layers=tuple(layers),
            input_bus_bits=into.bus_bits,
            output_bus_bits=out_of.bus_bits,
            limits=self._limits,
            input_lanes=into.lanes,
            shell=from_vector(sum((stage.costs[number] for stage, number in ends), np.zeros(len(REPORT_KEYS)))),
            shell_cycles=max(int(stage.cycles[number]) for stage, number in ends),
            least_cycles=min(bound, cycles),
            price_gap=found.price_gap,
            limited_by=limited_by,
        )

    def frontier(self, points: int = FRONTIER_POINTS) -> list[FrontierPoint]:
        """The smallest designs for a rising series of at most ``points`` numbers of cycles, the fastest first.

        The last is the smallest design there is, whatever its speed; what real weights save is not in the figures.
        Raises CheckFailed where nothing fits, ValueError for fewer than two points.
        """
        if type(points) is not int or points < 2:
            raise ValueError(f"points must be a whole number of at least 2, not {points!r}")
        designs = self._search.frontier(points)
        if not designs:
            raise CheckFailed(self._does_not_fit())
        counts = [self._search.cycles_of(design.path) for design in designs]
        return [
            FrontierPoint(cycles, self._clock * 1e6 / cycles, from_vector(design.path.total))
            for cycles, design in zip(counts, designs, strict=True)
        ]

    def _fastest(self) -> Found:
        found = self._search.fastest()
        if found is None:
            raise CheckFailed(self._does_not_fit())
        return found

    def _smallest(self, max_cycles: int) -> Found:
        found = self._search.smallest(max_cycles)
        clock = self._clock
        if found is None:
            fastest = self._fastest().cycles
            raise CheckFailed(
                f"no plan takes at most {max_cycles} cycles on {self._board.name}: the fastest that fits takes "
                f"{fastest} cycles, {clock * 1e6 / fastest:.1f} frames per second at {clock:g} MHz, "
                f"{fastest - max_cycles} cycles more"
            )
        return found

    def _layers(self, path: Path) -> list[LayerPlan]:
        """What the plan says of every node, in the graph's order."""
        found: list[LayerPlan] = []
        for index, unit in enumerate(self._units, 1):
            stage, number = self._stages[index], path.numbers[index]
            cycles, costs, fifos = self._between(path, index)
            cycles, converters = max(int(stage.cycles[number]), cycles), from_vector(costs)
            choice = stage.choices[number]
            node, folding = unit.node, choice.folding
            if folding is None:
                resources = from_vector(stage.costs[number]) + converters
                own_method = None if unit.requantise else choice.method
                beat = 1, choice.lanes
                found.append(LayerPlan(node.name, node.op, cycles, resources, *beat, method=own_method, fifos=fifos))
                if unit.requantise is not None:
                    scale = unit.requantise
                    found.append(
                        LayerPlan(
                            scale.name, scale.op, cycles, Resources(), *beat, method=choice.method, fused=node.name
                        )
                    )
                continue
            assert choice.method is not None
            beat = folding.out_pixels, folding.out_lanes
            behind = requantise_resources(unit, folding, choice.method)
            own = estimate.convolution(folding, unit.sum_bits(folding)) + converters
            if unit.requantise is None:
                found.append(LayerPlan(node.name, node.op, cycles, own + behind, *beat, folding=folding, fifos=fifos))
                continue
            scale, beats = unit.requantise, folding.output_beats
            found.append(LayerPlan(node.name, node.op, cycles, own, *beat, folding=folding, fifos=fifos))
            found.append(LayerPlan(scale.name, scale.op, beats, behind, *beat, method=choice.method, fused=node.name))
        return sorted(found, key=lambda layer: self._order[layer.name])

    def _between(self, path: Path, index: int) -> tuple[int, FloatArray, tuple[int, ...]]:
        """What stands before a stage: cycles of converters, resources, beats of the FIFOs, () where there are none."""
        cycles, costs, fifos = 0, np.zeros(len(REPORT_KEYS)), []
        numbers = [number for number, edge in enumerate(self._edges) if edge[1] == index]
        for number, depth in zip(numbers, self._depths[index - 1], strict=True):
            between, before = self._links[number], self._edges[number][0]
            exit_ = self._stages[before].exit[path.numbers[before]]
            pair = exit_, self._stages[index].entry[path.numbers[index]]
            cycles, costs = max(cycles, int(between.cycles[pair])), costs + between.costs[pair]
            fifos.append(0 if depth is None else depth_in_beats(depth, self._stages[before].targets[exit_]))
        return cycles, costs, tuple(fifos) if any(fifos) else ()

    def _deepened(self, layers: list[LayerPlan]) -> list[LayerPlan]:
        """The layers with sums in their DSPs as deep as their weights allow: fewer look-up tables, the same cycles."""
        units = {unit.node.name: unit for unit in self._units}
        return [layer if layer.folding is None else _deepened(units[layer.name], layer) for layer in layers]

    def _does_not_fit(self) -> str:
        """One line with what is missing, for the design that exceeds the limits by the least."""
        path = self._search.least_excess()
        limits = self._limits
        bits = sum(
            unit.node.weights.size * unit.weight_bits for unit in self._units if isinstance(unit.node, Conv | Dense)
        )
        memory = limits.bram36 * 36 * 1024
        lacking = ""
        if path is not None:
            total = from_vector(path.total)
            lacking = ", ".join(
                f"{REPORT_KEYS[name]} {getattr(total, name):g} of {getattr(limits, name):g} ({amount:g} too many)"
                for name, amount in total.excess(limits).items()
            )
        return (
            f"the network does not fit {self._board.name}: {lacking or 'no design was found'}; "
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


def _deepened(unit: Unit, layer: LayerPlan) -> LayerPlan:
    assert layer.folding is not None
    folding = deepened(layer.folding, unit.stream_weights)
    before = estimate.convolution(layer.folding, unit.sum_bits(layer.folding))
    saved = before.excess(estimate.convolution(folding, unit.sum_bits(folding)))
    resources = replace(
        layer.resources, **{name: getattr(layer.resources, name) - amount for name, amount in saved.items()}
    )
    return replace(layer, folding=folding, resources=resources)


def _check_positive(name: str, value: float) -> None:
    if not 0 < value < inf:
        raise UserError(f"{name} must be positive and finite, not {value!r}")


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
