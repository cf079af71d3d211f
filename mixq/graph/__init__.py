"""The integer graph: the contract between what makes a network and what runs or builds it."""

from mixq.graph.bounds import accumulator_bounds, accumulator_format
from mixq.graph.checks import GraphError
from mixq.graph.graph import Graph
from mixq.graph.names import is_legal_name, legal_name
from mixq.graph.nodes import Conv, Dense, MaxPool, Node, Requantise
from mixq.graph.tensor import Tensor

__all__ = [
    "Conv",
    "Dense",
    "Graph",
    "GraphError",
    "MaxPool",
    "Node",
    "Requantise",
    "Tensor",
    "accumulator_bounds",
    "accumulator_format",
    "is_legal_name",
    "legal_name",
]
