"""Does one unit of the comparison of searches: searches, plans, trains and tests; and measures how fast that goes."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Literal, cast

import numpy as np
import torch

from mixq.data import Dataset, Samples
from mixq.data.cifar10 import load_cifar10
from mixq.files import read_text
from mixq.models import build_model
from mixq.plan.width_network import WidthNetwork
from mixq.quantizer_kinds import QuantizerKind
from mixq.training import Classification, Trainer, evaluate
from mixq.training.logs import LOG_FILE
from nas.extension import EdmipsConfig, EdmipsExtension
from nas.planned import planned
from nas.search import list_ways, search
from nas.space import SearchSpace
from nas.supernet import Supernet
from scripts.evidence_protocol import Record, Scale, Unit

Phase = Literal["search", "training"]

#: Images that speed is measured on: as many batches as show it within seconds.
_TIMED = 1280


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where units are done. data: folder or file of CIFAR-10. folder: of states of what runs. device: of PyTorch."""

    data: Path
    folder: Path
    device: str = "cpu"


def done(scale: Scale, unit: Unit, place: Place, ways: WidthNetwork | None = None) -> Record:
    """Do a unit, or finish one that was cut short, and return its line. ways: of `listed`, for our searches."""
    folder = place.folder / unit.key
    resumed = folder.exists()
    if unit.kind != "plan":
        load(scale, place.data)  # read once in a process, so not part of any unit's time
    began = time.monotonic()
    if unit.kind == "search":
        found = _searched(scale, unit, place, folder, ways)
    elif unit.kind == "training":
        found = _trained(scale, unit, place, folder)
    else:
        widths = unit.content["weight_bits"], unit.content["act_bits"]
        found = {"cycles": planned(scale.table, *widths, scale.hardware, "narrow").cycles}
    record = {
        "key": unit.key,
        "kind": unit.kind,
        **unit.content,
        **found,
        "wall_seconds": round(time.monotonic() - began, 2),
        "resumed": resumed,
        "torch": torch.__version__,
        "device": _device_name(place.device) if unit.kind != "plan" else "cpu",
    }
    # What is kept of a run is its line.
    shutil.rmtree(folder, ignore_errors=True)
    return record


def listed(scale: Scale, budgets: tuple[int, ...], jobs: int) -> WidthNetwork:
    """All ways to build the network within any of the budgets."""
    config = scale.settings(scale.quantizers[0], method="budget", budgets=budgets)
    return list_ways(scale.table, config, scale.hardware, jobs=jobs)


def rate(scale: Scale, phase: Phase, quantizer: str, place: Place) -> float:
    """Seconds that an epoch of a phase takes, its validation included, from a short run; a search is the published."""
    whole = load(scale, place.data)
    share = min(1.0, _TIMED / len(whole.train))
    short = replace(
        whole,
        train=whole.train.take(slice(0, max(2, round(share * len(whole.train))))),
        validation=whole.validation.take(slice(0, max(1, round(share * len(whole.validation))))),
    )
    kind = cast(QuantizerKind, quantizer)
    extension = None
    model: torch.nn.Module
    if phase == "search":
        space = SearchSpace(scale.table, weight_widths=scale.widths, act_widths=scale.widths)
        supernet = Supernet(space, quantizer=kind, weight_range="narrow")
        model, extension = supernet, EdmipsExtension(supernet, EdmipsConfig())
    else:
        model = build_model(scale.table, quantizer=kind, weight_range="narrow")
    recipe = replace(scale.recipe(phase, 0), epochs=3)
    result = Trainer(model, short, recipe, device=place.device, extension=extension).run()
    # The first epoch warms caches up.
    return min(epoch.seconds for epoch in result.epochs[1:]) * len(whole.train) / len(short.train)


@lru_cache(maxsize=1)
def load(scale: Scale, data: Path) -> Dataset[Samples]:
    """The images of a scale, read once in a process."""
    if not scale.made_up:
        return load_cifar10(data, train_size=scale.train, validation_size=scale.validation)
    random = np.random.default_rng(0)

    def noise(count: int) -> Samples:
        images = random.integers(0, 256, (count, *scale.table.input_shape), np.uint8)
        return Samples(images, random.integers(0, 10, count, np.int64))

    names = tuple(str(label) for label in range(10))
    parts = noise(scale.train or 64), noise(scale.validation or 32), noise(32)
    return Dataset(name="noise", train=parts[0], validation=parts[1], test=parts[2], class_names=names)


def _searched(scale: Scale, unit: Unit, place: Place, folder: Path, ways: WidthNetwork | None) -> Record:
    content = unit.content
    if unit.is_ours:
        settings = scale.settings(content["quantizer"], method="budget", budgets=tuple(content["budgets"]))
    else:
        settings = scale.settings(content["quantizer"], method="edmips", decay_c=content["decay"])
    dataset = load(scale, place.data)
    clock = _Clock()
    result = search(
        scale.table,
        dataset,
        settings,
        scale.recipe("search", content["seed"]),
        scale.hardware,
        run_dir=folder,
        device=place.device,
        report=clock.told,
        ways=ways if unit.is_ours else None,
    )
    asked = content["budgets"] if unit.is_ours else [content["decay"]]
    epochs = [json.loads(line) for line in read_text(folder / LOG_FILE).splitlines()]
    training = sum(epoch["seconds"] for epoch in epochs)
    return {
        "data": dataset.name,
        "found": [
            {
                "budget" if unit.is_ours else "decay": value,
                "weight_bits": list(allocation.weight_bits),
                "act_bits": list(allocation.act_bits),
                **allocation.predicted,
            }
            for value, allocation in zip(asked, result.allocations, strict=True)
        ],
        "training_seconds": round(training, 2),
        # Epochs of a run that was cut short are in its log; what came before and after them is this process's.
        "seconds": round(training + clock.other_seconds(), 2),
        "validation": [round(epoch["validation"], 6) for epoch in epochs],
    }


def _trained(scale: Scale, unit: Unit, place: Place, folder: Path) -> Record:
    content, dataset = unit.content, load(scale, place.data)
    model = build_model(
        scale.table,
        weight_bits=content["weight_bits"],
        act_bits=content["act_bits"],
        weight_range="narrow",
        quantizer=content["quantizer"],
    )
    recipe = scale.recipe("training", content["seed"])
    result = Trainer(model, dataset, recipe, run_dir=folder, device=place.device).run()
    # The one look at the test set, with the weights of the last epoch.
    top1 = evaluate(model, dataset.test, Classification(), device=place.device)
    return {
        "data": dataset.name,
        "seconds": round(sum(epoch.seconds for epoch in result.epochs), 2),
        "validation": [round(epoch.validation_metric, 6) for epoch in result.epochs],
        "top1": round(top1, 6),
    }


class _Clock:
    """Tells the time that a search spends training from that of all else, by what it reports."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._first: float | None = None
        self._last = 0.0

    def told(self, what: str, done: int, total: int, facts: Mapping[str, float]) -> None:
        if what == "training the supernet":
            now = time.monotonic()
            self._first = now if self._first is None else self._first
            self._last = now

    def other_seconds(self) -> float:
        """Seconds so far before the first report of training, which comes right after its start, and after the last."""
        now = time.monotonic()
        if self._first is None:
            return now - self._began
        return self._first - self._began + now - self._last


def _device_name(device: str) -> str:
    return device if device == "cpu" else torch.cuda.get_device_name(torch.device(device))
