"""The messages of the shared argument checks."""

from __future__ import annotations

import numpy as np
import pytest

from rtl_gen.checks import checked_choice, checked_int


def test_int() -> None:
    assert checked_int("depth", np.int64(3), low=3, high=3) == 3
    assert type(checked_int("depth", np.int64(3), low=1)) is int


@pytest.mark.parametrize("value", [True, np.True_, 1.0, "1", None])
def test_int_refuses_types(value: object) -> None:
    with pytest.raises(TypeError) as error:
        checked_int("depth", value, low=0)
    assert str(error.value) == f"depth must be an integer, not {value!r}"


def test_int_refuses_values() -> None:
    with pytest.raises(ValueError, match=r"^depth must be at least 2, not 1$"):
        checked_int("depth", 1, low=2)
    with pytest.raises(ValueError, match=r"^depth must be at most 4, not 5$"):
        checked_int("depth", 5, low=2, high=4)


def test_choice() -> None:
    assert checked_choice("style", "block", ("auto", "block")) == "block"
    with pytest.raises(ValueError, match=r"^style must be one of auto, block, not 'lut'$"):
        checked_choice("style", "lut", ("auto", "block"))
    with pytest.raises(TypeError, match=r"^style must be a string, not 3$"):
        checked_choice("style", 3, ("auto", "block"))
