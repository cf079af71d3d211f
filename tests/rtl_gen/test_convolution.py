# amaranth: UnusedElaboratable=no
"""The convolution stage against the interpreter: codes, latency and cycles of every folding tried."""

from __future__ import annotations

import random
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from amaranth.back import verilog

from mixq.execute import run
from mixq.formats import IntFormat
from mixq.packing import Packing, SoftMultipliers, candidates, solve
from mixq.plan.folding import Folding
from mixq.plan.layer_shape import LayerShape
from rtl_gen.convolution import Convolution, Scaling
from tests.rtl_gen.convolution_cases import CASES, KNOWN, P44, TRACKED, Case, graph_of, stage_of
from tests.rtl_gen.convolution_check import FRAMES, check
from tests.rtl_gen.grouped_cases import CASES as GROUPED
from tests.rtl_gen.stages import random_frames


@pytest.mark.cocotb
@pytest.mark.parametrize("name", CASES)
def test_equals_interpreter(name: str, tmp_path: Path) -> None:
    check(CASES[name], "icarus", tmp_path)


@pytest.mark.cocotb
@pytest.mark.parametrize("simulator", ["verilator"])
@pytest.mark.parametrize("name", ["same_rows", "stride_2", "pumped_chain", "pumped_odd_chain"])
def test_equals_interpreter_in_verilator(name: str, simulator: str, tmp_path: Path) -> None:
    check(CASES[name], simulator, tmp_path)


@pytest.mark.parametrize("name", CASES | GROUPED)
def test_outputs_would_show_errors(name: str) -> None:
    case = (CASES | GROUPED)[name]
    graph = graph_of(case)
    codes = run(graph, random_frames(stage_of(case, graph).input_shape, FRAMES, case.seed))
    # Of at least half of the channels there are several codes: requantisation does not hide what comes before it.
    assert sum(len(np.unique(codes[:, channel])) > 2 for channel in range(codes.shape[1])) >= codes.shape[1] / 2


def test_cases_cover_what_is_supported() -> None:
    cases = CASES.values()
    foldings = [case.folding for case in cases]
    assert {f.shape.kernel for f in foldings} == {1, 3, 5}
    assert {f.shape.padding for f in foldings} == {0, 1, 2}
    assert {f.shape.stride for f in foldings} == {1, 2}
    assert {case.scaling for case in cases} == {"none", "multiply", "threshold"}
    packed = [f.packing for f in foldings if isinstance(f.packing, Packing)]
    assert {part.product.act_on_wide for packing in packed for part in packing.parts} == {True, False}
    assert any(f.shape.width == 1 < f.packing.pixels for f in foldings)
    assert any(1 < f.shape.width < f.packing.pixels for f in foldings)
    assert any(f.groups > 1 and f.shape.width % f.packing.pixels for f in foldings)
    assert any(f.shape.height == 1 < f.shape.kernel for f in foldings)
    for wanted in (1, 2):
        assert any(f.folds == wanted for f in foldings)
        assert any(min(f.packing.passes, 2) == wanted for f in foldings)
        assert any(min(f.packing.channels, 2) == wanted for f in foldings)
        assert any(min(f.chains, 2) == wanted for f in foldings)
        assert any(min(f.reads_per_pass, 2) == wanted for f in foldings)
        assert any(min(f.in_pixels, 2) == wanted for f in foldings if f.packing.pixels > 1)
    assert any(f.rows == 1 < f.shape.kernel for f in foldings)
    assert any(f.rows == f.shape.kernel > 1 for f in foldings)
    assert any(f.out_lanes < f.pe for f in foldings)
    assert any(f.accumulate > 1 and f.cascade > 1 for f in foldings)
    assert any(f.cascade < f.simd for f in foldings)
    for kind in ("tracked", "split"):
        assert {getattr(f.packing, kind) for f in foldings} == {False, True}
    parts = [part.product for packing in packed for part in packing.parts]
    pairs = {(product.act_on_wide, product.residue_bits > 0) for product in parts if product.pair}
    assert {wide for wide, _ in pairs} == {False, True} and {known for _, known in pairs} == {False, True}
    assert {f.packing.residue_bits for f in foldings} == {0, 1, 2}
    for constant in (False, True):
        own = [f for f in foldings if isinstance(f.packing, SoftMultipliers) and f.packing.constant == constant]
        assert {f.shape.kernel for f in own} == {1, 3, 5}
        assert {f.shape.stride for f in own} == {1, 2}
        assert {f.packing.pixels for f in own} == {1, 2, 4}
        assert {f.packing.act_signed for f in own} == {False, True}
    assert any(f.packing.tracked and f.cascade > 1 and f.folds > 1 for f in foldings)
    assert {min(f.turns, 2) for f in foldings} == {1, 2}
    assert any(f.turns > 1 and f.pe > f.out_lanes for f in foldings)
    assert any(f.bounds and f.summed > f.packing.accumulate_max for f in foldings)
    pumped = [f for f in foldings if f.pump == 2]
    assert {min(f.chain_units, 4) for f in pumped} == {1, 2, 3, 4}
    assert {f.weight_depth > 1 for f in pumped} == {f.chains > 1 for f in pumped} == {False, True}
    assert {f.accumulate > 1 for f in pumped} == {f.dsp_packing.product.pair for f in pumped} == {False, True}
    uneven = {(f.folds * f.pe > f.shape.out_channels, f.words * f.lanes > f.shape.in_channels) for f in foldings}
    assert uneven == {(outputs, inputs) for outputs in (False, True) for inputs in (False, True)}
    for name in ("tracked", "split"):
        own = [f for f in foldings if getattr(f.packing, name)]
        assert any(f.folds * f.pe > f.shape.out_channels and f.words * f.lanes > f.shape.in_channels for f in own)
    assert any(f.folds * f.pe > f.shape.out_channels and f.turns > 1 for f in foldings)
    assert any(f.pe > f.shape.out_channels for f in foldings)


@pytest.mark.parametrize("name", [name for name in CASES if name.startswith("pumped")])
def test_pumped_layers_have_half_the_dsps(name: str) -> None:
    from amaranth.back import verilog

    case = replace(CASES[name], target="dsp48e2")
    text = verilog.convert(stage_of(case, graph_of(case)), strip_internal_attrs=True)
    folding = case.folding
    assert text.count("DSP48E2 #(") == folding.dsps == folding.columns * folding.simd * folding.packing.dsps // 2


def test_refuses_to_pump_what_is_corrected() -> None:
    shape = LayerShape(4, 2, 4, 9, 3, 1, 1)
    said = "pump must be 1 where input terms at a time are odd, a sum holds one product, or lanes are corrected, not 2"
    for packing, lanes in ((KNOWN, 2), (TRACKED, 2), (P44, 1)):
        with pytest.raises(ValueError) as error:
            Folding(shape, packing, pe=2, rows=1, lanes=lanes, pump=2)
        assert str(error.value) == said
    with pytest.raises(ValueError, match=r"^pump must be 1 or 2, not 3$"):
        Folding(shape, P44, pe=2, rows=1, lanes=2, pump=3)


@pytest.mark.parametrize("style", ["block", "distributed"])
def test_weight_memories_are_of_the_kind_planned(style: str) -> None:
    case = replace(CASES["tracked_in_block"], weight_memory=style)
    text = verilog.convert(stage_of(case, graph_of(case)), strip_internal_attrs=True)
    roms = re.findall(r"mixq_rom #\((.*?)\) \w+ \(", text, re.DOTALL)
    weights = [rom for rom in roms if "layer_weights_" in rom]
    assert len(weights) == case.folding.cascade > 1
    assert all(f'.STYLE("{style}")' in rom for rom in weights)


@pytest.mark.parametrize("name", ["same_parallel", "same_serial", "same_rows", "column", "5x5_same", "passes_8x8"])
def test_same_padding_costs_no_cycles(name: str) -> None:
    # What simulation holds `cycles_per_frame` to, in `hold`: the padding is not multiplied.
    folding = CASES[name].folding
    shape, pixels = folding.shape, folding.packing.pixels
    assert shape.padding == shape.kernel // 2 and shape.stride == 1
    assert folding.compute_cycles == shape.out_height * -(-shape.width // pixels) * folding.folds * folding.steps
    if folding.compute_cycles >= max(folding.input_beats, folding.output_beats):
        assert folding.cycles_per_frame == folding.compute_cycles


def random_case(rng: random.Random) -> Case:
    """Any convolution that the folding accepts; ValueError where it does not."""
    kernel, stride = rng.choice([1, 3, 3, 3, 5]), rng.choice([1, 1, 2])
    shape = LayerShape(
        in_channels=rng.choice([1, 2, 3, 4, 6]),
        out_channels=rng.choice([2, 4, 5, 6]),
        height=rng.randint(1, 7),
        width=rng.randint(1, 9),
        kernel=kernel,
        stride=stride,
        padding=rng.randint(0, min(2, kernel - 1)),
    )
    packing = rng.choice(candidates(rng.randint(2, 8), rng.randint(2, 8), kernel, act_signed=rng.random() < 0.2))
    even = rng.random() < 0.5
    pe = rng.choice([d for d in range(1, shape.out_channels + 2) if not even or shape.out_channels % d == 0])
    case = Case(
        shape,
        packing,
        pe,
        rows=rng.choice([1, kernel]),
        lanes=rng.choice([d for d in range(1, shape.in_channels + 1) if not even or shape.in_channels % d == 0]),
        in_pixels=rng.choice([1, packing.pixels]),
        out_lanes=rng.choice([d for d in range(1, pe + 1) if pe % d == 0]),
        scaling=rng.choice(["none", "multiply", "threshold"]),
        target=rng.choice(["dsp48e2", "generic"]),
        values=rng.choice(["random", "random", "corner"]),
    )
    folding = case.folding
    if folding.dsps > 24 or folding.dsps * folding.cycles_per_frame > 2000:
        told = f"{folding.dsps!r} and {folding.cycles_per_frame!r}"
        raise ValueError(f"DSPs and cycles must be few enough to simulate quickly, not {told}")
    return case


@pytest.mark.slow
@pytest.mark.cocotb
@pytest.mark.parametrize("seed", range(60))
def test_random_foldings(seed: int, tmp_path: Path) -> None:
    rng = random.Random(seed)
    while True:
        try:
            case = random_case(rng)
        except ValueError:
            continue
        break
    try:
        check(case, "icarus", tmp_path)
    except Exception as error:
        error.add_note(repr(case))
        raise


def test_refuses_weights_of_another_shape() -> None:
    folding = Folding(LayerShape(2, 2, 4, 4, 3, 1, 1), solve(4, 4), pe=1, rows=1, lanes=1)
    scaling = Scaling.none((0, 0), IntFormat(20, True))
    with pytest.raises(ValueError) as error:
        Convolution(folding, np.zeros((2, 2, 3, 1), np.int64), scaling, name="layer")
    assert str(error.value) == "weights must have shape (2, 2, 3, 3), not (2, 2, 3, 1)"
    with pytest.raises(ValueError) as error:
        Convolution(folding, np.full((2, 2, 3, 3), -8), scaling, name="layer")
    assert str(error.value) == "weights must be from -7 to 7, not -8..-8"
