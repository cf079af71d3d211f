"""The page ``docs/search.md`` and its picture, from the log of the comparison alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from scripts.evidence_protocol import (
    ATTEMPTS,
    Record,
    Scale,
    ours_key,
    plan_key,
    published_key,
    training_key,
    uniform_widths,
    units,
)
from scripts.evidence_statistics import interval, spread
from scripts.packing_tables import table

KIND_NAMES = {"hwgq": "fixed steps (`hwgq`)", "lsq": "learned steps (`lsq`)"}

_INTRODUCTION = """\
# The search against the published one

Widths found by MixQ's search (`nas/search.py`, "budget") and by the published one (EdMIPS, as
[described](search-method.md)) for {title}, on {data}, by a protocol that was fixed before any run.
{small}
This page is made from the log `scripts/data/search_evidence_{name}_{attempt}.jsonl` by
`python -m scripts.search_evidence page`; `python -m scripts.search_evidence run --scale {name}` makes the log.
"""

_SMALL = """\

**This is the protocol at a small scale**, for a machine without a GPU: a network with a quarter of the channels, few
images and few epochs. Differences between the arms may be others at full scale.
"""

_PROTOCOL = """\
## Protocol

- Data: {train} images to train, {validation} to choose with, both from CIFAR-10's training set, and its test set of
  10,000, which each training sees once, with its last weights. The images come from JPEG files, which loses accuracy:
  **figures are comparable among themselves, not with published ones.**
- Quantisers with {quantizers}, each both in the search and in the training. Weights are of the range "narrow", widths
  {least} to {most} bits; a dense layer of 8 bits keeps them.
- EdMIPS: decays {decays}, seeds {seeds}, with each quantiser: {published} searches. What they find is planned by MixQ's
  planner, the fastest design on {board} with {dsp} DSPs and packings of up to {residues} residue bits.
- MixQ: a search for each seed and quantiser, {ours} in all. Its budgets are the cycles of the EdMIPS searches of that
  seed and quantiser. Each budget makes a pair, {pairs} in all.
- Uniform widths of {uniform} bits, seed {first}; the image keeps its own.
- All found widths are trained anew, from scratch, with the pair's seed. The same recipe for all: SGD with momentum 0.9,
  weight decay 5e-4, batches of 128, images moved by up to {shift} pixels and flipped, learning rate {search_rate:g} in
  searches (epochs: {search_epochs}{search_warmup}) and 0.03 in trainings (epochs: {train_epochs}), falling along half
  a cosine; {precision}.
  The same widths with the same quantiser and seed are trained once, whoever found them.
"""

_CRITERION = """\
## Top-1 at the same cycles

Difference of a pair: test accuracy with the widths of MixQ's search less that with those of EdMIPS, in percentage
points; MixQ's design takes at most the cycles of the other. The interval is Student's t for the mean, with a confidence
of 95 %. It takes pairs for independent; those of one seed and quantiser share a search of MixQ.
"""


_ATTEMPTS = """\
## Attempts

The protocol was run as often as this, with what stands beside each; everything above is of the last. What an attempt
changed was chosen by what the searches and the validation accuracies of the attempts before had shown, with the same
images and seeds; trainings and plans that a change could not touch were taken over.
"""

_TIMES = """\
## Search time

Means of wall-clock seconds, as multiples of those of a training with the same quantiser, with several processes side by
side. A search of MixQ is for all budgets of a seed and quantiser, one of EdMIPS for one decay; both include planning.
"""


@dataclass(frozen=True, kw_only=True)
class Pair:
    """One budget: what EdMIPS found, and what MixQ found within its cycles.

    Accuracies are shares, cycles those of a frame.
    """

    quantizer: str
    seed: int
    decay: float
    published_cycles: int
    own_cycles: int
    published_top1: float
    own_top1: float

    @property
    def points(self) -> float:
        """Ours less theirs, in percentage points."""
        return 100 * (self.own_top1 - self.published_top1)


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A trained network. arm: "EdMIPS", "MixQ" or "uniform". setting: decay, or width."""

    arm: str
    setting: str
    quantizer: str
    cycles: int
    top1: float


def page(
    scale: Scale, log: Mapping[str, Record], before: Sequence[tuple[Scale, Mapping[str, Record]]] = ()
) -> Iterator[str]:
    """The page, piece by piece; ``before``: scales and logs of the attempts that came before, the first first."""
    small = "" if scale.name == "full" else _SMALL
    data = "noise, which says nothing" if scale.made_up else "CIFAR-10"
    yield _INTRODUCTION.format(title=scale.title, name=scale.name, attempt=scale.attempt, small=small, data=data)
    lacking = missing(scale, log)
    if lacking:
        yield f"**The run is not complete; there lack: {lacking}.** What follows is of what is there.\n"
    pairs, trained = all_pairs(scale, log), all_trained(scale, log)
    if pairs:
        yield _CRITERION
        yield table(
            ("quantiser", "pairs", "mean difference", "95 % interval", "standard deviation"), _differences(pairs)
        )
    if trained:
        yield "![test accuracy against cycles of a frame](search.svg)\n"
        yield _spreads_words(scale)
        yield table(("widths", "quantiser", "networks", "top-1", "cycles / frame"), _arms(trained))
    if pairs:
        yield "## All pairs\n"
        headings = (
            "quantiser",
            "seed",
            "decay",
            "cycles, EdMIPS",
            "cycles, MixQ",
            "top-1, EdMIPS",
            "top-1, MixQ",
            "points",
        )
        yield table(headings, [_pair(pair) for pair in pairs])
    times = list(_times(scale, log))
    if times:
        yield _times_words(log)
        yield table(("quantiser", "a training, s", "EdMIPS, one search", "MixQ, one search", "MixQ, a budget"), times)
    yield _protocol(scale)
    yield _machine(log)
    yield from _attempts([*before, (scale, log)])


def _attempts(attempts: Sequence[tuple[Scale, Mapping[str, Record]]]) -> Iterator[str]:
    """What every attempt came to; nothing where there was one."""
    if len(attempts) < 2:
        return
    yield _ATTEMPTS
    yield "".join(f"{scale.attempt}. {ATTEMPTS[scale.attempt - 1].capitalize()}.\n" for scale, _ in attempts)
    rows = [(str(scale.attempt), *row) for scale, log in attempts for row in _differences(all_pairs(scale, log))]
    headings = ("attempt", "quantiser", "pairs", "mean difference", "95 % interval", "standard deviation")
    yield table(headings, rows)


def missing(scale: Scale, log: Mapping[str, Record]) -> str:
    """How much of the protocol the log lacks, in words; "" where it is complete."""
    groups = len(scale.quantizers) * len(scale.seeds)
    wanted = {"of EdMIPS": groups * len(scale.decays), "of MixQ": groups}
    arms = {"of EdMIPS": "edmips", "of MixQ": "ours"}
    parts = []
    for words, count in wanted.items():
        lacking = count - sum(record.get("arm") == arms[words] and "found" in record for record in log.values())
        if lacking:
            parts.append(f"{lacking} of {count} searches {words}")
    rest = [unit for stage in units(scale, log) for unit in stage if unit.key not in log]
    for kind in ("plan", "training"):
        count = sum(unit.kind == kind for unit in rest)
        if count:
            known = "" if kind == "plan" or not parts else " of the widths that are known"
            parts.append(f"{count} {kind}{'s' * (count > 1)}{known}")
    return ", ".join(parts)


def all_pairs(scale: Scale, log: Mapping[str, Record]) -> list[Pair]:
    """The pairs of which both are trained, by quantiser, seed and decay."""
    found = []
    for quantizer in scale.quantizers:
        for seed in scale.seeds:
            own = log.get(ours_key(quantizer, seed))
            for index, decay in enumerate(scale.decays):
                published = log.get(published_key(quantizer, seed, decay))
                if own is None or published is None:
                    continue
                ends = [_top1(log, quantizer, seed, end) for end in (published["found"][0], own["found"][index])]
                if ends[0] is not None and ends[1] is not None:
                    found.append(
                        Pair(
                            quantizer=quantizer,
                            seed=seed,
                            decay=decay,
                            published_cycles=published["found"][0]["cycles"],
                            own_cycles=own["found"][index]["cycles"],
                            published_top1=ends[0],
                            own_top1=ends[1],
                        )
                    )
    return found


def all_trained(scale: Scale, log: Mapping[str, Record]) -> list[Trained]:
    """All trained networks by arm, setting and quantiser."""
    found = []
    for quantizer in scale.quantizers:
        for seed in scale.seeds:
            searches = [(published_key(quantizer, seed, decay), "EdMIPS", [decay]) for decay in scale.decays]
            searches.append((ours_key(quantizer, seed), "MixQ", list(scale.decays)))
            for key, arm, decays in searches:
                for decay, end in zip(decays, log[key]["found"] if key in log else (), strict=False):
                    top1 = _top1(log, quantizer, seed, end)
                    if top1 is not None:
                        setting = f"decay {_decay(decay)}" if arm == "EdMIPS" else f"cycles of decay {_decay(decay)}"
                        found.append(
                            Trained(arm=arm, setting=setting, quantizer=quantizer, cycles=end["cycles"], top1=top1)
                        )
        for bits in scale.uniform:
            weights, acts = uniform_widths(scale.table, bits)
            widths = {"weight_bits": weights, "act_bits": acts}
            top1 = _top1(log, quantizer, scale.seeds[0], widths)
            if top1 is not None and plan_key(bits) in log:
                cycles = log[plan_key(bits)]["cycles"]
                found.append(
                    Trained(arm="uniform", setting=f"{bits} bits", quantizer=quantizer, cycles=cycles, top1=top1)
                )
    return found


def _top1(log: Mapping[str, Record], quantizer: str, seed: int, widths: Record) -> float | None:
    record = log.get(training_key(quantizer, seed, widths["weight_bits"], widths["act_bits"]))
    return None if record is None else float(record["top1"])


def _differences(pairs: Sequence[Pair]) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    groups = {kind: [pair.points for pair in pairs if pair.quantizer == kind] for kind in _quantizers(pairs)}
    if len(groups) > 1:
        groups["both"] = [pair.points for pair in pairs]
    for name, points in groups.items():
        label = KIND_NAMES.get(name, name)
        if len(points) < 2:
            rows.append((label, str(len(points)), _points(points[0]), "", ""))
            continue
        found = interval(points)
        ends = f"{_points(found.low)} to {_points(found.high)}"
        rows.append((label, str(found.count), _points(found.mean), ends, f"{found.deviation:.2f}"))
    return rows


def _quantizers(found: Sequence[Pair | Trained]) -> list[str]:
    return list(dict.fromkeys(item.quantizer for item in found))


def _arms(trained: Sequence[Trained]) -> list[tuple[str, ...]]:
    """Mean and spread over seeds of each setting; EdMIPS and MixQ at its cycles one below the other."""
    groups: dict[tuple[str, str, str], list[Trained]] = {}
    for network in trained:
        groups.setdefault((network.quantizer, network.arm, network.setting), []).append(network)
    kinds = _quantizers(trained)

    def place(key: tuple[str, str, str]) -> tuple[int, bool, float, str]:
        quantizer, arm, setting = key
        return kinds.index(quantizer), arm == "uniform", _number(setting), arm

    rows: list[tuple[str, ...]] = []
    for key in sorted(groups, key=place):
        quantizer, arm, setting = key
        top1 = [100 * network.top1 for network in groups[key]]
        cycles = [network.cycles for network in groups[key]]
        spreads = _with_spread(top1, ".2f", " %"), _with_spread(cycles)
        rows.append((f"{arm}, {setting}", quantizer, str(len(top1)), *spreads))
    return rows


def _number(setting: str) -> float:
    """The number in a setting's words: a decay, or a width."""
    return next(float(word) for word in setting.split() if word[0].isdigit())


def _with_spread(values: Sequence[float], form: str = ",.0f", unit: str = "") -> str:
    deviation = spread(values)
    text = f"{fmean(values):{form}}"
    return f"{text}{unit}" if deviation is None else f"{text} ± {deviation:{form}}{unit}"


def _decay(value: float) -> str:
    """A decay as it is published, such as 3e-5."""
    return f"{value:.0e}".replace("e-0", "e-")


def _points(value: float) -> str:
    """Percentage points with their sign, and no minus before zero."""
    return f"{round(value, 2) + 0.0:+.2f}"


def _pair(pair: Pair) -> tuple[str, ...]:
    return (
        pair.quantizer,
        str(pair.seed),
        _decay(pair.decay),
        f"{pair.published_cycles:,}",
        f"{pair.own_cycles:,}",
        f"{100 * pair.published_top1:.2f} %",
        f"{100 * pair.own_top1:.2f} %",
        _points(pair.points),
    )


def _times(scale: Scale, log: Mapping[str, Record]) -> Iterator[tuple[str, ...]]:
    """Seconds of a training, and of searches as multiples of it, for each quantiser of which all kinds are there."""
    records = list(log.values())
    for quantizer in scale.quantizers:
        own = [record for record in records if record.get("quantizer") == quantizer]
        trainings = [record["seconds"] for record in own if record["kind"] == "training"]
        searches = {
            arm: [record["seconds"] for record in own if record.get("arm") == arm] for arm in ("edmips", "ours")
        }
        if trainings and all(searches.values()):
            whole = fmean(trainings)
            theirs, ours = (fmean(searches[arm]) / whole for arm in ("edmips", "ours"))
            row = (f"{whole:.0f}", f"{theirs:.2f}", f"{ours:.2f}", f"{ours / len(scale.decays):.2f}")
            yield KIND_NAMES.get(quantizer, quantizer), *row


def _times_words(log: Mapping[str, Record]) -> str:
    words = _TIMES
    if "ways" in log:
        listed, jobs = log["ways"], log["ways"]["jobs"]
        processes = "a process" if jobs == 1 else f"{jobs} processes"
        words += f"Beside that, ways to build the network were listed once for all searches of MixQ: {processes}, "
        words += f"{listed['seconds']:.0f} s.\n"
    cut = sum(bool(record.get("resumed")) for record in log.values())
    if cut:
        words += f"Of {cut} that were cut short and went on later parts of the time may be missing.\n"
    return words


def _spreads_words(scale: Scale) -> str:
    seeds = len(scale.seeds)
    spreads = f", with the standard deviation over {seeds} seeds" if seeds > 1 else ""
    return f"Test accuracy and planned cycles of a frame, means{spreads}; one network where none is given.\n"


def _protocol(scale: Scale) -> str:
    groups = len(scale.quantizers) * len(scale.seeds)
    return _PROTOCOL.format(
        train=f"{scale.train or 45000:,}",
        validation=f"{scale.validation or 5000:,}",
        decays=", ".join(map(_decay, scale.decays)),
        seeds=", ".join(map(str, scale.seeds)),
        published=groups * len(scale.decays),
        ours=groups,
        pairs=groups * len(scale.decays),
        board=scale.board,
        dsp=scale.dsp,
        residues=scale.residue_bits,
        quantizers=" and with ".join(KIND_NAMES.get(kind, kind) for kind in scale.quantizers),
        least=min(scale.widths),
        most=max(scale.widths),
        uniform=", ".join(map(str, scale.uniform)),
        first=scale.seeds[0],
        shift=scale.shift,
        search_epochs=scale.search_epochs,
        search_rate=scale.search_rate,
        search_warmup=f", behind a rise of {scale.search_warmup} steps" if scale.search_warmup else "",
        train_epochs=scale.train_epochs,
        precision=scale.precision,
    )


def _machine(log: Mapping[str, Record]) -> str:
    devices = sorted({record["device"] for record in log.values() if record.get("kind") in ("search", "training")})
    versions = sorted({record["torch"] for record in log.values() if "torch" in record})
    if not devices:
        return "Nothing was run yet.\n"
    return f"Run on: {', '.join(devices)}; PyTorch {', '.join(versions)}.\n"
