"""Packings: densities against a table, arithmetic against sums written out, and how tight the guard bits are."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from mixq.packing import KERNELS, WIDTHS, Packing, candidates, solve

Array = npt.NDArray[np.int64]

ALL = "accumulations in P, b<=0 LUT-known LSBs (d = DSP pair 2P, s = operand split)"
TABLES: dict[str, dict[str, Any]] = {
    f"k{kernel}, L>={deep} {ALL}": {"kernel": kernel, "accumulate": deep} for kernel in KERNELS for deep in (1, 4)
} | {
    f"batch-1 matrix-vector (one activation), L>={deep}, b<=0": {"kernel": 1, "pixels": 1, "accumulate": deep}
    for deep in (1, 4)
}
#: Cells that one DSP without LUT-known bits reaches (the others take pairs of DSPs or split operands).
CELLS = {"k3, L>=1": 14, "k1, L>=1": 42, "k5, L>=1": 7, "k3, L>=4": 10, "k1, L>=4": 43, "k5, L>=4": 15, "batch-1 ": 49}


@cache
def every_candidate() -> tuple[Packing, ...]:
    """The candidates of all pairs of widths and all kernels, equal arithmetic only once."""
    found: dict[tuple[Any, ...], Packing] = {}
    for weight_bits, act_bits, kernel in product(WIDTHS, WIDTHS, KERNELS):
        for packing in candidates(weight_bits, act_bits, kernel):
            found.setdefault(tuple(vars(replace(packing, kernel=5)).values()), packing)
    return tuple(found.values())


def act_range(packing: Packing) -> tuple[int, int]:
    most = 1 << packing.act_bits
    return (-most // 2, most // 2 - 1) if packing.act_signed else (0, most - 1)


def sums(packing: Packing, x: Array, w: Array) -> Array:
    """Lanes (..., channels, positions) as sums of products over n + k = position and over L."""
    out = np.zeros((*x.shape[:-2], packing.channels, packing.pixels + packing.taps - 1), np.int64)
    for n in range(packing.pixels):
        for k in range(packing.taps):
            out[..., n + k] += (x[..., n, None] * w[..., k]).sum(-2)
    return out


# -- densities -------------------------------------------------------------------------------------


def cells(text: str, title: str) -> Iterator[tuple[int, int, str]]:
    """Rows of a table of tables.md: weight bits, activation bits, cell."""
    body = text.split(f"### {title}\n", 1)[1].split("###")[0]
    for row in re.findall(r"^\| \*\*(\d)\*\* \|(.*)\|$", body, flags=re.MULTILINE):
        for act_bits, cell in zip(range(2, 9), row[1].split("|"), strict=True):
            yield int(row[0]), act_bits, cell.strip()


@pytest.mark.parametrize("title", TABLES, ids=lambda title: title[:8])
def test_densities_equal_the_tables(title: str, shared: Path) -> None:
    text = (shared / "reference" / "packing" / "tables.md").read_text()
    compared = 0
    for weight_bits, act_bits, cell in cells(text, title):
        density = solve(weight_bits, act_bits, **TABLES[title]).density
        if cell.endswith(("d", "s")):
            assert density <= float(cell.rstrip("ds")) + 0.005, (weight_bits, act_bits)
        else:
            compared += 1
            assert f"{density:.2f}".rstrip("0").rstrip(".") == cell, (weight_bits, act_bits)
    assert compared == CELLS[title[:8]]


@pytest.mark.parametrize(
    "request_, density, stride, pixels, accumulate_max",
    [
        ((4, 4, 3), 6, 11, 2, 9),
        ((2, 2, 3), 15, 6, 5, 3),
        ((3, 3, 3), 12, 7, 4, 1),
        ((2, 2, 1), 12, None, None, 1),
        ((4, 4, 1), 6, 7, 2, 1),
        ((2, 4, 3), 12, None, 4, 1),
    ],
)
def test_known_packings(
    request_: tuple[int, int, int], density: float, stride: int | None, pixels: int | None, accumulate_max: int
) -> None:
    packing = solve(*request_)
    assert (packing.density, packing.accumulate_max) == (density, accumulate_max)
    if stride is not None:
        offsets = [lane.offset for lane in packing.lanes]
        assert offsets == list(range(0, stride * len(offsets), stride))
    if pixels is not None:
        assert packing.pixels == pixels


@pytest.mark.parametrize("kernel", KERNELS)
def test_candidates_are_a_front(kernel: int) -> None:
    for weight_bits, act_bits in product(WIDTHS, WIDTHS):
        found = candidates(weight_bits, act_bits, kernel)
        assert found[0].density == max(p.density for p in found)
        assert [p.density for p in found] == sorted((p.density for p in found), reverse=True)
        for one, other in product(found, found):
            better = one.density >= other.density and one.accumulate_max >= other.accumulate_max
            assert one is other or one.pixels != other.pixels or not better


# -- geometry --------------------------------------------------------------------------------------


def test_operands_fit_their_ports_and_lanes_their_accumulator() -> None:
    assert len(every_candidate()) > 500
    for packing in every_candidate():
        for act, weight in product(act_range(packing), packing.weight_bounds):
            x = packing.pack_activations(np.full(packing.pixels, act))
            w = packing.pack_weights(np.full((packing.channels, packing.taps), weight))
            assert -(1 << packing.act_port_bits - 1) <= int(x) < 1 << packing.act_port_bits - 1
            assert -(1 << packing.weight_port_bits - 1) <= int(w) < 1 << packing.weight_port_bits - 1
        assert sum(lane.width for lane in packing.lanes) == 48 and packing.lanes[0].offset == 0
        assert {(lane.channel, lane.position) for lane in packing.lanes} == set(
            product(range(packing.channels), range(packing.pixels + packing.taps - 1))
        )
        assert {packing.act_port_bits, packing.weight_port_bits} == {18, 27}
        # Every product lands in the lane of its channel and position.
        where = {(lane.channel, lane.position): lane.offset for lane in packing.lanes}
        for m, n, k in product(range(packing.channels), range(packing.pixels), range(packing.taps)):
            assert packing.act_offsets[n] + packing.weight_offsets[m][k] == where[m, n + k]
        assert packing.macs == packing.pixels * packing.taps * packing.channels
        assert packing.passes * packing.taps >= packing.kernel > (packing.passes - 1) * packing.taps


# -- arithmetic ------------------------------------------------------------------------------------


def operand_space(packing: Packing) -> float:
    """Bits of all operands of one product."""
    low, high = packing.weight_bounds
    return packing.act_bits * packing.pixels + math.log2(high - low + 1) * packing.channels * packing.taps


def check_exhaustively(packing: Packing) -> None:
    """Every value of every operand, one product."""
    low, high = packing.weight_bounds
    weights = packing.channels * packing.taps
    lowest, highest = act_range(packing)
    sizes = [highest - lowest + 1] * packing.pixels + [high - low + 1] * weights
    digits = np.unravel_index(np.arange(math.prod(sizes)), sizes)
    x = np.stack(digits[: packing.pixels], -1)[:, None, :].astype(np.int64) + lowest
    w = np.stack(digits[packing.pixels :], -1).reshape(-1, 1, packing.channels, packing.taps).astype(np.int64) + low
    assert np.array_equal(packing.compute(x, w), sums(packing, x, w)), packing


def test_every_operand() -> None:
    small = [packing for packing in every_candidate() if operand_space(packing) <= 14]
    assert len(small) > 100
    for packing in small:
        check_exhaustively(packing)


@pytest.mark.slow
def test_every_operand_up_to_20_bits() -> None:
    middle = [packing for packing in every_candidate() if 14 < operand_space(packing) <= 20]
    assert len(middle) > 100
    for packing in middle:
        check_exhaustively(packing)


def check_at_random(packing: Packing, seed: int) -> None:
    """Random operands, operands at the ends of their ranges, and both, at several depths."""
    rng = np.random.default_rng(seed)
    for products in sorted({1, min(2, packing.accumulate_max), min(packing.accumulate_max, 64)}):
        size_x = (24, products, packing.pixels)
        size_w = (24, products, packing.channels, packing.taps)
        low, high = act_range(packing)
        x, w = rng.integers(low, high + 1, size_x), rng.integers(*packing.weight_bounds, size_w, endpoint=True)
        x[8:] = rng.choice([low, high], size_x)[8:]
        w[8:] = rng.choice(packing.weight_bounds, size_w)[8:]
        x[16:], w[16:] = x[16:, :1], w[16:, :1]
        assert np.array_equal(packing.compute(x, w), sums(packing, x, w)), (packing, seed)


def test_random_and_corner_operands() -> None:
    for seed, packing in enumerate(every_candidate()):
        check_at_random(packing, seed)


@pytest.mark.parametrize("weight_range, act_signed", [("full", False), ("narrow", True), ("full", True)])
def test_other_ranges(weight_range: Any, act_signed: bool) -> None:
    for weight_bits, act_bits in [(2, 2), (3, 5), (4, 4), (5, 3), (8, 8)]:
        for packing in candidates(weight_bits, act_bits, 3, weight_range=weight_range, act_signed=act_signed)[:6]:
            check_at_random(packing, 0)


def lifted(packing: Packing, act: int, weight: int, products: int) -> tuple[list[int], list[int]]:
    """Lanes seen and lanes true of ``products`` equal products of equal operands, in Python's integers."""
    x = int(packing.pack_activations(np.full(packing.pixels, act)))
    w = int(packing.pack_weights(np.full((packing.channels, packing.taps), weight)))
    p = (products * x * w + packing.lift(products)) % (1 << 48)
    lanes = packing.read_lanes(np.array(p))
    true = [
        products * lane.terms * (act - packing.recentre) * weight + packing.lane_lift(lane, products)
        for lane in packing.lanes
    ]
    return [int(lanes[lane.channel, lane.position]) for lane in packing.lanes], true


def test_guard_bits_are_enough_and_not_one_product_too_many() -> None:
    for packing in every_candidate():
        for act, weight in product(act_range(packing), packing.weight_bounds):
            seen, true = lifted(packing, act, weight, packing.accumulate_max)
            assert seen == true, packing
        corners = product(act_range(packing), packing.weight_bounds)
        one_more = [lifted(packing, *corner, packing.accumulate_max + 1) for corner in corners]
        assert any(seen != true for seen, true in one_more), packing


# -- stored weights --------------------------------------------------------------------------------


def widened(packing: Packing, word: int) -> int:
    """The operand that wiring makes of a stored word: each field sign-extended up to the next."""
    operand = position = 0
    ends = [offset for offset, *_ in packing.weight_fields[1:]] + [packing.weight_port_bits]
    for (offset, bits, _, _), end in zip(packing.weight_fields, ends, strict=True):
        field = word >> position & ((1 << bits) - 1)
        signed = field - (field >> (bits - 1) << bits)
        operand |= (signed & ((1 << (end - offset)) - 1)) << offset
        position += bits
    return operand - (operand >> (packing.weight_port_bits - 1) << packing.weight_port_bits)


def test_stored_weights_give_the_operand_and_come_back() -> None:
    for seed, packing in enumerate(every_candidate()):
        rng = np.random.default_rng(seed)
        shape = (16, packing.channels, packing.taps)
        weights = rng.integers(*packing.weight_bounds, shape, endpoint=True)
        weights[:8] = rng.choice([*packing.weight_bounds, 0], shape)[:8]
        words = packing.encode_weights(weights)
        assert words.min() >= 0 and int(words.max()) < 1 << packing.stored_bits
        assert np.array_equal(packing.decode_weights(words), weights)
        assert [widened(packing, int(word)) for word in words] == packing.pack_weights(weights).tolist(), packing


def test_narrow_weights_are_stored_in_their_width() -> None:
    assert solve(4, 4).stored_bits == 3 * 4
    assert solve(4, 4, weight_range="full").stored_bits == 3 * 4 + 2


# -- what is refused -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"weight_bits": 1}, "weight_bits must be from 2 to 8, not 1"),
        ({"weight_bits": 9}, "weight_bits must be from 2 to 8, not 9"),
        ({"act_bits": 0}, "act_bits must be from 2 to 8, not 0"),
        ({"act_bits": -4}, "act_bits must be from 2 to 8, not -4"),
        ({"kernel": 2}, "kernel must be 1, 3 or 5, not 2"),
        ({"pixels": 0}, "pixels must be at least 1, not 0"),
        ({"residue_bits": 1}, "residue_bits must be 0, not 1"),
        ({"pixels": 3, "accumulate": 19}, "accumulate must be at most 18, not 19"),
        ({"accumulate": 0}, "accumulate must be at least 1, not 0"),
        ({"pixels": 20}, "pixels must be few enough for a port, not 20"),
        ({"weight_range": "wide"}, "weight_range must be 'full' or 'narrow', not 'wide'"),
        ({"device": "dsp58"}, "device must be one of dsp48e2, not 'dsp58'"),
    ],
)
def test_solve_refuses(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as error:
        solve(**{"weight_bits": 4, "act_bits": 4} | arguments)
    assert str(error.value) == message


@pytest.mark.parametrize("value", [4.0, True, "4", None])
def test_solve_refuses_what_is_no_integer(value: Any) -> None:
    with pytest.raises(TypeError) as error:
        solve(value, 4)
    assert str(error.value) == f"weight_bits must be an integer, not {value!r}"


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"weight_bits": 9}, "weight_bits must be from 2 to 8, not 9"),
        ({"act_bits": 1}, "act_bits must be from 2 to 8, not 1"),
        ({"kernel": 4}, "kernel must be 1, 3 or 5, not 4"),
        ({"weight_range": "wide"}, "weight_range must be 'full' or 'narrow', not 'wide'"),
        ({"device": "dsp58"}, "device must be one of dsp48e2, not 'dsp58'"),
        ({"taps": 0}, "taps must be from 1 to kernel, not 0"),
        ({"taps": 4}, "taps must be from 1 to kernel, not 4"),
        ({"pixels": 0}, "pixels and channels must be from 1 to 64, not (0, 1)"),
    ],
)
def test_packing_refuses(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as error:
        replace(solve(4, 4), **fields)
    assert str(error.value) == message


@pytest.mark.parametrize(
    "fields",
    [
        {"pixels": 3},  # the third activation lies beyond the port
        {"act_on_wide": True},  # three taps lie beyond the narrow port
        {"tap_stride": 10},  # lanes of one position would lie at different offsets
        {"pixel_stride": 6, "tap_stride": 6},  # not even one product fits its lane
        {"pixel_stride": 3, "tap_stride": 3},  # fields overlap
    ],
)
def test_packing_refuses_what_does_not_fit(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError) as error:
        replace(solve(4, 4), **fields)
    assert str(error.value).startswith("operands must fit their ports and lanes must hold one product, not Packing(")


def test_most_negative_weight_decides_about_a_port() -> None:
    # 9 multiplications with -8 excluded, where 18 bits hold -7 but not -8 in the top field.
    narrow = next(p for p in candidates(4, 2, 3) if p.act_on_wide and p.pixels == 4 and p.taps == 3)
    assert narrow.weight_offsets[0][-1] + 4 == narrow.weight_port_bits
    with pytest.raises(ValueError, match=r"^operands must fit"):
        replace(narrow, weight_range="full")


@pytest.mark.parametrize(
    "activations, weights, message",
    [
        (np.zeros((10, 2)), np.zeros((10, 1, 3)), "activations must hold from 1 to 9 products, not 10"),
        (np.zeros((0, 2)), np.zeros((0, 1, 3)), "activations must hold from 1 to 9 products, not 0"),
        (np.full((1, 2), 16), np.zeros((1, 1, 3)), "activations must be from 0 to 15, not 16..16"),
        (np.full((1, 2), -1), np.zeros((1, 1, 3)), "activations must be from 0 to 15, not -1..-1"),
        (np.zeros((1, 2)), np.full((1, 1, 3), -8), "weights must be from -7 to 7"),
    ],
)
def test_compute_refuses(activations: Array, weights: Array, message: str) -> None:
    with pytest.raises(ValueError) as error:
        solve(4, 4).compute(activations, weights)
    assert str(error.value) == message


def test_encode_refuses() -> None:
    with pytest.raises(ValueError) as error:
        solve(4, 4).encode_weights(np.zeros((2, 3, 1)))
    assert str(error.value) == "weights must end in shape (1, 3), not (2, 3, 1)"
    with pytest.raises(ValueError) as error:
        solve(4, 4).encode_weights([[0, 8, 0]])
    assert str(error.value) == "weights must be from -7 to 7, not 0..8"


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"pixels": 1 << 31}, ValueError, "pixels and channels must be from 1 to 64, not (2147483648, "),
        ({"channels": 65}, ValueError, "pixels and channels must be from 1 to 64, not ("),
        ({"act_on_wide": []}, TypeError, "act_on_wide must be True or False, not []"),
        ({"act_signed": 1}, TypeError, "act_signed must be True or False, not 1"),
    ],
)
def test_geometry_from_a_hostile_file(change: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error) as raised:
        replace(solve(4, 4), **change)
    assert str(raised.value).startswith(message)
