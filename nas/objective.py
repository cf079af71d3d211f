"""Predicted cycles of a frame as a differentiable function of the probabilities of widths.

A pipeline runs at the pace of its slowest layer, and a board's resources are spread over the layers until all are
equally fast. What a layer with given widths takes to finish a frame in T cycles is the least of its ways, by the
planner's own list of them (:mod:`mixq.plan.width_network`). With prices for a share of each resource that sum to one,
a network fits in T cycles only if the prices of its layers sum to no more than one; the prices that say most about it
decide. So the least T is where::

    max over prices ( sum over layers E[ least price of a way of at most T cycles ] ) = 1

It is taken from tables over a grid of T and a set of prices, smoothly, and its gradient tells which layer's widths the
resources are short for. What converters between layers take, and that the ways of neighbours must agree on beats, is
left to the integer program.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
import torch
from torch import Tensor, nn

from mixq.board import REPORT_KEYS
from mixq.plan.choices import FloatArray, IntArray, vector
from mixq.plan.width_network import WidthNetwork, WidthStage

GRID = 48
"""Numbers of cycles in the tables, evenly spaced by ratio."""

PARTS = 8
"""Prices are multiples of 1 / PARTS."""

# The maximum over prices is a smooth one of this sharpness: it exceeds the true one by log(prices) / SHARPNESS at most.
SHARPNESS = 60.0

# By how much the load rises for each ratio of e by which cycles are fewer than a layer can do with.
_SLOPE = 2.0


class CycleObjective(nn.Module):
    """Predicted cycles for probabilities of widths.

    network: all ways to build it; its settings say which widths each layer has, in the order of the probabilities.
    """

    log_cycles: Tensor
    offset: Tensor

    def __init__(self, network: WidthNetwork) -> None:
        super().__init__()
        settings = network.settings
        least, most = settings.cycles
        grid = np.unique(np.rint(np.geomspace(max(least / 4, 1), 2 * most, GRID)))
        limits = vector(settings.limits)
        units = np.where(limits > 0, 1 / np.maximum(limits, 1), 0.0)
        prices = _prices(limits)
        self.register_buffer("log_cycles", torch.from_numpy(np.log(grid)))
        offset = np.zeros((len(prices), 1))
        self._layers = 0
        for own in network.stages:
            if own.layer is None:
                offset[:, 0] += (own.stage.costs * units @ prices.T).min(0)
                continue
            widths = settings.weight_widths[own.layer], settings.act_widths[own.layer]
            table = _table(own, widths, prices, units, grid)
            self.register_buffer(f"table{own.layer}", torch.from_numpy(table))
            self._layers += 1
        self.register_buffer("offset", torch.from_numpy(offset))

    def forward(self, probabilities: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
        """Natural logarithm of the cycles of a frame, a scalar float64 tensor.

        probabilities: of each weighted layer's weight widths and activation widths.
        """
        load = self.offset
        for layer, (weights, acts) in enumerate(probabilities):
            table = self.get_buffer(f"table{layer}")
            load = load + torch.einsum("ktwa,w,a->kt", table, weights.double(), acts.double())
        most = torch.logsumexp(load * SHARPNESS, 0) / SHARPNESS
        return self._where_one(most)

    def _where_one(self, load: Tensor) -> Tensor:
        """Where the load, which falls as cycles rise, is one; beyond the grid they are taken to be inverse."""
        fits = torch.nonzero(load <= 1)
        if not len(fits):
            return self.log_cycles[-1] + load[-1].log()
        at = int(fits[0])
        if at == 0:
            return self.log_cycles[0] + load[0].clamp_min(1e-6).log()
        before, behind = load[at - 1], load[at]
        share = (before - 1) / (before - behind)
        return self.log_cycles[at - 1] + share * (self.log_cycles[at] - self.log_cycles[at - 1])


def _prices(limits: FloatArray) -> FloatArray:
    """Prices (K, 5) of a share of each limit that sum to one; flip-flops, which are never short, have none."""
    kinds = [kind for kind, name in enumerate(REPORT_KEYS) if limits[kind] > 0 and name != "ff"]
    found = []
    for parts in product(range(PARTS + 1), repeat=len(kinds)):
        if sum(parts) == PARTS:
            row = np.zeros(len(limits))
            row[kinds] = np.array(parts) / PARTS
            found.append(row)
    return np.array(found)


def _table(
    own: WidthStage,
    widths: tuple[Sequence[int], Sequence[int]],
    prices: FloatArray,
    units: FloatArray,
    grid: FloatArray,
) -> FloatArray:
    """(K, T, weight widths, act widths): the least price of a way of each pair of widths of at most T cycles."""
    stage = own.stage
    rows = np.searchsorted(widths[0], own.weight_bits)
    columns = np.searchsorted(widths[1], own.act_bits)
    bins = np.searchsorted(grid, stage.cycles)
    pairs = len(widths[0]) * len(widths[1])
    keys: IntArray = (rows * len(widths[1]) + columns) * (len(grid) + 1) + bins
    order = np.argsort(keys, kind="stable")
    starts = np.flatnonzero(np.diff(keys[order], prepend=-1))
    shares = (stage.costs * units)[order]
    found = np.full((len(prices), pairs * (len(grid) + 1)), np.inf)
    for number, price in enumerate(prices):
        found[number, keys[order][starts]] = np.minimum.reduceat(shares @ price, starts)
    table = np.minimum.accumulate(found.reshape(len(prices), pairs, -1), 2)[:, :, :-1]
    table = _continued(table, np.log(grid))
    return np.ascontiguousarray(table.transpose(0, 2, 1).reshape(len(prices), len(grid), len(widths[0]), -1))


def _continued(table: FloatArray, log_cycles: FloatArray) -> FloatArray:
    """The table with a load that rises on where cycles are too few for any way: a gradient leads out of there."""
    possible = np.isfinite(table[0])
    first = possible.argmax(1)
    found = table.copy()
    for pair, at in enumerate(first):
        if possible[pair].any():
            beyond = log_cycles[at] - log_cycles[:at]
            found[:, pair, :at] = table[:, pair, at, None] * np.exp(beyond) + _SLOPE * beyond
        else:
            found[:, pair] = 1 + _SLOPE * (log_cycles[-1] - log_cycles + 1)
    return found
