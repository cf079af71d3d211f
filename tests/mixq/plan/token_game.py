"""A network as tokens: every pixel that can move does, until all frames are through or nothing moves any more.

A stage has no place but for the pixels that its next output depends on; a stream without a FIFO has one place. What
goes through here goes through any hardware that stores more, however fast or slow its stages are: a pixel that moves
never keeps another one from moving.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from mixq.formats import IntFormat
from mixq.graph import Graph
from mixq.plan.fifos import last_pixel
from mixq.plan.units import INPUT, Unit
from tests.mixq.dags import Dag


class TokenGame:
    """Units, and places of the FIFO at every input of every unit; None and 0 for one place."""

    def __init__(
        self, units: Sequence[Unit], input_shape: tuple[int, int, int], depths: Sequence[Sequence[int | None]]
    ) -> None:
        self._units = units
        self._room = [[max(1, depth or 0) for depth in own] for own in depths]
        self._waiting = [[0] * len(unit.reads) for unit in units]
        self._taken = [0] * len(units)
        self._given = [0] * len(units)
        self._readers = {
            place: [
                (at, number) for at, unit in enumerate(units) for number, own in enumerate(unit.reads) if own == place
            ]
            for place in range(INPUT, len(units))
        }
        self._pixels = input_shape[1] * input_shape[2]
        self._last = [last_pixel(unit.node, unit.source.shape, unit.target.shape).tolist() for unit in units]

    def ends(self, frames: int) -> bool:
        """Whether so many frames come out."""
        fed = 0
        moved = True
        while moved:
            moved = False
            while fed < frames * self._pixels and self._offer(INPUT):
                fed += 1
                moved = True
            for at in range(len(self._units)):
                while self._step(at):
                    moved = True
        return self._given[-1] == frames * len(self._last[-1])

    def _offer(self, place: int) -> bool:
        """Give a pixel to all readers of a tensor, or to none."""
        readers = self._readers[place]
        if any(self._waiting[at][number] == self._room[at][number] for at, number in readers):
            return False
        for at, number in readers:
            self._waiting[at][number] += 1
        return True

    def _step(self, at: int) -> bool:
        """Take a pixel or give one; returns whether something moved."""
        unit, last = self._units[at], self._last[at]
        frame, pixel = divmod(self._given[at], len(last))
        if unit.joins:
            return self._join(at)
        whole = unit.source.shape[1] * unit.source.shape[2]
        # Behind the last output of a frame comes what no output depends on.
        needed = max(last[: pixel + 1]) + 1 + frame * whole if pixel else frame * whole + last[0] + 1
        if self._taken[at] < needed:
            if not self._waiting[at][0]:
                return False
            self._waiting[at][0] -= 1
            self._taken[at] += 1
            return True
        if not self._offer(at):
            return False
        self._given[at] += 1
        return True

    def _join(self, at: int) -> bool:
        if not all(self._waiting[at]) or not self._offer(at):
            return False
        for number in range(len(self._waiting[at])):
            self._waiting[at][number] -= 1
        self._given[at] += 1
        return True


def random_branches(seed: int) -> Graph:
    """Residuals within residuals, ways that are pooled or reorganised and joined again, of odd and even sizes."""
    dice = random.Random(seed)
    sides = dice.choice([(4, 4), (6, 8), (8, 4), (8, 12)])
    dag = Dag((2, *sides), IntFormat(4, False), seed)

    def layer(tensor: str, channels: int = 4) -> str:
        kernel = dice.choice([1, 3, 3, 5])
        return dag.requantise(dag.conv(tensor, channels, kernel, padding=kernel // 2), 4)

    def block(tensor: str, level: int) -> str:
        deep = layer(tensor)
        for _ in range(dice.randint(0, 2)):
            deep = block(deep, level - 1) if level and dice.random() < 0.5 else layer(deep)
        around = layer(tensor) if dice.random() < 0.3 else tensor
        return dag.requantise(dag.add(*dice.sample([deep, around], 2)), 4)

    def bypass(tensor: str) -> str:
        pooled = layer(dag.max_pool(tensor))
        if dice.random() < 0.5:
            return dag.concat(dag.space_to_depth(tensor), block(pooled, 1))
        return dag.concat(tensor, dag.upsample(pooled))

    tensor = layer(dag.requantise("x"))
    for _ in range(dice.randint(1, 3)):
        _, height, width = dag.tensors[tensor].shape
        if min(height, width) >= 4 and dice.random() < 0.5:
            tensor = layer(bypass(tensor))
        else:
            tensor = block(tensor, 2)
    return dag.graph(tensor)
