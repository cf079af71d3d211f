"""One product: where its lanes lie, what it computes, how tight its guard bits are, and what is refused."""

from __future__ import annotations

from itertools import pairwise, product
from typing import Any

import numpy as np
import pytest

from mixq.packing import Product, candidates
from mixq.packing.arithmetic import operands, sums
from tests.mixq.packing.cases import Array, direct_sums, draw, every_product, small

TWELVE: dict[str, Any] = {"pixels": 4, "stride": 7, "act_on_wide": True, "residue_bits": 2}
"""Six lanes, 7 bits apart, of twelve 4-bit products."""


def ends(found: Product) -> tuple[tuple[int, int], tuple[int, int]]:
    return (-found.half, found.half - 1), (found.weight_low, found.weight_high)


def check_at_random(found: Product, products: int, seed: int, rows: int = 12) -> None:
    rng = np.random.default_rng(seed)
    acts, weights = ends(found)
    x = draw(rng, *acts, (rows, products, found.pixels))
    w = draw(rng, *weights, (rows, products, found.channels, found.taps))
    assert np.array_equal(sums(found, x, w), direct_sums(x, w)), (found, products, seed)


# -- geometry --------------------------------------------------------------------------------------


def test_every_small_product_lands_in_its_lane() -> None:
    assert len(every_product()) > 2000
    for found in every_product():
        where = {(lane.channel, lane.position): lane for lane in found.lanes}
        assert set(where) == set(product(range(found.channels), range(found.pixels + found.taps - 1)))
        landed = dict.fromkeys(where, 0)
        for m, n, k in product(range(found.channels), range(found.pixels), range(found.taps)):
            lane = where[m, n + k]
            assert found.act_offsets[n] + found.weight_offsets[m][k] == lane.offset
            assert lane.word == ((n + k) % 2 if found.pair else 0)
            landed[m, n + k] += 1
        assert {at: lane.terms for at, lane in where.items()} == landed
        assert found.macs == sum(landed.values()) == found.pixels * found.taps * found.channels


def test_lanes_share_out_the_accumulator() -> None:
    for found in every_product():
        for word in range(found.words):
            lanes = [lane for lane in found.lanes if lane.word == word]
            for lane, above in pairwise(lanes):
                assert lane.offset + lane.width == above.offset
            # The halved sum and difference of a pair are known to 47 bits.
            assert lanes[-1].offset + lanes[-1].width == (47 if found.pair else 48)
            assert all(lane.width >= 1 for lane in lanes)


def test_operands_fit_their_ports() -> None:
    for found in every_product():
        assert {found.act_port_bits, found.weight_port_bits} == {18, 27}
        (low, high), (least, most) = ends(found)
        for pattern in product((0, 1), repeat=2):  # even and odd places at either end
            x = np.array([(low, high)[pattern[n % 2]] for n in range(found.pixels)])
            w = np.array([[(least, most)[pattern[k % 2]] for k in range(found.taps)]] * found.channels)
            for a, b in operands(found, x, w):
                assert -(1 << (found.act_port_bits - 1)) <= int(a) < 1 << (found.act_port_bits - 1), found
                assert -(1 << (found.weight_port_bits - 1)) <= int(b) < 1 << (found.weight_port_bits - 1), found


def test_the_second_dsp_of_a_pair_sees_odd_places_negated() -> None:
    pair = next(p.product for p in candidates(8, 8, 3) if not p.split and p.product.pair)
    assert (pair.pixels, pair.taps, pair.pixel_stride, pair.act_on_wide) == (2, 3, 9, False)
    (x, w), (y, v) = operands(pair, np.array([3, 5]), np.array([[7, 11, 13]]))
    assert (int(x), int(y)) == (3 + (5 << 9), 3 - (5 << 9))
    assert (int(w), int(v)) == (7 + (11 << 9) + (13 << 18), 7 - (11 << 9) + (13 << 18))


# -- arithmetic ------------------------------------------------------------------------------------


def test_random_and_extreme_operands_of_every_product() -> None:
    for seed, found in enumerate(every_product()):
        depths = {20} if found.tracked else {1, min(2, found.accumulate_max), min(found.accumulate_max, 20)}
        for products in sorted(depths):
            check_at_random(found, products, seed)


@pytest.mark.slow
def test_long_carry_tracked_sums() -> None:
    for seed, found in enumerate(every_product()):
        if found.tracked:
            check_at_random(found, 1000, seed)


def test_carry_tracked_sums_outgrow_their_lanes_and_the_accumulator() -> None:
    found = small(**TWELVE, tracked=True)
    x, w = np.full((1, 3000, 4), -8), np.full((1, 3000, 1, 3), -7)
    seen = sums(found, x, w)
    assert seen[0, 0].tolist() == [3000 * 56 * terms for terms in (1, 2, 3, 3, 2, 1)]
    assert seen.max() > 1 << 7 and 3000 * (56 + 56) << found.lanes[-1].offset > 1 << 48


def test_known_residues_of_twelve_products() -> None:
    # 1, 2, 3, 3, 2, 1 products from 0 to 112 in lanes of 7 bits: they spill 0, 224 >> 7 = 1, 337 >> 7 = 2 and so on.
    found = small(**TWELVE)
    assert found.product_bounds == (-56, 56)
    assert found.residues(-56, 56) == (0, 0, 1, 2, 2, 1)
    # With 127 from before: 239 >> 7 = 1, 352 >> 7 = 2, 465 >> 7 = 3, 466 >> 7 = 3, 354 >> 7 = 2.
    assert small(**TWELVE, tracked=True).residues(-56, 56) == (0, 1, 2, 2, 2, 2)
    assert found.residues(-112, 112) is None and found.accumulate_max == 1


def test_smaller_weights_are_summed_deeper() -> None:
    found = small(**TWELVE)
    rng = np.random.default_rng(1)
    x, w = rng.integers(-8, 8, (50, 3, 4)), rng.integers(-2, 3, (50, 3, 1, 3))
    with pytest.raises(ValueError, match=r"^activations must hold at most 1 products, not 3$"):
        sums(found, x, w)
    assert np.array_equal(sums(found, x, w, (3 * -16, 3 * 16)), direct_sums(x, w))


# -- guard bits ------------------------------------------------------------------------------------


def holds(found: Product, products: int) -> bool:
    """The condition on guard bits, from the mathematics: L V_i + h_(i-1) < 2^(s_i + b_(i+1))."""
    corners = [x * w for x, w in product(*ends(found))]
    span = max(corners) - min(corners)
    for word in range(found.words):
        lanes = [lane for lane in found.lanes if lane.word == word]
        spill = 0
        for i, lane in enumerate(lanes):
            known = min(found.residue_bits, lanes[i + 1].width) if i + 1 < len(lanes) else 0
            most = products * lane.terms * span + spill
            if most >= 1 << (lane.width + known):
                return False
            spill = most // (1 << lane.width)
    return True


def test_sums_are_as_deep_as_guard_bits_allow() -> None:
    compared = 0
    for found in every_product():
        if not found.tracked:
            compared += 1
            assert holds(found, found.accumulate_max) and not holds(found, found.accumulate_max + 1), found
    assert compared > 2000


def test_the_deepest_sums_of_extreme_operands_are_exact() -> None:
    for found in every_product():
        if found.tracked or found.accumulate_max > 1000:
            continue
        acts, weights = ends(found)
        corners = np.array(list(product(acts, weights)))
        shape = (len(corners), found.accumulate_max)
        x = np.broadcast_to(corners[:, 0, None, None], (*shape, found.pixels))
        w = np.broadcast_to(corners[:, 1, None, None, None], (*shape, found.channels, found.taps))
        terms = np.zeros((found.channels, found.positions), np.int64)
        for lane in found.lanes:
            terms[lane.channel, lane.position] = lane.terms
        products = found.accumulate_max * corners.prod(1)
        assert np.array_equal(sums(found, x, w), products[:, None, None] * terms), found


@pytest.mark.parametrize("products", [10, 11, 1000])
def test_one_product_too_many_is_refused(products: int) -> None:
    with pytest.raises(ValueError) as error:
        sums(small(), np.zeros((products, 2), np.int64), np.zeros((products, 1, 3), np.int64))
    assert str(error.value) == f"activations must hold at most 9 products, not {products}"


# -- what is refused -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"act_on_wide": []}, TypeError, "act_on_wide must be True or False, not []"),
        ({"pair": 1}, TypeError, "pair must be True or False, not 1"),
        ({"tracked": None}, TypeError, "tracked must be True or False, not None"),
        ({"act_bits": 4.0}, TypeError, "act_bits must be an integer, not 4.0"),
        ({"pixel_stride": "11"}, TypeError, "pixel_stride must be an integer, not '11'"),
        ({"act_bits": 0}, ValueError, "act_bits must be from 1 to 8, not 0"),
        ({"act_bits": 9}, ValueError, "act_bits must be from 1 to 8, not 9"),
        ({"weights": (1, 7)}, ValueError, "weights must lie around 0 in 8 bits, not (1, 7)"),
        ({"weights": (-129, 7)}, ValueError, "weights must lie around 0 in 8 bits, not (-129, 7)"),
        ({"weights": (0, 0)}, ValueError, "weights must lie around 0 in 8 bits, not (0, 0)"),
        ({"residue_bits": 3}, ValueError, "residue_bits must be 0, 1 or 2, not 3"),
        ({"device": "dsp58"}, ValueError, "device must be one of dsp48e2, dsp48e1, not 'dsp58'"),
        ({"taps": 0}, ValueError, "pixels, taps and channels must be from 1 to 64, not (2, 0, 1)"),
        ({"pixels": 1 << 31}, ValueError, "pixels, taps and channels must be from 1 to 64, not (2147483648, 3, 1)"),
        ({"channels": 65}, ValueError, "pixels, taps and channels must be from 1 to 64, not (2, 3, 65)"),
        ({"tracked": True, "device": "dsp48e1"}, ValueError, "tracked must be one DSP48E2, not (False, 'dsp48e1')"),
        ({"tracked": True, "pair": True}, ValueError, "tracked must be one DSP48E2, not (True, 'dsp48e2')"),
    ],
)
def test_product_refuses(change: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error) as raised:
        small(**change)
    assert str(raised.value) == message


@pytest.mark.parametrize(
    "change",
    [
        {"pixels": 3},  # the third activation lies beyond the port
        {"act_on_wide": True},  # three taps lie beyond the narrow port
        {"tap_stride": 10},  # lanes of one position would lie at different offsets
        {"stride": 6},  # not even one product fits its lane
        {"stride": 3},  # fields overlap
        {"stride": -11},
        {"stride": 48},
        {"channels": 2},  # both channels in the same lanes
        {"block": 1, "block_stride": 4},  # blocks of pixels, with several taps
        {"pair": True, "pixels": 1},  # a pair needs lanes to tell apart
        {"weights": (-127, 127)},
    ],
)
def test_product_refuses_what_does_not_fit(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError) as error:
        small(**change)
    assert str(error.value).startswith("operands must fit their ports and lanes must hold one product, not Product(")


def test_most_negative_weight_decides_about_a_port() -> None:
    # The third tap, 14 bits up, holds -7 in 18 bits with all that lies below it, but not -8.
    assert small(**TWELVE, weights=(-7, 7)).weight_offsets == ((0, 7, 14),)
    with pytest.raises(ValueError, match=r"^operands must fit"):
        small(**TWELVE, weights=(-8, 7))


def test_the_wide_port_of_a_dsp48e1_is_narrower() -> None:
    # The third tap ends 26 bits up: in 27 bits, not in 25. Lanes of 10 bits hold 4 * 2 products from 0 to 112.
    assert small().weight_port_bits == 27
    with pytest.raises(ValueError, match=r"^operands must fit"):
        small(device="dsp48e1")
    found = small(device="dsp48e1", stride=10)
    assert (found.weight_port_bits, found.act_port_bits, found.accumulate_max) == (25, 18, 4)
    check_at_random(found, 4, 0, rows=99)


def test_lifts_are_what_takes_every_lane_to_zero() -> None:
    (lift,) = small().lift(-49)
    assert lift == sum(terms * 49 << offset for terms, offset in zip((1, 2, 2, 1), (0, 11, 22, 33), strict=True))
    pair = next(p.product for p in candidates(8, 8, 3) if not p.split and p.product.pair)
    plus, minus = pair.lift(-100)
    values: Array = np.array([100 * (1 << 0), 200 << 9, 200 << 18, 100 << 27])
    assert plus == values.sum() and minus == int((values * [1, -1, 1, -1]).sum()) % (1 << 48)
