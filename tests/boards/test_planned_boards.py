# amaranth: UnusedElaboratable=no
"""Every board that comes with the package is planned for; the one with DSP48E1 is built and simulated."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from boards import board_names, load_board
from boards.emit import generate
from mixq.checkpoints import load_source
from mixq.containers import frame_bytes, to_bytes
from mixq.execute import run
from mixq.formats import IntFormat
from mixq.graph import Graph
from mixq.lowering import lower
from mixq.plan import plan
from sim.network import simulate
from tests.mixq.graphs import Chain
from tests.mixq.plan.holds import on_dsps


@pytest.fixture(scope="module")
def digits() -> Graph:
    return lower(load_source("random:1", "digits_cnn"))


@pytest.mark.parametrize("name", board_names())
def test_the_digits_network_is_planned_within_the_board(name: str, digits: Graph) -> None:
    board = load_board(name)
    made = plan(digits, board, max_cycles=1000, foldings=on_dsps(digits), constant_weights=False)
    assert (made.board, made.clock_mhz) == (name, board.clock_mhz)
    assert made.cycles <= 1000
    assert not made.resources.excess(board.resources)
    assert 0 < made.resources.dsp <= board.resources.dsp
    packed = [layer.folding.packing for layer in made.layers if layer.folding and layer.folding.packing]
    assert {packing.device for packing in packed} == {"dsp48e1" if name == "pynq-z2" else "dsp48e2"}


@pytest.mark.icarus
def test_the_pynq_z2_gets_dsp48e1_that_compute_the_graph(tmp_path: Path) -> None:
    rng = np.random.default_rng(7)
    chain = Chain((2, 3, 4), IntFormat(4, False), 1 / 16)
    chain.conv(rng.integers(-3, 4, (2, 2, 3, 3)), 3, padding=1)
    chain.requantise(rng.integers(-90, 90, 2), rng.integers(-900, 900, 2), 9, IntFormat(3, False))
    chain.dense(rng.integers(-7, 8, (3, 2 * 3 * 4)), 4)
    graph = chain.graph()
    graph.save(tmp_path)
    made = plan(graph, load_board("pynq-z2"), foldings=on_dsps(graph))
    made.save(tmp_path)
    assert generate(tmp_path).target == "dsp48e1"
    text = "".join(path.read_text() for path in (tmp_path / "rtl").glob("*.v"))
    assert "DSP48E1" in text and "DSP48E2" not in text
    pixels = rng.integers(0, 16, (4, 2, 3, 4))
    given, taken = graph.tensor(graph.input), graph.tensor(graph.output)
    seen = simulate(
        tmp_path / "rtl",
        [to_bytes(frame[None], given.format) for frame in pixels],
        output_frame_bytes=frame_bytes(taken.shape, taken.format),
        simulator="icarus",
    )
    assert seen.protocol_errors == []
    assert seen.outputs == [to_bytes(frame[None], taken.format) for frame in run(graph, pixels)]
    assert seen.cycles_per_frame == made.cycles
