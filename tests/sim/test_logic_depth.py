"""Logic between registers is no deeper than the bound, in the netlists of stages of every kind."""

from __future__ import annotations

from pathlib import Path

import pytest

from sim.depth import Depth
from sim.synthesis import count
from tests.sim.depth_stages import OTHERS, write_design

#: Convolutions: kernels, strides and folds of every kind, packings that are plain, with residues, pairs, tracked, and a
#: constant matrix without DSPs, several passes over the taps, both ways to requantise.
CONVOLUTIONS = [
    "same_parallel",
    "same_serial",
    "same_rows",
    "full_padding",
    "stride_2",
    "stride_2_single",
    "passes_8x8",
    "passes_5x5",
    "channels_in_a_dsp",
    "5x5_same",
    "1x1",
    "1x1_stride_2",
    "dense",
    "corner_chains",
    "residues_deep",
    "residues_dense",
    "tracked",
    "tracked_rows",
    "tracked_dense",
    "tracked_corner",
    "pair_corner",
    "one_pixel",
    "constant_1x1",
    "real_weights_deep",
    "split_activations",
    "tall",
    "depthwise_all_serial",
    "depthwise_uneven",
    "depthwise_5x5_stride_2",
    "depthwise_tracked_rows",
    "groups_shares",
    "groups_uneven",
    "padding_same_stride_2",
    "dilated_5x5",
    "dilated_depthwise_all",
]
QUICK = ["pool_3", "group", "space_to_depth", "same_serial"]


def hold(name: str, tmp_path: Path) -> None:
    """Synthesise a stage and compare its deepest path; what enters and leaves leaves room for a neighbour's."""
    found = count(write_design(tmp_path / "rtl", name), workers=1).depths[f"the_{name}"]
    assert found.registers.depth.within, found.registers
    assert found.registers.depth != Depth()
    for path in (found.from_input, found.to_output):
        assert path.depth.within, path
    # A stream's ready and valid never pass through.
    assert found.through.depth == Depth(), found.through


@pytest.mark.parametrize("name", QUICK)
def test_some_stages(name: str, tmp_path: Path) -> None:
    hold(name, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in [*OTHERS, *CONVOLUTIONS] if name not in QUICK])
def test_stages_of_every_kind(name: str, tmp_path: Path) -> None:
    hold(name, tmp_path)
