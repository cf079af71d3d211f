"""Counts samples of stages with Yosys, and fits the estimates to them.

``python -m scripts.fit_costs measure`` counts what is new or has other Verilog than before, some 30 minutes for all; it
goes on where it was stopped. ``python -m scripts.fit_costs fit`` writes the coefficients of :mod:`mixq.plan.cost_model`
and the page ``docs/estimates.md``. ``python -m scripts.fit_costs plans`` draws the layers of whole networks anew, as
the planner folds them now.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from mixq.board import Resources
from mixq.files import dump_yaml, write_atomic
from mixq.plan.cost_model import MODEL_FILE, cost_model
from scripts.cost_fit import judged
from scripts.cost_page import Judged, pages, picture
from scripts.cost_plans import draw_plans, planned_samples
from scripts.cost_samples import Sample, convolutions, other_stages
from sim.stage_costs import StageCounts, StageVerilog, measure

ROWS = Path(__file__).resolve().parent / "data" / "costs.jsonl"
"""Samples with their counts, a line each."""

_DOCS = Path(__file__).resolve().parents[1] / "docs"

FITTED, HELD, PLANNED = "fit", "held", "plan"
"""How the names of samples begin: those the model is fitted to, those held out, and those of planned networks."""

SEEDS = {FITTED: 2026, HELD: 6202}
LAYERS = {FITTED: 36, HELD: 16}
OTHERS = {FITTED: 6, HELD: 2}


@dataclass(frozen=True)
class Row:
    """A sample, the hash of its Verilog, and its counts."""

    sample: Sample
    digest: str
    counts: StageCounts

    def line(self) -> str:
        """As a line of the file."""
        document = {
            "sample": asdict(self.sample),
            "digest": self.digest,
            "components": {name: _counted(counts) for name, counts in self.counts.components.items()},
            "flat": _counted(self.counts.flat),
        }
        return json.dumps(document, separators=(",", ":"))

    @classmethod
    def of(cls, line: str) -> Row:
        """From a line of the file."""
        document = json.loads(line)
        components = {name: Resources(**counts) for name, counts in document["components"].items()}
        counts = StageCounts(components, Resources(**document["flat"]))
        return cls(Sample(**document["sample"]), document["digest"], counts)


def rows(path: Path = ROWS) -> dict[str, Row]:
    """The rows of the file by the names of their samples; none where there is no file."""
    lines = path.read_text().splitlines() if path.is_file() else []
    found = [Row.of(line) for line in lines]
    return {row.sample.name: row for row in found}


def samples() -> Iterator[Sample]:
    """All that is to be counted: drawn samples, and layers of planned networks."""
    yield from other_stages(SEEDS[FITTED], OTHERS[FITTED], FITTED)
    yield from convolutions(SEEDS[FITTED], LAYERS[FITTED], FITTED)
    yield from convolutions(SEEDS[HELD], LAYERS[HELD], HELD)
    yield from other_stages(SEEDS[HELD], OTHERS[HELD], HELD)
    yield from planned_samples()


def count_all(path: Path = ROWS) -> None:
    """Count every sample whose Verilog is not that of its row; the file is written after each."""
    known = rows(path)
    wanted = list(samples())
    kept: dict[str, Row] = {name: known[name] for name in (sample.name for sample in wanted) if name in known}
    path.parent.mkdir(exist_ok=True)
    for number, sample in enumerate(wanted):
        started = time.monotonic()
        source = StageVerilog.of(sample.stage())
        old = kept.get(sample.name)
        if old is not None and old.digest == source.digest:
            kept[sample.name] = Row(sample, old.digest, old.counts)
            continue
        kept[sample.name] = row = Row(sample, source.digest, measure(source))
        ordered = [kept[sample.name] for sample in wanted if sample.name in kept]
        write_atomic(path, "".join(f"{row.line()}\n" for row in ordered))
        seconds = time.monotonic() - started
        _say(f"{number + 1} of {len(wanted)}: {sample.name} {row.counts.flat.lut} LUT {seconds:.0f} s")


def fit(path: Path = ROWS) -> None:
    """Fit the model to the rows, and write it and the page."""
    found = rows(path).values()
    groups = {name: [row for row in found if row.sample.name.startswith(name)] for name in (FITTED, HELD, PLANNED)}
    model = judged(*([(row.sample, row.counts) for row in groups[name]] for name in (FITTED, HELD)))
    MODEL_FILE.parent.mkdir(exist_ok=True)
    write_atomic(MODEL_FILE, dump_yaml(model.document()))
    cost_model.cache_clear()
    text, drawn = page(path)
    write_atomic(_DOCS / "estimates.md", text)
    write_atomic(_DOCS / "estimates.svg", drawn)
    for kind, errors in model.errors.items():
        _say(f"{kind}: median error {100 * errors.median:.1f} %, worst {100 * errors.worst:.1f} %")


def page(path: Path = ROWS) -> tuple[str, str]:
    """The page and its picture, by the model as it is."""
    found = [Judged.of(row.sample, row.counts) for row in rows(path).values()]
    fitted, held, planned = (
        [row for row in found if row.sample.name.startswith(name)] for name in (FITTED, HELD, PLANNED)
    )
    layers = [row for row in [*held, *planned] if row.sample.kind == "convolution"]
    return "\n".join(pages(fitted, held, planned)), picture(layers)


def _counted(counts: Resources) -> dict[str, Any]:
    return {name: value for name, value in asdict(counts).items() if value}


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


if __name__ == "__main__":
    commands: dict[str, Callable[[], None]] = {"measure": count_all, "fit": fit, "plans": partial(draw_plans, PLANNED)}
    if len(sys.argv) != 2 or sys.argv[1] not in commands:
        sys.exit(__doc__)
    commands[sys.argv[1]]()
