"""Random networks with branches, of every operator that works on codes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tests.mixq.qonnx.models import DOMAIN, Model

NEAREST = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
ROUNDINGS = ["ROUND", "HALF_UP", "HALF_DOWN", "FLOOR", "CEIL", "UP", "DOWN"]

Branch = tuple[str, int, int, int]
"""An activation's name, channels, rows and columns."""


class RandomNetwork:
    """Grows ``model`` by random operators on random earlier activations; ``binary``: scales are powers of two.

    Others come with rounding to the nearest alone: what rounds up a sum of 0 depends on float32's error.
    """

    def __init__(self, seed: int, *, binary: bool) -> None:
        self.random, self.binary = np.random.default_rng(seed), binary
        self.shape = (self.draw(1, 4), self.draw(4, 8), self.draw(4, 8))
        self.model = Model(self.shape, seed)
        image = self.quant("x") if self.random.random() < 0.6 else self.quant(self.shifted("x"))
        self.branches: list[Branch] = [(image, *self.shape)]
        for _ in range(self.draw(4, 10)):
            self.grow()
        codes, channels, rows, columns = self.branches[-1]
        flat = self.model.node("Flatten", codes)
        self.output = self.model.node("MatMul", flat, self.model.weight(channels * rows * columns, 6))

    def draw(self, low: int, high: int) -> int:
        return int(self.random.integers(low, high))

    def scales(self, *shape: int) -> Any:
        drawn = np.exp2(self.random.integers(-3, 1, shape)) if self.binary else self.random.uniform(0.1, 0.8, shape)
        return drawn.astype(np.float32)

    def quant(self, source: str) -> str:
        modes = ROUNDINGS if self.binary else ROUNDINGS[:2]
        mode = modes[self.draw(0, len(modes))]
        return self.model.quant(source, self.scales(), self.draw(2, 7), self.draw(0, 2), self.draw(0, 2), mode)

    def shifted(self, source: str) -> str:
        twice = self.model.node("Mul", source, self.model.constant(2.0))
        return self.model.node("Sub", twice, self.model.constant(1.0))

    def like(self, branch: Branch, *, channels: bool) -> Branch:
        """A branch of the same rows and columns, and channels."""
        same = [other for other in self.branches if other[2:] == branch[2:] and (other[1] == branch[1] or not channels)]
        return same[self.draw(0, len(same))]

    def grow(self) -> None:
        branch = self.branches[self.draw(0, len(self.branches))]
        kinds: list[Callable[..., Branch | None]] = [
            self.layer,
            self.layer,
            self.depthwise,
            self.added,
            self.joined,
            self.pooled,
            self.scaled,
            self.signs,
        ]
        made = kinds[self.draw(0, len(kinds))](*branch)
        if made is not None:
            self.branches.append(made)

    def layer(self, codes: str, channels: int, rows: int, columns: int, groups: int = 1) -> Branch:
        outputs = channels if groups > 1 else self.draw(1, 5)
        scale = self.scales(outputs, 1, 1, 1) if self.draw(0, 2) else self.scales()
        sums = self.model.conv(codes, channels, outputs, (1, 3, 5)[self.draw(0, 3)], scale=scale, group=groups)
        if self.draw(0, 2):
            sums = self.model.norm(sums, outputs)
        if self.draw(0, 2):
            sums = self.model.node("LeakyRelu", sums, alpha=0.2) if self.draw(0, 2) else self.model.node("Relu", sums)
        return self.quant(sums), outputs, rows, columns

    def depthwise(self, codes: str, channels: int, rows: int, columns: int) -> Branch:
        return self.layer(codes, channels, rows, columns, channels)

    def signs(self, codes: str, channels: int, rows: int, columns: int) -> Branch:
        sums = self.model.norm(self.model.conv(codes, channels, 2, 1), 2)
        return (
            self.model.node("BipolarQuant", sums, self.model.constant(self.scales()), domain=DOMAIN),
            2,
            rows,
            columns,
        )

    def added(self, *branch: Any) -> Branch:
        other = self.like(branch, channels=True)
        operator = ("Add", "Sub")[self.draw(0, 2)]
        return self.quant(self.model.node(operator, branch[0], other[0])), *branch[1:]

    def joined(self, *branch: Any) -> Branch:
        other = self.like(branch, channels=False)
        codes = self.quant(self.model.node("Concat", branch[0], other[0], axis=1))
        return codes, branch[1] + other[1], *branch[2:]

    def pooled(self, codes: str, channels: int, rows: int, columns: int) -> Branch | None:
        if min(rows, columns) < 2:
            return None
        operator = ("MaxPool", "AveragePool")[self.draw(0, 2)]
        made = self.model.node(operator, codes, kernel_shape=[2, 2], strides=[2, 2])
        return made if operator == "MaxPool" else self.quant(made), channels, rows // 2, columns // 2

    def scaled(self, codes: str, channels: int, rows: int, columns: int) -> Branch | None:
        if rows % 2 == columns % 2 == 0 and channels < 4:
            return self.model.node("SpaceToDepth", codes, blocksize=2), 4 * channels, rows // 2, columns // 2
        if rows * columns > 40:
            return None
        wide = self.model.node("Resize", codes, "", self.model.constant([1, 1, 2, 2]), **NEAREST)
        return wide, channels, 2 * rows, 2 * columns
