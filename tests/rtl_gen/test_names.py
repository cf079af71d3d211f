"""Names: legal ones pass, others are refused, joined ones stay different."""

from __future__ import annotations

import pytest

from rtl_gen.names import checked_name, joined_name


@pytest.mark.parametrize("name", ["a", "conv1_weights", "A" * 63])
def test_legal(name: str) -> None:
    assert checked_name("name", name) == name


@pytest.mark.parametrize("name", ["", "1a", "_a", "a-b", "a/b", "a.b", "a b", "a\n", "a" * 64, "größe", 'a"', "a[0]"])
def test_illegal(name: str) -> None:
    with pytest.raises(ValueError) as error:
        checked_name("layer", name)
    assert str(error.value) == f"layer must be a letter and up to 62 letters, digits or underscores, not {name!r}"


def test_wrong_type() -> None:
    with pytest.raises(TypeError, match=r"^layer must be a string, not None$"):
        checked_name("layer", None)


def test_joined() -> None:
    assert joined_name("conv1", "level0", 3) == "conv1_level0_3"
    long = [joined_name("a" * 62 + end, "level0") for end in "xy"]
    assert len(set(long)) == 2
    assert all(len(name) == 63 and name.endswith("_level0") for name in long)
