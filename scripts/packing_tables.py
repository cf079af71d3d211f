"""Tables of the densest packings, in Markdown: ``python scripts/packing_tables.py > docs/packing-tables.md``."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from math import exp, log

from mixq.packing import KERNELS, RESIDUE_BITS, WIDTHS, Packing, solve
from mixq.plan.restrictions import original_density

SHOWN = tuple(width for width in WIDTHS if width > 1)

#: Multiplications per DSP and cycle of DeepBurning-MixQ (ICCAD 2023), 3x3 convolution: weights of 2 to 8 bits down,
#: activations of 2 to 8 bits across.
DEEPBURNING_MIXQ_K33 = tuple(tuple(original_density(3, weight, act) for act in SHOWN) for weight in SHOWN)

_INTRODUCTION = """\
# Packings: all densities

Useful multiplications per DSP48E2 and cycle, exact for all operands, for kernels of 1 (dense layers and 1x1
convolutions), 3, 5 and 7. Weights are signed: of 2 and 3 bits the whole range, wider ones without the most negative
code, of 1 bit -1 and +1. Activations are unsigned; signed ones pack as densely. `mixq packings` prints these tables,
`--draw` draws a packing, `--prove` proves it.

Known bits: how many low bits of a lane look-up tables may know too. They cost logic; `mixq packings --all` estimates
how much. Behind a density stands what kind of packing it is, unless it is a plain product of one DSP: a *pair* is two
DSPs that share their operands, a *split* packing divides one operand between several products, a *tracked* one counts
carries after every product. How they work: [packings](packing.md).

This page is made by `python scripts/packing_tables.py > docs/packing-tables.md`.
"""

_COMPARISON = """\
## Compared with DeepBurning-MixQ

Geometric mean, over the 49 pairs of widths, of the 3x3 density divided by the one that DeepBurning-MixQ (ICCAD 2023)
publishes, in the table `factors_k33` of its code. Two of its figures, 18 at w2 a2 and 15 at w2 a3, count on the sign
bit of a signed port for unsigned activations and are not exact; they are compared with all the same.
"""


def pages() -> Iterator[str]:
    """The page, piece by piece."""
    yield _INTRODUCTION
    yield _COMPARISON
    rows: list[tuple[str, ...]] = []
    for bits in RESIDUE_BITS:
        ratios = compared(bits)
        below = sum(ratio < 1 for ratio in ratios)
        rows.append((_known(bits), f"{mean(ratios):.3f}", f"{min(ratios):.2f}", str(below)))
    yield table(("known bits", "mean ratio", "lowest ratio", "pairs below 1"), rows)
    for kernel in KERNELS:
        yield f"## Kernel {kernel}\n"
        for bits in RESIDUE_BITS:
            yield f"### Kernel {kernel}, {_known(bits)} known bit{'' if bits == 1 else 's'}\n"
            yield table(
                ("w \\ a", *map(str, SHOWN)),
                [(f"**{w}**", *(cell(solve(w, a, kernel, bits)) for a in SHOWN)) for w in SHOWN],
            )
        yield f"### Kernel {kernel}, operands of 1 bit\n"
        for heading, binary in (("weights of 1 bit, activations of", 0), ("activations of 1 bit, weights of", 1)):
            rows = []
            for bits in RESIDUE_BITS:
                sizes = [(width, 1) if binary else (1, width) for width in WIDTHS]
                rows.append((f"{_known(bits)} known", *(cell(solve(w, a, kernel, bits)) for w, a in sizes)))
            yield table((heading, *map(str, WIDTHS)), rows)


def compared(residue_bits: int) -> list[float]:
    """Ours divided by the published density, for the 49 pairs of widths of 3x3 convolution."""
    return [
        solve(w, a, 3, residue_bits).density / theirs
        for w, row in zip(SHOWN, DEEPBURNING_MIXQ_K33, strict=True)
        for a, theirs in zip(SHOWN, row, strict=True)
    ]


def mean(ratios: Sequence[float]) -> float:
    """Geometric mean."""
    return exp(sum(map(log, ratios)) / len(ratios))


def cell(packing: Packing) -> str:
    """Density, and the kind of a packing that is not plain: ``7.5 pair``."""
    density = f"{packing.density:.2f}".rstrip("0").rstrip(".")
    if packing.split:
        return f"{density} split"
    return density + (" pair" if packing.product.pair else " tracked" if packing.tracked else "")


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown.

    >>> print(table(("a", "b"), [("1", "2")]))
    | a | b |
    |---|---|
    | 1 | 2 |
    <BLANKLINE>
    """
    lines = [headings, *rows]
    drawn = ["| " + " | ".join(line) + " |" for line in lines]
    return "\n".join([drawn[0], "|" + "---|" * len(headings), *drawn[1:]]) + "\n"


def _known(bits: int) -> str:
    return f"up to {bits}" if bits else "no"


if __name__ == "__main__":
    sys.stdout.write("\n".join(pages()))
