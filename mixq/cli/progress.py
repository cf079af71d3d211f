"""Progress of a longer piece of work, on standard error: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from types import TracebackType
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

    def __call__(self, done: int, total: int | None = None, /, *, note: str = "") -> None:
        """``done`` pieces are done; ``total``, where it is only known now, is the number of all; ``note`` is shown."""


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
            task = bar.add_task(what, total=total, note="")

            def update(done: int, total: int | None = None, /, *, note: str = "") -> None:
                bar.update(task, completed=done, total=total, note=note)

            yield update
    else:
        yield _lines(what, total, out, clock)
    print(f"{what}: done in {clock() - started:.1f} s", file=out, flush=True)


class Stages:
    """Shows the progress of work that is made of several pieces, each as `progress` does; ends with the block.

    Called with what is being done, the pieces of it that are done, how many there are, and numbers to show by name.
    """

    def __init__(self, *, stream: TextIO | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream, self._clock = stream, clock
        self._stack = ExitStack()
        self._what: str | None = None
        self._update: Update | None = None

    def __enter__(self) -> Stages:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    def __call__(self, what: str, done: int, total: int, facts: Mapping[str, float]) -> None:
        """Another ``what`` than before ends the line of that and begins its own."""
        if what != self._what or self._update is None:
            self._stack.close()
            self._update = self._stack.enter_context(progress(what, total, stream=self._stream, clock=self._clock))
            self._what = what
        self._update(done, total, note=facts_note(facts))


#: Numbers of a training that are shown, in this order, and how.
_SHOWN = {
    "epoch": "epoch {:.0f}",
    "loss": "loss {:.3f}",
    "metric": "metric {:.3f}",
    "top1": "top1 {:.3f}",
    "iou": "iou {:.3f}",
    "cycles": "{:,.0f} cycles",
}


def facts_note(facts: Mapping[str, float]) -> str:
    """The numbers that are worth showing.

    >>> facts_note({"cycles": 25000.4, "loss": 1.25, "multiplier": 3.0})
    'loss 1.250, 25,000 cycles'
    """
    return ", ".join(form.format(facts[name]) for name, form in _SHOWN.items() if name in facts)


def _bar(out: TextIO) -> Progress:
    """The bar of a terminal."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
        console=Console(file=out),
        transient=True,
    )


def _lines(what: str, total: int | None, out: TextIO, clock: Callable[[], float]) -> Update:
    """The plain form: returns the function that writes a line when one is due."""
    last = clock() + QUIET_SECONDS - LINE_SECONDS
    # The rate is that since the first call: before it, tools may have been compiling.
    first: tuple[float, int] | None = None

    def update(done: int, all_pieces: int | None = None, /, *, note: str = "") -> None:
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
        print(f"{what}: {done}{of}{f', {note}' if note else ''}{left}", file=out, flush=True)

    return update
