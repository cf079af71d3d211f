"""The page ``docs/estimates.md`` and its picture: estimates beside counts, on samples that the fit has not seen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import log10

from mixq.board import Resources
from scripts.cost_fit import agreement, estimated
from scripts.cost_samples import Sample, kind_of
from scripts.packing_tables import table
from sim.stage_costs import StageCounts

_INTRODUCTION = """\
# Estimates: how far from the counts

The planner estimates what every stage takes. DSPs and block RAM are exact: the rule for the kind of each memory is the
hardware's own, and its blocks are those of Yosys's mapping. Look-up tables and flip-flops are a model: for each
component of a stage a sum of terms that the hardware tells, such as bits of adders, of selections and of registers,
with coefficients fitted to Yosys's counts of the generator's own components (`mixq/plan/cost_model.py`,
`mixq/plan/data/cost_model.yaml`). Counts are those of `mixq estimate`: a stage flattened, before placement.

A layer is counted from its line buffer to its FIFO, with its requantisation. The samples are drawn at random, of every
kind of packing, kernel and requantisation ({fitted} layers for the fit); weights are normal, cut off at the ends of
their range. Nothing on this page was used for the fit but where it says so.

Made by `python -m scripts.fit_costs measure` and `python -m scripts.fit_costs fit`.

![estimates against counts](estimates.svg)
"""

_HELD = """\
## Layers that the fit has not seen

k: kernel; pe x rows x lanes: output channels, kernel rows and input channels at a time.
"""

_PLANNED = """\
## Layers of planned networks

Foldings that the planner chose for VGG-tiny and UltraNet, with weights drawn as above;
not seen by the fit either.
"""

_OTHERS = """\
## Other stages

Pooling, converters, requantisation on its own and the AXI shell: small, so that some tables more or less are a large
share.
"""


@dataclass(frozen=True)
class Judged:
    """A sample with its counts and its estimate."""

    sample: Sample
    counts: Resources
    estimate: Resources

    @classmethod
    def of(cls, sample: Sample, counts: StageCounts) -> Judged:
        """Estimate a sample."""
        return cls(sample, counts.flat, estimated(sample))


def pages(fitted: Sequence[Judged], held: Sequence[Judged], planned: Sequence[Judged]) -> Iterator[str]:
    """The page, piece by piece."""
    layers = [row for row in held if row.sample.kind == "convolution"]
    own = [row for row in fitted if row.sample.kind == "convolution"]
    yield _INTRODUCTION.format(fitted=len(own))
    yield table(
        ("samples", "number", "LUT median", "LUT worst", "FF median", "FF worst", "DSP, BRAM"),
        [
            _errors(name, group)
            for name, group in (
                ("held-out layers", layers),
                ("layers of planned networks", planned),
                ("layers of the fit", own),
                ("held-out other stages", [row for row in held if row.sample.kind != "convolution"]),
            )
            if group
        ],
    )
    yield _HELD
    yield table(_LAYER_HEADINGS, [_layer(row) for row in layers])
    if planned:
        yield _PLANNED
        yield table(_LAYER_HEADINGS, [_layer(row) for row in planned])
    yield _OTHERS
    yield table(
        ("stage", "of the fit", "LUT", "est.", "FF", "est."),
        [
            (row.sample.name.split("_", 1)[1], "yes" if row in fitted else "no", *_numbers(row))
            for row in [*held, *fitted]
            if row.sample.kind != "convolution"
        ],
    )


_LAYER_HEADINGS = (
    *("layer", "packing", "k", "pe x rows x lanes", "DSP", "BRAM"),
    *("LUT", "est.", "FF", "est.", "LUT error"),
)


def _errors(name: str, group: Sequence[Judged]) -> tuple[str, ...]:
    lut = agreement((row.estimate.lut, row.counts.lut) for row in group)
    ff = agreement((row.estimate.ff, row.counts.ff) for row in group)
    exact = sum((row.estimate.dsp, row.estimate.bram36) == (row.counts.dsp, row.counts.bram36) for row in group)
    shares = (f"{100 * share:.1f} %" for share in (lut.median, lut.worst, ff.median, ff.worst))
    return name, str(len(group)), *shares, "all exact" if exact == len(group) else f"{exact} of {len(group)} exact"


def _layer(row: Judged) -> tuple[str, ...]:
    folding = row.sample.folding
    packing, shape = folding.packing, folding.shape
    return (
        f"{shape.in_channels} to {shape.out_channels}, {shape.height} x {shape.width}",
        f"w{packing.weight_bits} a{packing.act_bits} {kind_of(folding.dsp_packing)}",
        str(shape.kernel),
        f"{folding.pe} x {folding.rows} x {folding.lanes}",
        str(row.counts.dsp),
        f"{row.counts.bram36:g}",
        *_numbers(row),
        f"{100 * (row.estimate.lut / row.counts.lut - 1):+.1f} %",
    )


def _numbers(row: Judged) -> tuple[str, ...]:
    return str(row.counts.lut), str(row.estimate.lut), str(row.counts.ff), str(row.estimate.ff)


# -- picture -----------------------------------------------------------------------------------------

_SIDE, _MARGIN, _GAP = 340, 56, 40
_FIRST, _LAST = 2.0, 4.2  # powers of ten at the ends of the axes
_COLOURS = {"plain": "#1f77b4", "residues": "#2ca02c", "pair": "#ff7f0e", "tracked": "#d62728", "split": "#9467bd"}


def picture(layers: Sequence[Judged]) -> str:
    """Estimates against counts of layers, look-up tables at the left and flip-flops at the right, as SVG."""
    width, height = 2 * (_SIDE + _MARGIN) + _GAP, _SIDE + 2 * _MARGIN
    title = "Estimated and counted look-up tables and flip-flops of layers that the fit has not seen"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        'font-family="sans-serif" font-size="12" role="img">',
        f"<title>{title}</title>",
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
    ]
    for index, (name, key) in enumerate((("look-up tables", "lut"), ("flip-flops", "ff"))):
        parts += _plot(_MARGIN + index * (_SIDE + _MARGIN), name, key, layers)
    for index, (kind, colour) in enumerate(_COLOURS.items()):
        left = _MARGIN + 90 * index
        parts.append(f'<circle cx="{left}" cy="{height - 10}" r="4" fill="{colour}" fill-opacity="0.7"/>')
        parts.append(f'<text x="{left + 8}" y="{height - 6}">{kind}</text>')
    left = _MARGIN + 90 * len(_COLOURS)
    parts.append(f'<text x="{left}" y="{height - 6}" fill="#636363">grey: 10 % more or less</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def _plot(left: int, name: str, key: str, layers: Sequence[Judged]) -> list[str]:
    def at(value: float) -> float:
        return (log10(max(value, 10**_FIRST)) - _FIRST) / (_LAST - _FIRST) * _SIDE

    bottom = _MARGIN // 2 + _SIDE
    middle = left + _SIDE / 2
    band = at(10**_FIRST * 1.1)
    parts = [
        f'<rect x="{left}" y="{bottom - _SIDE}" width="{_SIDE}" height="{_SIDE}" fill="none" stroke="#bdbdbd"/>',
        f'<polygon fill="#e0e0e0" points="{left},{bottom} {left + band:.1f},{bottom} {left + _SIDE},'
        f"{bottom - _SIDE + band:.1f} {left + _SIDE},{bottom - _SIDE} {left + _SIDE - band:.1f},{bottom - _SIDE} "
        f'{left},{bottom - band:.1f}"/>',
        f'<text x="{middle}" y="{bottom + 32}" text-anchor="middle">counted {name}</text>',
        f'<text x="{left + 6}" y="{bottom - _SIDE + 16}">estimated {name}</text>',
    ]
    for value in (100, 300, 1000, 3000, 10000):
        where = at(value)
        parts.append(f'<text x="{left + where:.1f}" y="{bottom + 15}" text-anchor="middle">{value}</text>')
        parts.append(f'<text x="{left - 4}" y="{bottom - where + 4:.1f}" text-anchor="end">{value}</text>')
    for row in layers:
        x, y = left + at(getattr(row.counts, key)), bottom - at(getattr(row.estimate, key))
        colour = _COLOURS[kind_of(row.sample.folding.dsp_packing)]
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}" fill-opacity="0.7"/>')
    return parts
