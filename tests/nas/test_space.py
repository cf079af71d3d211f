"""The search space: what each layer may choose from, and places of widths."""

from __future__ import annotations

from typing import Any

import pytest

from mixq.errors import UserError
from mixq.networks import network
from nas.space import SearchSpace


def test_free_layers_have_all_widths_and_fixed_ones_their_own() -> None:
    space = SearchSpace(network("vgg_tiny"), act_widths=(2, 4, 8))
    assert [layer.name for layer in space.layers] == [*(f"conv{i}" for i in range(1, 7)), "dense"]
    assert [layer.weight_widths for layer in space.layers] == [(2, 3, 4, 5, 6, 7, 8)] * 6 + [(8,)]
    # The width to which the image is truncated, conv1's, is searched like the others.
    assert [layer.act_widths for layer in space.layers] == [(2, 4, 8)] * 6 + [(8,)]
    assert space.size == 7**6 * 3**6


def test_a_layer_may_fix_one_of_its_two_widths() -> None:
    space = SearchSpace(network("ultranet_ismart"))
    assert space.searched_weights == tuple(f"conv{i}" for i in range(2, 9))
    assert space.searched_acts == tuple(f"conv{i}" for i in range(1, 10))


def test_places_and_widths_are_each_others_inverse() -> None:
    space = SearchSpace(network("vgg_tiny"), weight_widths=(2, 4, 8), act_widths=(3, 8))
    bits = (8, 2, 4, 4, 2, 8, 8)
    assert space.weight_indices(bits) == (2, 0, 1, 1, 0, 2, 0)
    assert space.weight_bits(space.weight_indices(bits)) == bits
    # Without the width that the dense layer fixes, and one for all.
    assert space.act_indices([8, 3, 3, 3, 3, 8]) == (1, 0, 0, 0, 0, 1, 0)
    assert space.act_bits(space.act_indices([3])) == (3,) * 6 + (8,)


def test_widths_outside_the_space_are_refused() -> None:
    space = SearchSpace(network("vgg_tiny"), weight_widths=(2, 4, 8))
    with pytest.raises(UserError) as failure:
        space.weight_indices((2, 2, 3, 2, 2, 2, 8))
    assert str(failure.value) == "conv3 of vgg_tiny has no weight width of 3 in this search; choose one of 2, 4, 8"
    with pytest.raises(UserError, match=r"^dense of vgg_tiny has no act width of 4 in this search; choose one of 8$"):
        space.act_indices((4,) * 7)
    with pytest.raises(UserError, match="vgg_tiny takes 7 weight widths"):
        space.weight_indices((2, 2))
    with pytest.raises(UserError, match=r"^vgg_tiny has no layer 'conv9'; its layers are conv1, "):
        space.index("weight", "conv9", 4)


@pytest.mark.parametrize("indices", [(0,) * 6, (0,) * 6 + (1,), (-1,) + (0,) * 6])
def test_wrong_places_are_refused(indices: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"^indices must .*, not \("):
        SearchSpace(network("vgg_tiny")).weight_bits(indices)


@pytest.mark.parametrize(
    ("widths", "error", "message"),
    [
        ((), ValueError, "weight_widths must be ascending widths from 2 to 8, not ()"),
        ((4, 4), ValueError, "weight_widths must be ascending widths from 2 to 8, not (4, 4)"),
        ((8, 2), ValueError, "weight_widths must be ascending widths from 2 to 8, not (8, 2)"),
        ((1, 2), ValueError, "weight_widths must be ascending widths from 2 to 8, not (1, 2)"),
        ((8, 9), ValueError, "weight_widths must be ascending widths from 2 to 8, not (8, 9)"),
        (4, TypeError, "weight_widths must be a tuple of integers, not 4"),
        ("248", TypeError, "weight_widths must be a tuple of integers, not '248'"),
        ((2.0, 4), TypeError, "weight_widths must be a tuple of integers, not (2.0, 4)"),
        ((True, 4), TypeError, "weight_widths must be a tuple of integers, not (True, 4)"),
    ],
)
def test_wrong_width_sets_are_refused(widths: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error) as failure:
        SearchSpace(network("vgg_tiny"), weight_widths=widths)
    assert str(failure.value) == message


def test_the_table_is_checked_and_lists_do_as_widths() -> None:
    with pytest.raises(TypeError, match=r"^table must be a NetworkTable, not 'vgg_tiny'$"):
        SearchSpace("vgg_tiny")  # type: ignore[arg-type]
    assert SearchSpace(network("vgg_tiny"), act_widths=[2, 4]).act_widths == (2, 4)  # type: ignore[arg-type]
