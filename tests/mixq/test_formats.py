from __future__ import annotations

from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest

from mixq.formats import IntFormat


@pytest.mark.parametrize("width", range(1, 65))
def test_default_range_is_the_whole_range(width: int) -> None:
    unsigned, signed = IntFormat(width, False), IntFormat(width, True)
    assert (unsigned.low, unsigned.high) == (0, 2**width - 1)
    assert (signed.low, signed.high) == (-(2 ** (width - 1)), 2 ** (width - 1) - 1)
    assert unsigned.full_range and signed.full_range


def test_for_range_is_the_narrowest_width() -> None:
    for low in range(-40, 41):
        for high in range(low, 41):
            fit = IntFormat.for_range(low, high)
            assert (fit.low, fit.high, fit.signed) == (low, high, low < 0)
            narrower = fit.width - 1
            if narrower >= 1:
                whole = IntFormat(narrower, fit.signed)
                assert not (whole.low <= low and high <= whole.high)


def test_for_range_can_be_forced_signed_and_wider() -> None:
    assert IntFormat.for_range(0, 7, signed=True) == IntFormat(4, True, 0, 7)
    assert IntFormat.for_range(0, 0, signed=True, min_width=2) == IntFormat(2, True, 0, 0)
    assert IntFormat.for_range(-(2**63), 2**63 - 1) == IntFormat(64, True)


def test_is_a_value() -> None:
    narrow = IntFormat(4, True, -7, 7)
    assert narrow == IntFormat(4, True, low=-7, high=7) and hash(narrow) == hash(IntFormat(4, True, -7, 7))
    assert narrow != IntFormat(4, True) and not narrow.full_range
    assert replace(narrow, low=-8) == IntFormat(4, True, -8, 7)
    with pytest.raises(FrozenInstanceError):
        narrow.width = 5  # type: ignore[misc]


def test_contains_looks_at_both_ends() -> None:
    narrow = IntFormat(4, True, -7, 6)
    assert narrow.contains(np.array([[-7, 6]])) and narrow.contains([]) and narrow.contains(0)
    assert not narrow.contains([-8, 0]) and not narrow.contains([0, 7])
    assert not IntFormat(63, False).contains(np.array([2**64 - 1], dtype=np.uint64))
    with pytest.raises(TypeError, match=r"array must hold integers, not float64$"):
        narrow.contains([0.5])


@pytest.mark.parametrize(
    "arguments, message",
    [
        ((0, False), "width must be 1 to 64 bits, not 0"),
        ((65, True), "width must be 1 to 64 bits, not 65"),
        ((-3, True), "width must be 1 to 64 bits, not -3"),
        ((4, False, -1), "low must be 0 to 15 in 4 bits, not -1"),
        ((4, True, -9), "low must be -8 to 7 in 4 bits, not -9"),
        ((4, True, 3, 2), "high must be 3 to 7 in 4 bits, not 2"),
        ((4, True, None, 8), "high must be -8 to 7 in 4 bits, not 8"),
    ],
)
def test_wrong_values(arguments: tuple, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        IntFormat(*arguments)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    "arguments, message",
    [
        ((4.0, False), "width must be an integer, not 4.0"),
        ((float("nan"), False), "width must be an integer, not nan"),
        ((True, False), "width must be an integer, not True"),
        ((4, 1), "signed must be a bool, not 1"),
        ((4, True, "0"), "low must be an integer, not '0'"),
        ((4, True, 0, 1.0), "high must be an integer, not 1.0"),
    ],
)
def test_wrong_types(arguments: tuple, message: str) -> None:
    with pytest.raises(TypeError) as caught:
        IntFormat(*arguments)
    assert str(caught.value) == message


def test_for_range_refuses() -> None:
    with pytest.raises(ValueError, match=r"low must be at most high = 3, not 4$"):
        IntFormat.for_range(4, 3)
    with pytest.raises(ValueError, match=r"low must be at least 0 in an unsigned format, not -1$"):
        IntFormat.for_range(-1, 3, signed=False)
    with pytest.raises(ValueError, match=r"width must be 1 to 64 bits, not 65$"):
        IntFormat.for_range(-1, 2**63)
