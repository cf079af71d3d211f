"""The protocol by which the search for widths is compared with the published one: what is run, fixed before any run.

A *unit* is a piece of work that leaves one line in the log: a search of either arm, the plan of uniform widths, or a
training with its test. Units follow from the protocol and from the widths that the log already holds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from boards import load_board
from mixq.networks import NetworkTable, network
from mixq.training.config import Precision, TrainConfig
from nas.config import Hardware, SearchConfig
from nas.planned import limited

Part = Literal["edmips", "ours", "trainings", "uniform"]
PARTS: tuple[Part, ...] = ("edmips", "ours", "trainings", "uniform")

Record = dict[str, Any]
"""A line of the log."""

ATTEMPTS = (
    "supernets of both arms with a learning rate of 0.1 from the first step; measured losses taken as they were, "
    "around the most probable widths and then around those found",
    "supernets of both arms with a learning rate of 0.03 behind a rise of 20 steps; losses predicted by the noise of "
    "quantisation, of which the measurements say how much it matters where; learned steps of quantisers change by 2 % "
    "at most at a time",
)
"""What was run, attempt by attempt; each has a log of its own."""


@dataclass(frozen=True, kw_only=True)
class Scale:
    """One size of the protocol.

    name: of the scale and of its logs. attempt: which of `ATTEMPTS`, from 1. title: for the page. network: its name.
    train, validation: images of these parts, None for all. search_epochs, train_epochs: of each search, of each
    training. search_rate, search_warmup: highest learning rate of supernets, and steps in which it rises to that.
    """

    name: str
    attempt: int = len(ATTEMPTS)
    title: str
    network: str
    train: int | None
    validation: int | None
    search_epochs: int
    train_epochs: int
    search_rate: float = 0.03
    search_warmup: int = 20
    precision: Precision = "float32"
    made_up: bool = False
    shift: int = 4
    quantizers: tuple[str, ...] = ("hwgq", "lsq")
    seeds: tuple[int, ...] = (0, 1, 2)
    decays: tuple[float, ...] = (3e-5, 1e-4, 3e-4)
    widths: tuple[int, ...] = (2, 3, 4, 5, 6, 7, 8)
    uniform: tuple[int, ...] = (2, 3, 4, 5, 6, 8)
    board: str = "zcu104"
    dsp: int = 200
    residue_bits: int = 1
    samples: int = 1000

    @property
    def table(self) -> NetworkTable:
        """The network's table."""
        return network(self.network)

    @property
    def hardware(self) -> Hardware:
        """The board, all of it but for the DSPs, which are limited."""
        board = load_board(self.board)
        return Hardware(board=board, limits=limited(board.resources, dsp=self.dsp), residue_bits=self.residue_bits)

    def recipe(self, phase: Literal["search", "training"], seed: int) -> TrainConfig:
        """The recipe of a phase, the same in both arms."""
        search = phase == "search"
        return TrainConfig(
            epochs=self.search_epochs if search else self.train_epochs,
            batch=128,
            learning_rate=self.search_rate if search else 0.03,
            warmup=self.search_warmup if search else 0,
            momentum=0.9,
            weight_decay=5e-4,
            shift=self.shift,
            flip=True,
            seed=seed,
            threads=1,
            precision=self.precision,
        )

    def settings(self, quantizer: str, **arm: Any) -> SearchConfig:
        """Settings of a search; ``arm``: what the arms differ in."""
        return SearchConfig(
            weight_widths=self.widths,
            act_widths=self.widths,
            quantizer=quantizer,  # type: ignore[arg-type]
            weight_range="narrow",
            samples=self.samples,
            points=0 if arm.get("budgets") else 2,
            **arm,
        )

    def document(self) -> Record:
        """What must be equal for a log to be gone on with, as plain values."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}


SCALES = {
    "quarter": Scale(
        name="quarter",
        title="VGG-tiny with a quarter of the channels",
        network="vgg_tiny_quarter",
        train=8000,
        validation=2000,
        search_epochs=5,
        train_epochs=15,
    ),
    "full": Scale(
        name="full",
        title="VGG-tiny",
        network="vgg_tiny",
        train=None,
        validation=None,
        search_epochs=6,
        train_epochs=24,
        precision="bf16",
    ),
    # Shows that the machinery works, and nothing else: noise for images.
    "smoke": Scale(
        name="smoke",
        title="a network for trying this out, on noise",
        network="digits_cnn",
        train=64,
        validation=32,
        search_epochs=1,
        train_epochs=1,
        made_up=True,
        shift=1,
        quantizers=("hwgq",),
        seeds=(0,),
        decays=(3e-5, 3e-4),
        widths=(2, 4),
        uniform=(2, 4),
        samples=16,
    ),
}


@dataclass(frozen=True, kw_only=True)
class Unit:
    """A piece of work. key: its name in the log. content: what it is, in plain values, which its line repeats."""

    key: str
    kind: Literal["search", "plan", "training"]
    content: Record = field(hash=False)

    @property
    def is_ours(self) -> bool:
        """Whether it is a search that needs the ways to build the network."""
        return self.content.get("arm") == "ours"


def units(scale: Scale, log: Mapping[str, Record], parts: Sequence[Part] = PARTS) -> list[list[Unit]]:
    """Units that can be named with what the log holds, done or not, in stages: each needs those before it."""
    stages: dict[Part, list[Unit]] = {
        "edmips": list(_published(scale)),
        "ours": list(_ours(scale, log)),
        "trainings": _trainings(_pairs(scale, log)),
        "uniform": [*_plans(scale), *_trainings(_uniform(scale))],
    }
    return [stages[part] for part in PARTS if part in parts]


def published_key(quantizer: str, seed: int, decay: float) -> str:
    """Name of a search by the published method."""
    return f"edmips/{quantizer}/s{seed}/d{decay:g}"


def ours_key(quantizer: str, seed: int) -> str:
    """Name of one of our searches, for all budgets of a seed."""
    return f"ours/{quantizer}/s{seed}"


def plan_key(bits: int) -> str:
    """Name of the plan of uniform widths."""
    return f"plan/b{bits}"


def training_key(quantizer: str, seed: int, weight_bits: Sequence[int], act_bits: Sequence[int]) -> str:
    """Name of a training: the same widths, quantiser and seed are the same training, whoever found them."""
    return f"training/{quantizer}/s{seed}/w{_joined(weight_bits)}-a{_joined(act_bits)}"


def uniform_widths(table: NetworkTable, bits: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Weight and activation widths of a network of one width; the image and what the table fixes keep theirs."""
    inner = (bits,) * (len(table.act_bits) - 1)
    return table.resolve_weight_bits([bits]), table.resolve_act_bits([table.act_bits[0], *inner])


def _published(scale: Scale) -> Iterator[Unit]:
    for seed in scale.seeds:
        for quantizer in scale.quantizers:
            for decay in scale.decays:
                content = {"arm": "edmips", "quantizer": quantizer, "seed": seed, "decay": decay}
                yield Unit(key=published_key(quantizer, seed, decay), kind="search", content=content)


def _ours(scale: Scale, log: Mapping[str, Record]) -> Iterator[Unit]:
    for seed in scale.seeds:
        for quantizer in scale.quantizers:
            found = [log.get(published_key(quantizer, seed, decay)) for decay in scale.decays]
            if all(found):
                budgets = [record["found"][0]["cycles"] for record in found if record]
                content = {"arm": "ours", "quantizer": quantizer, "seed": seed, "budgets": budgets}
                yield Unit(key=ours_key(quantizer, seed), kind="search", content=content)


def _pairs(scale: Scale, log: Mapping[str, Record]) -> Iterator[tuple[str, Record]]:
    """The arm and the content of every training of widths that were searched."""
    for seed in scale.seeds:
        for quantizer in scale.quantizers:
            keys = [published_key(quantizer, seed, decay) for decay in scale.decays]
            for key in (*keys, ours_key(quantizer, seed)):
                for found in log[key]["found"] if key in log else ():
                    content = {name: found[name] for name in ("weight_bits", "act_bits")}
                    yield log[key]["arm"], {"quantizer": quantizer, "seed": seed, **content}


def _uniform(scale: Scale) -> Iterator[tuple[str, Record]]:
    for quantizer in scale.quantizers:
        for bits in scale.uniform:
            weights, acts = uniform_widths(scale.table, bits)
            content = {"quantizer": quantizer, "seed": scale.seeds[0]}
            yield "uniform", {**content, "weight_bits": list(weights), "act_bits": list(acts)}


def _plans(scale: Scale) -> Iterator[Unit]:
    for bits in scale.uniform:
        weights, acts = uniform_widths(scale.table, bits)
        content = {"arm": "uniform", "bits": bits, "weight_bits": list(weights), "act_bits": list(acts)}
        yield Unit(key=plan_key(bits), kind="plan", content=content)


def _trainings(wanted: Iterator[tuple[str, Record]]) -> list[Unit]:
    """A unit for each different training, with the arms that it is for."""
    found: dict[str, Unit] = {}
    for arm, content in wanted:
        key = training_key(content["quantizer"], content["seed"], content["weight_bits"], content["act_bits"])
        unit = found.setdefault(key, Unit(key=key, kind="training", content={"arms": [], **content}))
        if arm not in unit.content["arms"]:
            unit.content["arms"].append(arm)
    return list(found.values())


def _joined(widths: Sequence[int]) -> str:
    return "".join(map(str, widths))


def earlier(scale: Scale) -> list[Scale]:
    """The scales of the attempts before, the first first."""
    first = replace(scale, attempt=1, search_rate=0.1, search_warmup=0)
    return [first, *(replace(scale, attempt=number) for number in range(2, scale.attempt))][: scale.attempt - 1]
