"""The stored counts agree with the estimates as closely as the page states; and, where it is asked for, with Yosys."""

from __future__ import annotations

from pathlib import Path

import pytest

from mixq.plan.cost_model import CostModel, cost_model
from scripts.cost_fit import estimated, with_errors
from scripts.cost_samples import convolutions, other_stages
from scripts.fit_costs import FITTED, HELD, LAYERS, OTHERS, PLANNED, SEEDS, Row, page, rows
from sim.stage_costs import StageVerilog, measure

RENEW = "renew it with: python -m scripts.fit_costs fit"


@pytest.fixture(scope="module")
def found() -> dict[str, Row]:
    return rows()


def test_rows_survive_the_file(found: dict[str, Row]) -> None:
    for row in found.values():
        assert Row.of(row.line()) == row


def test_every_sample_is_counted_and_is_what_it_is_drawn_as(found: dict[str, Row]) -> None:
    drawn = [
        sample
        for name in (FITTED, HELD)
        for sample in (*convolutions(SEEDS[name], LAYERS[name], name), *other_stages(SEEDS[name], OTHERS[name], name))
    ]
    assert {sample.name for sample in drawn} == {name for name in found if not name.startswith(PLANNED)}
    assert all(found[sample.name].sample == sample for sample in drawn)


def test_held_out_layers_are_within_the_stated_errors(found: dict[str, Row]) -> None:
    held = [(row.sample, row.counts) for name, row in found.items() if name.startswith(HELD)]
    model = cost_model()
    assert with_errors(CostModel(model.coefficients, {}, 0), held) == model
    assert model.layers >= 16
    for errors in model.errors.values():
        assert errors.median < 0.1
        assert errors.worst < 0.25


def test_dsps_and_block_ram_are_exact(found: dict[str, Row]) -> None:
    different = {
        name: (estimate.dsp, estimate.bram36, row.counts.flat.dsp, row.counts.flat.bram36)
        for name, row in found.items()
        for estimate in [estimated(row.sample)]
        if (estimate.dsp, estimate.bram36) != (row.counts.flat.dsp, row.counts.flat.bram36)
    }
    assert different == {}


def test_the_page_is_current(root: Path) -> None:
    text, drawn = page()
    assert (root / "docs/estimates.md").read_text() == text, RENEW
    assert (root / "docs/estimates.svg").read_text() == drawn, RENEW


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["fit_3", "held_max_pool_0", "held_requantise_0", "held_shell_0", "held_space_to_depth_0", "held_stairs_1"]
)
def test_stored_counts_are_those_of_yosys(found: dict[str, Row], name: str) -> None:
    row = found[name]
    source = StageVerilog.of(row.sample.stage())
    assert source.digest == row.digest, "the hardware has changed: python -m scripts.fit_costs measure"
    assert measure(source) == row.counts
