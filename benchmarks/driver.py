"""How fast the driver gets images into its buffers, and integers out of them: ``python -m benchmarks.driver``.

One process on one core. All ways are timed in turns, round by round; a ratio is that of times of the same round.
"""

from __future__ import annotations

import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from boards.driver.description import Port
from boards.driver.frames import Frames
from boards.driver.resizer import Resizer
from mixq.data.resizing import resize_bilinear
from mixq.formats import IntFormat
from scripts.packing_tables import table

ROUNDS = 15
IMAGES = 32
SOURCE = (640, 360)
SIZES = ((320, 160), (416, 234), (160, 80))
"""UltraNet's input and two others, of which neither halves the width."""

PAGE = """
## Images into the driver's buffers

Decoded images of {width} x {height} pixels, resized by the filter `opencv` of [the data](data.md), to the same bytes,
and laid out for the DMA, in NumPy; then frames that need no resizing, and outputs. The ratio is to the plain formula,
`mixq.data.resizing`, in the same round.

Made by `python -m benchmarks.driver` on one core of {machine}: {rounds} rounds of {images} frames for each
way in turns, medians.

{table}"""


def page() -> str:
    """The section of the page, with times measured now."""
    if hasattr(os, "sched_setaffinity"):
        before = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {min(before)})
    try:
        rows = [row for group in (*map(_resizing, SIZES), _moving()) for row in _measured(group)]
    finally:
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, before)
    headings = ("from", "to", "how", "frames / s", "ratio")
    width, height = SOURCE
    text = table(headings, rows)
    return PAGE.format(width=width, height=height, rounds=ROUNDS, images=IMAGES, machine=processor(), table=text)


Ways = list[tuple[tuple[str, str, str], Callable[[], object]]]


def _resizing(size: tuple[int, int]) -> Ways:
    """The plain formula first, then the driver's way, both into a buffer."""
    width, height = SOURCE
    images = np.random.default_rng(0).integers(0, 256, (IMAGES, height, width, 3), dtype=np.uint8)
    frames = Frames(Port((3, size[1], size[0]), IntFormat(8, False), 128))
    buffer = np.empty(frames.bytes_of(IMAGES), np.uint8)
    pixels = frames.pixels(buffer, IMAGES)
    fast = Resizer(SOURCE, size, opencv=False)
    expected = resize_bilinear(images[0], size)
    fast(images[0], pixels[0])
    if not np.array_equal(pixels[0], expected):
        raise AssertionError("the driver resizes to other pixels than the formula")

    def plain() -> None:
        for place in range(IMAGES):
            pixels[place] = resize_bilinear(images[place], size)

    def driver() -> None:
        for place in range(IMAGES):
            fast(images[place], pixels[place])

    names = (f"{width} x {height}", f"{size[0]} x {size[1]}")
    return [((*names, "plain formula"), plain), ((*names, "driver"), driver)]


def _moving() -> Ways:
    """UltraNet's frames that need no resizing, and its outputs."""
    random = np.random.default_rng(1)
    inputs = Frames(Port((3, 160, 320), IntFormat(8, False), 128))
    outputs = Frames(Port((36, 10, 20), IntFormat(18, True), 128))
    images = random.integers(0, 256, (IMAGES, 160, 320, 3), dtype=np.uint8)
    codes = np.ascontiguousarray(images.transpose(0, 3, 1, 2))
    buffer = np.empty(max(inputs.bytes_of(IMAGES), outputs.bytes_of(IMAGES)), np.uint8)
    out = np.empty((IMAGES, 36, 10, 20), np.int64)
    return [
        (("images of 320 x 160", "buffer", "driver"), lambda: inputs.pack(buffer, images.transpose(0, 3, 1, 2))),
        (("codes 3 x 160 x 320", "buffer", "driver"), lambda: inputs.pack(buffer, codes)),
        (("buffer", "int64 36 x 10 x 20", "driver"), lambda: outputs.unpack(buffer, out)),
    ]


def _measured(ways: Ways) -> list[tuple[str, ...]]:
    """A row for each way; the first one is what the others' ratios are to, where it is the plain formula."""
    seconds: list[list[float]] = [[] for _ in ways]
    for _, run in ways:
        run()
    for _ in range(ROUNDS):
        for place, (_, run) in enumerate(ways):
            started = time.perf_counter()
            run()
            seconds[place].append(time.perf_counter() - started)
    rows: list[tuple[str, ...]] = []
    for (names, _), own in zip(ways, seconds, strict=True):
        ratio = statistics.median(first / other for first, other in zip(seconds[0], own, strict=True))
        compared = ways[0][0][2] == "plain formula"
        rows.append((*names, f"{IMAGES / statistics.median(own):,.0f}", f"{ratio:.1f}" if compared else ""))
    return rows


def processor() -> str:
    """Name of the processor that this runs on."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


if __name__ == "__main__":
    sys.stdout.write(page())
