"""Why a simulation stands still: from handshakes written by hand, and from those of simulated networks."""

from __future__ import annotations

from pathlib import Path

import pytest

from mixq.containers import frame_bytes
from mixq.errors import CheckFailed
from mixq.graph import Graph
from rtl_gen.handshakes import StreamLabel
from sim.deadlock import Deadlock, Handshakes, deadlock, find_streams
from sim.network import simulate
from tests.rtl_gen.shallow import residual_block, residual_plan, write_unrefused

#: A fork, its long branch with a stage, its short one with a converter, and the join.
RESIDUAL = "input>stem stem>stem_fork stem_fork/2>long long>long_fifo long_fifo/9>add stem_fork/5>~c ~c>add add>output"


def labels(text: str) -> list[StreamLabel]:
    """Labels of streams, with the mark of a converter on both sides of the arrow."""
    return [StreamLabel.parse(label.replace(">~", ">")) for label in text.split()]


def seen(text: str, valid: str, blocked: str = "", full: str = "") -> Handshakes:
    """What is valid, what of it is not taken, and which FIFOs are full, by the labels that are named."""
    streams = text.split()
    given, stuck = valid.split() + blocked.split(), blocked.split()
    assert set(given) | set(full.split()) <= set(streams)
    return Handshakes(
        valid="".join(str(int(label in given)) for label in streams),
        ready="".join(str(int(label not in stuck)) for label in streams),
        room="".join(str(int(label not in full.split())) for label in streams),
    )


def explained(text: str, valid: str, blocked: str = "", full: str = "") -> Deadlock | None:
    return deadlock(labels(text), seen(text, valid, blocked, full), "cycle 9")


def test_the_join_that_starves_and_the_full_fifo_are_named() -> None:
    found = explained(RESIDUAL, "", "input>stem stem>stem_fork stem_fork/5>~c ~c>add", "stem_fork/5>~c")
    assert found is not None and (found.node, found.number, found.depth) == ("add", 1, 5)
    what = "add waits for long, and the FIFO from stem to add is full, which holds 5 beats"
    assert str(found) == f"deadlock: {what}: make it deeper in the plan (cycle 9)"
    assert str(found.advised("give it 6")) == f"deadlock: {what}: give it 6 (cycle 9)"


@pytest.mark.parametrize(
    ("valid", "blocked", "full"),
    [
        # Nothing is offered: frames are missing, or the stem has lost one.
        ("", "stem_fork/5>~c ~c>add", "stem_fork/5>~c"),
        # The fork takes what the stem gives: something else stands still.
        ("stem>stem_fork", "stem_fork/5>~c ~c>add", ""),
        # Whoever takes the output does not.
        ("", "input>stem stem>stem_fork long_fifo/9>add ~c>add add>output", "stem_fork/5>~c"),
        # The long branch has what it needs and gives nothing: its own fault.
        ("", "stem>stem_fork stem_fork/2>long ~c>add stem_fork/5>~c", "stem_fork/2>long"),
    ],
)
def test_what_no_full_fifo_explains(valid: str, blocked: str, full: str) -> None:
    assert explained(RESIDUAL, valid, blocked, full) is None


def test_a_fifo_that_has_room_is_not_to_blame() -> None:
    # The sink stops the fork by the FIFO in front of the second join; the first one waits, but its FIFO takes more.
    text = "input>f f/5>one f/2>d d>one f/3>two one>two two>output"
    blocked = "input>f f/5>one f/3>two one>two two>output"
    assert explained(text, "", blocked, "f/3>two") is None
    # Where the first join's FIFO is full and the second one's is not, the first one stands still for good.
    found = explained(text, "", "input>f f/5>one", "f/5>one")
    assert found is not None and (found.node, found.number, found.depth) == ("one", 0, 5)


def test_a_join_behind_a_stage_that_is_blocked_itself() -> None:
    # fork -> a -> b, whose own FIFO in front of the join is full, while the other branch needs more from the fork.
    text = "input>f f/2>a a>b b>b_fifo b_fifo/7>cat f/2>d d>d_fifo d_fifo/4>cat cat>output"
    found = explained(text, "", "input>f f/2>a a>b b>b_fifo b_fifo/7>cat", "f/2>a b_fifo/7>cat")
    assert found is not None and (found.node, found.number, found.depth) == ("cat", 0, 7)
    assert "cat waits for d, and the FIFO from b to cat is full, which holds 7 beats" in str(found)


def test_two_joins_that_wait_for_each_other() -> None:
    # Each join's starved input comes through the other's fork, below which the other join's FIFO is full.
    text = "input>s s>f f/3>p f/4>q p>g q>h g/2>one h/5>one g/6>two h/2>two one>two two>output"
    found = explained(text, "", "s>f f/3>p p>g q>h f/4>q g/6>two h/5>one", "g/6>two h/5>one f/3>p")
    assert found is not None
    assert sorted(found.what.split("; ")) == [
        "one waits for p, and the FIFO from q to one is full, which holds 5 beats",
        "two waits for q, and the FIFO from p to two is full, which holds 6 beats",
    ]


def test_bits_of_other_streams_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^seen must hold a bit for each of 8 streams, not '01'$"):
        deadlock(labels(RESIDUAL), Handshakes("01", "01", "01"), "")
    with pytest.raises(ValueError, match=r"^text must be the label of a stream, not 'a>'$"):
        StreamLabel.parse("a>")


def test_verilog_without_names_has_no_streams() -> None:
    assert find_streams("module mixq_top(); endmodule", "mixq_top") is None


def _simulate(graph: Graph, folder: Path, simulator: str, stalls: str) -> None:
    source, target = graph.tensor(graph.input), graph.tensor(graph.output)
    simulate(
        folder / "rtl",
        [bytes(frame_bytes(source.shape, source.format))] * 3,
        output_frame_bytes=frame_bytes(target.shape, target.format),
        simulator=simulator,
        stalls=stalls,
        stall_limit=2000,
        optimise="compile",
    )


@pytest.mark.parametrize("simulator", ["icarus", "verilator"])
def test_a_beat_too_few_in_a_simulated_network(simulator: str, tmp_path: Path) -> None:
    graph = residual_block()
    write_unrefused(graph, residual_plan(14), tmp_path)
    for stalls in ("none", "random"):
        with pytest.raises(CheckFailed) as failure:
            _simulate(graph, tmp_path, simulator, stalls)
        error = failure.value
        assert isinstance(error, Deadlock) and (error.node, error.number, error.depth) == ("add5", 1, 14)
        assert error.what == "add5 waits for conv4, and the FIFO from conv0 to add5 is full, which holds 14 beats"
        assert f"mixq_top in {simulator}, stalls {stalls}/{stalls}, seed 0: cycle " in str(error)
