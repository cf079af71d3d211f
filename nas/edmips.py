"""What the published mixed-precision system penalises: three sums over layers, differentiable in the choices of widths.

With ``p_w`` and ``p_a`` a layer's probabilities, E[w] and E[a] its expected widths, and sums over all weighted layers
but a dense layer at the network's end:

=====================  =============================================================================================
C, of the DSPs         64 / MACs_0 * sum of MACs * sum_ij p_w[i] * p_a[j] / density(kernel, w_i, a_j)
T, the "trivial" one   1 / MACs_0 * sum of MACs * E[w] * E[a]
B, of the block RAM    64 / M_0 * sum of (weights * E[w] + r * W * C_in * E[a]) / 1000
=====================  =============================================================================================

MACs_0 are the multiplications of the first weighted layer, M_0 the thousands of elements of one input image (C * H * W
/ 1000), W and C_in the width and the channels of a layer's input, and r the rows of it that are held: kernel + 1, which
is 2 for a 1x1 convolution. Weights are counted without biases.

Source: DeepBurning-MixQ (ICCAD 2023). With widths of 2 to 8 bits, all equally probable, and the published table of
densities, this reading gives the published values at the start of a search, 1195.90 and 2158.33 for VGG-tiny, 125.04,
225.5 and 557.7 for UltraNet: the 1x1 head of UltraNet counts, the image's activation width is searched as any other is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from mixq.errors import UserError
from mixq.networks import ConvSpec, DenseSpec
from mixq.plan.restrictions import original_density
from nas.space import SearchSpace
from nas.supernet import LayerProbabilities

Density = Callable[[int, int, int], float]
"""Multiplications per DSP and cycle for a kernel (1 for dense layers), a weight and an activation width."""


class LayerSize(NamedTuple):
    """What a layer counts for. macs, weights: as in `LayerCounts`. row: elements of one row of its input, W * C_in."""

    kernel: int
    macs: int
    weights: int
    row: int


class Complexity(nn.Module):
    """The three terms for a search space.

    Parameters:
        space: the network and its choices of widths.
        density: multiplications per DSP and cycle, positive; by default those that the published system claims.

    Raises:
        UserError: the network has nothing but a dense layer at its end, or a kernel that ``density`` does not know.
        ValueError: ``density`` gives a value that is not positive.
    """

    def __init__(self, space: SearchSpace, *, density: Density = original_density) -> None:
        super().__init__()
        self.space = space
        self.sizes = layer_sizes(space)
        self._macs_0 = space.table.counts()[0].macs
        self._elements_0 = math.prod(space.table.input_shape) / 1000
        for index, (size, choices) in enumerate(zip(self.sizes, space.layers, strict=False)):
            table = [[_inverse(density, size.kernel, w, a) for a in choices.act_widths] for w in choices.weight_widths]
            self.register_buffer(f"inverse{index}", torch.tensor(table, dtype=torch.float64), persistent=False)
            for kind, widths in (("weights", choices.weight_widths), ("acts", choices.act_widths)):
                self.register_buffer(f"{kind}{index}", torch.tensor(widths, dtype=torch.float64), persistent=False)

    def dsps(self, probabilities: Sequence[LayerProbabilities]) -> Tensor:
        """C, a scalar; ``probabilities`` of every weighted layer in order, as the supernet gives them."""
        terms = [
            size.macs / self._macs_0 * (own.weight @ self._table("inverse", index, own.weight) @ own.act)
            for index, (size, own) in enumerate(zip(self.sizes, self._counted(probabilities), strict=True))
        ]
        return 64 * torch.stack(terms).sum()

    def trivial(self, probabilities: Sequence[LayerProbabilities]) -> Tensor:
        """T, a scalar; see `dsps`."""
        terms = [
            size.macs / self._macs_0 * weight * act
            for size, (weight, act) in zip(self.sizes, self.expected_widths(probabilities), strict=True)
        ]
        return torch.stack(terms).sum()

    def memory(self, probabilities: Sequence[LayerProbabilities]) -> Tensor:
        """B, a scalar; see `dsps`."""
        terms = [
            (size.weights * weight + (size.kernel + 1) * size.row * act) / 1000
            for size, (weight, act) in zip(self.sizes, self.expected_widths(probabilities), strict=True)
        ]
        return 64 / self._elements_0 * torch.stack(terms).sum()

    def expected_widths(self, probabilities: Sequence[LayerProbabilities]) -> tuple[tuple[Tensor, Tensor], ...]:
        """E[w] and E[a] of every layer that counts, scalars."""
        return tuple(
            (own.weight @ self._table("weights", index, own.weight), own.act @ self._table("acts", index, own.act))
            for index, own in enumerate(self._counted(probabilities))
        )

    def of_widths(
        self, weight_bits: Sequence[int] | None, act_bits: Sequence[int] | None
    ) -> tuple[LayerProbabilities, ...]:
        """Probabilities of a network with one width for each layer, float64, to give to the three terms.

        Raises:
            UserError: widths that the search space does not have.
        """
        layers = self.space.layers
        weights, acts = self.space.weight_indices(weight_bits), self.space.act_indices(act_bits)
        return tuple(
            LayerProbabilities(
                weight=_one_hot(weight, len(choices.weight_widths)), act=_one_hot(act, len(choices.act_widths))
            )
            for choices, weight, act in zip(layers, weights, acts, strict=True)
        )

    def _counted(self, probabilities: Sequence[LayerProbabilities]) -> Sequence[LayerProbabilities]:
        """Those of the layers that count."""
        if len(probabilities) != len(self.space.names):
            raise ValueError(
                f"probabilities must be those of {len(self.space.names)} layers, not of {len(probabilities)!r}"
            )
        return probabilities[: len(self.sizes)]

    def _table(self, kind: str, index: int, like: Tensor) -> Tensor:
        return self.get_buffer(f"{kind}{index}").to(like)


def layer_sizes(space: SearchSpace) -> tuple[LayerSize, ...]:
    """Sizes of the layers that count, which are the first of the weighted layers: all but a last dense one.

    Raises:
        UserError: there is none.
    """
    table = space.table
    sizes = []
    counts = iter(table.counts())
    for spec, (channels, height, width) in zip(table.layers, table.input_shapes(), strict=True):
        if isinstance(spec, ConvSpec):
            own = next(counts)
            sizes.append(LayerSize(kernel=spec.kernel, macs=own.macs, weights=own.weights, row=width * channels))
        elif isinstance(spec, DenseSpec):
            own = next(counts)
            row = channels * height * width
            sizes.append(LayerSize(kernel=1, macs=own.macs, weights=own.weights, row=row))
    if isinstance(table.weighted_layers[-1], DenseSpec):
        sizes.pop()
    if not sizes:
        raise UserError(f"{table.name} has no layer but its last dense one, so there are no widths to weigh")
    return tuple(sizes)


def _inverse(density: Density, kernel: int, weight_bits: int, act_bits: int) -> float:
    try:
        value = density(kernel, weight_bits, act_bits)
    except KeyError:
        raise UserError(f"there is no density for kernel {kernel}; give a density that knows it") from None
    if not value > 0:
        raise ValueError(f"density must be positive, not {value!r}")
    return 1 / value


def _one_hot(index: int, count: int) -> Tensor:
    return torch.eye(count, dtype=torch.float64)[index]
