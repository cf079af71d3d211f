"""Pictures of the page, as text: the pipeline and the bars as SVG, images as PNG data URIs.

Colours come from the page's style sheet by class, so that pictures follow its light and dark form.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np

from mixq.graph import Tensor
from mixq.report.gather import Sample
from mixq.report.png import png_data_uri
from mixq.report.rows import LayerRow

_COLUMNS, _BOX, _GAP, _HEIGHT, _ROW, _MARGIN = 4, 178, 62, 96, 132, 8
_BAR, _LABEL, _VALUE = 22, 150, 84
_WIDTH = 2 * _MARGIN + _COLUMNS * _BOX + (_COLUMNS - 1) * _GAP


def pipeline_svg(rows: Sequence[LayerRow]) -> str:
    """The stages in the order of the data, in rows of four; on each arrow the tensor that travels there.

    A line at a stage's foot is as long as the share of a frame's time that the stage works.
    """
    if not rows:
        raise ValueError(f"rows must not be empty, not {rows!r}")
    slowest = max((row.cycles or 0) for row in rows)
    parts = []
    for index, row in enumerate(rows):
        left, top = _place(index)
        parts += _stage(row, left, top, slowest)
        if index + 1 < len(rows):
            parts += _arrow(row.target, index)
    lines = (len(rows) + _COLUMNS - 1) // _COLUMNS
    height = 2 * _MARGIN + lines * _ROW - (_ROW - _HEIGHT)
    title = "The network as a pipeline: " + ", ".join(row.name for row in rows)
    return _svg(_WIDTH, height, title, parts)


def bars_svg(rows: Sequence[LayerRow]) -> str:
    """Cycles per frame of each stage as bars; the slowest reaches the full length."""
    known = [(row, row.cycles) for row in rows if row.cycles is not None]
    slowest = max(cycles for _, cycles in known)
    room = _WIDTH - _LABEL - _VALUE
    parts = []
    for index, (row, cycles) in enumerate(known):
        top = index * (_BAR + 6) + 2
        length = max(1.0, room * cycles / slowest)
        kind = "bar slow" if row.bottleneck else "bar"
        parts.append(
            f'<text class="label" x="{_LABEL - 10}" y="{top + 15}" text-anchor="end">{_short(row.name)}</text>'
        )
        parts.append(f'<rect class="track" x="{_LABEL}" y="{top}" width="{room}" height="{_BAR}" rx="3"/>')
        parts.append(f'<rect class="{kind}" x="{_LABEL}" y="{top}" width="{length:.1f}" height="{_BAR}" rx="3"/>')
        parts.append(f'<text class="value" x="{_LABEL + room + 8}" y="{top + 15}">{cycles:,}</text>')
        if row.bottleneck:
            parts.append(f'<text class="inside" x="{_LABEL + 10}" y="{top + 15}">bottleneck</text>')
    return _svg(_WIDTH, len(known) * (_BAR + 6), "Cycles per frame of each stage", parts)


def sample_uri(sample: Sample) -> str:
    """The image as a PNG in a data URI, pixel for pixel."""
    planes = np.array(sample.pixels, np.uint8)
    return png_data_uri(planes[0] if len(planes) == 1 else planes.transpose(1, 2, 0))


def tensor_words(tensor: Tensor) -> tuple[str, str]:
    """Shape and width of a tensor: ``16×8×8`` and ``u4``, C×H×W with u for unsigned and s for signed codes."""
    return "\N{MULTIPLICATION SIGN}".join(
        map(str, tensor.shape)
    ), f"{'s' if tensor.format.signed else 'u'}{tensor.format.width}"


def _place(index: int) -> tuple[int, int]:
    line, column = divmod(index, _COLUMNS)
    return _MARGIN + column * (_BOX + _GAP), _MARGIN + line * _ROW


def _stage(row: LayerRow, left: int, top: int, slowest: int) -> list[str]:
    lines = [row.kind + (" + requantise" if row.fused else "")]
    if row.weight_bits is not None:
        lines.append(f"weights {row.weight_bits} bit, act. {row.act_bits} bit")
    else:
        lines.append(f"{row.act_bits} → {row.target.format.width} bit")
    if row.cycles is not None:
        lines.append(f"{row.cycles:,} cycles")
    kind = "stage slow" if row.bottleneck else "stage"
    parts = [
        f'<rect class="{kind}" x="{left}" y="{top}" width="{_BOX}" height="{_HEIGHT}" rx="6"/>',
        f'<text class="name" x="{left + 12}" y="{top + 23}">{_short(row.name)}</text>',
    ]
    parts += [
        f'<text class="small" x="{left + 12}" y="{top + 42 + 17 * number}">{escape(line)}</text>'
        for number, line in enumerate(lines)
    ]
    if row.cycles is not None and slowest:
        length = max(1.0, (_BOX - 24) * row.cycles / slowest)
        fill = "bar slow" if row.bottleneck else "bar"
        parts.append(f'<rect class="track" x="{left + 12}" y="{top + 85}" width="{_BOX - 24}" height="4" rx="2"/>')
        parts.append(f'<rect class="{fill}" x="{left + 12}" y="{top + 85}" width="{length:.1f}" height="4" rx="2"/>')
    return parts


def _arrow(tensor: Tensor, index: int) -> list[str]:
    left, top = _place(index)
    to_left, to_top = _place(index + 1)
    shape, width = tensor_words(tensor)
    if to_top == top:
        start, end, y = left + _BOX + 3, to_left - 3, top + _HEIGHT // 2
        middle = (start + end) // 2
        return [
            f'<path class="arrow" d="M{start} {y}H{end - 1}"/>',
            f'<path class="head" d="M{end} {y}l-7 -4v8z"/>',
            f'<text class="tiny" x="{middle}" y="{y - 8}" text-anchor="middle">{shape}</text>',
            f'<text class="tiny" x="{middle}" y="{y + 16}" text-anchor="middle">{width}</text>',
        ]
    # To the next line: down, across between the lines, and down again.
    x, across, target = left + _BOX // 2, top + _HEIGHT + (_ROW - _HEIGHT) // 2, to_left + _BOX // 2
    return [
        f'<path class="arrow" d="M{x} {top + _HEIGHT + 2}V{across}H{target}V{to_top - 3}"/>',
        f'<path class="head" d="M{target} {to_top - 2}l-4 -7h8z"/>',
        f'<text class="tiny" x="{(x + target) // 2}" y="{across - 5}" text-anchor="middle">{shape}, {width}</text>',
    ]


def _short(name: str, most: int = 19) -> str:
    return escape(name if len(name) <= most else name[: most - 1] + "…")


def _svg(width: int, height: int, title: str, parts: Sequence[str]) -> str:
    head = f'<svg viewBox="0 0 {width} {height}" role="img"><title>{escape(title)}</title>'
    return "\n".join([head, *parts, "</svg>"])
