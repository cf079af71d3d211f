"""Packings: what a unit of DSPs computes of codes, how weights are stored, how operands are split, what is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from mixq.packing import Packing, Part, candidates, solve
from tests.mixq.packing.cases import Array, direct_sums, draw, every_packing, small


def nine() -> Packing:
    """Sums of nine products of two 4-bit activations and three 4-bit taps."""
    return Packing(4, 4, 3, (Part(small()),), weight_range="narrow")


def split(*, act_signed: bool = False) -> Packing:
    """8-bit weights split for 2-bit activations: the densest there is."""
    return next(p for p in candidates(8, 2, 3, act_signed=act_signed) if p.split)


def check_at_random(packing: Packing, products: int, seed: int, rows: int = 9) -> None:
    rng = np.random.default_rng(seed)
    x = draw(rng, *packing.act_bounds, (rows, products, packing.pixels))
    w = draw(rng, *packing.weight_bounds, (rows, products, packing.channels, packing.taps))
    if packing.weight_bits == 1:
        w[w == 0] = -1
    assert np.array_equal(packing.compute(x, w), direct_sums(x, w)), (packing, products, seed)


# -- arithmetic ------------------------------------------------------------------------------------


def test_every_packing_computes_sums_of_products_of_codes() -> None:
    assert len(every_packing()) > 4000
    for seed, packing in enumerate(every_packing()):
        check_at_random(packing, min(packing.accumulate_max, (1, 3, 12)[seed % 3]), seed)


@pytest.mark.parametrize(("weight_range", "act_signed"), [("full", False), ("narrow", True), ("full", True)])
@pytest.mark.parametrize("widths", [(1, 1), (1, 4), (2, 2), (3, 5), (4, 4), (5, 3), (8, 2), (8, 8)])
def test_other_ranges(weight_range: Any, act_signed: bool, widths: tuple[int, int]) -> None:
    for residue_bits in (0, 1, 2):
        found = candidates(*widths, 3, residue_bits, weight_range=weight_range, act_signed=act_signed)
        assert found
        for packing in found[:8]:
            assert (packing.weight_range, packing.act_signed) == (weight_range, act_signed)
            check_at_random(packing, min(packing.accumulate_max, 5), 0)


def test_other_devices() -> None:
    for widths in [(1, 1), (2, 2), (4, 4), (8, 8), (8, 2)]:
        for kernel in (1, 3):
            found = candidates(*widths, kernel, 2, device="dsp48e1")
            assert found and not any(packing.tracked for packing in found)
            for packing in found:
                assert packing.device == "dsp48e1"
                ports = {
                    port
                    for part in packing.parts
                    for port in (part.product.act_port_bits, part.product.weight_port_bits)
                }
                assert ports == {18, 25}
                check_at_random(packing, min(packing.accumulate_max, 5), 0)


def test_codes_and_bounds() -> None:
    assert (nine().act_bounds, nine().weight_bounds, nine().recentre) == ((0, 15), (-7, 7), 8)
    signed = replace(nine(), act_signed=True)
    assert (signed.act_bounds, signed.recentre) == ((-8, 7), 0)
    assert Packing(4, 4, 3, (Part(small(weights=(-8, 7), stride=10)),)).weight_bounds == (-8, 7)
    one_bit = solve(1, 1, 1)
    assert (one_bit.act_bounds, one_bit.weight_bounds) == ((0, 1), (-1, 1))
    assert nine().sum_bounds(9) == (-9 * 56, 9 * 56)


# -- sizes -----------------------------------------------------------------------------------------


def test_sizes_of_a_plain_packing() -> None:
    packing = nine()
    assert (packing.pixels, packing.taps, packing.channels, packing.positions) == (2, 3, 1, 4)
    assert (packing.macs, packing.dsps, packing.passes, packing.density, packing.accumulate_max) == (6, 1, 1, 6.0, 9)
    longer = replace(packing, kernel=7)
    assert (longer.passes, longer.density) == (3, 14 / 3)


def test_a_unit_of_a_split_operand_keeps_all_its_dsps_busy() -> None:
    packing = split()
    upper, lower = (part.product for part in packing.parts)
    assert packing.pixels % upper.pixels == packing.pixels % lower.pixels == 0
    units = [
        packing.pixels // p.pixels * (packing.channels // p.channels) * -(-packing.taps // p.taps) * p.dsps
        for p in (upper, lower)
    ]
    assert packing.dsps == sum(units) == sum(slot.product.dsps for slot in packing.slots)
    assert packing.density == packing.pixels * packing.channels * 3 / packing.dsps
    assert packing.accumulate_max == min(upper.accumulate_max, lower.accumulate_max)


def test_slots_take_every_operand_once_for_each_part() -> None:
    for packing in every_packing():
        if not packing.split:
            assert len(packing.slots) == 1
            continue
        for index in range(2):
            taken = np.zeros((packing.channels, packing.taps, packing.pixels), np.int64)
            for slot in packing.slots:
                p = slot.product
                if slot.part == index:
                    taken[
                        slot.channel : slot.channel + p.channels,
                        slot.tap : slot.tap + p.taps,
                        slot.pixel : slot.pixel + p.pixels,
                    ] += 1
            assert (taken == 1).all(), packing


def test_parts_of_codes_add_up() -> None:
    for packing in every_packing():
        if packing.split:
            weights = np.arange(packing.weight_bounds[0], packing.weight_bounds[1] + 1)
            parts = [packing.weight_part(part, weights) << part.weight_shift for part in packing.parts]
            assert np.array_equal(sum(parts) if packing.parts[0].weight_shift else parts[0], weights)
            acts = np.arange(packing.act_bounds[0], packing.act_bounds[1] + 1)
            shifted = [packing.act_part(part, acts) << part.act_shift for part in packing.parts]
            total = sum(shifted) if packing.parts[0].act_shift else shifted[0]
            assert np.array_equal(total, acts - packing.recentre)
            for part in packing.parts:
                p = part.product
                assert packing.weight_part(part, weights).min() >= p.weight_low
                assert packing.weight_part(part, weights).max() <= p.weight_high
                assert packing.act_part(part, acts).min() >= -p.half and packing.act_part(part, acts).max() < p.half


# -- stored weights --------------------------------------------------------------------------------


def test_stored_weights_come_back() -> None:
    wide = 0
    for seed, packing in enumerate(every_packing()):
        rng = np.random.default_rng(seed)
        weights = draw(rng, *packing.weight_bounds, (6, 1, packing.channels, packing.taps))[:, 0]
        words = packing.encode_weights(weights)
        assert words.min() >= 0 and int(words.max()) < 1 << packing.stored_bits
        assert words.dtype == (np.int64 if packing.stored_bits <= 62 else object)
        wide += packing.stored_bits > 62
        assert np.array_equal(packing.decode_weights(words), weights), packing
    assert wide > 10


def test_narrow_weights_are_stored_in_their_width() -> None:
    assert nine().stored_bits == 3 * 4
    assert Packing(4, 4, 3, (Part(small(weights=(-8, 7), stride=10)),)).stored_bits == 3 * 4 + 2


def test_weights_are_stored_less_what_they_borrow() -> None:
    # 5, -3 and 2: the second field lends the third 1, and gets nothing from the first.
    (word,) = nine().encode_weights([[[5, -3, 2]]])
    assert [int(word) >> 4 * i & 15 for i in range(3)] == [5, 16 - 3, 2 - 1]


# -- what is refused -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"weight_bits": 9}, ValueError, "weight_bits must be from 1 to 8, not 9"),
        ({"weight_bits": 0}, ValueError, "weight_bits must be from 1 to 8, not 0"),
        ({"act_bits": 4.0}, ValueError, "act_bits must be from 1 to 8, not 4.0"),
        ({"kernel": 4}, ValueError, "kernel must be 1, 3, 5 or 7, not 4"),
        ({"kernel": 1}, ValueError, "taps must be from 1 to kernel, not 3"),
        ({"weight_range": "wide"}, ValueError, "weight_range must be 'full' or 'narrow', not 'wide'"),
        ({"act_signed": 1}, TypeError, "act_signed must be True or False, not 1"),
        ({"parts": [1]}, TypeError, "parts must be a tuple of Part, not [1]"),
        ({"parts": (1,)}, TypeError, "parts must be a tuple of Part, not (1,)"),
        ({"parts": ()}, ValueError, "parts must make up the operands, not ()"),
    ],
)
def test_packing_refuses(change: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error) as raised:
        replace(nine(), **change)
    assert str(raised.value) == message


@pytest.mark.parametrize(
    "change",
    [
        {"act_bits": 5},
        {"weight_bits": 5},
        {"weight_range": "full"},
        {"parts": (Part(small(), act_shift=1),)},
        {"parts": (Part(small()), Part(small()))},
        {"parts": (Part(small()),) * 3},
        {"parts": (Part(small(), weight_shift=2), Part(small()))},
    ],
)
def test_parts_must_make_up_the_operands(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError) as error:
        replace(nine(), **change)
    assert str(error.value).startswith("parts must make up the operands, not (Part(product=Product(")


def test_parts_of_a_split_must_agree() -> None:
    packing = split()
    with pytest.raises(ValueError, match=r"^parts must make up the operands, not \("):
        replace(packing, parts=packing.parts[::-1])
    lower = packing.parts[1]
    other = replace(lower, product=replace(lower.product, device="dsp48e1", taps=1, pixels=1))
    with pytest.raises(ValueError, match=r"^parts must be for one device and not tracked, not \("):
        replace(packing, parts=(packing.parts[0], other))


def test_a_unit_has_no_more_dsps_than_can_be_looked_at() -> None:
    # 25 pixels in one product and 13 in the other: 13 + 25 products for 325 pixels, each for 7 taps.
    share: dict[str, Any] = {"act_bits": 1, "taps": 1, "act_on_wide": True}
    upper = Part(small(**share, pixels=25, stride=1, weights=(-1, 0)), weight_shift=2)
    lower = Part(small(**share, pixels=13, stride=2, weights=(0, 3)))
    with pytest.raises(ValueError, match=r"^parts must make a unit of at most 256 DSPs, not 266$"):
        Packing(3, 1, 7, (upper, lower), weight_range="narrow")
    assert Packing(3, 1, 5, (upper, lower), weight_range="narrow").dsps == 5 * 38


@pytest.mark.parametrize(
    ("activations", "weights", "message"),
    [
        (np.zeros((10, 2)), np.zeros((10, 1, 3)), "activations must hold from 1 to 9 products, not 10"),
        (np.zeros((0, 2)), np.zeros((0, 1, 3)), "activations must hold from 1 to 9 products, not 0"),
        (np.full((1, 2), 16), np.zeros((1, 1, 3)), "activations must be from 0 to 15, not 16..16"),
        (np.full((1, 2), -1), np.zeros((1, 1, 3)), "activations must be from 0 to 15, not -1..-1"),
        (np.zeros((1, 2)), np.full((1, 1, 3), -8), "weights must be from -7 to 7, not -8..-8"),
        (np.zeros((1, 2)), np.zeros((1, 3, 1)), "weights must end in shape (1, 3), not (1, 3, 1)"),
    ],
)
def test_compute_refuses(activations: Array, weights: Array, message: str) -> None:
    with pytest.raises(ValueError) as error:
        nine().compute(activations, weights)
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (np.zeros((2, 3, 1)), "weights must end in shape (1, 3), not (2, 3, 1)"),
        ([[0, 8, 0]], "weights must be from -7 to 7, not 0..8"),
    ],
)
def test_encode_refuses(weights: Any, message: str) -> None:
    with pytest.raises(ValueError) as error:
        nine().encode_weights(weights)
    assert str(error.value) == message
