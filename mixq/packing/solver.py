"""The search for packings: every geometry that fits the ports, and the few of them worth choosing from."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

from mixq.packing.geometry import KERNELS, PORTS, WIDTHS, Packing, WeightRange, default_weight_range


@lru_cache(maxsize=None, typed=True)  # typed: 4.0 is not taken for a 4 that was asked for before
def candidates(
    weight_bits: int,
    act_bits: int,
    kernel: int = 3,
    *,
    weight_range: WeightRange | None = None,
    act_signed: bool = False,
    pixels: int | None = None,
    device: str = "dsp48e2",
) -> tuple[Packing, ...]:
    """The packings worth choosing from, densest first: none is both less dense and less deep than another.

    Depth is :attr:`Packing.accumulate_max`: the deeper, the fewer look-up tables to add up lanes. For each number of
    pixels the front is kept separately, because a row whose width the pixels do not divide wastes some of the density.
    pixels: only packings of so many pixels (1 for dense layers). weight_range: as in :func:`default_weight_range`.
    """
    _check_request(weight_bits, act_bits, kernel, pixels, weight_range, device)
    bounds = weight_range or default_weight_range(weight_bits)
    best: dict[tuple[int, int, int], Packing] = {}
    for packing in _enumerate(weight_bits, act_bits, kernel, bounds, act_signed, pixels, device):
        key = (packing.pixels, packing.taps, packing.channels)
        if key not in best or _preference(packing) > _preference(best[key]):
            best[key] = packing
    ordered = sorted(best.values(), key=_preference, reverse=True)
    return tuple(
        p
        for i, p in enumerate(ordered)
        if not any(q.pixels == p.pixels and q.accumulate_max >= p.accumulate_max for q in ordered[:i])
    )


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
    device: str = "dsp48e2",
) -> Packing:
    """The densest exact packing, and of equally dense ones the one that accumulates longest.

    weight_bits, act_bits: 2 to 8. kernel: 1, 3 or 5 taps in a row. residue_bits: low bits of a lane known from look-up
    tables, 0. accumulate: products that must fit before the lanes are read. Other arguments: :func:`candidates`.

    >>> packing = solve(4, 4)
    >>> packing.density, packing.accumulate_max
    (6.0, 9)
    """
    if residue_bits != 0:
        raise ValueError(f"residue_bits must be 0, not {residue_bits!r}")
    found = candidates(
        weight_bits,
        act_bits,
        kernel,
        weight_range=weight_range,
        act_signed=act_signed,
        pixels=pixels,
        device=device,
    )
    if not found:
        raise ValueError(f"pixels must be few enough for a port, not {pixels!r}")
    if accumulate < 1:
        raise ValueError(f"accumulate must be at least 1, not {accumulate!r}")
    deep = [p for p in found if p.accumulate_max >= accumulate]
    if not deep:
        raise ValueError(f"accumulate must be at most {max(p.accumulate_max for p in found)}, not {accumulate!r}")
    return deep[0]


def _preference(packing: Packing) -> tuple[float, int, int, bool, int]:
    # Activations on the wide port cost no adders before the multiplier; fewer lanes cost fewer accumulators.
    lanes = packing.channels * packing.positions
    return (packing.density, packing.accumulate_max, -lanes, packing.act_on_wide, -packing.channel_stride)


def _enumerate(
    weight_bits: int,
    act_bits: int,
    kernel: int,
    weight_range: WeightRange,
    act_signed: bool,
    only_pixels: int | None,
    device: str,
) -> Iterator[Packing]:
    """Every geometry that fits the ports, with the widest lane distances that still do (they accumulate longest)."""
    ports = PORTS[device]
    for act_on_wide in (True, False):
        act_port, weight_port = (ports.wide, ports.narrow) if act_on_wide else (ports.narrow, ports.wide)
        for pixels in range(1, act_port // act_bits + 1) if only_pixels is None else (only_pixels,):
            for taps in range(1, kernel + 1):
                for channels in range(1, weight_port // weight_bits + 1):
                    if channels * taps * weight_bits > weight_port + weight_bits:
                        break
                    for strides in _strides(pixels, taps, channels, act_bits, weight_bits, act_port, weight_port):
                        try:
                            yield Packing(
                                weight_bits,
                                act_bits,
                                kernel,
                                pixels,
                                taps,
                                channels,
                                *strides,
                                act_on_wide=act_on_wide,
                                act_signed=act_signed,
                                weight_range=weight_range,
                                device=device,
                            )
                        except ValueError:
                            continue


def _strides(
    pixels: int, taps: int, channels: int, act_bits: int, weight_bits: int, act_port: int, weight_port: int
) -> Iterator[tuple[int, int, int]]:
    """Candidate (pixel, tap, channel) strides in bits, bounded by what the ports can hold at all."""
    lowest = max(act_bits, weight_bits)
    if taps > 1:  # one polynomial for each channel, blocks of lanes one above the other
        for stride in range(lowest, (weight_port - weight_bits) // (taps - 1) + 2):
            if (pixels - 1) * stride + act_bits > act_port + 1:
                break
            if channels == 1:
                yield stride, stride, 0
                continue
            block = (pixels + taps - 2) * stride
            for last in range(1, stride + 1):
                yield stride, stride, block + last
    elif channels == 1:
        for stride in range(lowest, act_port + 1) if pixels > 1 else (0,):
            yield stride, stride, 0
    elif pixels == 1:
        for stride in range(lowest, weight_port + 1):
            yield 0, 0, stride
    else:  # outer product: pixels inside channels or channels inside pixels
        for stride in range(lowest, max(act_port, weight_port) + 1):
            yield stride, stride, pixels * stride
            yield channels * stride, channels * stride, stride


def _check_request(
    weight_bits: int, act_bits: int, kernel: int, pixels: int | None, weight_range: str | None, device: str
) -> None:
    for name, value in (("weight_bits", weight_bits), ("act_bits", act_bits)):
        if isinstance(value, bool) or not isinstance(value, int):
            raise TypeError(f"{name} must be an integer, not {value!r}")
        if value not in WIDTHS:
            raise ValueError(f"{name} must be from 2 to 8, not {value!r}")
    if kernel not in KERNELS:
        raise ValueError(f"kernel must be 1, 3 or 5, not {kernel!r}")
    if pixels is not None and pixels < 1:
        raise ValueError(f"pixels must be at least 1, not {pixels!r}")
    if weight_range not in (None, "full", "narrow"):
        raise ValueError(f"weight_range must be 'full' or 'narrow', not {weight_range!r}")
    if device not in PORTS:
        raise ValueError(f"device must be one of {', '.join(PORTS)}, not {device!r}")
