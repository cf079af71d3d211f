"""What given widths take on the hardware, before anything is trained: asked of the planner."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from mixq.board import Resources
from mixq.errors import CheckFailed, UserError
from mixq.networks import NetworkTable
from mixq.packing import WeightRange
from mixq.plan.planner import Planner
from mixq.plan.untrained import untrained_graph
from mixq.plan.values import Plan
from nas.config import Hardware, SearchConfig
from nas.space import SearchSpace


def planned(
    table: NetworkTable,
    weight_bits: Sequence[int],
    act_bits: Sequence[int],
    hardware: Hardware,
    weight_range: WeightRange,
    *,
    max_cycles: int | None = None,
) -> Plan:
    """The fastest design of a network with these widths, or the smallest of at most ``max_cycles``.

    Weights are random, and circuits of the weights' very values are left out, so that the plan holds for whatever
    weights training finds.

    Raises CheckFailed where nothing fits.
    """
    graph = untrained_graph(table, weight_bits=weight_bits, act_bits=act_bits, weight_range=weight_range)
    planner = Planner(
        graph,
        hardware.board,
        clock_mhz=hardware.clock_mhz,
        limits=hardware.limits,
        residue_bits=hardware.residue_bits,
        packings=hardware.packings,
        constant_weights=False,
    )
    return planner.plan(max_cycles=max_cycles)


def predicted(
    table: NetworkTable,
    widths: tuple[Sequence[int], Sequence[int]],
    hardware: Hardware,
    weight_range: WeightRange,
) -> dict[str, float]:
    """``cycles`` of a frame and ``fps`` of the fastest design of a network with these widths.

    Nothing where no stages are built for one of its layers.

    Raises CheckFailed where nothing fits.
    """
    try:
        cycles = planned(table, *widths, hardware, weight_range).cycles
    except UserError:
        return {}
    return {"cycles": cycles, "fps": hardware.fps(cycles)}


def cycle_range(space: SearchSpace, config: SearchConfig, hardware: Hardware) -> tuple[int, int]:
    """The least and the most cycles that the search has to look at.

    From the fastest that the smallest widths allow to what the largest take, or those of the budgets.

    Raises:
        CheckFailed: the smallest widths do not fit the board, or a budget is below what they take: the message names
            the nearest that can be met.
    """
    smallest = [layer.weight_widths[0] for layer in space.layers], [layer.act_widths[0] for layer in space.layers]
    least = planned(space.table, *smallest, hardware, config.weight_range).cycles
    if config.budgets:
        if min(config.budgets) < least:
            raise CheckFailed(
                f"no widths of {space.table.name} fit in {min(config.budgets)} cycles a frame: the smallest take "
                f"{least} ({hardware.fps(least):,.1f} frames per second at {hardware.clock:g} MHz); "
                f"ask for {least} cycles or more, or allow more resources"
            )
        return min(config.budgets), max(config.budgets)
    largest = [layer.weight_widths[-1] for layer in space.layers], [layer.act_widths[-1] for layer in space.layers]
    try:
        most = planned(space.table, *largest, hardware, config.weight_range).cycles
    except CheckFailed:
        # The largest widths may not fit at any speed, in block RAM for instance.
        most = 8 * least
    return least, max(least, most)


def limited(resources: Resources, *, share: float = 1.0, **most: int | float | None) -> Resources:
    """A share of some resources, and no more of each than ``most`` says by field name.

    >>> limited(Resources(lut=100, dsp=40), share=0.5, dsp=10)
    Resources(lut=50, ff=0, dsp=10, bram36=0, uram=0)

    Raises UserError for a share that is not above 0 and at most 1, and for negative limits.
    """
    if not 0 < share <= 1:
        raise UserError(f"the share of a board must be above 0 and at most 1, not {share!r}")
    names = ("lut", "ff", "dsp", "bram36", "uram")
    taken = replace(resources, **{name: int(getattr(resources, name) * share) for name in names})
    for name, limit in most.items():
        if limit is None:
            continue
        if limit < 0:
            raise UserError(f"the limit of {name} must not be negative, not {limit!r}")
        taken = replace(taken, **{name: min(getattr(taken, name), limit)})
    return taken
