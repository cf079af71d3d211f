"""The kinds of nodes, by the name that files give them."""

from __future__ import annotations

from mixq.graph.joins import Add, Concat
from mixq.graph.node import Node
from mixq.graph.scaling import Requantise, Threshold
from mixq.graph.spatial import MaxPool, SpaceToDepth, SumPool, Upsample
from mixq.graph.weighted import Conv, Dense

_KINDS: tuple[type[Node], ...] = (
    Conv,
    Dense,
    Requantise,
    Threshold,
    MaxPool,
    SumPool,
    SpaceToDepth,
    Upsample,
    Add,
    Concat,
)

NODE_TYPES: dict[str, type[Node]] = {kind.op: kind for kind in _KINDS}
