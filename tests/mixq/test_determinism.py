"""The context in which PyTorch repeats itself."""

from __future__ import annotations

import pytest
import torch

from mixq.determinism import reproducible


def test_settings_hold_inside_and_are_set_back_even_after_an_error() -> None:
    before = torch.get_num_threads()
    inside = []

    def fail() -> None:
        with reproducible(threads=before + 1):
            inside.append((torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()))
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert inside == [(before + 1, True)]
    assert torch.get_num_threads() == before
    assert not torch.are_deterministic_algorithms_enabled()


@pytest.mark.parametrize(
    "threads, error, message",
    [
        (0, ValueError, "threads must be positive, not 0"),
        (1.0, TypeError, "threads must be an integer, not 1.0"),
        (True, TypeError, "threads must be an integer, not True"),
    ],
)
def test_wrong_threads(threads: int, error: type[Exception], message: str) -> None:
    with pytest.raises(error) as raised, reproducible(threads=threads):
        pass
    assert str(raised.value) == message
