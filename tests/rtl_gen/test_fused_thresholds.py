# amaranth: UnusedElaboratable=no
"""Explicit thresholds, and requantisations to signed and narrow codes, behind convolutions and dense layers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mixq.formats import IntFormat
from mixq.graph import Graph, Threshold
from mixq.plan.folding_file import Hold
from mixq.plan.values import METHODS
from tests.mixq.graphs import Chain
from tests.mixq.plan.holds import on_dsps
from tests.rtl_gen.networks import weights
from tests.rtl_gen.test_accelerator import hold_network, planned

U4, S4 = IntFormat(4, False), IntFormat(4, True)


def stairs(chain: Chain, rng: np.random.Generator, *, count: int, spread: int = 0) -> Chain:
    """Append thresholds with every step in turn: equal ones, one that nothing reaches, and one that everything does."""
    channels, sums = chain.last.shape[0], chain.last.format
    step = np.resize([1, -2, 2, -1], channels)
    first = np.where(step < 0, -step * count, 0) + rng.integers(-spread, spread + 1, channels)
    middle = (sums.low + sums.high) // 2
    thresholds = rng.integers((sums.low + middle) // 2, (sums.high + middle) // 2 + 1, (channels, count))
    thresholds[:, :2] = thresholds[:, :1]
    thresholds[0, -1], thresholds[-1, 0] = sums.high + 1, sums.low
    codes = np.concatenate([first, first + step * count])
    format = IntFormat.for_range(int(codes.min()), int(codes.max()), min_width=2)
    name = f"stairs{len(chain.nodes)}"
    return chain.append(
        Threshold(name, chain.last.name, f"{name}_out", thresholds=np.sort(thresholds, 1), first=first, step=step),
        format,
    )


def convolutions() -> Graph:
    """Thresholds behind convolutions of unsigned and of signed codes, with bias and padding."""
    rng = np.random.default_rng(1)
    chain = Chain((2, 4, 5), U4)
    stairs(chain.conv(weights(rng, 4, 4, 2, 3, 3), 4, bias=rng.integers(-50, 50, 4), padding=1), rng, count=3)
    stairs(chain.conv(weights(rng, 3, 6, 4, 3, 3), 3, padding=1), rng, count=4, spread=6)
    return chain.dense(weights(rng, 4, 5, 6 * 4 * 5), 4, bias=rng.integers(-99, 99, 5)).graph("convolutions")


def dense_layers() -> Graph:
    """Dense layers in a row, whose codes are signed, of a range of their own, and of one bit."""
    rng = np.random.default_rng(2)
    chain = Chain((6, 1, 1), IntFormat(5, True, -11, 13))
    stairs(chain.dense(weights(rng, 4, 8, 6), 4, bias=rng.integers(-9, 9, 8)), rng, count=2)
    chain.dense(weights(rng, 4, 6, 8), 4).requantise([40, -30, 25, 0, 9, 51], [0, 9, -70, 64, 0, 1], 7, S4)
    chain.dense(weights(rng, 4, 4, 6), 4).requantise([40, -30, 25, 60], [9, 0, 0, -99], 7, IntFormat(5, True, -9, 4))
    return chain.dense(weights(rng, 4, 3, 4), 4).graph("dense")


def deep_stairs() -> Graph:
    """As many thresholds as a channel may have, one output channel behind the other."""
    rng = np.random.default_rng(3)
    chain = Chain((4, 1, 3), U4)
    stairs(chain.conv(weights(rng, 6, 2, 4, 1, 1), 6, bias=rng.integers(-9, 9, 2)), rng, count=255, spread=300)
    return chain.requantise([1, 1], [512, 512], 7, U4).graph("deep")


@pytest.mark.cocotb
@pytest.mark.parametrize("dsps", [0, 6, 30], ids=["tables", "few", "many"])
@pytest.mark.parametrize("network", [convolutions, dense_layers])
def test_thresholds_behind_layers(network, dsps: int, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    graph = network()
    chosen = planned(graph, dsps, foldings=on_dsps(graph) if dsps else None)
    # An odd seed: with the primitives.
    hold_network(graph, chosen, "icarus", tmp_path, 31 if dsps == 6 else dsps)


@pytest.mark.cocotb
@pytest.mark.verilator
def test_in_verilator(tmp_path: Path) -> None:
    graph = deep_stairs()
    hold_network(graph, planned(graph, 4), "verilator", tmp_path, 2)


@pytest.mark.cocotb
@pytest.mark.parametrize("method", METHODS)
def test_signed_and_narrow_codes_by_both_methods(method: str, tmp_path: Path) -> None:
    graph = dense_layers()
    holds = {
        node.name: Hold(node.name, {"requantise": method}) for node in graph.nodes if node.name in ("dense2", "dense4")
    }
    chosen = planned(graph, 20, foldings=holds)
    inside = {layer.fused: layer.method for layer in chosen.layers if layer.op == "requantise"}
    assert inside == {"dense2": method, "dense4": method}
    hold_network(graph, chosen, "icarus", tmp_path, 4)
