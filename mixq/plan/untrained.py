"""The graph of a network before it is trained: what planner and search ask what widths would take.

Its weights are random, but spread over the codes as those of trained layers are, and its requantisations have
multipliers and biases of the size that trained ones have. A layer's numbers follow from its place, its widths and the
width that it gives out alone: they are the same whatever the other layers have. PyTorch is not needed.
"""

from __future__ import annotations

from collections.abc import Sequence

from mixq.graph import Graph
from mixq.networks import NetworkTable
from mixq.packing import WeightRange
from mixq.plan.untrained_branches import branched_graph


def untrained_graph(
    table: NetworkTable,
    *,
    weight_bits: Sequence[int] | None = None,
    act_bits: Sequence[int] | None = None,
    weight_range: WeightRange = "narrow",
) -> Graph:
    """The graph of a network with these widths (None: the table's own), as :mod:`mixq.lowering` makes of a trained one.

    weight_range: "narrow" where layers of 4 bits or more do without the most negative weight.

    Raises UserError for a wrong number or wrong values of the widths.
    """
    weights, acts = table.resolve_weight_bits(weight_bits), table.resolve_act_bits(act_bits)
    return branched_graph(table, weights, acts, weight_range)
