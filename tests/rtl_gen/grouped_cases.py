# amaranth: UnusedElaboratable=no
"""Convolutions to try beside those of one group and even padding: depthwise, in groups, dilated, padded unevenly."""

from __future__ import annotations

from dataclasses import replace

from mixq.packing import Packing, candidates
from mixq.plan.layer_shape import LayerShape, Sides
from tests.rtl_gen.convolution_cases import (
    E1,
    KNOWN,
    P22,
    P44,
    P48,
    P88,
    PAIR_KNOWN,
    PAIR_NARROW,
    PAIR_WIDE,
    SPLIT_ACTS,
    TRACKED,
    Case,
    constant,
    packing_of,
    soft,
)

P55 = packing_of(4, 4, 5, pixels=2, taps=3)
TWO_OUTPUTS = packing_of(2, 8, 3, pixels=1, taps=1, channels=2)
DENSE = packing_of(4, 4, 1, pixels=1, channels=3)
SIGNED = next(p for p in candidates(5, 5, 3, act_signed=True) if p.pixels == 2)
TAP = packing_of(4, 4, 3, pixels=1, taps=1)
SAME_2: Sides = (0, 0, 1, 1)


def tap_at_a_time(weight_bits: int, act_bits: int, kernel: int = 3, residue_bits: int = 0, **wanted: int) -> Packing:
    """A packing of kernel 1 that multiplies the taps of a larger one, one by one."""
    return replace(packing_of(weight_bits, act_bits, 1, residue_bits, **wanted), kernel=kernel)


def depthwise(
    channels: int, height: int, width: int, kernel: int = 3, stride: int = 1, padding: int | Sides = 1, times: int = 1
) -> LayerShape:
    """A depthwise layer of ``times`` output channels for each input channel."""
    return LayerShape(channels, channels * times, height, width, kernel, stride, padding, groups=channels)


D1, D2, D4 = (tap_at_a_time(4, 4, pixels=pixels, channels=channels) for pixels, channels in ((1, 1), (2, 1), (2, 2)))

DEPTHWISE: dict[str, Case] = {
    "alone": Case(depthwise(4, 4, 7), P44, 1, 3, 1, 2, 1, "multiply"),
    "serial": Case(depthwise(3, 4, 6), P44, 1, 1, 1, 1, 1, "threshold"),
    "side_by_side": Case(depthwise(4, 4, 7), P44, 2, 3, 2, 2, 2, "multiply"),
    "all": Case(depthwise(4, 5, 8), P44, 4, 3, 4, 1, 4, "multiply"),
    "all_serial": Case(depthwise(6, 4, 5), P44, 6, 1, 6, 2, 2, "threshold"),
    "uneven": Case(depthwise(5, 4, 7), P44, 2, 1, 2, 2, 1, "multiply"),
    "uneven_most": Case(depthwise(7, 3, 5), P88, 4, 1, 4, 1, 1, "threshold"),
    "stride_2": Case(depthwise(4, 6, 7, stride=2), P44, 2, 3, 2, 2, 2, "multiply"),
    "stride_2_same": Case(depthwise(4, 6, 8, stride=2, padding=SAME_2), P44, 4, 1, 4, 1, 2, "multiply"),
    "stride_2_single": Case(depthwise(3, 5, 5, stride=2), packing_of(8, 8, 3, pixels=1, taps=1), 3, 3, 3, 1, 3),
    "one_pixel": Case(depthwise(4, 1, 1), P44, 2, 1, 2, 1, 1),
    "column": Case(depthwise(4, 4, 1), P22, 2, 3, 2, 1, 2, "threshold"),
    "narrower_than_group": Case(depthwise(4, 3, 2), P22, 4, 1, 4, P22.pixels, 2, "multiply"),
    "wider_than_group": Case(depthwise(2, 4, 7), P22, 2, 3, 2, 1, 2, "multiply"),
    "valid": Case(depthwise(4, 5, 9, padding=0), P44, 2, 3, 2, 1, 2),
    "corner": Case(depthwise(4, 4, 7), P44, 2, 3, 2, 1, 2, values="corner"),
    "5x5": Case(depthwise(4, 6, 7, 5, padding=2), P55, 2, 1, 2, 2, 1, "multiply"),
    "5x5_rows": Case(depthwise(4, 6, 7, 5, padding=2), packing_of(2, 2, 5, taps=4), 2, 5, 2, 1, 1, "threshold"),
    "5x5_stride_2": Case(depthwise(4, 6, 9, 5, 2, 2), P55, 4, 5, 4, 1, 4, "multiply"),
    "5x5_stride_2_same": Case(depthwise(2, 6, 8, 5, 2, (1, 1, 2, 2)), P55, 2, 1, 2, 2, 1, "multiply"),
    "1x1": Case(depthwise(6, 3, 5, 1, padding=0), packing_of(4, 4, 1, pixels=2, channels=1), 3, 1, 3, 1, 3),
    "signed": Case(depthwise(4, 4, 5), SIGNED, 2, 3, 2, 1, 2, "multiply"),
    "times_two": Case(depthwise(3, 4, 7, times=2), P44, 2, 3, 1, 1, 2, "multiply"),
    "times_two_serial": Case(depthwise(3, 4, 7, times=2), P44, 1, 3, 1, 1, 1, "multiply"),
    "times_two_side_by_side": Case(depthwise(4, 4, 7, times=2), P44, 4, 3, 2, 2, 4, "threshold"),
    "times_two_in_a_dsp": Case(depthwise(4, 3, 5, times=2), TWO_OUTPUTS, 4, 1, 2, 1, 2, "multiply"),
    "passes": Case(depthwise(4, 4, 5), P88, 2, 3, 2, 2, 1, "multiply"),
    "tap_at_a_time": Case(depthwise(4, 4, 5), D2, 4, 1, 4, 1, 1, "multiply"),
    "residues": Case(depthwise(4, 4, 9), KNOWN, 2, 3, 2, 4, 2, "multiply", values="corner"),
    "tracked": Case(depthwise(4, 4, 9), TRACKED, 2, 1, 2, 1, 1, "threshold"),
    "tracked_rows": Case(depthwise(4, 3, 8), TRACKED, 4, 3, 4, 4, 4, "multiply"),
    "pair_wide": Case(depthwise(4, 4, 9), PAIR_WIDE, 2, 3, 2, 1, 2, "multiply"),
    "pair_narrow": Case(depthwise(4, 4, 5), PAIR_NARROW, 2, 1, 2, 2, 1, "threshold"),
    "pair_residues": Case(depthwise(2, 3, 6), PAIR_KNOWN, 2, 3, 2, 4, 2, values="corner"),
    "split": Case(depthwise(4, 3, 7), SPLIT_ACTS, 2, 1, 2, 1, 1, "multiply"),
    "dsp48e1": Case(depthwise(5, 3, 6), E1, 2, 1, 2, 1, 1, "multiply", target="dsp48e1"),
    "dsp48e1_rows": Case(depthwise(4, 3, 6), E1, 4, 3, 4, 2, 4, "threshold", target="dsp48e1"),
    "generic": Case(depthwise(4, 4, 6), P48, 2, 3, 2, 1, 2, "threshold", target="generic"),
    "block_memory": Case(depthwise(8, 4, 6), P44, 2, 1, 2, 1, 1, "multiply", weight_memory="block"),
    "tall": Case(depthwise(2, 70, 5), P48, 2, 3, 2, 1, 2, "threshold"),
    "soft": Case(depthwise(4, 4, 7), soft(4, 4, 3, 2), 2, 3, 2, 1, 2, "multiply"),
    "soft_serial": Case(depthwise(4, 4, 7, stride=2), soft(3, 3, 3), 4, 1, 4, 1, 2, "threshold"),
    "soft_alone": Case(depthwise(3, 4, 7, 5, padding=2), soft(5, 3, 5), 1, 5, 1, 1, 1, "multiply"),
    "constant": Case(depthwise(4, 5, 7), constant(4, 8, 3), 4, 3, 4, 1, 4, "multiply"),
    "constant_stride_2": Case(depthwise(3, 6, 8, stride=2, padding=SAME_2), constant(4, 4, 3, 2), 3, 3, 3, 1, 3),
}

GROUPS: dict[str, Case] = {
    "serial": Case(LayerShape(6, 4, 4, 7, 3, 1, 1, 2), P44, 1, 1, 1, 1, 1, "multiply"),
    "shares": Case(LayerShape(8, 12, 3, 5, 3, 1, 1, 2), P44, 2, 1, 2, 1, 2, "threshold"),
    "whole": Case(LayerShape(6, 4, 4, 7, 3, 1, 1, 2), P44, 2, 3, 3, 2, 2, "multiply"),
    "side_by_side": Case(LayerShape(8, 8, 3, 6, 3, 1, 1, 4), P44, 4, 3, 4, 1, 4, "multiply"),
    "uneven": Case(LayerShape(6, 9, 3, 6, 3, 1, 1, 3), P44, 6, 1, 4, 2, 3, "multiply"),
    "all": Case(LayerShape(4, 6, 4, 7, 3, 2, 1, 2), P44, 6, 1, 4, 1, 2, "threshold"),
    "1x1": Case(LayerShape(8, 12, 3, 5, 1, 1, 0, 2), DENSE, 3, 1, 1, 1, 1, "multiply"),
    "1x1_side_by_side": Case(LayerShape(8, 12, 3, 5, 1, 1, 0, 4), DENSE, 6, 1, 4, 1, 6, "multiply"),
    "1x1_stride_2": Case(LayerShape(6, 6, 5, 5, 1, 2, 0, 3), packing_of(4, 4, 1, pixels=1, channels=2), 2, 1, 1, 1, 1),
    "channels_in_a_dsp": Case(LayerShape(4, 8, 3, 4, 3, 1, 1, 2), TWO_OUTPUTS, 4, 3, 2, 1, 2, "threshold"),
    "deep": Case(LayerShape(16, 2, 3, 5, 3, 1, 1, 2), P44, 1, 1, 8, 2, 1, values="corner"),
    "tracked": Case(LayerShape(12, 4, 3, 8, 3, 1, 1, 2), TRACKED, 2, 3, 3, 4, 2),
    "real_weights": Case(
        LayerShape(16, 4, 3, 5, 3, 1, 1, 2), P44, 2, 3, 8, 2, 2, "multiply", values="small", deepen=True
    ),
    "pumped": Case(LayerShape(8, 8, 3, 6, 3, 1, 1, 4), P44, 4, 1, 4, 1, 4, "multiply", pump=2),
    "pumped_shares": Case(LayerShape(8, 8, 3, 6, 3, 1, 1, 2), P44, 2, 1, 4, 1, 1, "multiply", pump=2),
    "uneven_padding": Case(LayerShape(4, 4, 4, 7, 3, 1, (2, 0, 1, 2), 2), P44, 2, 3, 2, 2, 2, "multiply"),
    "soft": Case(LayerShape(6, 4, 4, 7, 3, 1, 1, 2), soft(4, 4, 3), 2, 3, 3, 1, 2, "multiply"),
    "soft_side_by_side": Case(LayerShape(8, 4, 4, 7, 3, 1, 1, 4), soft(3, 3, 3, 2), 2, 1, 4, 1, 2, "threshold"),
    "constant": Case(LayerShape(4, 6, 3, 5, 3, 1, 1, 2), constant(4, 4, 3), 6, 3, 4, 1, 6, "multiply"),
}

PADDING: dict[str, Case] = {
    "same_stride_2": Case(LayerShape(2, 2, 6, 8, 3, 2, SAME_2), P44, 2, 3, 2, 2, 2, "multiply"),
    "same_stride_2_odd": Case(LayerShape(2, 2, 5, 7, 3, 2, SAME_2), P44, 1, 1, 2, 1, 1, "multiply"),
    "same_stride_2_single": Case(LayerShape(3, 4, 6, 6, 3, 2, SAME_2), TWO_OUTPUTS, 2, 1, 3, 1, 1, "threshold"),
    "same_5x5_stride_2": Case(LayerShape(2, 2, 6, 8, 5, 2, (1, 1, 2, 2)), P55, 1, 1, 2, 2, 1, "multiply"),
    "left": Case(LayerShape(2, 2, 4, 7, 3, 1, (0, 2, 0, 0)), P44, 2, 3, 2, 1, 2, "multiply"),
    "right": Case(LayerShape(2, 2, 4, 7, 3, 1, (0, 0, 0, 2)), P44, 2, 3, 2, 2, 2, "threshold"),
    "top": Case(LayerShape(2, 2, 4, 7, 3, 1, (2, 0, 0, 0)), P44, 2, 1, 2, 1, 1),
    "bottom": Case(LayerShape(2, 2, 4, 7, 3, 1, (0, 0, 2, 0)), P44, 2, 3, 2, 1, 2),
    "bottom_stride_2": Case(LayerShape(2, 2, 5, 7, 3, 2, (0, 1, 1, 0)), P44, 2, 3, 2, 1, 2),
    "top_stride_2": Case(LayerShape(2, 2, 6, 6, 3, 2, (1, 1, 0, 0)), P44, 2, 3, 2, 1, 2, values="corner"),
    "column_left_over": Case(LayerShape(1, 1, 6, 1, 3, 2, (0, 1, 0, 1)), TAP, 1, 1, 1, 1, 1),
    "column_below": Case(LayerShape(1, 1, 9, 1, 3, 2, (0, 1, 1, 1)), TAP, 1, 3, 1, 1, 1),
    "column": Case(LayerShape(2, 2, 4, 1, 3, 1, (0, 0, 2, 2)), P44, 2, 3, 2, 1, 2, "multiply"),
    "narrow": Case(LayerShape(4, 2, 3, 2, 3, 1, (1, 2, 1, 0)), P22, 1, 1, 2, 5, 1),
    "5x5_left": Case(LayerShape(2, 2, 4, 6, 5, 1, (4, 4, 0, 0)), P55, 2, 1, 2, 1, 1, "multiply"),
    "5x5_right": Case(LayerShape(2, 2, 4, 6, 5, 1, (0, 0, 4, 4)), P55, 2, 5, 2, 2, 2, "multiply"),
    "5x5_full": Case(LayerShape(1, 2, 2, 3, 5, 1, 4), packing_of(8, 8, 5, pixels=1, taps=1), 2, 1, 1, 1, 1, "multiply"),
    "residues": Case(LayerShape(2, 2, 3, 8, 3, 1, (1, 0, 1, 2)), KNOWN, 2, 3, 2, 4, 2, values="corner"),
    "tracked": Case(LayerShape(4, 2, 4, 9, 3, 2, SAME_2), TRACKED, 2, 1, 2, 1, 1, "threshold"),
    "pair": Case(LayerShape(4, 2, 4, 5, 3, 1, (1, 0, 1, 2)), PAIR_NARROW, 1, 1, 4, 2, 1, "threshold"),
    "signed": Case(LayerShape(2, 2, 4, 6, 3, 2, SAME_2), SIGNED, 2, 3, 2, 1, 2, "multiply"),
    "dsp48e1": Case(LayerShape(4, 4, 4, 6, 3, 2, SAME_2), E1, 2, 1, 2, 1, 1, "multiply", target="dsp48e1"),
    "soft": Case(LayerShape(2, 2, 6, 8, 3, 2, SAME_2), soft(4, 4, 3, 2), 2, 3, 1, 1, 2, "multiply"),
    "constant": Case(LayerShape(3, 4, 5, 7, 3, 1, (0, 2, 1, 0)), constant(4, 8, 3), 4, 3, 3, 1, 4, "multiply"),
}

DILATED: dict[str, Case] = {
    "same": Case(LayerShape(2, 2, 6, 7, 3, 1, 2, dilation=2), D2, 2, 1, 2, 1, 1, "multiply"),
    "rows": Case(LayerShape(3, 4, 6, 7, 3, 1, 2, dilation=2), D4, 2, 3, 3, 2, 1, "threshold"),
    "valid": Case(LayerShape(2, 2, 6, 8, 3, 1, 0, dilation=2), D1, 2, 1, 1, 1, 1, "multiply"),
    "single": Case(LayerShape(2, 2, 5, 5, 3, 1, 1, dilation=2), D1, 2, 3, 2, 1, 1),
    "stride_2": Case(LayerShape(2, 2, 7, 8, 3, 2, 2, dilation=2), D2, 2, 1, 2, 2, 1, "multiply"),
    "stride_2_single": Case(LayerShape(2, 2, 7, 8, 3, 2, 2, dilation=2), D1, 1, 3, 2, 1, 1),
    "5x5": Case(LayerShape(2, 2, 9, 9, 5, 1, 4, dilation=2), replace(D2, kernel=5), 2, 5, 2, 1, 1, "multiply"),
    "5x5_uneven": Case(LayerShape(1, 2, 7, 6, 5, 1, (8, 0, 0, 8), dilation=2), replace(D1, kernel=5), 2, 1, 1, 1, 1),
    "one_pixel": Case(LayerShape(2, 2, 1, 1, 3, 1, 2, dilation=2), D1, 2, 1, 2, 1, 1),
    "column": Case(LayerShape(2, 2, 5, 1, 3, 1, 2, dilation=2), D2, 2, 3, 2, 1, 1, "multiply"),
    "depthwise": Case(LayerShape(4, 4, 6, 7, 3, 1, 2, 4, dilation=2), D2, 2, 1, 2, 1, 1, "multiply"),
    "depthwise_all": Case(
        LayerShape(4, 4, 6, 7, 3, 1, (2, 1, 2, 3), 4, dilation=2), D2, 4, 3, 4, 2, 2, values="corner"
    ),
    "groups": Case(LayerShape(4, 8, 6, 7, 3, 1, 2, 2, dilation=2), D4, 4, 3, 2, 1, 2, "threshold"),
    "residues": Case(
        LayerShape(2, 6, 5, 5, 3, 1, 2, dilation=2),
        tap_at_a_time(3, 3, 3, 2, pixels=1, channels=6),
        6,
        1,
        1,
        1,
        1,
        "multiply",
    ),
    "tracked": Case(
        LayerShape(4, 4, 5, 5, 3, 1, 2, dilation=2),
        tap_at_a_time(4, 4, 3, 1, pixels=1, channels=4, tracked=True),
        4,
        1,
        2,
        1,
        1,
        "multiply",
    ),
    "pumped": Case(LayerShape(4, 4, 5, 6, 3, 1, 2, dilation=2), D2, 2, 1, 4, 1, 1, "multiply", pump=2),
}

CASES: dict[str, Case] = {
    f"{kind}_{name}": case
    for kind, cases in (("depthwise", DEPTHWISE), ("groups", GROUPS), ("padding", PADDING), ("dilated", DILATED))
    for name, case in cases.items()
}
