"""Fits the coefficients of :mod:`mixq.plan.cost_model` to counted samples, and tells its errors."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from statistics import median

import numpy as np
from scipy.optimize import nnls

from mixq.board import Resources
from mixq.plan import estimate, layer_features, spatial_features, stage_features
from mixq.plan.cost_model import TERMS, Agreement, CostModel
from mixq.plan.layer_features import Terms
from mixq.plan.stage_features import Constants, Scale
from mixq.plan.sum_widths import exact_sum_bits, reach, threshold_format
from scripts.cost_samples import (
    Sample,
    ends_of,
    layer_scaling,
    layer_weights,
    requantise_values,
    stream_of,
    threshold_values,
)
from sim.stage_costs import CONTROL, StageCounts

_SMALL = 0.03
"""Share of its stage below which a component's error counts as one of that share."""

_TOWARDS = 0.3
"""Weight of a coefficient of 1, the reasoned one, beside the samples."""


def layer_numbers(sample: Sample) -> tuple[int, Scale]:
    """Width of the sums of a sampled layer, and its requantisation, as the planner has them."""
    folding, spec = sample.folding, sample.spec
    bits = exact_sum_bits(folding, reach(folding.packing, layer_weights(folding, sample.seed)))
    scaling = layer_scaling(folding, sample.seed, spec["out_bits"], spec["method"])
    scale = Scale.of(
        Constants.of(scaling.multiplier, scaling.bias),
        bits=bits,
        shift=scaling.shift,
        out_bits=spec["out_bits"],
        pixels=folding.out_pixels // folding.turns,
        lanes=folding.out_lanes,
    )
    return bits, scale


def alone_scale(sample: Sample) -> Scale:
    """A sampled requantisation on its own."""
    values, spec = requantise_values(sample), sample.spec
    sizes = {"bits": spec["bits"], "shift": values.shift, "out_bits": spec["out_bits"]}
    return Scale.of(Constants.of(values.multiplier, values.bias), **sizes, pixels=1, lanes=spec["lanes"])


def stairs_scale(sample: Sample) -> Scale:
    """Sampled explicit thresholds on their own."""
    values, spec = threshold_values(sample), sample.spec
    falls = [step < 0 for step in values.step]
    constants = Constants.of_steps(spec["count"], values.first, values.step)
    return Scale.of(
        constants,
        bits=spec["bits"],
        shift=0,
        out_bits=values.output_format.width,
        pixels=1,
        lanes=spec["lanes"],
        threshold_bits=threshold_format(values.input_format, rises=not all(falls), falls=any(falls)).width,
    )


_ALONE: dict[str, Callable[[Sample], Scale]] = {
    "requantise": alone_scale,
    "parallel": alone_scale,
    "stairs": stairs_scale,
}
"""Kinds that make codes of sums on their own."""


def components(sample: Sample, *, apart: bool = False) -> dict[str, Terms]:
    """The terms of a sample's components, by the names of :data:`mixq.plan.cost_model.TERMS`.

    apart: as they are counted apart, see :func:`mixq.plan.estimate.layer_components`.
    """
    spec, kind = sample.spec, sample.kind
    if kind == "convolution":
        folding = sample.folding
        bits, scale = layer_numbers(sample)
        depth = estimate.output_beats(folding, estimate.unit_latency(scale, spec["method"]))
        return {
            **estimate.layer_components(folding, bits, apart=apart),
            "gatherer": estimate.gatherer_terms(folding, scale.out_bits),
            "serialiser": layer_features.serialiser(folding, bits),
            **estimate.requantise_components(scale, spec["method"]),
            "fifo": stage_features.fifo(scale.out_bits * folding.out_pixels * folding.out_lanes, depth),
        }
    if kind in _ALONE:
        scale, method = _ALONE[kind](sample), spec.get("method", "threshold")
        own = {"alone": stage_features.alone(scale, method)}
        return {**estimate.requantise_components(scale, method), **own}
    if kind == "sum_pool":
        return {kind: spatial_features.sum_pool(stream_of(spec), (spec["kernel"],) * 2)[0]}
    if kind == "space_to_depth":
        return {kind: spatial_features.space_to_depth(stream_of(spec), spec["block"])[0]}
    if kind == "upsample":
        return {kind: spatial_features.upsample(stream_of(spec), spec["factor"])[0]}
    if kind == "max_pool":
        return {kind: stage_features.max_pool(stream_of(spec), spec["kernel"], spec["stride"])[0]}
    if kind == "shell":
        return {}
    before, after = ends_of(spec)
    if kind == "pixels":
        return {"ungroup" if after.pixels == 1 else "group": stage_features.pixels(before, after)[0]}
    return {"split" if after.lanes < before.lanes else "gather": stage_features.channels(before, after)}


def counted(sample: Sample, counts: StageCounts) -> dict[str, Resources]:
    """The counts of a sample by the same names."""
    if sample.kind == "convolution":
        found = {name: own for name, own in counts.components.items() if name != "padding"}
        found[sample.spec["method"]] = found.pop("requantise")
        unknown = [name for name in found if name not in TERMS]
        if unknown:
            raise ValueError(f"components must have terms in the model, not {unknown!r}")
        return found
    if sample.kind in _ALONE:
        parts = counts.components
        return {
            sample.spec.get("method", "threshold"): parts["unit"],
            "requantise_memory": parts.get("unit_memory", Resources()),
            "alone": parts["output"] + parts[CONTROL],
        }
    return dict.fromkeys(components(sample), counts.flat)


def estimated(sample: Sample) -> Resources:
    """What the planner would say of a sample."""
    spec, kind = sample.spec, sample.kind
    if kind == "convolution":
        bits, scale = layer_numbers(sample)
        return estimate.layer(sample.folding, bits, scale, spec["method"])
    if kind in _ALONE:
        return estimate.requantise_alone(_ALONE[kind](sample), spec.get("method", "threshold"))
    if kind == "sum_pool":
        return estimate.sum_pool(stream_of(spec), (spec["kernel"],) * 2)
    if kind == "space_to_depth":
        return estimate.space_to_depth(stream_of(spec), spec["block"])
    if kind == "upsample":
        return estimate.upsample(stream_of(spec), spec["factor"])
    if kind == "max_pool":
        return estimate.max_pool(stream_of(spec), spec["kernel"], spec["stride"])
    if kind == "shell":
        return estimate.shell_input(stream_of(spec["input"]), spec["input_bus_bits"]) + estimate.shell_output(
            stream_of(spec["output"]), spec["output_bus_bits"]
        )
    return estimate.converters([ends_of(spec)])


def fitted(rows: Iterable[tuple[Sample, StageCounts]]) -> dict[str, tuple[tuple[float, ...], tuple[float, ...]]]:
    """Coefficients of every component, of look-up tables and of flip-flops."""
    data: dict[str, list[tuple[Terms, Resources, Resources]]] = defaultdict(list)
    for sample, counts in rows:
        if sample.kind == "stairs":
            # The unit of other thresholds, which is fitted already.
            continue
        found = counted(sample, counts)
        for name, terms in components(sample, apart=True).items():
            data[name].append((terms, found.get(name, Resources()), counts.flat))
    return {
        name: (
            _solved(names[0], [(t[0], own.lut, whole.lut) for t, own, whole in data[name]]),
            _solved(names[1], [(t[1], own.ff, whole.ff) for t, own, whole in data[name]]),
        )
        for name, names in TERMS.items()
    }


def _solved(names: tuple[str, ...], data: list[tuple[tuple[float, ...], int, int]]) -> tuple[float, ...]:
    """Non-negative least squares of relative errors, drawn a little towards 1 where the samples say little."""
    if not data:
        return (1.0,) * len(names)
    terms = np.array([row for row, _, _ in data], np.float64)
    counts = np.array([own for _, own, _ in data], np.float64)
    weights = 1 / np.maximum(counts, np.maximum(1, [_SMALL * whole for _, _, whole in data]))
    pulls = np.array([0.0 if name == "fixed" else _TOWARDS for name in names])
    pulls *= np.sqrt(((terms * weights[:, None]) ** 2).sum(0))
    matrix = np.vstack([terms * weights[:, None], np.diag(np.maximum(pulls, 1e-6))])
    found, _ = nnls(matrix, np.concatenate([counts * weights, np.where(pulls > 0, pulls, 1e-6)]))
    return tuple(round(float(value), 3) for value in found)


def agreement(pairs: Iterable[tuple[float, float]]) -> Agreement:
    """Errors of pairs of estimate and count."""
    errors = [abs(found / count - 1) for found, count in pairs if count]
    return Agreement(round(median(errors), 3), round(max(errors), 3))


def judged(fit: Sequence[tuple[Sample, StageCounts]], held: Iterable[tuple[Sample, StageCounts]]) -> CostModel:
    """The model that is fitted to samples, with its errors on layers that are held out."""
    return with_errors(CostModel(fitted(fit), {}, 0), held)


def with_errors(bare: CostModel, held: Iterable[tuple[Sample, StageCounts]]) -> CostModel:
    """A model with its errors on the layers among samples that it was not fitted to."""
    pairs: dict[str, list[tuple[float, float]]] = {"lut": [], "ff": []}
    for sample, counts in held:
        if sample.kind != "convolution":
            continue
        costs = [bare.cost(name, terms) for name, terms in components(sample).items()]
        pairs["lut"].append((sum(lut for lut, _ in costs), counts.flat.lut))
        pairs["ff"].append((sum(ff for _, ff in costs), counts.flat.ff))
    errors = {kind: agreement(found) for kind, found in pairs.items()}
    return CostModel(bare.coefficients, errors, len(pairs["lut"]))
