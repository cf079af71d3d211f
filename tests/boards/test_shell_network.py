# amaranth: UnusedElaboratable=no
"""A small network between its buses: of good frames among short and long ones, exactly their results come out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from boards import load_board
from boards.emit import generate
from mixq.containers import frame_bytes, from_bytes, to_bytes
from mixq.execute import run
from mixq.formats import IntFormat
from mixq.graph import Graph
from mixq.plan import plan
from sim.network import read_design, simulate, split
from tests.boards.shell.contract import Beat, Contract, Sizes
from tests.mixq.graphs import Chain
from tests.rtl_gen.networks import scales, weights

ROUNDS = 6


def early_network() -> Graph:
    """Two convolutions of many rows: most of an output frame comes before the input frame is whole."""
    rng = np.random.default_rng(31)
    chain = Chain((3, 16, 5), IntFormat(8, False), 1 / 256)
    scales(rng, chain.conv(weights(rng, 3, 6, 3, 3, 3), 3, padding=1), 12, IntFormat(4, False))
    scales(rng, chain.conv(weights(rng, 3, 3, 6, 1, 1), 3), 8, IntFormat(8, False))
    return chain.graph("early")


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("generated")
    graph = early_network()
    graph.save(folder)
    plan(graph, load_board("ultra96-v2")).save(folder)
    generate(folder)
    return folder


def as_beats(frame: bytes, bus: int) -> list[Beat]:
    parts = split(frame, bus)
    return [Beat(part.ljust(bus, b"\0"), (1 << len(part)) - 1, at == len(parts) - 1) for at, part in enumerate(parts)]


@pytest.mark.parametrize("stalls", ["none", "random", ("none", "often"), ("often", "none")], ids=str)
@pytest.mark.verilator
def test_short_and_long_frames_among_good_ones(generated: Path, stalls: str | tuple[str, str]) -> None:
    graph, design = Graph.load(generated), read_design(generated / "rtl")
    given, result = graph.tensor(graph.input), graph.tensor(graph.output)
    sizes = Sizes(
        frame_bytes(given.shape, given.format),
        design.input_bytes,
        frame_bytes(result.shape, result.format),
        design.output_bytes,
    )
    assert sizes.input_beats > 4

    def work(frame: bytes) -> bytes:
        return to_bytes(run(graph, from_bytes(frame, given.format, given.shape)), result.format)

    model = Contract(sizes, work)
    rng = np.random.default_rng(32)
    whole, bus = sizes.input_bytes, sizes.input_bus
    short = [1, bus, bus + 1, whole - bus, whole - 1]
    # The last two would end in a good frame, were nothing dropped, or just a beat.
    long = [whole + bus, whole + 7 * bus, 2 * sizes.input_beats * bus, (2 * sizes.input_beats + 1) * bus]
    lengths = rng.permutation((*short, *long, whole, whole, whole) * ROUNDS)
    frames = [rng.bytes(int(length)) for length in lengths]
    for frame in frames:
        for beat in as_beats(frame, bus):
            model.take(beat)
    assert (model.short, model.long, model.frames_in) == (len(short) * ROUNDS, len(long) * ROUNDS, 3 * ROUNDS)
    seen = simulate(
        generated / "rtl",
        frames,
        output_frame_bytes=sizes.output_bytes,
        output_frames=model.frames_out,
        stalls=stalls,
        seed=4,
        stall_limit=5000,
        tail_cycles=2000,
        optimise="compile",
    )
    assert seen.protocol_errors == []
    out = b"".join(beat.data for beat in model.expected)
    padded = sizes.output_beats * sizes.output_bus
    assert seen.outputs == [frame[: sizes.output_bytes] for frame in split(out, padded)]
