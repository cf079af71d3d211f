"""Drawings of a packing: its operands and its accumulators, bit by bit, for a terminal and as SVG."""

from mixq.drawing.rows import Field, LaneLine, Row, Sheet, guard_bits, headline, known_bits, lane_terms, sheets
from mixq.drawing.svg import draw_svg
from mixq.drawing.text import draw_text

__all__ = [
    "Field",
    "LaneLine",
    "Row",
    "Sheet",
    "draw_svg",
    "draw_text",
    "guard_bits",
    "headline",
    "known_bits",
    "lane_terms",
    "sheets",
]
