"""Runs the units of the comparison that its log does not hold yet, several at a time, a line for each that is done."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from functools import partial
from multiprocessing import get_context
from pathlib import Path

from mixq.errors import CheckFailed, UserError
from mixq.files import read_text
from mixq.plan.width_network import WidthNetwork
from scripts.evidence_protocol import PARTS, Part, Record, Scale, Unit, units
from scripts.evidence_units import Place, done, listed

Say = Callable[[str], None]

#: A line has some hundred bytes, a log about a hundred lines.
_MAX_LOG_BYTES = 16 << 20


class Log:
    """The log of a scale: one line of JSON for each unit that is done, the first one for the protocol.

    Raises UserError for a file that is no such, or one of another protocol.
    """

    def __init__(self, path: Path, scale: Scale) -> None:
        self.path = path
        self.records: dict[str, Record] = {}
        self._protocol = {"key": "protocol", **scale.document()}
        for number, line in enumerate(self._complete_lines(), 1):
            try:
                record = json.loads(line)
                key = record["key"]
            except (KeyError, TypeError, ValueError):
                raise UserError(f"{path}: line {number} is no record; remove it") from None
            if key in self.records:
                raise UserError(f"{path}: line {number} repeats {key}; remove one of the two")
            self.records[key] = record
        if self.records and self.records.get("protocol") != self._protocol:
            raise UserError(f"{path} is of another protocol than this scale's; move it away to start over")

    def append(self, record: Record) -> None:
        """Add a line, which is on the disk when this returns."""
        if not self.records and record["key"] != "protocol":
            self.append(self._protocol)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(record, separators=(",", ":"), allow_nan=False) + "\n")
            stream.flush()
            os.fsync(stream.fileno())
        self.records[record["key"]] = record

    @contextmanager
    def locked(self, folder: Path) -> Iterator[None]:
        """Context in which no other process runs the same units; a line that was cut short is taken away."""
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "lock").open("w") as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise UserError(f"another process runs the units in {folder}; wait for it, or end it") from None
            if self.path.is_file():
                whole = "".join(line + "\n" for line in self._complete_lines()).encode()
                if self.path.stat().st_size > len(whole):
                    os.truncate(self.path, len(whole))
            yield

    def _complete_lines(self) -> list[str]:
        if not self.path.is_file():
            return []
        # What follows the last line's end is of a process that was ended while it wrote.
        return read_text(self.path, max_bytes=_MAX_LOG_BYTES).split("\n")[:-1]


def recorded_epochs(path: Path) -> tuple[int, int] | None:
    """Epochs of a search and of a training by the protocol of a log; None where there is none."""
    if not path.is_file():
        return None
    try:
        protocol = json.loads(read_text(path, max_bytes=_MAX_LOG_BYTES).split("\n")[0])
        return int(protocol["search_epochs"]), int(protocol["train_epochs"])
    except (KeyError, TypeError, ValueError):
        return None


def run(
    scale: Scale,
    log: Log,
    place: Place,
    *,
    jobs: int,
    parts: Sequence[Part] = PARTS,
    seconds: float | None = None,
    say: Say,
) -> int:
    """Do what is missing of some parts, and return how many of their units are still missing then.

    Parameters:
        jobs: processes, each with one thread; with 1 all is done in this process. seconds: start nothing afterwards.
        say: takes a line about the progress.

    Raises CheckFailed where units failed; what the others found is in the log.
    """
    deadline = None if seconds is None else time.monotonic() + seconds
    failed: list[str] = []
    with log.locked(place.folder):
        # The stages are named anew after each: what one finds decides what the next is.
        for stage in range(len(parts)):
            todo = [unit for unit in units(scale, log.records, parts)[stage] if unit.key not in log.records]
            if todo and not _late(deadline):
                work = partial(done, scale, place=place, ways=_ways(scale, log, todo, jobs, say))
                failed += _stage(scale, log, todo, work, jobs, deadline, say)
    if failed:
        raise CheckFailed("; ".join(failed))
    return sum(unit.key not in log.records for stage in units(scale, log.records, parts) for unit in stage)


def left(scale: Scale, log: Log, jobs: int) -> float | None:
    """Estimate of the seconds that the whole protocol still takes, None before there is a measure.

    By the seconds of what is done: an epoch of a search counts as one and a half of a training until both are known.
    """
    counted = {"search": (0.0, 0.0), "training": (0.0, 0.0)}
    for record in log.records.values():
        kind = record.get("kind")
        if kind in counted:
            sums = counted[kind]
            counted[kind] = sums[0] + record["seconds"], sums[1] + len(record["validation"])
    rates = {kind: total / epochs for kind, (total, epochs) in counted.items() if epochs}
    if not rates:
        return None
    rates.setdefault("search", 1.5 * rates.get("training", 0.0))
    rates.setdefault("training", rates["search"] / 1.5)
    groups = len(scale.quantizers) * len(scale.seeds)
    searches = groups * (len(scale.decays) + 1)
    trainings = 2 * groups * len(scale.decays) + len(scale.quantizers) * len(scale.uniform)
    # Widths that several searches found are trained once; how many, only the log knows once all are done.
    missing = [unit for stage in units(scale, log.records) for unit in stage if unit.key not in log.records]
    searched = sum(record.get("kind") == "search" for record in log.records.values())
    trained = sum(record.get("kind") == "training" for record in log.records.values())
    if searched == searches:
        trainings = trained + sum(unit.kind == "training" for unit in missing)
    epochs = {"search": (searches - searched) * scale.search_epochs}
    epochs["training"] = max(0, trainings - trained) * scale.train_epochs
    return sum(rates[kind] * count for kind, count in epochs.items()) / jobs


def _ways(scale: Scale, log: Log, todo: Sequence[Unit], jobs: int, say: Say) -> WidthNetwork | None:
    """The ways to build the network, for our searches: for the budgets of all of them, whichever are still to do."""
    if not any(unit.is_ours for unit in todo):
        return None
    searches = [unit for stage in units(scale, log.records, ["ours"]) for unit in stage]
    budgets = {budget for unit in searches for budget in unit.content["budgets"]}
    say(f"listing ways to build {scale.network} within {min(budgets):,} to {max(budgets):,} cycles")
    began = time.monotonic()
    made = listed(scale, tuple(sorted(budgets)), jobs)
    if "ways" not in log.records:
        ways = sum(own.stage.size for own in made.stages)
        log.append({"key": "ways", "seconds": round(time.monotonic() - began, 2), "jobs": jobs, "ways": ways})
    return made


def _stage(
    scale: Scale,
    log: Log,
    todo: Sequence[Unit],
    work: Callable[[Unit], Record],
    jobs: int,
    deadline: float | None,
    say: Say,
) -> list[str]:
    """Do units that need nothing of each other; return the failures, a line each."""
    failed: list[str] = []

    def finished(unit: Unit, result: Callable[[], Record]) -> None:
        try:
            log.append(result())
        except (CheckFailed, UserError, TimeoutError) as error:
            failed.append(f"{unit.key}: {error}")
            say(f"{unit.key} failed: {error}")
        else:
            say(_line(scale, log, unit, jobs))

    if jobs == 1:
        for unit in todo:
            if not _late(deadline):
                finished(unit, partial(work, unit))
        return failed
    pool = ProcessPoolExecutor(jobs, mp_context=get_context("spawn"))
    try:
        futures: dict[Future[Record], Unit] = {pool.submit(work, unit): unit for unit in todo}
        for future in as_completed(futures):
            if not future.cancelled():
                finished(futures[future], future.result)
            if _late(deadline):
                for other in futures:
                    other.cancel()
    finally:
        pool.shutdown(cancel_futures=True)
    return failed


def _late(deadline: float | None) -> bool:
    return deadline is not None and time.monotonic() >= deadline


def _line(scale: Scale, log: Log, unit: Unit, jobs: int) -> str:
    record = log.records[unit.key]
    facts = [f"{record['wall_seconds']:.0f} s"]
    if record.get("validation"):
        facts.append(f"validation {record['validation'][-1]:.3f}")
    if unit.kind == "search":
        facts.append("cycles " + ", ".join(f"{found['cycles']:,}" for found in record["found"]))
    seconds = left(scale, log, jobs)
    if seconds is not None:
        facts.append(f"about {seconds / 60:.0f} min left")
    return f"{unit.key}: {', '.join(facts)}"
