"""The solver: densities against tables and against a plain search, and which packings it offers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import product
from math import ceil
from pathlib import Path
from typing import Any

import pytest

from mixq.packing import KERNELS, RESIDUE_BITS, WIDTHS, Packing, candidates, default_weight_range, solve, weight_bounds
from mixq.packing.search import search

TABLE_WIDTHS = range(2, 9)


def cells(shared: Path, title: str) -> Iterator[tuple[int, int, str]]:
    """Rows of a table of tables.md: weight bits, activation bits, cell."""
    text = (shared / "reference" / "packing" / "tables.md").read_text()
    body = text.split(f"### {title}\n", 1)[1].split("###")[0]
    rows = re.findall(r"^\| \*\*(\d)\*\* \|(.*)\|$", body, flags=re.MULTILINE)
    assert len(rows) == len(TABLE_WIDTHS)
    for weight_bits, row in rows:
        for act_bits, cell in zip(TABLE_WIDTHS, row.split("|"), strict=True):
            yield int(weight_bits), act_bits, cell.strip()


def densest(packings: tuple[Packing, ...], deep: int = 1) -> float:
    return max((p.density for p in packings if p.accumulate_max >= deep), default=0.0)


# -- densities -------------------------------------------------------------------------------------


@pytest.mark.parametrize("residue_bits", RESIDUE_BITS)
@pytest.mark.parametrize("kernel", [1, 3, 5])
def test_densities_equal_the_tables(kernel: int, residue_bits: int, shared: Path) -> None:
    title = f"k{kernel}, L>=1 accumulations in P, b<={residue_bits} LUT-known LSBs (d = DSP pair 2P, s = operand split)"
    for weight_bits, act_bits, cell in cells(shared, title):
        found = candidates(weight_bits, act_bits, kernel, residue_bits)
        assert densest(found) == pytest.approx(float(cell.rstrip("ds")), abs=0.005), (weight_bits, act_bits)


@pytest.mark.parametrize("residue_bits", RESIDUE_BITS)
@pytest.mark.parametrize("kernel", [1, 3, 5])
def test_densities_of_sums_of_four_reach_the_tables(kernel: int, residue_bits: int, shared: Path) -> None:
    title = f"k{kernel}, L>=4 accumulations in P, b<={residue_bits} LUT-known LSBs (d = DSP pair 2P, s = operand split)"
    for weight_bits, act_bits, cell in cells(shared, title):
        # Tracked carries reach more than the table.
        found = candidates(weight_bits, act_bits, kernel, residue_bits, accumulate=4)
        assert densest(found) >= float(cell.rstrip("ds")) - 0.005, (weight_bits, act_bits)


@pytest.mark.parametrize("residue_bits", RESIDUE_BITS)
@pytest.mark.parametrize("deep", [1, 4])
def test_densities_of_single_activations_reach_the_tables(deep: int, residue_bits: int, shared: Path) -> None:
    title = f"batch-1 matrix-vector (one activation), L>={deep}, b<={residue_bits}"
    for weight_bits, act_bits, cell in cells(shared, title):
        found = densest(candidates(weight_bits, act_bits, 1, residue_bits, pixels=1, accumulate=deep))
        if deep == 1 or residue_bits == 0:  # else tracked carries reach more
            assert found == float(cell), (weight_bits, act_bits)
        assert found >= float(cell), (weight_bits, act_bits)


@pytest.mark.parametrize("residue_bits", [1, 2])
@pytest.mark.parametrize("kernel", [1, 3, 5])
def test_densities_with_tracked_carries_equal_the_tables(kernel: int, residue_bits: int, shared: Path) -> None:
    title = f"k{kernel} carry-tracked, unlimited accumulation, b<={residue_bits} (T / residue LUTs per DSP)"
    for weight_bits, act_bits, cell in cells(shared, title):
        bounds = weight_bounds(weight_bits, default_weight_range(weight_bits))
        found = max(
            f.shape.pixels * f.shape.channels * kernel / ceil(kernel / f.shape.taps)
            for f in search(act_bits, *bounds, kernel, "dsp48e2")
            if f.tracked and f.residue_bits <= residue_bits
        )
        assert found == pytest.approx(float(cell.split("/")[0]), abs=0.005), (weight_bits, act_bits)


@pytest.mark.parametrize("weight_range", ["full", "narrow"])
@pytest.mark.parametrize("residue_bits", RESIDUE_BITS)
@pytest.mark.parametrize("kernel", [1, 3])
def test_densities_of_both_weight_ranges_equal_the_tables(
    kernel: int, residue_bits: int, weight_range: Any, shared: Path
) -> None:
    for weight_bits, act_bits, cell in cells(shared, f"k{kernel} all-{weight_range} weights, L>=1, b<={residue_bits}"):
        found = candidates(weight_bits, act_bits, kernel, residue_bits, weight_range=weight_range)
        assert densest(found) == pytest.approx(float(cell), abs=0.005), (weight_bits, act_bits)


@pytest.mark.parametrize(
    ("request_", "density"),
    [
        # weight bits, activation bits, kernel, residue bits
        ((2, 2, 3, 0), 15),
        ((2, 2, 3, 2), 27),
        ((3, 3, 3, 0), 12),
        ((4, 4, 3, 0), 7.5),
        ((4, 4, 3, 1), 9),
        ((4, 4, 3, 2), 12),
        ((4, 8, 3, 1), 6),
        ((8, 8, 3, 0), 3),
        ((8, 8, 3, 2), 3),
        ((8, 2, 3, 0), 6.18),
        ((2, 2, 1, 0), 12),
        ((2, 2, 1, 2), 18),
        ((4, 4, 1, 0), 6),
        ((4, 4, 1, 2), 6),
        ((8, 8, 1, 2), 2),
        ((4, 4, 5, 0), 7.5),
    ],
)
def test_known_densities(request_: tuple[int, int, int, int], density: float) -> None:
    assert solve(*request_).density == pytest.approx(density, abs=0.005)


def test_known_geometries() -> None:
    deep = solve(4, 4, accumulate=9)
    assert (deep.density, deep.accumulate_max, deep.pixels, deep.dsps) == (6, 9, 2, 1)
    assert [lane.offset for lane in deep.product.lanes] == [0, 11, 22, 33]
    pair = solve(8, 8, accumulate=4).product
    assert (pair.pair, pair.pixel_stride, pair.pixels, pair.act_on_wide, pair.residue_bits) == (True, 9, 2, False, 0)
    pair = solve(4, 8, 3, 1).product
    assert (pair.pair, pair.pixel_stride, pair.pixels) == (True, 6, 4)
    dense = solve(4, 4, 1).product
    assert (dense.pixels, dense.taps, dense.channels, dense.residue_bits) == (2, 1, 3, 0)
    assert sorted(lane.offset for lane in dense.lanes) == list(range(0, 42, 7))
    tracked = [p for p in candidates(4, 4, 3, 2) if p.tracked and p.density == 12]
    assert [(p.pixels, p.taps, p.product.pixel_stride) for p in tracked] == [(4, 3, 7)]


def plain_density(weight_bits: int, act_bits: int, kernel: int) -> float:
    """The densest piece of a convolution in one DSP48E2 without residues, by trying everything in plain integers."""
    low, high = weight_bounds(weight_bits, default_weight_range(weight_bits))
    half = 1 << (act_bits - 1)
    corners = [x * w for x in (-half, half - 1) for w in (low, high)]
    span = max(corners) - min(corners)
    best = 0.0
    for (act_port, weight_port), taps, stride in product(
        [(27, 18), (18, 27)], range(1, kernel + 1), range(act_bits, 27)
    ):
        weights = sum(1 << k * stride for k in range(taps))
        if not -(1 << (weight_port - 1)) <= low * weights <= high * weights < 1 << (weight_port - 1):
            continue
        for pixels in range(1, 28):
            acts = sum(1 << n * stride for n in range(pixels))
            *inner, top = (min(e + 1, pixels, taps, pixels + taps - 1 - e) for e in range(pixels + taps - 1))
            room = 48 - len(inner) * stride
            if half * acts > 1 << (act_port - 1) or room <= 0:
                break
            if top * span < 1 << room and all(terms * span < 1 << stride for terms in inner):
                best = max(best, pixels * kernel / ceil(kernel / taps))
    return best


@pytest.mark.parametrize("kernel", KERNELS)
def test_no_piece_of_a_convolution_is_denser(kernel: int) -> None:
    equal = 0
    for weight_bits, act_bits in product(WIDTHS, WIDTHS):
        found, plain = solve(weight_bits, act_bits, kernel).density, plain_density(weight_bits, act_bits, kernel)
        assert found >= plain, (weight_bits, act_bits)
        equal += found == plain
    assert equal >= 4


# -- what is offered -------------------------------------------------------------------------------


@pytest.mark.parametrize("kernel", KERNELS)
def test_every_pair_of_widths_has_packings_that_grow_with_residue_bits(kernel: int) -> None:
    for weight_bits, act_bits in product(WIDTHS, WIDTHS):
        found = [candidates(weight_bits, act_bits, kernel, residue_bits) for residue_bits in RESIDUE_BITS]
        for residue_bits, packings in enumerate(found):
            assert [p.density for p in packings] == sorted((p.density for p in packings), reverse=True)
            for packing in packings:
                assert (packing.weight_bits, packing.act_bits, packing.kernel) == (weight_bits, act_bits, kernel)
                assert packing.residue_bits <= residue_bits and packing.accumulate_max >= 1
                assert not (packing.tracked and residue_bits == 0)
        best = [densest(packings) for packings in found]
        assert best == sorted(best) and best[0] > 0
        # Every row can be computed without waste, and every batch of one.
        assert all(any(p.pixels == 1 for p in packings) for packings in found)


def test_nothing_offered_is_beaten_by_a_unit_of_the_same_size() -> None:
    for weight_bits, act_bits, kernel in product((1, 3, 4, 8), (1, 4, 7), KERNELS):
        found = candidates(weight_bits, act_bits, kernel)
        for one, other in product(found, found):
            # With no residues to compute, one that is denser and deeper takes fewer look-up tables as well.
            better = one.density >= other.density and min(one.accumulate_max, 16) >= min(other.accumulate_max, 16)
            same = all(getattr(one, size) == getattr(other, size) for size in ("pixels", "channels", "dsps", "split"))
            assert one is other or not (same and better), (one, other)


def test_depth_can_be_asked_for() -> None:
    for packing in candidates(4, 4, 3, 2, accumulate=9):
        assert packing.accumulate_max >= 9
    assert solve(4, 4, accumulate=9).density == densest(candidates(4, 4, accumulate=9)) == densest(candidates(4, 4), 9)


def test_the_same_request_has_the_same_answer() -> None:
    assert candidates(4, 4) is candidates(4, 4)
    signed, unsigned = (solve(4, 4, act_signed=act_signed) for act_signed in (True, False))
    assert signed.parts == unsigned.parts and signed.act_signed and not unsigned.act_signed


def test_pixels_can_be_asked_for() -> None:
    for kernel in KERNELS:
        assert {p.pixels for p in candidates(4, 4, kernel, 2, pixels=1)} == {1}
        assert {p.pixels for p in candidates(4, 4, kernel, 2, pixels=3)} == {3}


# -- what is refused -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"weight_bits": 0}, "weight_bits must be from 1 to 8, not 0"),
        ({"weight_bits": 9}, "weight_bits must be from 1 to 8, not 9"),
        ({"act_bits": 0}, "act_bits must be from 1 to 8, not 0"),
        ({"act_bits": -4}, "act_bits must be from 1 to 8, not -4"),
        ({"kernel": 2}, "kernel must be 1, 3, 5 or 7, not 2"),
        ({"pixels": 0}, "pixels must be at least 1, not 0"),
        ({"residue_bits": 3}, "residue_bits must be 0, 1 or 2, not 3"),
        ({"accumulate": 0}, "accumulate must be at least 1, not 0"),
        ({"pixels": 20}, "pixels must be few enough for a port, not 20"),
        ({"weight_range": "wide"}, "weight_range must be 'full' or 'narrow', not 'wide'"),
        ({"device": "dsp58"}, "device must be one of dsp48e2, dsp48e1, not 'dsp58'"),
    ],
)
def test_solve_refuses(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as error:
        solve(**{"weight_bits": 4, "act_bits": 4} | arguments)
    assert str(error.value) == message


def test_sums_deeper_than_any_are_refused() -> None:
    # A pair with two taps has lanes of 18 bits: 1170 * 2 * 112 < 2^18.
    with pytest.raises(ValueError) as error:
        solve(4, 4, pixels=3, accumulate=1171)
    assert str(error.value) == "accumulate must be at most 1170, not 1171"
    assert solve(4, 4, pixels=3, accumulate=1170).accumulate_max == 1170
    assert solve(4, 4, residue_bits=1, accumulate=1 << 20).tracked


@pytest.mark.parametrize("value", [4.0, True, "4", None])
def test_solve_refuses_what_is_no_integer(value: Any) -> None:
    with pytest.raises(TypeError) as error:
        solve(value, 4)
    assert str(error.value) == f"weight_bits must be an integer, not {value!r}"


def test_channels_can_be_asked_for() -> None:
    for packing in candidates(4, 4, 3, 2, channels=1):
        assert packing.channels == 1
    assert {packing.channels for packing in candidates(4, 4, 1, channels=2)} == {2}
    # Nothing of a channel alone is beaten by a packing of several, of which a depthwise layer has no use.
    for weight_bits, act_bits in product(range(2, 9), repeat=2):
        most = max(
            found.shape.pixels * 3 / ceil(3 / found.shape.taps) / (1 + found.shape.pair)
            for found in search(act_bits, *weight_bounds(weight_bits, default_weight_range(weight_bits)), 3, "dsp48e2")
            if found.shape.channels == 1 and not found.residue_bits
        )
        assert solve(weight_bits, act_bits, channels=1).density >= most
    with pytest.raises(ValueError, match=r"^channels must be at least 1, not 0$"):
        candidates(4, 4, channels=0)
    with pytest.raises(ValueError, match=r"^pixels and channels must be few enough for a port, not \(None, 50\)$"):
        solve(4, 4, channels=50)
