"""The search as a whole: within its budgets, never worse than the most probable widths, the same after every kill."""

from __future__ import annotations

import itertools
import random
import signal
import time
from multiprocessing import get_context
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import pytest

from mixq.data import Dataset, Samples
from mixq.errors import CheckFailed, UserError
from mixq.network_table import LayerSpec
from mixq.networks import AddSpec, ConcatSpec, ConvSpec, DenseSpec, MeanSpec, NetworkTable, PoolSpec
from nas.planned import planned
from nas.search import SearchResult, list_ways
from tests.nas import small


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> tuple[SearchResult, list[str]]:
    told: list[str] = []

    def report(what: str, done: int, total: int, facts: object) -> None:
        assert 0 <= done <= total
        told.append(what)

    return small.run(tmp_path_factory.mktemp("search"), report=report), told


def test_the_steps_are_told(found: tuple[SearchResult, list[str]]) -> None:
    assert list(dict.fromkeys(found[1])) == [
        "listing ways to build layers",
        "training the supernet",
        "measuring what widths cost",
        "solving",
    ]


def test_each_budget_is_kept(found: tuple[SearchResult, list[str]]) -> None:
    result = found[0]
    assert [a.predicted["budget"] for a in result.allocations] == list(small.BUDGETS)
    for allocation, budget in zip(result.allocations, small.BUDGETS, strict=True):
        plan = planned(small.TABLE, allocation.weight_bits, allocation.act_bits, small.HARDWARE, "narrow")
        assert plan.cycles <= budget
        cycles = allocation.predicted["cycles"]
        assert isinstance(cycles, int)
        assert cycles <= budget
        assert allocation.layers == small.TABLE.weighted_names
        assert (allocation.weight_bits[-1], allocation.act_bits[-1]) == (8, 8), "the network fixes these"


def test_the_front_falls(found: tuple[SearchResult, list[str]]) -> None:
    front = found[0].front
    assert front
    assert all(a.cycles < b.cycles and a.loss > b.loss for a, b in itertools.pairwise(front))


def test_a_budget_that_cannot_be_met(tmp_path: Path) -> None:
    with pytest.raises(CheckFailed, match=r"no widths of three_layers fit in 2 cycles a frame: the smallest take \d+ "):
        small.run(tmp_path, budgets=(2, 72))


def test_without_budgets_the_fastest_within_the_tolerance(tmp_path: Path) -> None:
    result = small.run(tmp_path, budgets=(), tolerance=0.0)
    assert len(result.allocations) == 1
    assert result.allocations[0].predicted["budget"] == result.front[-1].cycles


def test_images_of_another_shape_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = small.dataset()

    def narrow(samples: Samples) -> Samples:
        return Samples(samples.images[:, :, :, :5].copy(), samples.labels)

    train, validation, test = (narrow(part) for part in (whole.train, whole.validation, whole.test))
    thin = Dataset(name="thin", train=train, validation=validation, test=test, class_names=("a", "b", "c"))
    monkeypatch.setattr(small, "dataset", lambda: thin)
    with pytest.raises(
        UserError, match=r"the images of thin have the shape \(1, 6, 5\); three_layers takes \(1, 6, 6\)"
    ):
        small.run(tmp_path)


def test_another_search_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    small.run(tmp_path, "edmips")
    with pytest.raises(UserError, match="another"):
        small.run(tmp_path, "budget")


def test_the_published_method(tmp_path: Path) -> None:
    result = small.run(tmp_path, "edmips", decay_c=1.0)
    (allocation,) = result.allocations
    plan = planned(small.TABLE, allocation.weight_bits, allocation.act_bits, small.HARDWARE, "narrow")
    assert allocation.predicted["cycles"] == plan.cycles
    assert allocation.found_by["method"] == "edmips"
    # So heavy a penalty leaves the densest widths alone.
    assert allocation.weight_bits[:2] == (2, 2)


def branched() -> NetworkTable:
    layers = (
        ConvSpec(channels=4),
        ConvSpec(channels=4, depthwise=True),
        AddSpec(reads=("conv1", "conv2")),
        ConvSpec(channels=6, kernel=1, padding=0),
        MeanSpec(bits=4),
        DenseSpec(units=3),
    )
    return NetworkTable(name="forked", input_shape=(1, 6, 6), layers=layers, weight_bits=(4, 4, 4), act_bits=(4, 4, 4))


SUM = AddSpec(reads=("conv2", "conv3", "conv4"))
FORK = (
    ConvSpec(channels=4, reads=("pool1",)),
    ConvSpec(channels=4, reads=("pool1",)),
    ConcatSpec(reads=("conv2", "conv3")),
)


@pytest.mark.parametrize("shared", [True, False])
def test_the_published_method_searches_networks_with_branches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shared: bool
) -> None:
    monkeypatch.setattr(small, "TABLE", branched())
    (allocation,) = small.run(tmp_path, "edmips", decay_c=1.0, shared=shared).allocations
    assert len(allocation.weight_bits) == len(allocation.act_bits) == 4
    # So heavy a penalty leaves the densest widths alone.
    assert allocation.weight_bits[:3] == (2, 2, 2)


def test_networks_with_branches_are_searched_within_budgets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(small, "TABLE", branched())
    (allocation,) = small.run(tmp_path, budgets=(108,), points=0, weight_widths=(2, 4), act_widths=(2, 4)).allocations
    plan = planned(branched(), allocation.weight_bits, allocation.act_bits, small.HARDWARE, "narrow", max_cycles=108)
    assert allocation.predicted["cycles"] == plan.cycles <= 108
    assert allocation.predicted["gap"] == 0


@pytest.mark.parametrize(
    ("layers", "why"),
    [
        (
            (
                ConvSpec(channels=4),
                *(ConvSpec(channels=4, reads=("conv1",)) for _ in range(3)),
                SUM,
                DenseSpec(units=3),
            ),
            "3 quantisers read what conv1 gives, and at most 2 may",
        ),
        (
            (ConvSpec(channels=4), ConvSpec(channels=4), AddSpec(reads=("conv1", "conv2"))),
            "it does not end with a convolution or a dense layer",
        ),
        (
            (ConvSpec(channels=4), PoolSpec(), *FORK, DenseSpec(units=3)),
            "2 quantisers read what pool1 gives, neither a layer with weights nor an addition",
        ),
    ],
)
def test_networks_that_cannot_be_taken_apart_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layers: tuple[LayerSpec, ...], why: str
) -> None:
    count = sum(isinstance(layer, ConvSpec) for layer in layers)
    table = NetworkTable(
        name="forked", input_shape=(1, 6, 6), layers=layers, weight_bits=(4,) * count, act_bits=(4,) * count
    )
    monkeypatch.setattr(small, "TABLE", table)
    message = rf"^the method budget does not search forked: {why}; give search.method edmips, with a decay_c$"
    with pytest.raises(UserError, match=message):
        small.run(tmp_path)
    with pytest.raises(UserError, match=message):
        list_ways(table, small.CONFIG, small.HARDWARE)
    assert not any(tmp_path.iterdir())


def program(folder: Path, answer: Path) -> ForkServerProcess:
    """A process of its own that searches in a folder and writes what it found.

    It is forked from one that has :mod:`tests.nas.preload` behind it, so that kills meet the search.
    """
    context = get_context("forkserver")
    process = context.Process(target=small.write, args=(folder, "budget", answer))
    process.start()
    return process


def whole_answer(folder: Path, answer: Path) -> str:
    """What a search that goes on to its end finds."""
    process = program(folder, answer)
    process.join()
    assert process.exitcode == 0
    return answer.read_text()


@pytest.mark.slow
def test_killed_twenty_times_at_random_moments(tmp_path: Path) -> None:
    get_context("forkserver").set_forkserver_preload(["tests.nas.preload"])
    answer = tmp_path / "answer.json"
    whole_answer(tmp_path / "first", answer)  # starts the server that all are forked from
    started = time.monotonic()
    whole = whole_answer(tmp_path / "whole", answer)
    duration = time.monotonic() - started
    moments = random.Random(11)
    kills = 0
    for folder in (tmp_path / f"cut{number}" for number in range(10)):
        # Several times in one folder, each time going on from where the last one was cut short.
        for _ in range(4):
            process = program(folder, tmp_path / "cut short")
            time.sleep(moments.uniform(0.2, 0.8) * duration)
            process.kill()
            process.join()
            kills += process.exitcode == -signal.SIGKILL
        assert whole_answer(folder, answer) == whole
        if kills >= 20:
            return
    pytest.fail(f"only {kills} processes were cut short")
