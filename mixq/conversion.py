"""Measures how far the converted integer model is from the fake-quantised training model.

Each layer of both is fed the same codes. The training model computes in float64 here, so that what is seen
is the rounding of the folded scales and not that of float32; how many codes differ from the model's own
float32 arithmetic is counted beside it. Where two codes differ they must differ by exactly 1, and the
training model's real value must lie within ``(|MAC| + 1) * 2^-(T+1)`` next steps (`mixq.folding`) of the
boundary between them.

The real value is itself a float64 with rounding errors. A value that n + k operations make from exact
operands, with magnitudes that sum to M, is off by at most ``(n + k) * 2^-52 * M``; here n is the number of
products in a MAC, k = 16 covers steps, bias, batch norm and the division by the next step. That is added to
the bound; it is some 10^5 times smaller.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from mixq.converted import ConvertedModel, IntegerRequantise
from mixq.data import Samples
from mixq.errors import CheckFailed
from mixq.files import write_json
from mixq.folding import FloatArray, rounding_bound
from mixq.graph import legal_name
from mixq.layers import output_magnitude, quantised_weights
from mixq.quantizers import PIXEL_BITS
from mixq.tracing import Stage, trace

REPORT = "conversion.json"
_EXTRA_OPERATIONS = 16


@dataclass(frozen=True, kw_only=True)
class LayerDifference:
    """Codes behind one weighted layer, before max-pooling.

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
    comparisons = _comparisons(model, converted)
    layers: dict[str, LayerDifference] = {}
    output = OutputDifference(values=0, largest_difference=0.0, outside_bound=0)
    predictions: list[Tensor] = []
    for start in range(0, len(samples), batch):
        pixels = torch.from_numpy(samples.images[start : start + batch])
        integers, codes = _recorded(converted, comparisons, pixels)
        with torch.no_grad():
            for comparison in comparisons[:-1]:
                found = comparison.codes(codes[comparison.path])
                name = legal_name(comparison.path)
                layers[name] = layers[name].plus(found) if name in layers else found
            output = output.plus(comparisons[-1].outputs(codes[comparisons[-1].path]))
            if classify:
                scores = model(pixels.float() / 2**PIXEL_BITS)
                predictions.append(torch.stack([scores.flatten(1).argmax(1), integers.flatten(1).argmax(1)]))
    return ConversionReport(
        samples=len(samples),
        layers=layers,
        output=output,
        accuracy=_accuracy(torch.cat(predictions, dim=1), samples) if classify else None,
        clamped_weights=_clamped_weights([comparison.single for comparison in comparisons]),
    )


def _clamped_weights(stages: Iterable[Stage]) -> dict[str, int]:
    narrow = [stage for stage in stages if stage.layer.weight_quantizer.weight_range == "narrow"]
    return {legal_name(stage.path): stage.layer.weight_quantizer.clamped(stage.layer.weight) for stage in narrow}


def _accuracy(predictions: Tensor, samples: Samples) -> ModelAccuracy:
    training, integer = predictions.numpy()
    return ModelAccuracy(
        training=float(np.mean(training == samples.labels)),
        integer=float(np.mean(integer == samples.labels)),
        agreement=float(np.mean(training == integer)),
    )


def _recorded(
    converted: ConvertedModel, comparisons: Iterable[_Comparison], pixels: Tensor
) -> tuple[Tensor, dict[str, Tensor]]:
    """The converted model's outputs, and the codes that each weighted layer read, by its path."""
    codes: dict[str, Tensor] = {}

    def recorder(path: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def record(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            codes[path] = inputs[0]

        return record

    handles = [
        converted.network.get_submodule(comparison.path).register_forward_pre_hook(recorder(comparison.path))
        for comparison in comparisons
    ]
    try:
        return converted(pixels), codes
    finally:
        for handle in handles:
            handle.remove()


def _comparisons(model: nn.Module, converted: ConvertedModel) -> list[_Comparison]:
    """One comparison for each weighted layer, in order."""
    single, double = trace(model), trace(copy.deepcopy(model).double().eval())
    comparisons = []
    act_step = double.image.step
    for single_stage, double_stage in zip(single.stages, double.stages, strict=True):
        scaled = converted.network.get_submodule(double_stage.path)
        requantise = None
        if double_stage.quantizer is not None:
            requantise = converted.network.get_submodule(double_stage.quantizer_path)
        comparisons.append(
            _Comparison(
                single=single_stage, double=double_stage, scaled=scaled, requantise=requantise, act_step=act_step
            )
        )
        if double_stage.quantizer is not None:
            act_step = double_stage.quantizer.step
    return comparisons


@dataclass(frozen=True, kw_only=True)
class _Comparison:
    """A weighted layer in float32, in float64 and in integers, and the step of the codes it reads."""

    single: Stage
    double: Stage
    scaled: nn.Module
    requantise: nn.Module | None
    act_step: float

    @property
    def path(self) -> str:
        return self.double.path

    def codes(self, inputs: Tensor) -> LayerDifference:
        """Compare the codes behind a hidden layer that reads the codes ``inputs``."""
        quantizer = self.double.quantizer
        assert quantizer is not None
        assert isinstance(self.requantise, IntegerRequantise)
        sums, affine = self._parts()
        macs = sums(inputs)
        integer = self.requantise(affine(macs))
        real = _real(self.double, inputs.double() * self.act_step)
        trained = quantizer.codes(real).to(torch.int64)
        single = quantizer.codes(_real(self.single, (inputs.double() * self.act_step).float())).to(torch.int64)
        gap = (trained - integer).abs()
        places = gap.nonzero(as_tuple=True)
        boundary = torch.minimum(trained, integer)[places] + 0.5
        distance = (real[places] / quantizer.step - boundary).abs().numpy()
        bound = rounding_bound(macs[places].double().numpy(), self.requantise.shift)
        error = self._float_error(inputs, quantizer.step)[places[1].numpy()]
        outside = (gap[places].numpy() > 1) | (distance > bound + error)
        return LayerDifference(
            codes=gap.numel(),
            different=len(distance),
            largest_difference=int(gap.max()),
            outside_bound=int(outside.sum()),
            different_float32=int((single != integer).sum()),
        )

    def outputs(self, inputs: Tensor) -> OutputDifference:
        """Compare the integers of the last layer, which reads the codes ``inputs``."""
        sums, affine = self._parts()
        step = quantised_weights(self.double.layer, self.path)[1] * self.act_step
        real = _real(self.double, inputs.double() * self.act_step) / step
        gap = (real - affine(sums(inputs))).abs()
        error = torch.from_numpy(self._float_error(inputs, step)).reshape((1, -1) + (1,) * (gap.ndim - 2))
        return OutputDifference(
            values=gap.numel(),
            largest_difference=float(gap.max()),
            outside_bound=int((gap > 0.5 + error).sum()),
        )

    def _parts(self) -> tuple[nn.Module, nn.Module]:
        assert isinstance(self.scaled, nn.Sequential)
        return self.scaled[0], self.scaled[1]

    def _float_error(self, inputs: Tensor, step: float) -> FloatArray:
        """How far a channel's real value, in steps, may be off for float64's rounding; (C,)."""
        layer = self.double.layer
        codes, weight_step = quantised_weights(layer, self.path)
        sums = codes.abs().flatten(1).sum(1).double().numpy() * float(inputs.max()) * weight_step * self.act_step
        scale, offset = output_magnitude(layer, self.double.norm)
        return (codes[0].numel() + _EXTRA_OPERATIONS) * 2.0**-52 * (sums * scale + offset) / step


def _real(stage: Stage, values: Tensor) -> Tensor:
    """The training model's real values behind a weighted layer and its batch norm."""
    output: Tensor = stage.layer(values)
    return output if stage.norm is None else stage.norm(output)
