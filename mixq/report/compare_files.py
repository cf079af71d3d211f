"""A comparison as files: ``report/compare.json`` for programs, ``report/compare.html`` for people."""

from __future__ import annotations

import os
from pathlib import Path

from markupsafe import Markup

from mixq import __version__
from mixq.files import write_atomic, write_json
from mixq.report.compare import Comparison, Value
from mixq.report.html import environment, style
from mixq.report.json_files import REPORT_FOLDER
from mixq.report.words import DASH

COMPARE_FILES = ("compare.json", "compare.html")

SUBJECTS = {
    "accuracy": "Network",
    "speed": "Design",
    "resources": "Design",
    "layers": "Stage",
    "files": "File",
    "tools": "Tool",
}
"""Section -> what its changes are of."""

_DIGEST = 64
_SHOWN = 12
"""Hexadecimal digits of a hash that people see."""


def write_comparison(build_dir: str | os.PathLike[str], found: Comparison) -> Path:
    """Write both files into ``report/`` of a build and return the path of the page."""
    folder = Path(build_dir) / REPORT_FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / COMPARE_FILES[0], found.document())
    environ = environment()
    environ.filters["value"] = value_words
    page = environ.get_template("compare.html.j2")
    text = page.render(found=found, subjects=SUBJECTS, style=Markup(style()), version=__version__)
    write_atomic(folder / COMPARE_FILES[1], text)
    return folder / COMPARE_FILES[1]


def value_words(value: Value) -> str:
    """A value for people.

    >>> value_words(None), value_words(12345), value_words(0.98611), value_words("a" * 64)
    ('–', '12,345', '0.9861', 'aaaaaaaaaaaa')
    """
    if value is None:
        return DASH
    if isinstance(value, str):
        is_digest = len(value) == _DIGEST and set(value) <= set("0123456789abcdef")
        return value[:_SHOWN] if is_digest else value
    if float(value).is_integer():
        return f"{value:,.0f}"
    return f"{value:,.1f}" if abs(value) >= 100 else f"{value:.4f}".rstrip("0")
