"""A page in a browser without a window: what it looks like at a width, and what sticks out of its place."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import dataclass
from html import escape, unescape
from pathlib import Path
from typing import Any

import pytest

_NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
_FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--enable-logging=stderr")

#: Runs in the page around the report, which stands in a frame of a width that a window may not have.
_MEASURE = """
const page = document.querySelector("iframe").contentDocument, view = page.defaultView;
const root = page.documentElement;
const found = { scroll: root.scrollWidth, inner: view.innerWidth, height: root.scrollHeight,
                texts: 0, outside: [], over: [] };
const within = (a, b) => a.left >= b.left - 1 && a.right <= b.right + 1;
const inside = (a, b) => within(a, b) && a.top >= b.top - 1 && a.bottom <= b.bottom + 1;
const touch = (a, b) => a.left < b.right && a.right > b.left && a.top < b.bottom && a.bottom > b.top;
for (const svg of page.querySelectorAll("svg")) {
  const frame = svg.getBoundingClientRect();
  const stages = [...svg.querySelectorAll("rect.stage")].map((one) => one.getBoundingClientRect());
  for (const text of svg.querySelectorAll("text")) {
    const own = text.getBoundingClientRect();
    found.texts += 1;
    if (!inside(own, frame)) found.outside.push(text.textContent);
    const around = stages.filter((stage) => touch(own, stage));
    if (around.length > 1 || (around.length === 1 && !inside(own, around[0]))) found.over.push(text.textContent);
  }
}
const result = document.createElement("pre");
result.id = "found";
result.textContent = JSON.stringify(found);
document.body.append(result);
"""


@dataclass(frozen=True)
class Look:
    """What a browser says of a page.

    scroll, inner: width of what the page holds, and of its window. texts: how many the pictures have; outside: those
    that leave their picture; over: those that leave their stage's box, or lie over another's. console: what it
    complains of.
    """

    scroll: int
    inner: int
    height: int
    texts: int
    outside: list[str]
    over: list[str]
    console: list[str]


def browser() -> str:
    """Path of a browser; without one the test is skipped."""
    found = next(filter(None, map(shutil.which, _NAMES)), None)
    if found is None:
        pytest.skip("no browser: install chromium-headless-shell")
    return found


def look_at(page: Path, width: int, folder: Path) -> Look:
    """Show a page in a window of a width and measure it; ``folder`` takes a screenshot, ``<width>.png``."""
    around = folder / f"around{width}.html"
    frame = f'<iframe style="border:0;width:{width}px;height:HEIGHTpx" srcdoc="{escape(page.read_text())}"></iframe>'
    text = f"<!DOCTYPE html><meta charset=utf-8><body style='margin:0'>{frame}"
    around.write_text(f"{text}<script>onload = () => {{{_MEASURE}}}</script>".replace("HEIGHT", "800"))
    outcome = _run(folder, around, "--dump-dom")
    match = re.search(r'<pre id="found">(.*?)</pre>', outcome.stdout, re.DOTALL)
    assert match is not None, outcome.stderr
    found: dict[str, Any] = json.loads(unescape(match[1]))
    console = [line for line in outcome.stderr.splitlines() if "CONSOLE" in line]
    around.write_text(text.replace("HEIGHT", str(found["height"])))
    size = f"--window-size={max(width, 500)},{found['height']}"
    _run(folder, around, f"--screenshot={folder / f'{width}.png'}", size)
    return Look(console=console, **found)


def _run(folder: Path, page: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    own = f"--user-data-dir={folder / 'profile'}"
    command = [browser(), *_FLAGS, own, *flags, page.as_uri()]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
