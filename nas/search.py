"""The search for bit-widths, from a network and a data set to allocations within budgets.

The method "budget" lists all ways to build every layer, trains a supernet within the tightest budget, measures on
validation data what each width of each layer costs in loss, and solves an integer program for every budget; then it
measures anew around what it found. "edmips" is the published method: a penalty on the supernet's complexity, and the
most probable widths. Whatever was finished is kept in the run's folder, so that a search that was cut short goes on.
The test set is not touched.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mixq.bits import BitAllocation
from mixq.data import BoxSamples, Dataset, Samples
from mixq.determinism import reproducible
from mixq.errors import CheckFailed, UserError
from mixq.files import read_json, write_json
from mixq.networks import NetworkTable
from mixq.plan.width_network import WidthNetwork, WidthSettings, width_network
from mixq.plan.width_structure import structure
from mixq.training import TrainConfig
from mixq.training.detection import Detection
from mixq.training.extension import Extension
from mixq.training.progress import Progress
from mixq.training.task import Classification, Task
from mixq.training.trainer import Trainer
from nas.budget import BudgetConfig, BudgetExtension
from nas.config import Hardware, SearchConfig
from nas.edmips import Density
from nas.extension import EdmipsConfig, EdmipsExtension
from nas.objective import CycleObjective
from nas.planned import cycle_range, planned, predicted
from nas.program import Allocation, WidthProgram
from nas.sensitivity import Evaluate, Sensitivities, batch_loss, measure, predicted_losses
from nas.space import SearchSpace
from nas.supernet import Supernet

RESULT_FILE = "result.json"

Report = Callable[[str, int, int, Mapping[str, float]], None]
"""Takes what is being done, the pieces that are done, how many there are, and facts by name."""

Widths = tuple[tuple[int, ...], tuple[int, ...]]

_BATCH = 250
"""Images at a time where losses are measured."""


@dataclass(frozen=True, kw_only=True)
class SearchResult:
    """What a search found.

    allocations: one for each budget, in their order, or the one that there is. front: of the method "budget", widths of
    the least predicted loss for rising cycles, the fastest first.
    """

    allocations: tuple[BitAllocation, ...]
    front: tuple[Allocation, ...] = ()


def search(
    table: NetworkTable,
    dataset: Dataset[Samples] | Dataset[BoxSamples],
    config: SearchConfig,
    recipe: TrainConfig,
    hardware: Hardware,
    *,
    run_dir: Path,
    device: str = "cpu",
    jobs: int = 1,
    report: Report | None = None,
    fresh: bool = False,
    ways: WidthNetwork | None = None,
) -> SearchResult:
    """Search widths, or finish what was begun in ``run_dir``.

    Parameters:
        dataset: ``train`` trains the supernet, ``validation`` chooses. recipe: of the supernet's training.
        run_dir: folder of the search. jobs: processes that list ways to build layers. fresh: forget what is there.
        ways: of `list_ways`, for a range of cycles that holds this search's, so that several searches list them once.

    Raises:
        ValueError: ``ways`` are those of another search.
        CheckFailed: a budget that no widths can meet; the message names the nearest that can be.
        UserError: the data does not fit the network; ``run_dir`` holds another search; the method "budget" for a
            network that it cannot take apart.
    """
    shape = dataset.train.images.shape[1:]
    if tuple(shape) != table.input_shape:
        raise UserError(
            f"the images of {dataset.name} have the shape {shape}; {table.name} takes {table.input_shape}: "
            "choose another data set, or a network for its images"
        )
    if config.method == "budget":
        structure(table)
    run = _Search(table, dataset, config, recipe, hardware, run_dir, device, report or _silent)
    if config.method == "edmips":
        return run.published(fresh)
    return run.budgeted(jobs, fresh, ways)


def list_ways(
    table: NetworkTable, config: SearchConfig, hardware: Hardware, *, jobs: int = 1, report: Report | None = None
) -> WidthNetwork:
    """All ways to build a network, for searches by the method "budget" with budgets within ``config``'s.

    They depend neither on data nor on a quantiser or seed.

    Raises CheckFailed where nothing fits, and UserError as `search` does.
    """
    space = SearchSpace(table, weight_widths=config.weight_widths, act_widths=config.act_widths)
    structure(table)
    told = report or _silent

    def listed(done: int, total: int) -> None:
        told("listing ways to build layers", done, total, {})

    settings = _way_settings(space, config, hardware, cycle_range(space, config, hardware))
    return width_network(settings, jobs=jobs, progress=listed)


def _way_settings(
    space: SearchSpace, config: SearchConfig, hardware: Hardware, cycles: tuple[int, int]
) -> WidthSettings:
    return WidthSettings(
        table=space.table,
        weight_widths=tuple(layer.weight_widths for layer in space.layers),
        act_widths=tuple(layer.act_widths for layer in space.layers),
        board=hardware.board,
        limits=hardware.limits,
        cycles=cycles,
        residue_bits=hardware.residue_bits,
        packings=hardware.packings,
        weight_range=config.weight_range,
    )


def mixq_density(hardware: Hardware, config: SearchConfig) -> Density:
    """Multiplications per DSP by the packings that there are, for the published method's complexity."""
    from mixq.packing import default_weight_range, solve

    def density(kernel: int, weight_bits: int, act_bits: int) -> float:
        narrow = config.weight_range == "narrow" and default_weight_range(weight_bits) == "narrow"
        packing = solve(
            weight_bits,
            act_bits,
            kernel,
            hardware.residue_bits,
            weight_range="narrow" if narrow else "full",
            device=hardware.board.device,
        )
        return packing.density

    return density


class _Search:
    """One search, whose steps keep their results in its folder."""

    def __init__(
        self,
        table: NetworkTable,
        dataset: Dataset[Samples] | Dataset[BoxSamples],
        config: SearchConfig,
        recipe: TrainConfig,
        hardware: Hardware,
        run_dir: Path,
        device: str,
        report: Report,
    ) -> None:
        self._table, self._dataset, self._config, self._recipe = table, dataset, config, recipe
        self._hardware, self._folder, self._device, self._report = hardware, run_dir, device, report
        self._space = SearchSpace(table, weight_widths=config.weight_widths, act_widths=config.act_widths)
        self._supernet = Supernet(
            self._space, shared=config.shared, quantizer=config.quantizer, weight_range=config.weight_range
        )

    def published(self, fresh: bool) -> SearchResult:
        """The published method: the most probable widths under a penalty."""
        config = self._config
        penalty = EdmipsConfig(decay_c=config.decay_c, decay_t=config.decay_t)
        if config.density == "original":
            extension = EdmipsExtension(self._supernet, penalty)
        else:
            extension = EdmipsExtension(self._supernet, penalty, density=mixq_density(self._hardware, config))
        self._train(extension, fresh)
        widths = self._supernet.argmax()
        allocation = self._allocation(widths, predicted(self._table, widths, self._hardware, config.weight_range))
        return SearchResult(allocations=(allocation,))

    def budgeted(self, jobs: int, fresh: bool, ways: WidthNetwork | None) -> SearchResult:
        """The widths of the least predicted loss for every budget."""
        config = self._config
        if ways is None:
            network = list_ways(self._table, config, self._hardware, jobs=jobs, report=self._report)
        else:
            cycles = cycle_range(self._space, config, self._hardware)
            network = _fitting(ways, _way_settings(self._space, config, self._hardware, cycles))
        target = min(config.budgets) if config.budgets else network.settings.cycles[0]
        extension = BudgetExtension(self._supernet, CycleObjective(network), BudgetConfig(cycles=target))
        self._train(extension, fresh)
        with reproducible(threads=self._recipe.threads, deterministic=self._device == "cpu"):
            chosen, front = self._chosen(network, self._supernet.argmax())
        return SearchResult(allocations=tuple(chosen), front=tuple(front))

    def _train(self, extension: Extension, fresh: bool) -> None:
        def told(progress: Progress) -> None:
            facts = {"loss": progress.loss, "metric": progress.metric, **_short(progress.facts)}
            if progress.seconds_left is not None:
                facts["seconds_left"] = progress.seconds_left
            self._report("training the supernet", progress.step, progress.steps, facts)

        trainer = Trainer(
            self._supernet,
            self._dataset,
            self._recipe,
            run_dir=self._folder,
            device=self._device,
            extension=extension,
            progress=told,
            settings=self._settings(),
            fresh=fresh,
        )
        trainer.run()

    def _settings(self) -> dict[str, Any]:
        """What must be equal for a search to go on, in plain values."""
        config, hardware = asdict(self._config), self._hardware
        # These play their part only behind the training.
        for name in ("budgets", "tolerance", "samples", "refinements", "points"):
            del config[name]
        if self._config.method == "budget":
            config["limits"] = asdict(hardware.limits)
            config["board"], config["residue_bits"] = hardware.board.name, hardware.residue_bits
        return {name: list(value) if isinstance(value, tuple) else value for name, value in config.items()}

    def _chosen(self, network: WidthNetwork, likeliest: Widths) -> tuple[list[BitAllocation], list[Allocation]]:
        """Allocations for the budgets, and the front."""
        evaluate = self._evaluate()
        first = self._sensitivities(evaluate, likeliest)
        program = WidthProgram(network, predicted_losses(self._space, [first]))
        front: list[Allocation] = []
        if self._config.points:
            self._report("solving", 0, 1 + len(self._config.budgets), {})
            front = program.front(self._config.points)
            if not front:
                raise CheckFailed(f"no widths of {self._table.name} fit {self._hardware.board.name}")
        budgets = self._config.budgets or (self._tolerated(front),)
        found = []
        for number, budget in enumerate(budgets, 1):
            self._report("solving", number, 1 + len(budgets), {"cycles": float(budget)})
            found.append(self._best(network, program, budget, likeliest, first, evaluate))
        return found, front

    def _tolerated(self, front: list[Allocation]) -> int:
        """The fewest cycles of the front whose predicted loss is within the tolerance of the least."""
        most = front[-1].loss + self._config.tolerance
        return next(point.cycles for point in front if point.loss <= most)

    def _best(
        self,
        network: WidthNetwork,
        program: WidthProgram,
        budget: int,
        likeliest: Widths,
        first: Sensitivities,
        evaluate: Evaluate,
    ) -> BitAllocation:
        """The best widths of a budget: measured around those that were found, and solved again with all measurements.

        likeliest: the most probable ones. Ends where the same widths are found again.
        """
        allocation = program.best(budget, [likeliest])
        if allocation is None:
            fastest = program.fastest()
            raise CheckFailed(
                f"no widths fit in {budget} cycles a frame"
                + ("" if fastest is None else f"; the nearest that can be met is {fastest} cycles")
            )
        measured = [first]
        for _ in range(self._config.refinements):
            widths = allocation.weight_bits, allocation.act_bits
            if any(widths == one.widths for one in measured):
                break
            measured.append(self._sensitivities(evaluate, widths))
            solved = WidthProgram(network, predicted_losses(self._space, measured)).best(budget, [likeliest, widths])
            assert solved is not None
            allocation = solved
        widths = allocation.weight_bits, allocation.act_bits
        with self._supernet.fixed(*widths):
            loss = evaluate()
        cycles = planned(self._table, *widths, self._hardware, self._config.weight_range, max_cycles=budget).cycles
        predicted = {
            "budget": budget,
            "cycles": cycles,
            "fps": self._hardware.fps(cycles),
            "loss": loss,
            "gap": allocation.gap,
        }
        return self._allocation(widths, predicted)

    def _evaluate(self) -> Evaluate:
        """The supernet's loss on some of the validation samples."""
        samples = self._dataset.validation.take(slice(0, self._config.samples))
        task: Task = Detection() if isinstance(samples, BoxSamples) else Classification()
        device = torch.device(self._device)
        self._supernet.to(device)
        images = torch.from_numpy(np.array(samples.images)).to(device)
        targets = task.targets(samples).to(device)
        return batch_loss(self._supernet, images, targets, task.loss, batch=_BATCH)

    def _sensitivities(self, evaluate: Evaluate, reference: Widths) -> Sensitivities:
        """Measured around a reference, or read where that was done before."""
        key = hashlib.sha256(json.dumps([reference, self._config.samples]).encode()).hexdigest()[:16]
        path = self._folder / f"losses-{key}.json"
        known = _read(path, self._supernet_digest)
        if known is not None:
            return known

        def told(done: int, total: int) -> None:
            self._report("measuring what widths cost", done, total, {})

        found = measure(self._supernet, evaluate, reference, progress=told)
        write_json(path, {"supernet": self._supernet_digest, **found.document()})
        return found

    @property
    def _supernet_digest(self) -> str:
        digest = hashlib.sha256()
        for name, value in self._supernet.state_dict().items():
            digest.update(name.encode() + value.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    def _allocation(self, widths: Widths, predicted: Mapping[str, Any]) -> BitAllocation:
        config = self._config
        found_by: dict[str, Any] = {
            "method": config.method,
            "board": self._hardware.board.name,
            "data": self._dataset.name,
            "train_images": len(self._dataset.train),
            "validation_images": len(self._dataset.validation),
            "epochs": self._recipe.epochs,
            "seed": self._recipe.seed,
        }
        if config.method == "edmips":
            found_by |= {"decay_c": config.decay_c, "decay_t": config.decay_t, "density": config.density}
        return BitAllocation(
            network=self._table.name,
            layers=self._table.weighted_names,
            weight_bits=widths[0],
            act_bits=widths[1],
            quantizer=config.quantizer,
            weight_range=config.weight_range,
            predicted=predicted,
            found_by=found_by,
        )


def _read(path: Path, digest: str) -> Sensitivities | None:
    """Losses that were measured before with the same supernet, None where there are none."""
    if not path.is_file():
        return None
    try:
        document = read_json(path)
        if document["supernet"] != digest:
            return None
        return Sensitivities.of_document(document)
    except (KeyError, TypeError, ValueError, UserError):
        return None


def _fitting(ways: WidthNetwork, settings: WidthSettings) -> WidthNetwork:
    """The ways, as asked for in a narrower range of cycles."""
    least, most = ways.settings.cycles
    same = replace(ways.settings, cycles=settings.cycles) == settings
    if not (same and least <= settings.cycles[0] and settings.cycles[1] <= most):
        raise ValueError(f"ways must be listed for {settings!r}, not {ways.settings!r}")
    return replace(ways, settings=settings)


def _short(facts: Mapping[str, float]) -> dict[str, float]:
    """Facts without those of single layers, which are for the log."""
    return {name: value for name, value in facts.items() if "." not in name}


def _silent(what: str, done: int, total: int, facts: Mapping[str, float]) -> None:
    pass
