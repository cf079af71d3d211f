"""Tables of what packings take beside their DSPs: ``python scripts/packing_luts.py > docs/packing-luts.md``."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from statistics import median

from mixq.board import Resources
from mixq.packing import RESIDUE_BITS, Packing, solve
from scripts.packing_tables import SHOWN, cell, table
from sim.packing_costs import (
    READ_TOGETHER,
    CascadeCost,
    TrackedCost,
    cascade_costs,
    cascade_units,
    chain_size,
    estimated,
    measure,
    tracked_cost,
    tracked_units,
    unit,
)

KERNEL = 3

INTRODUCTION = """\
# Packings: what they take in look-up tables

Counts by Yosys (`synth_xilinx -family xcup`) of the logic that packings need beside their DSPs, for kernels of 3, with
the estimates of `mixq.packing.cost` beside them, by which the planner chooses. Each unit is a module of its own,
flattened inside; all of its ports are free, so that nothing of it is optimised away. A look-up table is a cell LUT1 to
LUT6 or INV, or a shift register; carry chains and multiplexers of a slice come with its look-up tables. The counts are
those before placement, where a device packs some pairs of small look-up tables into one.

This page is made by `python scripts/packing_luts.py > docs/packing-luts.md`, which takes some minutes.
"""

_TRACKED = """\
## Twelve multiplications in a DSP: w4 a4, carries tracked

One DSP with its residues, its comparison and its counters of up to {bits} bits, which do for sums of {cycles} products.
What reads them comes once for each sum: the DSPs of a chain hand on accumulator and counters, and the last one is read.
It is what a chain of one, or of {together} that sum as many products between them, takes more than its DSPs alone.
"""

_CASCADE = """\
## Six multiplications in a DSP: w4 a4, nine products summed in the cascade

A layer of 48 input and 64 output channels with nine DSPs in a chain, as many chains side by side as output channels are
computed at a time. The lanes are wires; accumulators of {bits} bits add them up over {cycles} cycles. All chains share
the adders that join the activations of each DSP, and the delays along the chain: the more chains, the less they weigh.
"""

_ALL = """\
## All widths

The densest packing of each pair of widths. Sums: units in a chain x cycles until the lanes are read, which is as many
as they hold, of at most four units. The unit that is counted is the chain with its residues and with what reads the
lanes, and of a *split* packing the adders of its parts; accumulators behind it, which add up what several readings
give, are not included. Of a *tracked* packing the unit is one DSP with its residues, comparison and counters of up to 8
bits, without what reads them. DSP, LUT and FF are those of the whole unit, *est.* is the estimate of the column before
it. LUTs for a multiplication are for a useful one, in each cycle.

Errors of the estimates are over units that take at least ten.
"""

_HEADINGS = ("w", "a", "density", "sums", "DSP", "LUT", "est.", "FF", "est.", "LUT / DSP", "LUT / multiplication")
_ROW = re.compile(r"^\| (\d) \| (\d) \|[^|]*\|[^|]*\| (\d+) \| (\d+) \|[^|]*\| (\d+) \|", flags=re.MULTILINE)


def packings(residue_bits: int) -> dict[tuple[int, int], Packing]:
    """The packing of each pair of widths."""
    return {(w, a): solve(w, a, KERNEL, residue_bits) for w in SHOWN for a in SHOWN}


def counted() -> tuple[TrackedCost, list[CascadeCost], dict[Packing, Resources]]:
    """Everything that the page states, from Yosys."""
    distinct = list(dict.fromkeys(p for bits in RESIDUE_BITS for p in packings(bits).values()))
    found: dict[Packing, Resources] = {}
    for start in range(0, len(distinct), 40):  # not all at once, for the sake of memory
        part = distinct[start : start + 40]
        counts = measure({f"unit_{i}": unit(packing) for i, packing in enumerate(part)})
        found |= dict(zip(part, counts.values(), strict=True))
    return (
        tracked_cost(measure(tracked_units())),
        cascade_costs(measure(cascade_units())),
        found,
    )


def pages(tracked: TrackedCost, cascades: Sequence[CascadeCost], counts: Mapping[Packing, Resources]) -> Iterator[str]:
    """The page, piece by piece."""
    yield INTRODUCTION
    yield from in_detail(tracked, cascades)
    yield from all_widths(counts)


def in_detail(tracked: TrackedCost, cascades: Sequence[CascadeCost]) -> Iterator[str]:
    """The sections on w4 a4."""
    yield _TRACKED.format(bits=tracked.bits, cycles=tracked.cycles, together=READ_TOGETHER)
    yield table(
        ("what", "LUT / DSP", "LUT / multiplication", "FF / DSP"),
        [
            (name, f"{cost.lut:.0f}", f"{cost.lut / tracked.macs:.2f}", f"{cost.ff:.0f}")
            for name, cost in (
                ("residues, comparison, counters", tracked.dsp),
                ("reading, one DSP", tracked.reading),
                (f"reading, shared by {READ_TOGETHER} DSPs", tracked.reading_shared),
            )
        ],
    )
    yield _CASCADE.format(bits=cascades[0].bits, cycles=cascades[0].cycles)
    yield table(
        (
            "chains",
            "multiplications",
            "LUT: chains",
            "accumulators",
            "adders, delays",
            "LUT / multiplication",
            "without adders and delays",
        ),
        [
            (
                *map(str, (c.columns, c.macs, c.chains, c.accumulators, c.shared)),
                f"{c.per_multiplication:.2f}",
                f"{c.own_per_multiplication:.2f}",
            )
            for c in cascades
        ],
    )


def all_widths(counts: Mapping[Packing, Resources]) -> Iterator[str]:
    """The section on the packings of :func:`packings`."""
    yield _ALL
    yield table(
        ("estimates", "median error", "highest estimate / count", "lowest"),
        [agreement(name, counts) for name in ("LUT", "FF")],
    )
    for bits in RESIDUE_BITS:
        yield f"### {f'Up to {bits}' if bits else 'No'} known bit{'' if bits == 1 else 's'}\n"
        yield table(_HEADINGS, [row(w, a, p, counts[p]) for (w, a), p in packings(bits).items()])


def row(weight_bits: int, act_bits: int, packing: Packing, counts: Resources) -> tuple[str, ...]:
    """One line of the tables: sizes, counts, estimates."""
    length, cycles = chain_size(packing)
    estimate = estimated(packing)
    return (
        str(weight_bits),
        str(act_bits),
        cell(packing),
        f"{length} x {cycles}",
        str(counts.dsp),
        str(counts.lut),
        f"{estimate.lut:.0f}",
        str(counts.ff),
        f"{estimate.ff:.0f}",
        f"{counts.lut / counts.dsp:.1f}",
        f"{counts.lut / counts.dsp / packing.density:.2f}",
    )


def agreement(name: str, counts: Mapping[Packing, Resources]) -> tuple[str, str, str, str]:
    """Median error of an estimate, "LUT" or "FF", and its extremes, over units of which at least 10 are counted."""
    key = name.lower()
    ratios = [
        getattr(estimated(packing), key) / getattr(found, key)
        for packing, found in counts.items()
        if getattr(found, key) >= 10
    ]
    error = median(abs(ratio - 1) for ratio in ratios)
    return name, f"{100 * error:.0f} %", f"{max(ratios):.2f}", f"{min(ratios):.2f}"


def stated(page: str) -> dict[Packing, Resources]:
    """The counts that a page states for all widths."""
    found: dict[Packing, Resources] = {}
    rows = [tuple(map(int, match.groups())) for match in _ROW.finditer(page)]
    for index, (w, a, dsp, lut, ff) in enumerate(rows):
        bits = RESIDUE_BITS[index // len(SHOWN) ** 2]
        found[packings(bits)[w, a]] = Resources(lut=lut, ff=ff, dsp=dsp)
    return found


if __name__ == "__main__":
    sys.stdout.write("\n".join(pages(*counted())))
