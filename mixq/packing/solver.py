"""Finds the packings worth choosing from for a pair of widths."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache, lru_cache
from math import ceil, lcm

from mixq.packing.cost import DEEP, packing_luts
from mixq.packing.packing import Packing, Part
from mixq.packing.search import Found, search
from mixq.packing.values import KERNELS, PORTS, RESIDUE_BITS, WIDTHS, WeightRange, default_weight_range, weight_bounds

FITTING = ((1, 1), (1, 2), (1, 4), (2, 1), (2, 2), (2, 4), (3, 1), (4, 1))
"""Numbers of pixels and channels for small images and few channels, for which there are packings in any case."""

_MOST_SPLIT_DSPS = 64
"""Larger units of split operands are left out where a smaller one is as dense."""


@lru_cache(maxsize=None, typed=True)  # typed: 4.0 is not taken for a 4 that was asked for before
def candidates(
    weight_bits: int,
    act_bits: int,
    kernel: int = 3,
    residue_bits: int = 0,
    *,
    accumulate: int = 1,
    weight_range: WeightRange | None = None,
    act_signed: bool = False,
    pixels: int | None = None,
    channels: int | None = None,
    device: str = "dsp48e2",
) -> tuple[Packing, ...]:
    """The packings worth choosing from, densest first: density against look-up tables against depth.

    None is at once less dense, dearer in look-up tables for each multiplication
    (:func:`mixq.packing.cost.packing_luts`) and less deep (:attr:`Packing.accumulate_max`, up to
    :data:`mixq.packing.cost.DEEP`) than another. But a row whose width the pixels do not divide wastes some of the
    density, and channels must divide those of a layer: one of :data:`FITTING` pixels and channels is beaten only by
    another whose numbers divide its own.

    residue_bits: most bits of a lane that look-up tables may know; with 1 or 2, carries may be tracked too. accumulate:
    products that must fit before the lanes are read; many deep packings beat none of the others but in that. pixels:
    only packings of so many pixels (1 for dense layers). channels: only packings of so many output channels (1 for
    depthwise layers, in which no two read the same activations). weight_range: as in :func:`default_weight_range`.
    device: "dsp48e2" or "dsp48e1".
    """
    _check_request(weight_bits, act_bits, kernel, residue_bits, pixels, channels, weight_range, device)
    bounds = weight_range or default_weight_range(weight_bits)
    operands = (act_bits, *weight_bounds(weight_bits, bounds), kernel, device)
    whole = [
        found
        for found in search(*operands)
        if found.residue_bits <= residue_bits
        and found.accumulate_max >= accumulate
        and pixels in (None, found.shape.pixels)
        and channels in (None, found.shape.channels)
    ]
    packings = [
        Packing(weight_bits, act_bits, kernel, (Part(found.product(*operands[:3], device)),), act_signed, bounds)
        for found in _front(whole, kernel)
    ]
    if pixels is None:
        densest = max((p.density for p in packings), default=0.0)
        packings += _split(weight_bits, act_bits, kernel, residue_bits, bounds, act_signed, device, densest, accumulate)
    ordered = sorted((p for p in packings if channels in (None, p.channels)), key=_preference, reverse=True)
    return tuple(p for i, p in enumerate(ordered) if not any(_dominates(q, p) for q in ordered[:i]))


def solve(
    weight_bits: int,
    act_bits: int,
    kernel: int = 3,
    residue_bits: int = 0,
    *,
    accumulate: int = 1,
    weight_range: WeightRange | None = None,
    act_signed: bool = False,
    pixels: int | None = None,
    channels: int | None = None,
    device: str = "dsp48e2",
) -> Packing:
    """The densest exact packing; of equally dense ones a small unit that takes few look-up tables.

    weight_bits, act_bits: 1 to 8. kernel: 1, 3, 5 or 7 taps in a row. Other arguments: :func:`candidates`.

    >>> packing = solve(4, 4, accumulate=9)
    >>> packing.density, packing.accumulate_max
    (6.0, 9)
    >>> [solve(4, 4, residue_bits=bits).density for bits in (0, 1, 2)]
    [7.5, 9.0, 12.0]
    """
    if type(accumulate) is not int or accumulate < 1:
        raise ValueError(f"accumulate must be at least 1, not {accumulate!r}")
    found = candidates(
        weight_bits,
        act_bits,
        kernel,
        residue_bits,
        accumulate=accumulate,
        weight_range=weight_range,
        act_signed=act_signed,
        pixels=pixels,
        channels=channels,
        device=device,
    )
    if not found:
        bounds = weight_bounds(weight_bits, weight_range or default_weight_range(weight_bits))
        depths = [
            geometry.accumulate_max
            for geometry in search(act_bits, *bounds, kernel, device)
            if geometry.residue_bits <= residue_bits
            and pixels in (None, geometry.shape.pixels)
            and channels in (None, geometry.shape.channels)
        ]
        if not depths:
            name, wanted = ("pixels", pixels) if channels is None else ("pixels and channels", (pixels, channels))
            raise ValueError(f"{name} must be few enough for a port, not {wanted!r}")
        raise ValueError(f"accumulate must be at most {max(depths)}, not {accumulate!r}")
    return found[0]


def _preference(packing: Packing) -> tuple[float, int, float, bool, int]:
    # Small units, then few look-up tables, then activations on the wide port: no adders before the multiplier.
    wide = all(part.product.act_on_wide for part in packing.parts)
    luts = round(packing_luts(packing) / packing.macs, 1)
    return packing.density, -packing.dsps, -luts, wide, packing.accumulate_max


def _dominates(one: Packing, other: Packing) -> bool:
    """Whether nobody would choose the other, whose density is no higher.

    A tenth of the look-up tables, or a sum not twice as deep, is no reason to keep a packing.
    """
    return (
        _fits_as_well((one.pixels, one.channels), (other.pixels, other.channels))
        and one.density >= other.density
        and 2 * min(one.accumulate_max, DEEP) > min(other.accumulate_max, DEEP)
        and packing_luts(one) / one.macs <= 1.1 * packing_luts(other) / other.macs + 0.1
    )


def _fits_as_well(one: tuple[int, int], other: tuple[int, int]) -> bool:
    """Whether nearly every layer can use one number of pixels and channels where it can use the other."""
    return other not in FITTING or (other[0] % one[0] == 0 and other[1] % one[1] == 0)


def _density(found: Found, kernel: int) -> float:
    shape = found.shape
    return shape.pixels * shape.channels * kernel / (ceil(kernel / shape.taps) * (2 if shape.pair else 1))


def _front(found: Iterable[Found], kernel: int) -> list[Found]:
    """Geometries that none of as many pixels beats in density, depth and known bits at once."""
    ordered = sorted(
        found,
        key=lambda f: (_density(f, kernel), f.accumulate_max, -f.residue_bits, not f.shape.pair, f.act_on_wide),
        reverse=True,
    )
    kept: list[Found] = []
    for one in ordered:
        beaten = any(
            _fits_as_well((other.shape.pixels, other.shape.channels), (one.shape.pixels, one.shape.channels))
            and min(other.accumulate_max, DEEP) >= min(one.accumulate_max, DEEP)
            and other.residue_bits <= one.residue_bits
            and other.tracked <= one.tracked
            for other in kept
        )
        if not beaten:
            kept.append(one)
    return kept


def _split(
    weight_bits: int,
    act_bits: int,
    kernel: int,
    residue_bits: int,
    weight_range: WeightRange,
    act_signed: bool,
    device: str,
    densest: float,
    accumulate: int,
) -> list[Packing]:
    """The densest packing of a split operand for each number of residue bits, where it is denser than a whole one."""
    low, high = weight_bounds(weight_bits, weight_range)
    splits = [((act_bits - at, low, high, at, 0), (at, low, high, 0, 0)) for at in range(1, act_bits)]
    if weight_bits > 1:
        splits += [
            ((act_bits, low >> at, high >> at, 0, at), (act_bits, 0, (1 << at) - 1, 0, 0))
            for at in range(1, weight_bits)
        ]
    best: list[tuple[tuple[float, int], list[tuple[Found, tuple[int, int, int, int, int]]]]] = []
    for bits in range(residue_bits + 1):
        for parts in splits:
            sides = [_densest(act, lo, hi, kernel, device, bits, accumulate) for act, lo, hi, *_ in parts]
            if any(not side for side in sides):
                continue
            density = 1 / sum(1 / _density(side[0], kernel) for side in sides)
            if density <= densest + 1e-9:
                continue
            for upper in sides[0]:
                for lower in sides[1]:
                    size = _unit_dsps(upper, lower, kernel)
                    best.append(((density, -size), [(upper, parts[0]), (lower, parts[1])]))
    if not best:
        return []
    small = [entry for entry in best if -entry[0][1] <= _MOST_SPLIT_DSPS]
    _, chosen = max(small or best, key=lambda entry: (round(entry[0][0], 6), entry[0][1]))
    parts_ = tuple(
        Part(found.product(act, lo, hi, device), act_shift, weight_shift)
        for found, (act, lo, hi, act_shift, weight_shift) in chosen
    )
    return [Packing(weight_bits, act_bits, kernel, parts_, act_signed, weight_range)]


@cache
def _densest(
    act_bits: int, low: int, high: int, kernel: int, device: str, residue_bits: int, accumulate: int
) -> tuple[Found, ...]:
    """The densest whole products for operands that are deep enough, all that are equally dense."""
    found = [
        f
        for f in search(act_bits, low, high, kernel, device)
        # A pair has no last share of a single tap.
        if f.residue_bits <= residue_bits
        and f.accumulate_max >= accumulate
        and not f.tracked
        and not (f.shape.pair and kernel % f.shape.taps == 1)
    ]
    most = max((_density(f, kernel) for f in found), default=0.0)
    return tuple(f for f in found if _density(f, kernel) > most - 1e-9)


def _unit_dsps(upper: Found, lower: Found, kernel: int) -> int:
    pixels = lcm(upper.shape.pixels, lower.shape.pixels)
    channels = lcm(upper.shape.channels, lower.shape.channels)
    return sum(
        (pixels // s.pixels) * (channels // s.channels) * ceil(kernel / s.taps) * (2 if s.pair else 1)
        for s in (upper.shape, lower.shape)
    )


def _check_request(
    weight_bits: int,
    act_bits: int,
    kernel: int,
    residue_bits: int,
    pixels: int | None,
    channels: int | None,
    weight_range: str | None,
    device: str,
) -> None:
    for name, value in (("weight_bits", weight_bits), ("act_bits", act_bits)):
        if isinstance(value, bool) or not isinstance(value, int):
            raise TypeError(f"{name} must be an integer, not {value!r}")
        if value not in WIDTHS:
            raise ValueError(f"{name} must be from 1 to 8, not {value!r}")
    if kernel not in KERNELS:
        raise ValueError(f"kernel must be 1, 3, 5 or 7, not {kernel!r}")
    if residue_bits not in RESIDUE_BITS:
        raise ValueError(f"residue_bits must be 0, 1 or 2, not {residue_bits!r}")
    for name, count in (("pixels", pixels), ("channels", channels)):
        if count is not None and count < 1:
            raise ValueError(f"{name} must be at least 1, not {count!r}")
    if weight_range not in (None, "full", "narrow"):
        raise ValueError(f"weight_range must be 'full' or 'narrow', not {weight_range!r}")
    if device not in PORTS:
        raise ValueError(f"device must be one of {', '.join(PORTS)}, not {device!r}")
