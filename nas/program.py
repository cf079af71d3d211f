"""The widths of the least predicted loss within a budget: an exact integer program over widths and ways to build them.

The predicted loss is a sum over layers of what each pair of widths costs, as measured on validation data. Ways to build
every layer with every pair of widths, and what they take, are the planner's (:mod:`mixq.plan.width_network`): for each
layer the program takes one pair of widths, one implementation and one folding of it, so that the whole fits the board
in so many cycles. Bounds by prices for resources leave out what no solution can have; HiGHS, through SciPy, solves
what remains.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mixq.plan.choices import FloatArray, vector
from mixq.plan.network import KINDS, Network
from mixq.plan.program import Program
from mixq.plan.width_network import WidthNetwork
from nas.relaxation import WidthsFirst

TIME_LIMIT = 60.0
"""Seconds that one run of the solver may take; most take less than one."""

# Gaps below this are what floats leave of a proof.
_PROVED = 1e-6


@dataclass(frozen=True, kw_only=True)
class Allocation:
    """Widths within a budget, and what is known of them.

    weight_bits, act_bits: of every weighted layer. cycles: of a frame, that were asked for. loss: predicted. bound: no
    widths within the budget have a smaller predicted loss.
    """

    weight_bits: tuple[int, ...]
    act_bits: tuple[int, ...]
    cycles: int
    loss: float
    bound: float

    @property
    def gap(self) -> float:
        """By which share of the predicted loss other widths might be better; 0 where these are proved to be best."""
        gap = (self.loss - self.bound) / self.loss if self.loss > 0 else 0.0
        return gap if gap > _PROVED else 0.0


class WidthProgram:
    """Questions about the widths of a network with measured losses.

    network: all ways to build it. losses: for each weighted layer (weight widths, act widths) in the order of the
    network's settings; finite.

    Raises ValueError for losses of other shapes, or that are not finite.
    """

    def __init__(self, network: WidthNetwork, losses: Sequence[FloatArray], *, time_limit: float = TIME_LIMIT) -> None:
        settings = network.settings
        shapes = [(len(w), len(a)) for w, a in zip(settings.weight_widths, settings.act_widths, strict=True)]
        if [loss.shape for loss in losses] != shapes:
            raise ValueError(f"losses must be of the shapes {shapes}, not {[loss.shape for loss in losses]!r}")
        if not all(np.isfinite(loss).all() for loss in losses):
            raise ValueError(f"losses must be finite, not {losses!r}")
        self._network = network
        self._time_limit = time_limit
        self._least = float(sum(loss.min() for loss in losses))
        above = [loss - loss.min() for loss in losses]
        # More than any path has: the loss is no limit, but something to be priced.
        self._most = float(sum(loss.max() for loss in above)) + 1.0
        self._stages, self._links = network.priced(above)
        self._limits = np.append(vector(settings.limits), self._most)
        counts = [own.stage.cycles for own in network.stages] + [own.cycles.ravel() for own in network.links]
        found = np.unique(np.concatenate(counts))
        least, most = settings.cycles
        self._targets = np.unique(np.maximum(found[(found > 0) & (found <= most)], least))

    def best(self, cycles: int) -> Allocation | None:
        """The widths of the least predicted loss that fit in ``cycles``; None where it is proved that none do.

        Raises TimeoutError where the time ran out before any were found.
        """
        network = Network(self._stages, self._links, cycles, self._limits)
        prices = np.zeros(KINDS + 1)
        prices[-1] = 1.0
        answer = WidthsFirst(network, self._time_limit, self._network.widths_of).cheapest(prices)
        if answer.path is None:
            if answer.status == "unknown":
                raise TimeoutError(f"no widths for {cycles} cycles were found within {self._time_limit:g} s")
            return None
        weight_bits, act_bits = self._network.widths(answer.path.numbers)
        return Allocation(
            weight_bits=weight_bits,
            act_bits=act_bits,
            cycles=cycles,
            loss=self._least + float(answer.path.total[-1]),
            bound=self._least + min(answer.bound * self._most, float(answer.path.total[-1])),
        )

    def fastest(self) -> int | None:
        """The fewest cycles, of the range that the network of ways was made for, that any widths fit in."""
        low, high = 0, len(self._targets)
        while low < high:
            middle = (low + high) // 2
            network = Network(self._stages, self._links, int(self._targets[middle]), self._limits)
            if Program(network, self._time_limit).feasible().status == "best":
                high = middle
            else:
                low = middle + 1
        return None if high == len(self._targets) else int(self._targets[high])

    def front(self, points: int) -> list[Allocation]:
        """The best widths for at most ``points`` numbers of cycles from the fastest on, evenly spaced by ratio.

        Those that are no better than faster ones are left out. Empty where no widths fit.
        """
        first = self.fastest()
        if first is None:
            return []
        found: list[Allocation] = []
        steps = np.geomspace(first, self._targets[-1], points)
        for cycles in np.unique(np.floor(steps + 1e-6).astype(np.int64)):
            nearest = int(self._targets[np.searchsorted(self._targets, cycles, side="right") - 1])
            if found and nearest <= found[-1].cycles:
                continue
            best = self.best(nearest)
            if best is not None and (not found or best.loss < found[-1].loss):
                found.append(best)
        return found
