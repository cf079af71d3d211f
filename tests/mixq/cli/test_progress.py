"""Plain lines where there is no terminal, a bar where there is one."""

from __future__ import annotations

import io

import pytest

from mixq.cli.progress import Stages, progress


class Clock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_plain_lines_tell_the_time_left_at_most_every_five_seconds() -> None:
    out, clock = io.StringIO(), Clock()
    with progress("simulating", 40, stream=out, clock=clock) as update:
        for done in range(41):
            update(done)
            clock.now += 1.0
    assert out.getvalue().splitlines() == [
        "simulating: 2 of 40, about 38 s left",
        "simulating: 7 of 40, about 33 s left",
        "simulating: 12 of 40, about 28 s left",
        "simulating: 17 of 40, about 23 s left",
        "simulating: 22 of 40, about 18 s left",
        "simulating: 27 of 40, about 13 s left",
        "simulating: 32 of 40, about 8 s left",
        "simulating: 37 of 40, about 3 s left",
        "simulating: done in 41.0 s",
    ]


def test_an_unknown_total_shows_the_count_alone() -> None:
    out, clock = io.StringIO(), Clock()
    with progress("reading", stream=out, clock=clock) as update:
        clock.now += 3.0
        update(7)
    assert out.getvalue() == "reading: 7\nreading: done in 3.0 s\n"


def test_quick_work_ends_with_one_line() -> None:
    out, clock = io.StringIO(), Clock()
    with progress("planning", 5, stream=out, clock=clock) as update:
        update(1)
        clock.now += 1.5
        update(4)
    assert out.getvalue() == "planning: done in 1.5 s\n"


def test_work_that_fails_is_not_called_done() -> None:
    out = io.StringIO()
    with pytest.raises(ValueError, match="broken"), progress("planning", 5, stream=out):
        raise ValueError("broken")
    assert out.getvalue() == ""


def test_a_terminal_gets_a_bar() -> None:
    out, clock = Terminal(), Clock()
    with progress("training", 8, stream=out, clock=clock) as update:
        update(3)
    assert "training" in out.getvalue().replace("training: done in 0.0 s", "")
    assert "3/8" in out.getvalue()
    assert out.getvalue().endswith("training: done in 0.0 s\n")


def test_a_note_stands_before_the_time_left() -> None:
    out, clock = io.StringIO(), Clock()
    with progress("training", 10, stream=out, clock=clock) as update:
        update(0)
        clock.now += 4.0
        update(2, note="loss 1.000")
    assert out.getvalue().splitlines() == [
        "training: 2 of 10, loss 1.000, about 16 s left",
        "training: done in 4.0 s",
    ]
    terminal = Terminal()
    with progress("training", 10, stream=terminal) as update:
        update(2, note="loss 1.000")
    assert "loss 1.000" in terminal.getvalue()


def test_stages_follow_each_other() -> None:
    out, clock = io.StringIO(), Clock()
    with Stages(stream=out, clock=clock) as report:
        report("listing", 0, 4, {})
        clock.now += 3.0
        report("listing", 2, 4, {})
        clock.now += 1.0
        report("training", 0, 9, {})
        clock.now += 2.5
        report("training", 1, 9, {"metric": 0.5, "cycles": 25000.4, "loss": 2.0, "other": 1.0})
    assert out.getvalue().splitlines() == [
        "listing: 2 of 4, about 3 s left",
        "listing: done in 4.0 s",
        "training: 1 of 9, loss 2.000, metric 0.500, 25,000 cycles, about 20 s left",
        "training: done in 2.5 s",
    ]


def test_a_stage_that_fails_is_not_called_done() -> None:
    out = io.StringIO()

    def fail() -> None:
        with Stages(stream=out) as report:
            report("solving", 0, 1, {})
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        fail()
    assert out.getvalue() == ""
