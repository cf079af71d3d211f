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
from nas.checked import Checked, Widths
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
        self._losses = losses
        self._stages, self._links = network.priced(above)
        self._limits = np.append(vector(settings.limits), self._most)
        counts = [own.stage.cycles for own in network.stages] + [own.cycles.ravel() for own in network.links]
        found = np.unique(np.concatenate(counts))
        least, most = settings.cycles
        self._targets = np.unique(np.maximum(found[(found > 0) & (found <= most)], least))

    def best(self, cycles: int, known: Sequence[Widths] = ()) -> Allocation | None:
        """The widths of the least predicted loss that fit in ``cycles``; None where it is proved that none do.

        known: widths that are tried first where branches are added or a value has two quantisers; the answer is no
        worse than those of them that fit.

        Raises TimeoutError where the time ran out before any were found.
        """
        network, prices = self._within(cycles), np.zeros(KINDS + 1)
        prices[-1] = 1.0
        if self._network.exact:
            answer = WidthsFirst(network, self._time_limit, self._network.widths_of).cheapest(prices)
            widths = None if answer.path is None else self._network.widths(answer.path.numbers)
            status, bound = answer.status, answer.bound
        else:
            tried = [*known, self._smallest]
            found = Checked(network, cycles, self._network, self._share_of, self._time_limit).least(tried)
            widths, status, bound = found.widths, found.status, found.bound
        if widths is None:
            if status == "unknown":
                raise TimeoutError(f"no widths for {cycles} cycles were found within {self._time_limit:g} s")
            return None
        loss = self._loss(widths)
        return Allocation(
            weight_bits=widths[0],
            act_bits=widths[1],
            cycles=cycles,
            loss=loss,
            bound=min(self._least + bound * self._most, loss),
        )

    def fastest(self) -> int | None:
        """The fewest cycles, of the range that the network of ways was made for, that any widths fit in."""
        low, high = 0, len(self._targets)
        while low < high:
            middle = (low + high) // 2
            if self._possible(int(self._targets[middle])):
                high = middle
            else:
                low = middle + 1
        return None if high == len(self._targets) else int(self._targets[high])

    def _possible(self, cycles: int) -> bool:
        """Whether any widths fit in so many cycles."""
        if self._network.exact:
            return Program(self._within(cycles), self._time_limit).feasible().status == "best"
        search = self._network.alone(self._smallest, self._time_limit)
        if search is not None and search.fits(cycles).status == "best":
            return True
        return self.best(cycles) is not None

    def _within(self, cycles: int) -> Network:
        return Network(self._stages, self._links, cycles, self._limits, self._network.edges)

    @property
    def _smallest(self) -> Widths:
        settings = self._network.settings
        return tuple(own[0] for own in settings.weight_widths), tuple(own[0] for own in settings.act_widths)

    def _loss(self, widths: Widths) -> float:
        """Predicted for given widths."""
        settings = self._network.settings
        return float(
            sum(
                loss[weights.index(weight), acts.index(act)]
                for loss, weights, acts, weight, act in zip(
                    self._losses, settings.weight_widths, settings.act_widths, *widths, strict=True
                )
            )
        )

    def _share_of(self, widths: Widths) -> float:
        """The predicted loss above the least, as a share of its limit."""
        return (self._loss(widths) - self._least) / self._most

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
