"""Stages of nodes without weights."""

from __future__ import annotations

from mixq.formats import IntFormat
from mixq.graph import MaxPool, Requantise, SpaceToDepth, SumPool, Threshold, Upsample
from mixq.plan.units import Unit
from mixq.streams import StreamShape
from rtl_gen.interfaces import Stage
from rtl_gen.max_pool import MaxPoolStage
from rtl_gen.requantise import RequantiseStage, RequantiseValues, ThresholdValues
from rtl_gen.requantise_unit import Values
from rtl_gen.space_to_depth import SpaceToDepthStage
from rtl_gen.sum_pool import SumPoolStage
from rtl_gen.upsample import UpsampleStage


def simple_stage(unit: Unit, *, lanes: int, method: str | None) -> Stage:
    """The stage of a node on its own, in beats of one pixel and ``lanes`` channels.

    method: of a requantisation, see :func:`rtl_gen.requantise.requantise_unit`. Raises TypeError for another node.
    """
    node, source, target = unit.node, unit.source.format, unit.target.format
    shape = StreamShape(*unit.source.shape, source, pixels=1, lanes=lanes)
    match node:
        case MaxPool():
            return MaxPoolStage(shape, kernel=node.kernel, stride=node.stride)
        case SumPool():
            return SumPoolStage(shape, kernel=node.window)
        case SpaceToDepth():
            return SpaceToDepthStage(shape, block=node.block)
        case Upsample():
            return UpsampleStage(shape, factor=node.factor)
        case Requantise() | Threshold():
            values = scaling_values(node, source, target)
            method = "threshold" if isinstance(node, Threshold) else method or "multiply"
            return RequantiseStage(values, shape, name=node.name, method=method)
    raise TypeError(f"unit must have a stage of its own, not {node.op!r}")


def scaling_values(node: Requantise | Threshold, source: IntFormat, target: IntFormat) -> Values:
    """The numbers of a requantisation, or of thresholds."""
    if isinstance(node, Threshold):
        bounds = tuple(map(tuple, node.thresholds.tolist()))
        return ThresholdValues(bounds, tuple(node.first.tolist()), tuple(node.step.tolist()), source, target)
    numbers = tuple(node.multiplier.tolist()), tuple(node.bias.tolist()), node.shift
    return RequantiseValues(*numbers, source, target)
