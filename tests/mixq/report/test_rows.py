"""Rows of a report: what they say of a convolution."""

from __future__ import annotations

import numpy as np

from mixq.formats import IntFormat
from mixq.graph import Graph
from mixq.report.gather import ReportData
from mixq.report.rows import LayerRow, layer_rows
from mixq.report.words import TIMES
from tests.mixq.graphs import Chain


def grouped_graph() -> Graph:
    chain = Chain((4, 8, 8), IntFormat(4, False))
    chain.conv(np.ones((4, 1, 3, 3), np.int64), 4, groups=4, stride=2, padding=(0, 0, 1, 1))
    chain.requantise([1] * 4, [0] * 4, 4, IntFormat(4, False))
    chain.conv(np.ones((6, 2, 3, 3), np.int64), 4, groups=2, padding=2, dilation=2)
    chain.requantise([1] * 6, [0] * 6, 6, IntFormat(4, False))
    return chain.conv(np.ones((2, 6, 1, 1), np.int64), 4).graph()


def rows_of(graph: Graph) -> list[LayerRow]:
    return [row for row in layer_rows(ReportData("net", graph)) if row.op == "conv"]


def test_kinds_of_convolutions_are_told() -> None:
    depthwise, dilated, dense = rows_of(grouped_graph())
    assert depthwise.kind == f"conv 3{TIMES}3, depthwise, stride 2"
    assert (depthwise.padding, depthwise.groups, depthwise.dilation) == ((0, 0, 1, 1), 4, 1)
    assert dilated.kind == f"conv 3{TIMES}3, 2 groups, dilation 2"
    assert (dilated.padding, dilated.groups, dilated.dilation) == ((2, 2, 2, 2), 2, 2)
    assert dense.kind == f"conv 1{TIMES}1"
    # Each output channel reads the channels of its group alone.
    assert (depthwise.macs, dilated.macs) == (4 * 9 * 16, 6 * 2 * 9 * 16)
