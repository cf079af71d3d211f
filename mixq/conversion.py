"""Measures how far the converted integer model is from the fake-quantised training model.

Each layer of both is fed the same codes. The training model computes in float64 here, so that what is seen
is the rounding of the folded scales and not that of float32; how many codes differ from the model's own
float32 arithmetic is counted beside it. Where two codes differ they must differ by exactly 1, and the
training model's real value must lie within the bound of `mixq.conversion_errors` of the boundary between them.
"""

from __future__ import annotations

import copy
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn

from mixq.conversion_errors import FloatErrors, along
from mixq.converted import ConvertedModel, leaves
from mixq.data import Samples
from mixq.errors import CheckFailed
from mixq.expressions import Terms
from mixq.files import write_json
from mixq.graph import legal_name
from mixq.quantizers import PIXEL_BITS, ActivationQuantizerBase, ImageQuantizer
from mixq.tracing import TracedModel, trace, trace_module

REPORT = "conversion.json"


@dataclass(frozen=True, kw_only=True)
class LayerDifference:
    """Codes of one quantiser.

    ``different``: codes that the two models disagree on; ``largest_difference``: by how much at most;
    ``outside_bound``: of them, those by more than 1 or too far from the boundary, which must be none;
    ``different_float32``: codes that differ from the training model's float32 arithmetic.
    """

    codes: int
    different: int
    largest_difference: int
    outside_bound: int
    different_float32: int

    def plus(self, other: LayerDifference) -> LayerDifference:
        """Both sets of codes together."""
        return LayerDifference(
            codes=self.codes + other.codes,
            different=self.different + other.different,
            largest_difference=max(self.largest_difference, other.largest_difference),
            outside_bound=self.outside_bound + other.outside_bound,
            different_float32=self.different_float32 + other.different_float32,
        )


@dataclass(frozen=True, kw_only=True)
class OutputDifference:
    """The last layer's integers against the training model's real values in units of their step.

    Rounding the bias moves a value by at most a half; ``outside_bound`` counts those further off.
    """

    values: int
    largest_difference: float
    outside_bound: int

    def plus(self, other: OutputDifference) -> OutputDifference:
        """Both sets of values together."""
        return OutputDifference(
            values=self.values + other.values,
            largest_difference=max(self.largest_difference, other.largest_difference),
            outside_bound=self.outside_bound + other.outside_bound,
        )


@dataclass(frozen=True, kw_only=True)
class ModelAccuracy:
    """Share of the samples, 0..1, that each model gets right, and on which they agree."""

    training: float
    integer: float
    agreement: float


@dataclass(frozen=True, kw_only=True)
class ConversionReport:
    """What `measure_conversion` found; ``layers`` by name of the weighted layer.

    ``clamped_weights``: of each layer with narrow weights, how many have another code than in the full range.
    """

    samples: int
    layers: dict[str, LayerDifference]
    output: OutputDifference
    accuracy: ModelAccuracy | None
    clamped_weights: dict[str, int] = field(default_factory=dict)

    @property
    def codes(self) -> int:
        """Codes that were compared."""
        return sum(layer.codes for layer in self.layers.values())

    @property
    def different(self) -> int:
        """Codes that differ."""
        return sum(layer.different for layer in self.layers.values())

    def write(self, build_dir: Path) -> Path:
        """Write ``report/conversion.json`` in ``build_dir`` and return its path."""
        path = Path(build_dir) / "report" / REPORT
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, {"codes": self.codes, "different": self.different, **asdict(self)})
        return path

    def check(self) -> None:
        """Raise `CheckFailed` where a code or an output is outside its bound."""
        for name, layer in self.layers.items():
            if layer.outside_bound:
                raise CheckFailed(
                    f"layer {name}: {layer.outside_bound} of {layer.codes} codes differ from the training model "
                    f"by more than rounding explains (largest difference {layer.largest_difference})"
                )
        if self.output.outside_bound:
            raise CheckFailed(
                f"{self.output.outside_bound} of {self.output.values} outputs differ from the training model by "
                f"more than the rounding of the bias (largest difference {self.output.largest_difference:.3f})"
            )


def measure_conversion(
    model: nn.Module,
    samples: Samples,
    *,
    converted: ConvertedModel | None = None,
    classify: bool = True,
    batch: int = 32,
) -> ConversionReport:
    """Compare a training model with its converted integer model on ``samples``.

    Parameters:
        model: the training model; left in evaluation mode.
        converted: its converted model; None makes it, with the default precision.
        classify: whether the outputs are scores of classes and the labels count, for the accuracies.
        batch: images at a time.

    Raises:
        UserError: the model cannot be converted.
    """
    model.eval()
    converted = ConvertedModel(model) if converted is None else converted
    comparison = _Comparison(model, converted)
    layers: dict[str, LayerDifference] = {}
    output = OutputDifference(values=0, largest_difference=0.0, outside_bound=0)
    predictions: list[Tensor] = []
    for start in range(0, len(samples), batch):
        pixels = torch.from_numpy(samples.images[start : start + batch])
        made = converted.integers(pixels)
        for path, found in comparison.codes(made, pixels).items():
            layers[path] = layers[path].plus(found) if path in layers else found
        output = output.plus(comparison.outputs(made, pixels))
        if classify:
            with torch.no_grad():
                scores = model(pixels.float() / 2**PIXEL_BITS)
            integers = comparison.scores(made)
            predictions.append(torch.stack([scores.flatten(1).argmax(1), integers.flatten(1).argmax(1)]))
    return ConversionReport(
        samples=len(samples),
        layers=layers,
        output=output,
        accuracy=_accuracy(torch.cat(predictions, dim=1), samples) if classify else None,
        clamped_weights=_clamped_weights(converted.traced),
    )


def _clamped_weights(traced: TracedModel) -> dict[str, int]:
    found: dict[str, int] = {}
    for step in traced.weighted:
        layer: Any = step.module
        if layer.weight_quantizer.weight_range == "narrow":
            found[legal_name(step.path)] = layer.weight_quantizer.clamped(layer.weight)
    return found


def _accuracy(predictions: Tensor, samples: Samples) -> ModelAccuracy:
    training, integer = predictions.numpy()
    return ModelAccuracy(
        training=float(np.mean(training == samples.labels)),
        integer=float(np.mean(integer == samples.labels)),
        agreement=float(np.mean(training == integer)),
    )


class _Forced(fx.Interpreter):
    """Runs a training model whose image and quantisers give the codes that the converted model has there.

    read: what each quantiser reads then, by its path; other steps' values under their own.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__(trace_module(model))
        self.read: dict[str, Tensor] = {}
        self._made: dict[str, Tensor] = {}

    def values(self, pixels: Tensor, made: dict[str, Tensor]) -> dict[str, Tensor]:
        """Run it with images ``pixel / 256`` of the model's dtype."""
        self.read, self._made = {}, made
        with torch.no_grad():
            self.run(pixels)
        return self.read

    def run_node(self, n: fx.Node) -> Any:
        """Run a node, or take the codes instead of a quantiser's output."""
        path = str(n.target)
        module: Any = self.submodules.get(path) if n.op == "call_module" else None
        if isinstance(module, ImageQuantizer | ActivationQuantizerBase):
            self.read[path] = self.fetch_args_kwargs_from_env(n)[0][0]
            return self._made[path].to(self.read[path].dtype) * module.step
        value = super().run_node(n)
        if n.op == "call_module":
            self.read[path] = value
        return value


class _Comparison:
    """A training model in float32, in float64 and in integers, all of whose quantisers give the same codes."""

    def __init__(self, model: nn.Module, converted: ConvertedModel) -> None:
        self._single = _Forced(model)
        self._double = _Forced(copy.deepcopy(model).double().eval())
        self._converted = converted
        self._doubled = trace(self._double.module)
        self._errors = FloatErrors(converted)

    def codes(self, made: dict[str, Tensor], pixels: Tensor) -> dict[str, LayerDifference]:
        """Compare the codes of every quantiser, by the name of the layer before it where there is one alone."""
        single = self._single.values(pixels.float() / 2**PIXEL_BITS, made)
        double = self._double.values(pixels.double() / 2**PIXEL_BITS, made)
        return {
            self._name(path): self._difference(path, made, single[path], double[path])
            for path in self._converted.expressions.quantised
        }

    def _name(self, path: str) -> str:
        """That of the layer whose sums a quantiser reads, if no other quantiser reads them; else the quantiser's."""
        value = self._converted.expressions.quantised[path]
        sources = {term.source for leaf in leaves(value) for term in leaf.terms}
        others = [
            term.source
            for other, read in self._converted.expressions.quantised.items()
            for leaf in leaves(read)
            for term in leaf.terms
            if other != path
        ]
        layers = {step.path for step in self._converted.traced.weighted}
        alone = len(sources) == 1 and sources <= layers and not sources & set(others)
        return legal_name(next(iter(sources)) if alone else path)

    def _difference(self, path: str, made: dict[str, Tensor], single: Tensor, double: Tensor) -> LayerDifference:
        quantizer: Any = self._doubled.step(path).module
        integer = made[path]
        trained = quantizer.codes(double).to(torch.int64)
        quick: Any = self._single.submodules[path]
        gap = (trained - integer).abs()
        places = gap.nonzero(as_tuple=True)
        boundary = torch.minimum(trained, integer)[places] + 0.5
        distance = (double[places] / quantizer.step - boundary).abs()
        bound = self._errors.of_codes(path, made)[places] if len(distance) else distance
        outside = (gap[places] > 1) | (distance > bound)
        return LayerDifference(
            codes=gap.numel(),
            different=len(distance),
            largest_difference=int(gap.max()),
            outside_bound=int(outside.sum()),
            different_float32=int((quick.codes(single).to(torch.int64) != integer).sum()),
        )

    def scores(self, made: dict[str, Tensor]) -> Tensor:
        """The output's integers, in units of their steps where channels have different ones."""
        path = self._converted.traced.output
        value = self._converted.expressions.values[path]
        if not isinstance(value, Terms):
            return made[path]
        step, _ = self._errors.of_sums(value)
        return made[path] if len(step) == 1 else made[path] * along(step, made[path])

    def outputs(self, made: dict[str, Tensor], pixels: Tensor) -> OutputDifference:
        """Compare the integers of the output, where these are sums; codes have been compared before."""
        path = self._converted.traced.output
        value = self._converted.expressions.values[path]
        if not isinstance(value, Terms):
            return OutputDifference(values=made[path].numel(), largest_difference=0.0, outside_bound=0)
        real = self._double.values(pixels.double() / 2**PIXEL_BITS, made)[path]
        step, error = self._errors.of_sums(value)
        gap = (real / along(step, real) - made[path]).abs()
        return OutputDifference(
            values=gap.numel(),
            largest_difference=float(gap.max()),
            outside_bound=int((gap > 0.5 + along(error, real)).sum()),
        )
