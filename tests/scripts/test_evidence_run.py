"""Units of the comparison of searches: which there are, that none is done twice, and what happens to damaged logs."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from mixq.errors import CheckFailed, UserError
from mixq.networks import network
from mixq.plan.width_network import WidthNetwork
from scripts import evidence_run, search_evidence
from scripts.evidence_protocol import SCALES, Record, Scale, Unit, earlier, uniform_widths, units
from scripts.evidence_run import Log, left, recorded_epochs, run
from scripts.evidence_units import Place
from tests.scripts.evidence_logs import SCALE, made_up, place_of


def silent(line: str) -> None:
    pass


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Units are made up instead of done, and counted."""
    count: Counter[str] = Counter()

    def done(scale: Scale, unit: Unit, place: Place, ways: WidthNetwork | None = None) -> Record:
        count[unit.key] += 1
        return made_up(scale, unit, place, ways)

    monkeypatch.setattr(evidence_run, "done", done)
    monkeypatch.setattr(evidence_run, "_ways", lambda *_: None)
    return count


def test_the_protocol_has_its_numbers() -> None:
    for name in ("quarter", "full"):
        scale = SCALES[name]
        assert (scale.decays, scale.seeds, scale.quantizers) == ((3e-5, 1e-4, 3e-4), (0, 1, 2), ("hwgq", "lsq"))
        assert scale.uniform == (2, 3, 4, 5, 6, 8)
        assert scale.hardware.limits.dsp == 200 and scale.hardware.board.name == "zcu104"
        assert scale.hardware.residue_bits == 1
        search, training = scale.recipe("search", 2), scale.recipe("training", 2)
        assert (search.learning_rate, search.warmup) == (0.03, 20)
        assert (training.learning_rate, training.warmup) == (0.03, 0)
        (first,) = earlier(replace(scale, attempt=2))
        assert (first.recipe("search", 2).learning_rate, first.recipe("search", 2).warmup) == (0.1, 0)
        for recipe in (search, training):
            assert (recipe.momentum, recipe.weight_decay, recipe.batch) == (0.9, 5e-4, 128)
            assert (recipe.shift, recipe.flip, recipe.seed, recipe.threads) == (4, True, 2, 1)
    assert (SCALES["quarter"].search_epochs, SCALES["quarter"].train_epochs) == (5, 15)
    assert (SCALES["full"].search_epochs, SCALES["full"].train_epochs) == (6, 24)


def test_all_is_run_once(counted: Counter[str], tmp_path: Path) -> None:
    log = Log(tmp_path / "log.jsonl", SCALE)
    assert run(SCALE, log, place_of(tmp_path), jobs=1, say=silent) == 0
    assert set(counted.values()) == {1}
    kinds = Counter(key.split("/")[0] for key in counted)
    # 18 searches, 6 of ours; a training for each end of 18 pairs; two uniform widths, each for both quantisers.
    assert kinds == {"edmips": 18, "ours": 6, "training": 36 + 4, "plan": 2}
    lines = (tmp_path / "log.jsonl").read_text().splitlines()
    assert len(lines) == 1 + sum(kinds.values())
    ours = next(json.loads(line) for line in lines if '"key":"ours/lsq/s1"' in line)
    assert ours["budgets"] == [9001, 7001, 5001]


def test_a_run_goes_on_where_it_was_cut(counted: Counter[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, place = tmp_path / "log.jsonl", place_of(tmp_path)

    def cut(scale: Scale, unit: Unit, place: Place, ways: WidthNetwork | None = None) -> Record:
        if len(counted) in (5, 22, 40):
            counted[f"cut {len(counted)}"] = 1
            raise KeyboardInterrupt
        counted[unit.key] += 1
        return made_up(scale, unit, place, ways)

    monkeypatch.setattr(evidence_run, "done", cut)
    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            run(SCALE, Log(path, SCALE), place, jobs=1, say=silent)
        # As if the process was ended while it wrote.
        with path.open("a") as stream:
            stream.write('{"key":"edm')
    assert run(SCALE, Log(path, SCALE), place, jobs=1, say=silent) == 0
    assert set(counted.values()) == {1}
    once = tmp_path / "once.jsonl"
    monkeypatch.setattr(evidence_run, "done", made_up)
    run(SCALE, Log(once, SCALE), place, jobs=1, say=silent)
    assert path.read_text() == once.read_text()


def test_parts_and_time_limit(counted: Counter[str], tmp_path: Path) -> None:
    log, place = Log(tmp_path / "log.jsonl", SCALE), place_of(tmp_path)
    assert run(SCALE, log, place, jobs=1, seconds=0, say=silent) == 18 + 4 + 2
    assert not counted
    assert run(SCALE, log, place, jobs=1, parts=["ours"], say=silent) == 0, "none can be named before EdMIPS's are done"
    assert run(SCALE, log, place, jobs=1, parts=["edmips"], say=silent) == 0
    assert len(counted) == 18
    run(SCALE, log, place, jobs=1, parts=["uniform"], say=silent)
    assert len(counted) == 18 + 2 + 4


def test_the_same_widths_are_trained_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def same(scale: Scale, unit: Unit, place: Place, ways: WidthNetwork | None = None) -> Record:
        record = made_up(scale, unit, place, ways)
        for found in record.get("found", ()):
            found["weight_bits"] = [4] * 6 + [8]
        return record

    monkeypatch.setattr(evidence_run, "done", same)
    monkeypatch.setattr(evidence_run, "_ways", lambda *_: None)
    log = Log(tmp_path / "log.jsonl", SCALE)
    run(SCALE, log, place_of(tmp_path), jobs=1, say=silent)
    trainings = [record for record in log.records.values() if record.get("kind") == "training"]
    # One for each seed and quantiser, which with seed 0 is uniform too; uniform 2 bits for each quantiser.
    assert len(trainings) == 6 + 2
    assert trainings[0]["arms"] == ["edmips", "ours"]
    assert left(SCALE, log, 2) == 0


def test_failures_do_not_keep_others_from_running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(scale: Scale, unit: Unit, place: Place, ways: WidthNetwork | None = None) -> Record:
        if unit.key == "edmips/hwgq/s0/d3e-05":
            raise CheckFailed("does not fit")
        return made_up(scale, unit, place, ways)

    monkeypatch.setattr(evidence_run, "done", failing)
    monkeypatch.setattr(evidence_run, "_ways", lambda *_: None)
    log = Log(tmp_path / "log.jsonl", SCALE)
    with pytest.raises(CheckFailed, match=r"^edmips/hwgq/s0/d3e-05: does not fit$"):
        run(SCALE, log, place_of(tmp_path), jobs=1, say=silent)
    assert "ours/hwgq/s1" in log.records and "ours/hwgq/s0" not in log.records


def test_time_left_is_by_what_was_measured(counted: Counter[str], tmp_path: Path) -> None:
    log, place = Log(tmp_path / "log.jsonl", SCALE), place_of(tmp_path)
    assert left(SCALE, log, 1) is None
    run(SCALE, log, place, jobs=1, parts=["edmips"], say=silent)
    # 10 s an epoch of search: 6 searches of 5 epochs; 40 trainings of 15 epochs at two thirds of that.
    assert left(SCALE, log, 2) == pytest.approx((6 * 5 * 10 + 40 * 15 * 10 / 1.5) / 2)


def test_another_protocol_is_refused(counted: Counter[str], tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    run(SCALE, Log(path, SCALE), place_of(tmp_path), jobs=1, parts=["edmips"], say=silent)
    assert recorded_epochs(path) == (5, 15)
    with pytest.raises(UserError, match="another protocol"):
        Log(path, replace(SCALE, search_epochs=6))


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("not json\n", "line 1 is no record"),
        ("[]\n", "line 1 is no record"),
        ('{"key":"a"}\n{"key":"a"}\n', "line 2 repeats a"),
        ('{"key":"a"}\n', "another protocol"),
    ],
)
def test_damaged_logs_are_refused(lines: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text(lines)
    with pytest.raises(UserError, match=message):
        Log(path, SCALE)


def test_two_runs_at_a_time_are_refused(tmp_path: Path) -> None:
    log = Log(tmp_path / "log.jsonl", SCALE)
    with log.locked(tmp_path), pytest.raises(UserError, match="another process"), log.locked(tmp_path):
        pass


def test_uniform_widths_leave_the_image_and_the_dense_layer() -> None:
    assert uniform_widths(network("vgg_tiny"), 3) == ((3,) * 6 + (8,), (8,) + (3,) * 5 + (8,))
    assert uniform_widths(network("digits_cnn"), 2) == ((2,) * 4, (5, 2, 2, 2))


@pytest.mark.slow
def test_the_smoke_scale_runs_and_makes_its_page(tmp_path: Path) -> None:
    log, options = tmp_path / "log.jsonl", ["--scale", "smoke", "--log", str(tmp_path / "log.jsonl")]
    own = [*options, "--jobs", "2", "--folder", str(tmp_path / "work"), "--data", str(tmp_path)]
    assert search_evidence.main(["run", *own, "--only", "edmips"]) == 0
    assert search_evidence.main(["run", *own]) == 0
    before = log.read_bytes()
    assert search_evidence.main(["run", *own]) == 0
    assert log.read_bytes() == before
    records = Log(log, SCALES["smoke"]).records
    assert all(unit.key in records for stage in units(SCALES["smoke"], records) for unit in stage)
    for found in records["ours/hwgq/s0"]["found"]:
        assert found["cycles"] <= found["budget"]
    assert search_evidence.main(["page", *options, "--docs", str(tmp_path)]) == 0
    assert "not complete" not in (tmp_path / "search.md").read_text()
    assert not list((tmp_path / "work").rglob("*.pt")), "no checkpoints are left"


def test_wrong_use_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text("{}\n")
    assert search_evidence.main(["page", "--log", str(path), "--docs", str(tmp_path)]) == 2
    assert capsys.readouterr().err == f"search_evidence: {path}: line 1 is no record; remove it\n"
