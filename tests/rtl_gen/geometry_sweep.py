"""The hardware of every packing geometry, ten thousand cycles each, against its exact arithmetic.

    python -m tests.rtl_gen.geometry_sweep --log build/geometry_sweep.jsonl

Each distinct geometry becomes a :class:`rtl_gen.packed_mac.PackedMac` of DSP48E2 slices, many of them in one Verilator
build. All sums are compared with ``Packing.compute`` and with sums of products written out. A line of the log stands
for a finished batch; geometries that the log has already, of the same sources, are not run again.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import json
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from amaranth.lib.wiring import In, Out

from mixq.packing import KERNELS, RESIDUE_BITS, WIDTHS, Packing, candidates
from rtl_gen.packed_mac import PackedMac
from tests.rtl_gen.binary_bench import Bits, play_binary, port_widths, split

Ints = npt.NDArray[np.int64]

OPERANDS = 10_000
"""Cycles with operands that each geometry gets."""

_MODEL = Path(__file__).resolve().parents[2] / "sim" / "verilog" / "DSP48E2.v"
_BATCH_DSPS = 300
_LONG_UNIT = 8  # DSPs; larger ones are not chained
_DEEP, _DEEPEST = 12, 64
_LENGTHS = 12
_ARITHMETIC = ("arithmetic", "operand", "packing", "product", "values")


@dataclass(frozen=True)
class Vectors:
    """Stimulus for a component, and what it must answer.

    rows: input bits of each cycle (cycles, width). done: whether a sum is there in each cycle. sums: the sums in order
    (sums, channels, positions), by ``Packing.compute``. direct: the same by multiplication. operands: cycles with
    operands.
    """

    rows: Bits
    done: npt.NDArray[np.bool_]
    sums: Ints
    direct: Ints
    operands: int


@dataclass(frozen=True)
class Geometry:
    """A packing as the sweep builds it: units in a chain, and cycles of the longest sum."""

    packing: Packing
    length: int
    accumulate: int

    @classmethod
    def of(cls, packing: Packing) -> Geometry:
        """Sizes, and whether activations are signed, vary from one packing to the next.

        Sums are as deep as the lanes allow, but of most geometries no more than 12 cycles, of every fifth 64.
        """
        number = int(_digest(repr(cls.identity(packing))), 16)
        long = not packing.split and packing.dsps <= _LONG_UNIT
        length = min(1 + number % 3, packing.accumulate_max) if long else 1
        accumulate = min(packing.accumulate_max // length, _DEEPEST if number // 3 % 5 == 0 else _DEEP)
        return cls(replace(packing, act_signed=number // 15 % 2 == 1), length, accumulate)

    @staticmethod
    def identity(packing: Packing) -> tuple[Any, ...]:
        """What tells one geometry from another."""
        return packing.parts, packing.weight_bits == 1, packing.taps

    @cached_property
    def key(self) -> str:
        """What the log calls it; the vectors are drawn from it too."""
        packing = self.packing
        return _digest(repr((self.identity(packing), packing.act_signed, self.length, self.accumulate)))

    @property
    def dsps(self) -> int:
        """DSPs in all."""
        return self.length * self.packing.dsps

    def build(self) -> PackedMac:
        """The component."""
        return PackedMac(self.packing, length=self.length, accumulate=self.accumulate)

    def __str__(self) -> str:
        return f"{self.packing!r}, length {self.length}, accumulate {self.accumulate}, key {self.key}"


def geometries(widths: Iterable[int] = WIDTHS, kernels: Iterable[int] = KERNELS) -> list[Geometry]:
    """Every distinct geometry that is offered for weights and activations of these widths, in a fixed order."""
    found: dict[Any, Packing] = {}
    for kernel, weight_bits, act_bits, bits in product(kernels, *[tuple(widths)] * 2, RESIDUE_BITS):
        for packing in candidates(weight_bits, act_bits, kernel, bits):
            found.setdefault(Geometry.identity(packing), packing)
    return [Geometry.of(packing) for packing in found.values()]


def vectors(geometry: Geometry, mac: PackedMac, operands: int = OPERANDS) -> Vectors:
    """Random sums and corners: of 1 up to ``accumulate`` cycles, with gaps between their cycles and without."""
    packing = geometry.packing
    rng = np.random.default_rng(int(geometry.key, 16))
    cycles, kinds = _schedule(rng, geometry.accumulate, operands)
    x, w = _operands(rng, geometry, cycles, kinds)
    count, starts = len(x), np.cumsum(cycles) - cycles
    likely = rng.choice([0.0, 0.0, 0.1, 0.5], len(cycles)).repeat(cycles)
    gaps = np.where(rng.random(count) < likely, rng.integers(1, 4, count), 0)
    at = np.cumsum(gaps + 1) - 1
    ends = at[starts + cycles - 1]
    total = int(at[-1]) + mac.latency + 2
    source = rng.integers(0, count, total)  # in a gap there are other operands
    source[at] = np.arange(count)
    valid, first, last = rng.integers(0, 2, (3, total, 1), np.uint8)
    valid[:], first[at], last[at] = 0, 0, 0
    valid[at], first[at[starts]], last[ends] = 1, 1, 1
    codes = w if packing.weight_bits > 1 else (w + 1) // 2  # a bit of 1 stands for +1
    ports = {
        "activations": _bits(x, packing.act_bits)[source],
        "weights": _bits(codes, packing.weight_bits)[source],
        "valid": valid,
        "first": first,
        "last": last,
    }
    done = np.zeros(total, np.bool_)
    done[ends + mac.latency] = True
    return Vectors(
        rows=np.concatenate([ports[name] for name in port_widths(mac, In)], axis=1),
        done=done,
        sums=computed(packing, x, w, cycles),
        direct=direct_sums(packing, x, w, cycles),
        operands=count,
    )


def _schedule(rng: np.random.Generator, accumulate: int, operands: int) -> tuple[Ints, Ints]:
    """Cycles and kind of each sum, so many that there are ``operands`` cycles.

    Kinds: 0 all operands at one corner, 1 each at an end of its range that it keeps, 2 and 3 each at either end in each
    cycle, 4 at an end or anywhere, 5 to 7 anywhere.
    """
    lengths = np.unique(np.append(rng.integers(1, accumulate + 1, _LENGTHS), [1, accumulate]))
    cycles = np.where(rng.random(operands) < 0.4, accumulate, rng.choice(lengths, operands))
    kinds = np.arange(operands) % 8
    cycles[kinds < 2] = accumulate
    count = int(np.searchsorted(np.cumsum(cycles), operands)) + 1
    return cycles[:count], kinds[:count]


def _operands(rng: np.random.Generator, geometry: Geometry, cycles: Ints, kinds: Ints) -> tuple[Ints, Ints]:
    """Activations (cycles, length, pixels) and weights (cycles, length, channels, taps) of all sums in a row."""
    packing, of_sum = geometry.packing, np.arange(len(cycles)).repeat(cycles)
    corner = np.arange(len(cycles)) // 8
    values = []
    for shape, (low, high), which in (
        ((geometry.length, packing.pixels), packing.act_bounds, corner % 2),
        ((geometry.length, packing.channels, packing.taps), packing.weight_bounds, corner // 2 % 2),
    ):
        spread = (len(of_sum), *[1] * len(shape))
        kind = kinds[of_sum].reshape(spread)
        anywhere = rng.integers(low, high + 1, (len(of_sum), *shape), np.int16)
        ends = rng.integers(0, 2, anywhere.shape, np.int8)
        kept = rng.integers(0, 2, (len(cycles), *shape), np.int8)[of_sum]
        either = np.where(kind == 0, which[of_sum].reshape(spread), np.where(kind == 1, kept, ends))
        free = (kind > 4) | ((kind == 4) & (rng.integers(0, 2, anywhere.shape, np.int8) > 0))
        values.append(np.where(free, anywhere, np.where(either > 0, high, low)).astype(np.int64))
    x, w = values
    return x, np.where(w > 0, 1, -1) if packing.weight_bits == 1 else w


def _bits(codes: Ints, width: int) -> Bits:
    """Two's-complement codes as bits, lowest first, a row for each cycle."""
    low = (codes & 0xFF).astype(np.uint8)[..., None]
    return np.unpackbits(low, axis=-1, count=width, bitorder="little").reshape(len(codes), -1)


def computed(packing: Packing, x: Ints, w: Ints, cycles: Ints) -> Ints:
    """Sums (sums, channels, positions) of so many cycles each, by the packing's own arithmetic."""
    first = np.cumsum(cycles) - cycles
    out = np.empty((len(cycles), packing.channels, packing.positions), np.int64)
    for count in np.unique(cycles):
        (which,) = np.nonzero(cycles == count)
        index = first[which, None] + np.arange(count)
        acts = x[index].reshape(len(which), -1, packing.pixels)
        out[which] = packing.compute(acts, w[index].reshape(len(which), -1, packing.channels, packing.taps))
    return out


def direct_sums(packing: Packing, x: Ints, w: Ints, cycles: Ints) -> Ints:
    """The same sums, product by product."""
    acts, weights = x.astype(np.int32), w.astype(np.int32)
    out = np.zeros((len(x), packing.channels, packing.positions), np.int32)
    for n in range(packing.pixels):
        for k in range(packing.taps):
            out[:, :, n + k] += (acts[:, :, n, None] * weights[:, :, :, k]).sum(1, dtype=np.int32)
    return np.add.reduceat(out, np.cumsum(cycles) - cycles, axis=0, dtype=np.int64)


def mismatches(mac: PackedMac, wanted: Vectors, outputs: Bits) -> list[str]:
    """What is wrong with the recorded outputs (cycles, width), in words; nothing where all is right."""
    found = split(outputs, port_widths(mac, Out))
    wrong = []
    if not np.array_equal(wanted.sums, wanted.direct):
        wrong.append(f"compute differs from the sums of products in {_first(wanted.sums, wanted.direct)}")
    done = found["done"][:, 0].astype(np.bool_)
    if not np.array_equal(done, wanted.done):
        wrong.append(f"done is {int(done[np.argmax(done != wanted.done)])} in cycle {np.argmax(done != wanted.done)}")
    width = mac.lane_format.width
    bits = found["lanes"][wanted.done].reshape(*wanted.sums.shape, width).astype(np.int64)
    weights = np.left_shift(1, np.arange(width))
    weights[-1] *= -1
    sums = bits @ weights
    if not np.array_equal(sums, wanted.sums):
        wrong.append(f"lanes differ in {_first(sums, wanted.sums)}")
    return wrong


def _first(seen: Ints, right: Ints) -> str:
    which = np.argwhere(seen != right)
    number, channel, position = which[0].tolist()
    return (
        f"{len(np.unique(which[:, 0]))} of {len(seen)} sums, first in sum {number} at channel {channel}, position "
        f"{position}: {seen[number, channel, position]}, not {right[number, channel, position]}"
    )


@dataclass(frozen=True)
class Checked:
    """What is wrong with each geometry, by its key, and the seconds that each step took."""

    wrong: dict[str, list[str]]
    seconds: dict[str, float]


def check(batch: Sequence[Geometry], folder: Path, operands: int = OPERANDS) -> Checked:
    """Try geometries side by side in one Verilator build."""
    started = time.monotonic()
    macs = {f"p{number}": geometry.build() for number, geometry in enumerate(batch)}
    wanted = [vectors(geometry, mac, operands) for geometry, mac in zip(batch, macs.values(), strict=True)]
    seconds = {"vectors": time.monotonic() - started}
    recorded = play_binary(macs, {name: one.rows for name, one in zip(macs, wanted, strict=True)}, folder)
    started = time.monotonic()
    wrong = {
        geometry.key: mismatches(mac, one, recorded.outputs[name])
        for geometry, one, (name, mac) in zip(batch, wanted, macs.items(), strict=True)
    }
    return Checked(wrong, seconds | recorded.seconds | {"compare": time.monotonic() - started})


def batches(found: Iterable[Geometry], most_dsps: int = _BATCH_DSPS) -> Iterator[list[Geometry]]:
    """Geometries in their order, as many in a batch as have so many DSPs together."""
    batch: list[Geometry] = []
    for geometry in found:
        if batch and sum(one.dsps for one in batch) + geometry.dsps > most_dsps:
            yield batch
            batch = []
        batch.append(geometry)
    if batch:
        yield batch


def source_digest() -> str:
    """Stands for the code that makes the hardware and its models; documentation and layout do not matter."""
    names = [f"mixq.packing.{name}" for name in _ARITHMETIC]
    names += sorted(name for name in sys.modules if name.partition(".")[0] == "rtl_gen")
    files = [Path(str(sys.modules[name].__file__)) for name in names]
    return _digest("".join(_code(path) for path in (*files, Path(__file__))) + _MODEL.read_text())


def _code(path: Path) -> str:
    """A Python file without comments and without bare strings, which are documentation."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            node.value = ast.Constant(None)
    return ast.dump(tree)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def sweep(found: Sequence[Geometry], log: Path, operands: int) -> Iterator[str]:
    """Run what the log does not have, batch by batch; says what is wrong, how far it is, and at the end the totals."""
    code = source_digest()
    wanted = {geometry.key: geometry for geometry in found}
    lines = [json.loads(line) for line in log.read_text().splitlines()] if log.is_file() else []
    finished = {key: entry for entry in lines if entry["code"] == code for key in entry["operands"] if key in wanted}
    for batch in batches(geometry for key, geometry in wanted.items() if key not in finished):
        with tempfile.TemporaryDirectory(prefix="geometry-sweep-") as folder:
            checked = check(batch, Path(folder), operands)
        entry: dict[str, Any] = {
            "code": code,
            "operands": {geometry.key: operands for geometry in batch},
            "dsps": sum(geometry.dsps for geometry in batch),
            "seconds": {step: round(seconds, 2) for step, seconds in checked.seconds.items()},
            "wrong": {key: texts for key, texts in checked.wrong.items() if texts},
        }
        with log.open("a") as file:
            file.write(json.dumps(entry) + "\n")
        finished |= {geometry.key: entry for geometry in batch}
        yield from (f"{wanted[key]}: {text}" for key, texts in entry["wrong"].items() for text in texts)
        yield f"{len(finished)} of {len(wanted)} geometries, {sum(checked.seconds.values()):.0f} s for {len(batch)}"
    yield from _totals(finished)


def _totals(finished: Mapping[str, Any]) -> Iterator[str]:
    """finished: for each key the entry of its batch in the log."""
    steps: dict[str, float] = {}
    for entry in finished.values():
        for step, seconds in entry["seconds"].items():
            steps[step] = steps.get(step, 0.0) + seconds / len(entry["operands"]) / len(finished)
    yield "seconds per geometry: " + ", ".join(f"{step} {seconds:.2f}" for step, seconds in steps.items())
    cycles = sum(entry["operands"][key] for key, entry in finished.items())
    wrong = sum(key in entry["wrong"] for key, entry in finished.items())
    yield f"{len(finished)} geometries, {cycles} cycles with operands, {wrong} with mismatches"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns 1 where something differs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--widths", type=int, nargs="+", default=WIDTHS, help="of weights and of activations")
    parser.add_argument("--kernels", type=int, nargs="+", default=KERNELS)
    parser.add_argument("--log", type=Path, default=Path("build/geometry_sweep.jsonl"))
    options = parser.parse_args(arguments)
    options.log.parent.mkdir(parents=True, exist_ok=True)
    text = ""
    for text in sweep(geometries(options.widths, options.kernels), options.log, OPERANDS):
        sys.stdout.write(text + "\n")
        sys.stdout.flush()
    return 0 if text.endswith(" 0 with mismatches") else 1


if __name__ == "__main__":
    raise SystemExit(main())
