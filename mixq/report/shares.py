"""Shares of the board: of the whole design, and of each layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mixq.board import REPORT_KEYS, Board, Resources
from mixq.plan.values import SHELL
from mixq.report.gather import ReportData
from mixq.report.rows import LayerRow
from mixq.report.words import percent


@dataclass(frozen=True)
class Total:
    """A kind of resource of the whole design.

    counted: None before synthesis. device: None where the board is not known. percent, length, mark: used, the same up
    to 100, and what was allowed, in percent of the device, or of what was allowed; mark is None where that is all.
    """

    key: str
    estimated: float
    counted: float | None
    allowed: float
    device: float | None
    percent: int
    length: float
    mark: float | None


@dataclass(frozen=True)
class Share:
    """What a layer takes of one kind. percent: of the board. lengths: in percent of the layer that takes most."""

    estimated: float | None
    counted: float | None
    percent: float | None
    estimated_length: float
    counted_length: float


def totals(data: ReportData, board: Board | None) -> list[Total]:
    """Every kind of resource that the board has or the design takes; none without a plan."""
    if data.plan is None:
        return []
    estimated, allowed = data.plan.resources.report(), data.plan.limits.report()
    device = (Resources() if board is None else board.resources).report()
    counted = None if data.counted is None else data.counted["total"]
    found = []
    for key in REPORT_KEYS.values():
        whole = device[key] or allowed[key]
        if not whole and not estimated[key]:
            continue
        used = estimated[key] if counted is None else counted[key]
        found.append(
            Total(
                key=key,
                estimated=estimated[key],
                counted=None if counted is None else counted[key],
                allowed=allowed[key],
                device=device[key] or None,
                percent=percent(used, whole),
                length=min(100.0, 100 * used / whole) if whole else 100.0,
                mark=100 * allowed[key] / whole if whole and allowed[key] < whole else None,
            )
        )
    return found


def layer_shares(
    rows: Sequence[LayerRow],
    others: Mapping[str, Mapping[str, float] | None],
    whole: Sequence[Total],
    shell: Resources | None,
) -> list[tuple[str, list[Share]]]:
    """For each layer, and for what stands around them, its share of every kind that the design takes any of.

    others: counts of what is no layer, by name; shell: the estimate of the one that has one.
    """
    estimates = {row.name: None if row.estimated is None else row.estimated.report() for row in rows}
    counts: dict[str, Mapping[str, float] | None] = {row.name: row.counted for row in rows}
    for name, table in others.items():
        estimates[name] = shell.report() if name == SHELL and shell is not None else None
        counts[name] = table
    found: dict[str, list[Share]] = {name: [] for name in estimates}
    for own in whole:
        if not own.estimated and not own.counted:
            continue
        pairs = {name: (_of(estimates[name], own.key), _of(counts[name], own.key)) for name in estimates}
        most = max((value for pair in pairs.values() for value in pair if value is not None), default=0) or 1
        device = own.device or own.allowed
        for name, (estimated, counted) in pairs.items():
            used = estimated if counted is None else counted
            share = 100 * used / device if used is not None and device else None
            found[name].append(
                Share(estimated, counted, share, 100 * (estimated or 0) / most, 100 * (counted or 0) / most)
            )
    return list(found.items())


def _of(table: Mapping[str, float] | None, key: str) -> float | None:
    return None if table is None else table[key]
