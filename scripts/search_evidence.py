"""Compares the search for widths with the published one; the protocol is in :mod:`scripts.evidence_protocol`.

``python -m scripts.search_evidence run --scale quarter`` does what the log
``scripts/data/search_evidence_quarter_N.jsonl`` does not hold yet; it goes on where it was stopped. ``... page`` makes
``docs/search.md`` and its picture from the log alone. ``... calibrate`` measures first how long all of it takes.

On a GPU: ``calibrate --scale full --device cuda --jobs 4 --minutes 25`` first, then ``run`` with the epochs that it
says, in as many commands as it takes, each with ``--seconds`` below what a command may take.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

from mixq.errors import CheckFailed, UserError
from mixq.files import write_atomic
from scripts.evidence_page import all_trained, page
from scripts.evidence_picture import picture
from scripts.evidence_protocol import PARTS, SCALES, Scale, earlier
from scripts.evidence_run import Log, recorded_epochs, run
from scripts.evidence_units import Place, rate

ROOT = Path(__file__).resolve().parents[1]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, calibrate, or make the page; returns the exit status."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.command(options))
    except (CheckFailed, UserError) as error:
        sys.stderr.write(f"search_evidence: {error}\n")
        return 1 if isinstance(error, CheckFailed) else 2


def _run(options: argparse.Namespace) -> int:
    scale = _scale(options, options.scale)
    parts = [part for part in PARTS if not options.only or part in options.only]
    log = Log(options.log or _log_path(scale), scale)

    missing = run(scale, log, _place(options), jobs=options.jobs, parts=parts, seconds=options.seconds, say=_say)
    _say(f"{log.path}: {len(log.records) - 1} lines" + (f", {missing} units missing" if missing else ", all there"))
    return 0


def _page(options: argparse.Namespace) -> int:
    name = options.scale
    if name is None:
        name = "full" if _log_path(SCALES["full"]).is_file() else "quarter"
    scale = _scale(options, name)
    log = Log(options.log or _log_path(scale), scale)
    before = [] if options.log else [(old, Log(_log_path(old), old).records) for old in _kept(scale)]
    write_atomic(options.docs / "search.md", "\n".join(page(scale, log.records, before)))
    write_atomic(options.docs / "search.svg", picture(all_trained(scale, log.records)))
    return 0


def _calibrate(options: argparse.Namespace) -> int:
    """Measure seconds of an epoch with as many processes as will run, and say what that makes of the whole."""
    scale, place = _scale(options, options.scale), _place(options)
    groups = len(scale.quantizers) * len(scale.seeds)
    searches = groups * (len(scale.decays) + 1) / len(scale.quantizers)
    trainings = (2 * groups * len(scale.decays)) / len(scale.quantizers) + len(scale.uniform)
    whole, ratio = 0.0, scale.train_epochs / scale.search_epochs
    unit = 0.0
    with ProcessPoolExecutor(options.jobs, mp_context=get_context("spawn")) as pool:
        for quantizer in scale.quantizers:
            seconds = {}
            for phase in ("search", "training"):
                copies = [pool.submit(rate, scale, phase, quantizer, place) for _ in range(options.jobs)]
                seconds[phase] = sum(copy.result() for copy in copies) / options.jobs
                _say(f"{quantizer} {phase}: {seconds[phase]:.1f} s an epoch, {options.jobs} at a time")
            whole += searches * scale.search_epochs * seconds["search"]
            whole += trainings * scale.train_epochs * seconds["training"]
            # All of an epoch of search, with its share of epochs of training.
            unit += searches * seconds["search"] + trainings * ratio * seconds["training"]
    _say(
        f"{scale.search_epochs} epochs of search and {scale.train_epochs} of training: about "
        f"{whole / options.jobs / 60:.0f} min for all, without listing ways and solving; "
        "a search counted as one by the published method"
    )
    if options.minutes is not None:
        fitting = int(options.minutes * 60 * options.jobs / unit)
        _say(f"within {options.minutes:g} min: --epochs {fitting},{round(fitting * ratio)}")
    return 0


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _scale(options: argparse.Namespace, name: str) -> Scale:
    """The scale, with the epochs that were asked for, or else those of its log where there is one."""
    scale = SCALES[name]
    epochs = options.epochs or recorded_epochs(options.log or _log_path(scale))
    if epochs is None:
        return scale
    return replace(scale, search_epochs=epochs[0], train_epochs=epochs[1])


def _place(options: argparse.Namespace) -> Place:
    shared = os.environ.get("MIXQ_SHARED")
    data = options.data or (Path(shared) if shared else ROOT.parent / "shared") / "data" / "cifar10_jpeg_train50k.npz"
    folder = options.folder or ROOT / "build" / "search_evidence" / options.scale
    return Place(data=data, folder=folder, device=options.device)


def _kept(scale: Scale) -> list[Scale]:
    """Scales of the attempts before this that have a log."""
    return [old for old in earlier(scale) if _log_path(old).is_file()]


def _log_path(scale: Scale) -> Path:
    return ROOT / "scripts" / "data" / f"search_evidence_{scale.name}_{scale.attempt}.jsonl"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m scripts.search_evidence")
    commands = parser.add_subparsers(required=True)
    own = commands.add_parser("run", help="do the units that the log does not hold yet")
    own.set_defaults(command=_run)
    own.add_argument(
        "--only", action="append", choices=PARTS, help="a part of the protocol; may be given several times"
    )
    own.add_argument("--seconds", type=float, help="start no further unit after so long")
    made = commands.add_parser("page", help="make docs/search.md and docs/search.svg from the log")
    made.set_defaults(command=_page)
    made.add_argument("--docs", type=Path, default=ROOT / "docs", help="folder of the page")
    timed = commands.add_parser("calibrate", help="measure how long the whole takes")
    timed.set_defaults(command=_calibrate)
    timed.add_argument("--minutes", type=float, help="say how many epochs fit")
    for command in (own, made, timed):
        default = None if command is made else "quarter"
        command.add_argument("--scale", choices=tuple(SCALES), default=default, help="size of the protocol")
        command.add_argument(
            "--epochs", type=_epochs, help="S,T: other numbers of search and training, fixed beforehand"
        )
        command.add_argument("--log", type=Path, help="by default scripts/data/search_evidence_SCALE_ATTEMPT.jsonl")
    for command in (own, timed):
        command.add_argument("--jobs", type=_positive, default=1, help="processes at a time, of one thread each")
        command.add_argument("--device", default="cpu", help="of PyTorch: cpu or cuda")
        command.add_argument("--data", type=Path, help="CIFAR-10; by default that of the shared folder")
        command.add_argument("--folder", type=Path, help="of states; by default build/search_evidence/SCALE")
    return parser


def _epochs(text: str) -> tuple[int, int]:
    search, training = (_positive(part) for part in text.split(","))
    return search, training


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise ValueError(f"must be positive, not {value!r}")
    return value


if __name__ == "__main__":
    sys.exit(main())
