"""The converted model: the training model in integers, in PyTorch.

This is the reference that the interpreter and the hardware are held to. It keeps the training model's own order of
operations: what a quantiser reads is computed in integers of fine resolution, through pooling, concatenation and
additions, and rounded there, once. It shares no code with `mixq.execute` and `mixq.arithmetic`.

==========================  =======================================================================
training model              converted model, all tensors int64
==========================  =======================================================================
ImageQuantizer(b)           pixels >> (8 - b)
QuantConv2d, QuantLinear    sums of products of codes
mean, addition, batch norm  sum over layers of sums * multiplier, plus a bias: values in 2^-T steps
rectifiers                  a maximum, or a product with a slope in 2^-16 where a value is negative
max-pool, concatenation     as they are, on these values
activation quantiser        clamp((value + 2^(T-1)) >> T, low, high)
==========================  =======================================================================
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

from mixq.errors import UserError
from mixq.expressions import Moved, Real, Terms, expressions
from mixq.folding import FRACTION_BITS, fold_final_bias
from mixq.formats import IntFormat
from mixq.integer_layers import IntegerImage, IntegerRequantise, IntegerSums, IntegerTerms, moved
from mixq.layers import quantised_weights
from mixq.rectified import folded, quantised_format, slope_code
from mixq.tracing import INPUT, Step, image_shape, trace, traced_sizes


class ConvertedModel(nn.Module):
    """Integer network in PyTorch, made from a trained model, which is left as it is.

    Submodules keep the paths of the training model's under ``network``: weighted layers are `IntegerSums` there, and
    quantisers `IntegerQuantizer`.

    Parameters:
        model: the training model, as for `mixq.lowering.lower`.
        input_shape: (C, H, W) of an image; None takes the model's own attribute ``input_shape``. Only means over the
            whole image ask for it.
        fraction_bits: see `mixq.folding.requantise_shift`.

    Raises:
        UserError: the model cannot be converted.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        input_shape: tuple[int, int, int] | None = None,
        fraction_bits: int = FRACTION_BITS,
    ) -> None:
        super().__init__()
        self.network = copy.deepcopy(model).cpu().eval()
        self.traced = trace(self.network)
        sizes = traced_sizes(self.network, self.traced, image_shape(model, input_shape))
        self.expressions = expressions(self.traced, sizes)
        largest: dict[str, int | Tensor] = {}
        for step in self.traced.steps:
            module: Any = step.module
            if step.kind == "image":
                largest[step.path] = 2**module.bits - 1
                _replace(self.network, step.path, IntegerImage(module.bits))
            elif step.kind == "weighted":
                sums = self._sums(step, largest)
                largest[step.path] = sums.largest
                _replace(self.network, step.path, sums)
            elif step.kind == "quantizer":
                value = self.expressions.quantised[step.path]
                quantizer = IntegerQuantizer(value, step, fraction_bits)
                quantizer.check(largest)
                format = quantizer.requantise.format
                largest[step.path] = max(-format.low, format.high)
                _replace(self.network, step.path, quantizer)
            elif step.path in self.expressions.values:
                source = step.reads[0]
                if source in largest:
                    largest[step.path] = largest[source]
        for step in self.traced.steps:
            if step.kind == "norm":
                _replace(self.network, step.path, nn.Identity())

    def _sums(self, step: Step, largest: Mapping[str, Any]) -> IntegerSums:
        codes = self.expressions.codes(step.reads[0])
        weights, weight_step = quantised_weights(cast(Any, step.module), step.path)
        bias = None
        if step.path == self.traced.output:
            value = self.expressions.values[step.path]
            assert isinstance(value, Terms)
            assert isinstance(codes.step, float)
            fold = fold_final_bias(value.shift, weight_step=weight_step, act_step=codes.step, layer=step.path)
            bias = torch.from_numpy(fold)
        most = (1 << codes.bits) - 1 if not codes.signed else 1 << (codes.bits - 1)
        return IntegerSums(cast(Any, step.module), weights, most, padding=codes.padding, bias=bias)

    @torch.no_grad()
    def forward(self, pixels: Tensor) -> Tensor:
        """Final integers, int64 (N, C, H, W), of integer pixels 0..255 of shape (N, C, H, W).

        Raises:
            TypeError: ``pixels`` is not of integers. ValueError: a pixel is outside 0..255.
        """
        output = self.integers(pixels)[self.traced.output]
        return output if output.ndim == 4 else output[:, :, None, None]

    @torch.no_grad()
    def integers(self, pixels: Tensor) -> dict[str, Tensor]:
        """The integers of every step that has some, by its path; pixels and errors as of :meth:`forward`."""
        if pixels.dtype.is_floating_point or pixels.dtype.is_complex or pixels.dtype == torch.bool:
            raise TypeError(f"pixels must be integers, not {pixels.dtype!r}")
        values = pixels.to(torch.int64)
        if values.numel() and not 0 <= int(values.min()) <= int(values.max()) <= 255:
            raise ValueError(f"pixels must be 0 to 255, not {int(values.min())!r} to {int(values.max())!r}")
        made: dict[str, Tensor] = {INPUT: values}
        for step in self.traced.steps:
            if step.kind in ("image", "weighted"):
                made[step.path] = self.network.get_submodule(step.path)(made[step.reads[0]])
            elif step.kind == "quantizer":
                made[step.path] = self.network.get_submodule(step.path)(made)
            elif step.kind == "pad" and step.reads[0] in made:
                made[step.path] = made[step.reads[0]]  # the convolution behind it pads
            elif step.kind in ("max_pool", "concat", "space_to_depth", "upsample", "flatten") and all(
                source in made for source in step.reads
            ):
                made[step.path] = moved(step, [made[source] for source in step.reads])
        return made


class IntegerQuantizer(nn.Module):
    """An activation quantiser with the expression that it reads, from the integers of the layers before it.

    Parameters:
        value: the expression. step: the quantiser's. fraction_bits: see `mixq.folding.requantise_shift`.
    """

    def __init__(self, value: Real, step: Step, fraction_bits: int) -> None:
        super().__init__()
        self.value = value
        self.parts = nn.ModuleList(_terms(leaf, step, fraction_bits) for leaf in leaves(value))
        shift = max(part.out_shift for part in self._own)
        for part in self._own:
            part.raise_to(shift)
        self.requantise = IntegerRequantise(shift, quantised_format(leaves(value)[0], step))

    @property
    def _own(self) -> list[IntegerTerms]:
        return [cast(IntegerTerms, part) for part in self.parts]

    def check(self, largest: Mapping[str, Any]) -> None:
        """UserError where values could leave int64; largest: of the integers of each step."""
        for part, leaf in zip(self._own, leaves(self.value), strict=True):
            if part.bound(largest) + (1 << self.requantise.shift) >= 2**63:
                raise UserError(
                    f"layer {leaf.terms[0].source}: its scaled sums need more than 64 bits; reduce its batch norm scale"
                )

    def forward(self, made: Mapping[str, Tensor]) -> Tensor:
        """Codes, of the integers of the steps before it, by path."""
        parts = iter(self._own)
        codes: Tensor = self.requantise(self._moved(self.value, made, parts))
        return codes

    def _moved(self, value: Real, made: Mapping[str, Tensor], parts: Any) -> Tensor:
        if isinstance(value, Terms):
            own: Tensor = next(parts)(made)
            return own
        return moved(value.step, [self._moved(part, made, parts) for part in value.parts])


def leaves(value: Real) -> list[Terms]:
    """The sums that an expression is made of, in order."""
    if isinstance(value, Moved):
        return [leaf for part in value.parts for leaf in leaves(part)]
    return [value]


def _terms(value: Terms, step: Step, fraction_bits: int) -> IntegerTerms:
    fold = folded(value, step, fraction_bits)
    format: IntFormat = quantised_format(value, step)
    slope = value.rectifier.slope
    return IntegerTerms(
        sources=[term.source for term in value.terms],
        windows=[term.window for term in value.terms],
        multipliers=[torch.from_numpy(own) for own in fold.multipliers],
        bias=torch.from_numpy(fold.bias),
        shift=fold.shift,
        slope=None if slope == 1 or format.low >= 0 else slope_code(slope),
    )


def _replace(network: nn.Module, path: str, module: nn.Module) -> None:
    parent, _, name = path.rpartition(".")
    setattr(network.get_submodule(parent), name, module)
