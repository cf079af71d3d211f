"""The constraints of two clocks: one exactly twice as fast as the other, neither slower than planned."""

from __future__ import annotations

import re

import pytest

from boards.clock_constraints import clock_constraints

_CLOCK = re.compile(r"create_clock -name (\w+) -period ([\d.]+) -waveform \{0\.000 ([\d.]+)\} \[get_ports (\w+)\]")


@pytest.mark.parametrize("clock_mhz", [300, 322.5, 123.456, 0.5, 1])
def test_periods_are_two_to_one(clock_mhz: float) -> None:
    text = clock_constraints(clock_mhz, top="mixq_top")
    commands = [line for line in text.splitlines() if line and not line.startswith("#")]
    found = [_CLOCK.fullmatch(line) for line in commands]
    assert all(found)
    (slow, slow_ps), (fast, fast_ps) = [(m[1], round(float(m[2]) * 1000)) for m in found if m is not None]
    assert (slow, fast) == ("ap_clk", "ap_clk2x")
    assert slow_ps == 2 * fast_ps
    assert slow_ps <= 1e6 / clock_mhz < slow_ps + 2
    for m in found:
        assert m is not None and m[1] == m[4]
        assert float(m[3]) == pytest.approx(float(m[2]) / 2, abs=0.0006)


def test_nothing_is_left_untimed() -> None:
    commands = [line.split()[0] for line in clock_constraints(300, top="top").splitlines() if not line.startswith("#")]
    assert commands == ["create_clock", "create_clock"]


@pytest.mark.parametrize("clock_mhz", [0, -1, float("nan"), float("inf"), 600_000])
def test_clocks_that_cannot_be_are_refused(clock_mhz: float) -> None:
    with pytest.raises(ValueError) as error:
        clock_constraints(clock_mhz, top="top")
    assert str(error.value) == (
        f"clock_mhz must be positive and finite, of at least two picoseconds, not {clock_mhz!r}"
    )
