# amaranth: UnusedElaboratable=no
"""Whole networks of depthwise, grouped and dilated layers against the interpreter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from amaranth.back import verilog

from mixq.formats import IntFormat
from mixq.graph import Graph
from mixq.plan import Plan
from rtl_gen import build
from tests.mixq.graphs import Chain
from tests.rtl_gen.networks import scales, weights
from tests.rtl_gen.test_accelerator import hold_network, planned

U3, U4, U8 = (IntFormat(bits, False) for bits in (3, 4, 8))
SAME_2 = (0, 0, 1, 1)


def mobile_network() -> Graph:
    """As MobileNets begin: stride 2, then depthwise and 1x1 layers in turn, padded as TensorFlow does."""
    rng = np.random.default_rng(5)
    chain = Chain((3, 8, 12), U8, 1 / 256)
    scales(rng, chain.conv(weights(rng, 4, 6, 3, 3, 3), 4, padding=SAME_2, stride=2), 14, U4)
    scales(rng, chain.conv(weights(rng, 4, 6, 1, 3, 3), 4, padding=1, groups=6), 12, U4)
    scales(rng, chain.conv(weights(rng, 4, 8, 6, 1, 1), 4), 12, U4)
    scales(rng, chain.conv(weights(rng, 3, 8, 1, 3, 3), 3, padding=SAME_2, stride=2, groups=8), 12, U4)
    scales(rng, chain.conv(weights(rng, 4, 10, 8, 1, 1), 4), 12, U3)
    scales(rng, chain.conv(weights(rng, 4, 10, 1, 5, 5), 4, padding=2, groups=10), 12, U4)
    return chain.dense(weights(rng, 4, 5, 10 * 2 * 3), 4, bias=rng.integers(-99, 99, 5)).graph("mobile")


def mixed_network() -> Graph:
    """Groups, a channel multiplier and dilation."""
    rng = np.random.default_rng(6)
    chain = Chain((4, 5, 7), U4, 1 / 16)
    scales(rng, chain.conv(weights(rng, 4, 8, 1, 3, 3), 4, padding=1, groups=4), 12, U4)
    scales(rng, chain.conv(weights(rng, 4, 6, 4, 3, 3), 4, padding=(2, 1, 0, 2), groups=2), 12, U4)
    scales(rng, chain.conv(weights(rng, 4, 6, 6, 3, 3), 4, padding=2, dilation=2), 12, U4)
    scales(rng, chain.conv(weights(rng, 4, 6, 1, 3, 3), 4, padding=2, dilation=2, groups=6), 12, U4)
    return chain.conv(weights(rng, 4, 4, 3, 1, 1), 4, groups=2, bias=rng.integers(-9, 9, 4)).graph("mixed")


CASES: list[Any] = [
    (mobile_network, 20, "icarus", {"residue_bits": 0}),
    *(
        pytest.param(*case, marks=pytest.mark.slow)
        for case in (
            (mixed_network, 12, "icarus", {}),
            (mobile_network, 90, "icarus", {}),
            (mobile_network, 40, "verilator", {"device": "dsp48e1"}),
            (mobile_network, 60, "icarus", {"real_weights": True, "double_pump": True}),
            (mobile_network, 6, "icarus", {"foldings": None}),
            (mixed_network, 60, "verilator", {"residue_bits": 0}),
        )
    ),
]


@pytest.mark.cocotb
@pytest.mark.parametrize("network, dsps, simulator, wishes", CASES)
def test_network(network: Any, dsps: int, simulator: str, wishes: dict[str, Any], tmp_path: Path) -> None:
    graph = network()
    chosen = planned(graph, dsps, **wishes)
    chosen.save(tmp_path)
    assert Plan.load(tmp_path) == chosen
    text = verilog.convert(build(graph, chosen, chosen.device), name="top", strip_internal_attrs=True)
    assert text.count("DSP48E2 #(") + text.count("DSP48E1 #(") == chosen.resources.dsp <= dsps
    hold_network(graph, chosen, simulator, tmp_path, dsps + 1)
