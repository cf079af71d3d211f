"""Small networks with branches, and all their choices of widths, each planned for itself."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from boards import load_board
from mixq.board import Resources
from mixq.networks import AddSpec, ConcatSpec, ConvSpec, DenseSpec, MeanSpec, NetworkTable, PoolSpec, ReorgSpec
from mixq.plan.assembly import assembled
from mixq.plan.choices import FloatArray, Stage, join_stage, layer_stage, simple_stage, vector
from mixq.plan.options import most_dsps, options
from mixq.plan.search import Search
from mixq.plan.units import units
from mixq.plan.untrained import untrained_graph
from mixq.plan.width_network import WidthSettings

BOARD = load_board("ultra96-v2")

RESIDUAL = NetworkTable(
    name="residual",
    input_shape=(2, 6, 6),
    layers=(
        ConvSpec(channels=4, name="stem"),
        ConvSpec(channels=4, name="one", reads=("stem",)),
        AddSpec(name="sum1", reads=("one", "stem")),
        ConvSpec(channels=4, kernel=1, padding=0, name="two", reads=("sum1",)),
        ConvSpec(channels=4, kernel=1, padding=0, name="around", reads=("sum1",)),
        AddSpec(name="sum2", reads=("two", "around")),
        MeanSpec(),
        DenseSpec(units=3, weight_bits=4, act_bits=None),
    ),
    weight_bits=(4,) * 4,
    act_bits=(8, 4, 4, 4, 4),
)
BYPASS = NetworkTable(
    name="bypass",
    input_shape=(2, 8, 8),
    layers=(
        ConvSpec(channels=4),
        ReorgSpec(),
        PoolSpec(reads=("conv1",)),
        ConvSpec(channels=4, depthwise=True),
        ConvSpec(channels=6, kernel=1, padding=0),
        ConcatSpec(reads=("reorg1", "conv3")),
        ConvSpec(channels=2, kernel=1, padding=0, batch_norm=False),
    ),
    weight_bits=(4,) * 4,
    act_bits=(4,) * 4,
)
TABLES = (RESIDUAL, BYPASS)


def settings(table: NetworkTable, widths: tuple[int, ...], cycles: tuple[int, int], limits: Resources) -> WidthSettings:
    """All layers that fix no width may have the same ones."""
    layers = table.weighted_layers
    return WidthSettings(
        table=table,
        weight_widths=tuple(widths if layer.weight_bits is None else (layer.weight_bits,) for layer in layers),
        act_widths=tuple(widths if layer.act_bits is None else (layer.act_bits,) for layer in layers),
        board=BOARD,
        limits=limits,
        cycles=cycles,
    )


def some_losses(given: WidthSettings, seed: int) -> list[FloatArray]:
    """Losses that mostly fall with the widths, by amounts of their own in every layer, and not always."""
    random = np.random.default_rng(seed)
    found = []
    for weights, acts in zip(given.weight_widths, given.act_widths, strict=True):
        falling = [2.0 ** -np.array(widths, float) for widths in (weights, acts)]
        first, second = random.uniform(0.5, 1, 2)
        noise = random.uniform(0, 0.02, (len(weights), len(acts)))
        found.append(first * falling[0][:, None] + second * falling[1][None, :] + noise)
    return found


@dataclass
class Alone:
    """Programs about widths planned for themselves: all stages of their graph, without any other widths beside them."""

    given: WidthSettings
    stages: dict[tuple[object, ...], Stage] = field(default_factory=dict)

    def search(self, weights: Sequence[int], acts: Sequence[int]) -> Search:
        graph = untrained_graph(self.given.table, weight_bits=weights, act_bits=acts)
        found = units(graph)
        middle = []
        for unit in found:
            if not unit.is_layer:
                middle.append(join_stage(unit) if unit.joins else simple_stage(unit))
                continue
            key = (unit.node.name, unit.source.format, unit.requantise and unit.target.format, unit.weight_bits)
            if key not in self.stages:
                most = most_dsps(self.given.limits.dsp)
                ways = options(unit, BOARD.device, most, self.given.residue_bits, constant_weights=False)
                self.stages[key] = layer_stage(unit, ways)
            middle.append(self.stages[key])
        made = assembled(graph, found, middle)
        return Search(made.stages, made.links, vector(self.given.limits), 20.0, made.edges)

    def fits(self, weights: Sequence[int], acts: Sequence[int], cycles: int) -> bool:
        return self.search(weights, acts).fits(cycles).status == "best"


def by_loss(given: WidthSettings, losses: list[FloatArray]) -> Iterator[tuple[float, tuple[int, ...], tuple[int, ...]]]:
    """All choices of widths, the least loss first."""
    axes = [axis for pair in zip(given.weight_widths, given.act_widths, strict=True) for axis in pair]
    found = []
    for places in itertools.product(*(range(len(axis)) for axis in axes)):
        pairs = list(zip(places[::2], places[1::2], strict=True))
        total = float(sum(loss[pair] for loss, pair in zip(losses, pairs, strict=True)))
        found.append((total, places))
    for total, places in sorted(found):
        chosen = [axis[place] for axis, place in zip(axes, places, strict=True)]
        yield total, tuple(chosen[::2]), tuple(chosen[1::2])
