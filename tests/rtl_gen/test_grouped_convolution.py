# amaranth: UnusedElaboratable=no
"""Convolutions in groups, depthwise, dilated and padded unevenly against the interpreter: codes, latency and cycles."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest
from amaranth.back import verilog

from mixq.packing import Packing, SoftMultipliers, candidates
from mixq.plan.layer_shape import LayerShape
from tests.rtl_gen.convolution_cases import Case, graph_of, stage_of
from tests.rtl_gen.convolution_check import check
from tests.rtl_gen.grouped_cases import CASES

# One or more of each kind; the others are run apart.
QUICK = [
    *("depthwise_alone", "depthwise_uneven", "depthwise_all_serial", "depthwise_stride_2", "depthwise_one_pixel"),
    *("depthwise_5x5_stride_2", "depthwise_times_two_in_a_dsp", "depthwise_residues", "depthwise_tracked_rows"),
    *("depthwise_pair_narrow", "depthwise_dsp48e1", "depthwise_soft", "depthwise_constant"),
    *("groups_shares", "groups_uneven", "groups_1x1", "groups_pumped", "groups_real_weights"),
    *("padding_same_stride_2", "padding_column_left_over", "padding_column_below", "padding_5x5_right"),
    *("padding_residues", "dilated_rows", "dilated_stride_2", "dilated_depthwise_all", "dilated_5x5_uneven"),
]


@pytest.mark.cocotb
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in CASES]
)
def test_equals_interpreter(name: str, tmp_path: Path) -> None:
    check(CASES[name], "icarus", tmp_path)


def test_cases_cover_what_is_supported() -> None:
    assert set(QUICK) <= set(CASES)
    foldings = [case.folding for case in CASES.values()]
    depthwise = [f for f in foldings if f.shape.groups == f.shape.in_channels > 1]
    assert {f.shape.kernel for f in depthwise} == {1, 3, 5}
    assert {f.shape.stride for f in depthwise} == {1, 2}
    assert {f.shape.out_channels // f.shape.in_channels for f in depthwise} == {1, 2}
    assert {min(f.parallel, 2) for f in depthwise} == {1, 2}
    assert any(f.folds * f.pe > f.shape.out_channels for f in depthwise)
    packed = [f.packing for f in depthwise if isinstance(f.packing, Packing)]
    assert {packing.device for packing in packed} == {"dsp48e2", "dsp48e1"}
    assert {packing.tracked for packing in packed} == {packing.split for packing in packed} == {False, True}
    assert {packing.residue_bits for packing in packed} == {0, 2} or {0, 1, 2} == {p.residue_bits for p in packed}
    assert any(not packing.split and packing.product.pair for packing in packed)
    assert {packing.act_signed for packing in packed} == {False, True}
    assert any(f.shape.width == 1 < f.packing.pixels for f in depthwise)
    assert any(1 < f.shape.width < f.packing.pixels for f in depthwise)
    in_groups = [f for f in foldings if 1 < f.shape.groups < f.shape.in_channels]
    assert {f.words > 1 for f in in_groups} == {f.shared_folds > 1 for f in in_groups} == {False, True}
    assert {min(f.parallel, 2) for f in in_groups} == {f.pump for f in in_groups} == {1, 2}
    uneven = [f for f in foldings if not isinstance(f.shape.padding, int)]
    for side in range(4):
        assert {f.shape.sides[side] > 0 for f in uneven} == {False, True}
    dilated = [f for f in foldings if f.shape.dilation == 2]
    assert {f.shape.stride for f in dilated} == {1, 2} and {f.shape.kernel for f in dilated} == {3, 5}
    assert {f.shape.groups > 1 for f in dilated} == {f.rows > 1 for f in dilated} == {False, True}


@pytest.mark.cocotb
@pytest.mark.parametrize("simulator", ["verilator"])
@pytest.mark.parametrize("name", ["depthwise_side_by_side"])
def test_equals_interpreter_in_verilator(name: str, simulator: str, tmp_path: Path) -> None:
    check(CASES[name], simulator, tmp_path)


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.target == "dsp48e2"])
def test_verilog_has_the_dsps_planned(name: str) -> None:
    case = CASES[name]
    text = verilog.convert(stage_of(case, graph_of(case)), strip_internal_attrs=True)
    assert text.count("DSP48E2 #(") == case.folding.dsps


def random_case(rng: random.Random) -> Case:
    """Any convolution of these kinds that the folding accepts; ValueError where it does not."""
    kernel, stride = rng.choice([1, 3, 3, 3, 5]), rng.choice([1, 1, 2])
    dilation = rng.choice([1, 1, 1, 2])
    top, left, bottom, right = (rng.randint(0, dilation * (kernel - 1)) for _ in range(4))
    groups = rng.choice([1, 2, 3, 4, 5])
    inputs, outputs = groups * rng.choice([1, 1, 2, 3]), groups * rng.choice([1, 1, 2, 3])
    shape = LayerShape(
        in_channels=inputs,
        out_channels=outputs,
        height=rng.randint(1, 7),
        width=rng.randint(1, 9),
        kernel=kernel,
        stride=stride,
        padding=(top, left, bottom, right),
        groups=groups,
        dilation=dilation,
    )
    packing: Packing | SoftMultipliers
    if rng.random() < 0.2:
        packing = SoftMultipliers(
            rng.randint(2, 4), rng.randint(2, 4), kernel, rng.choice([1, 2, 4]), act_signed=rng.random() < 0.3
        )
    else:
        row = 1 if dilation > 1 or rng.random() < 0.15 else kernel
        device = rng.choice(["dsp48e2", "dsp48e2", "dsp48e1"])
        residue_bits = rng.choice([0, 0, 1, 2]) if device == "dsp48e2" else 0
        signed = rng.random() < 0.3
        packing = rng.choice(
            candidates(rng.randint(2, 8), rng.randint(2, 8), row, residue_bits, act_signed=signed, device=device)
        )
        packing = replace(packing, kernel=kernel)
    parallel = rng.randint(1, groups)
    pe = parallel * shape.group_outputs if parallel > 1 else rng.randint(1, shape.group_outputs)
    lanes = parallel * shape.group_inputs if parallel > 1 else rng.randint(1, shape.group_inputs)
    case = Case(
        shape,
        packing,
        pe,
        rows=rng.choice([1, kernel]),
        lanes=lanes,
        in_pixels=rng.choice([1, packing.pixels]),
        out_lanes=rng.choice([d for d in range(1, pe + 1) if pe % d == 0]),
        scaling=rng.choice(["none", "multiply", "threshold"]),
        target=rng.choice([packing.device, "generic"]) if isinstance(packing, Packing) else "generic",
        values=rng.choice(["random", "random", "corner"]),
        pump=rng.choice([1, 1, 2]),
    )
    folding = case.folding
    products = folding.pe * folding.simd * packing.macs
    if products > 64 or folding.dsps > 24 or max(1, folding.dsps) * folding.cycles_per_frame > 2000:
        told = f"{products!r} and {folding.cycles_per_frame!r}"
        raise ValueError(f"products and cycles must be few enough to simulate quickly, not {told}")
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
