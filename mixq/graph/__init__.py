"""The integer graph: the contract between what makes a network and what runs or builds it."""

from mixq.graph.bounds import accumulator_bounds, accumulator_format
from mixq.graph.checks import GraphError
from mixq.graph.graph import Graph
from mixq.graph.joins import Add, Concat
from mixq.graph.names import is_legal_name, legal_name
from mixq.graph.node import Join, Node, Unary
from mixq.graph.scaling import Requantise, Threshold
from mixq.graph.spatial import MaxPool, SpaceToDepth, SumPool, Upsample
from mixq.graph.tensor import Tensor
from mixq.graph.weighted import Conv, Dense

__all__ = [
    "Add",
    "Concat",
    "Conv",
    "Dense",
    "Graph",
    "GraphError",
    "Join",
    "MaxPool",
    "Node",
    "Requantise",
    "SpaceToDepth",
    "SumPool",
    "Tensor",
    "Threshold",
    "Unary",
    "Upsample",
    "accumulator_bounds",
    "accumulator_format",
    "is_legal_name",
    "legal_name",
]
