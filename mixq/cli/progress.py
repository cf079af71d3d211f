"""Progress of a longer piece of work, on standard error: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol, TextIO

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)


class Update(Protocol):
    """Tells how far the work has come."""

    def __call__(self, done: int, total: int | None = None, /) -> None:
        """``done`` pieces are done; ``total``, where it is only known now, is the number of all."""


#: Work that ends sooner than this shows no plain lines but the one that it ends with.
QUIET_SECONDS = 2.0
#: The least time between two plain lines.
LINE_SECONDS = 5.0


@contextmanager
def progress(
    what: str,
    total: int | None = None,
    *,
    stream: TextIO | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Update]:
    """Shows how far ``what`` has come while the block runs; yields the function to call with the pieces done.

    total: number of pieces, None where it is unknown. stream: standard error by default. clock: seconds, for
    tests. On a terminal the bar shows the time left and goes away at the end. Elsewhere a line at most every
    5 seconds does the same, none in the first 2 seconds. The last line says how long it took.

    >>> import sys
    >>> with progress("simulating", 2, stream=sys.stdout, clock=lambda: 0.0) as update:
    ...     update(2)
    simulating: done in 0.0 s
    """
    out = sys.stderr if stream is None else stream
    started = clock()
    if out.isatty():
        with _bar(out) as bar:
            task = bar.add_task(what, total=total)

            def update(done: int, total: int | None = None, /) -> None:
                bar.update(task, completed=done, total=total)

            yield update
    else:
        yield _lines(what, total, out, clock)
    print(f"{what}: done in {clock() - started:.1f} s", file=out, flush=True)


def _bar(out: TextIO) -> Progress:
    """The bar of a terminal."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=Console(file=out),
        transient=True,
    )


def _lines(what: str, total: int | None, out: TextIO, clock: Callable[[], float]) -> Update:
    """The plain form: returns the function that writes a line when one is due."""
    last = clock() + QUIET_SECONDS - LINE_SECONDS
    # The rate is that since the first call: before it, tools may have been compiling.
    first: tuple[float, int] | None = None

    def update(done: int, all_pieces: int | None = None, /) -> None:
        nonlocal last, total, first
        total = total if all_pieces is None else all_pieces
        now = clock()
        first = first or (now, done)
        if now - last < LINE_SECONDS or (total is not None and done >= total):
            return
        last = now
        of = f" of {total}" if total is not None else ""
        since, before = now - first[0], done - first[1]
        left = f", about {since * (total - done) / before:.0f} s left" if total and before else ""
        print(f"{what}: {done}{of}{left}", file=out, flush=True)

    return update
