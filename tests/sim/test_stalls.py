"""How dense the stalls of each mode are."""

from __future__ import annotations

import pytest

from sim.stalls import SinkPattern, StallPattern


@pytest.mark.parametrize("kind", [StallPattern, SinkPattern])
def test_how_often_a_side_stalls(kind: type[StallPattern]) -> None:
    """Bursts eight times as long as the others leave these a ninth of the cycles."""

    def share(mode: str) -> float:
        pattern = kind(mode, "1/side")
        return sum(not pattern.step(other_seen=True) for _ in range(100_000)) / 100_000

    assert 1 / 14 < share("seldom") < 1 / 6 < 0.4 < share("random") < 0.6 < 5 / 6 < share("often") < 13 / 14


def test_wrong_modes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^mode must be one of none, random, seldom, often, slow, wait, not 'never'$"):
        StallPattern("never", "1")
