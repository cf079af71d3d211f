"""The search space: which widths each layer of a network may have."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any, Literal

from mixq.errors import UserError
from mixq.networks import MAX_BITS, MIN_BITS, NetworkTable

Kind = Literal["weight", "act"]
ALL_WIDTHS = tuple(range(MIN_BITS, MAX_BITS + 1))


@dataclass(frozen=True, kw_only=True)
class LayerChoices:
    """Widths that one weighted layer may have, ascending; a width that the network fixes stands alone.

    name: the layer's, as in the network's table. weight_widths: of its weights. act_widths: of its input.
    """

    name: str
    weight_widths: tuple[int, ...]
    act_widths: tuple[int, ...]


@dataclass(frozen=True)
class SearchSpace:
    """Widths for every weighted layer of a network.

    A layer whose table entry fixes a width keeps it. The first layer's activation width, that to which the image is
    truncated, is searched like any other. Layers are always in the order of ``table.weighted_names``; lists of widths
    and of indices have an entry for every weighted layer, fixed ones too.

    Parameters:
        table: the network.
        weight_widths, act_widths: different integers in 2..8, ascending.

    Raises:
        TypeError, ValueError: what is given is no network's table or no such widths.
    """

    table: NetworkTable
    _: KW_ONLY
    weight_widths: tuple[int, ...] = ALL_WIDTHS
    act_widths: tuple[int, ...] = ALL_WIDTHS

    def __post_init__(self) -> None:
        if not isinstance(self.table, NetworkTable):
            raise TypeError(f"table must be a NetworkTable, not {self.table!r}")
        for name in ("weight_widths", "act_widths"):
            object.__setattr__(self, name, _checked_widths(name, getattr(self, name)))

    @property
    def layers(self) -> tuple[LayerChoices, ...]:
        """The choices of every weighted layer."""
        named = zip(self.table.weighted_names, self.table.weighted_layers, strict=True)
        return tuple(
            LayerChoices(
                name=name,
                weight_widths=self.weight_widths if spec.weight_bits is None else (spec.weight_bits,),
                act_widths=self.act_widths if spec.act_bits is None else (spec.act_bits,),
            )
            for name, spec in named
        )

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the weighted layers."""
        return self.table.weighted_names

    @property
    def searched_weights(self) -> tuple[str, ...]:
        """Names of the layers that have more than one weight width to choose from."""
        return tuple(layer.name for layer in self.layers if len(layer.weight_widths) > 1)

    @property
    def searched_acts(self) -> tuple[str, ...]:
        """Names of the layers that have more than one activation width to choose from."""
        return tuple(layer.name for layer in self.layers if len(layer.act_widths) > 1)

    @property
    def size(self) -> int:
        """Number of different networks in the space."""
        return math.prod(len(layer.weight_widths) * len(layer.act_widths) for layer in self.layers)

    def weight_indices(self, weight_bits: Sequence[int] | None) -> tuple[int, ...]:
        """Place of each layer's weight width among its choices.

        Parameters:
            weight_bits: as for `NetworkTable.resolve_weight_bits`.

        Raises:
            UserError: another number of widths, or one that is not among a layer's choices.
        """
        return self._indices("weight", self.table.resolve_weight_bits(weight_bits))

    def act_indices(self, act_bits: Sequence[int] | None) -> tuple[int, ...]:
        """Place of each layer's activation width among its choices; see `weight_indices`."""
        return self._indices("act", self.table.resolve_act_bits(act_bits))

    def weight_bits(self, indices: Sequence[int]) -> tuple[int, ...]:
        """Weight width of every layer from the places among its choices.

        Raises:
            ValueError: another number of places than layers, or one outside a layer's choices.
        """
        return self._bits("weight", indices)

    def act_bits(self, indices: Sequence[int]) -> tuple[int, ...]:
        """Activation width of every layer from the places among its choices; see `weight_bits`."""
        return self._bits("act", indices)

    def index(self, kind: Kind, name: str, bits: int) -> int:
        """Place of one width of the layer ``name`` among its choices.

        Raises:
            UserError: no such layer, or a width that it cannot have.
        """
        if name not in self.names:
            raise UserError(f"{self.table.name} has no layer {name!r}; its layers are {', '.join(self.names)}")
        widths = self._choices(kind)[self.names.index(name)]
        if bits not in widths:
            raise UserError(
                f"{name} of {self.table.name} has no {kind} width of {bits!r} in this search; "
                f"choose one of {', '.join(map(str, widths))}"
            )
        return widths.index(bits)

    def _choices(self, kind: Kind) -> tuple[tuple[int, ...], ...]:
        return tuple(layer.weight_widths if kind == "weight" else layer.act_widths for layer in self.layers)

    def _indices(self, kind: Kind, bits: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(self.index(kind, name, width) for name, width in zip(self.names, bits, strict=True))

    def _bits(self, kind: Kind, indices: Sequence[int]) -> tuple[int, ...]:
        choices = self._choices(kind)
        if len(indices) != len(choices):
            raise ValueError(f"indices must have one entry for each of {len(choices)} layers, not {indices!r}")
        for index, widths in zip(indices, choices, strict=True):
            if not 0 <= index < len(widths):
                raise ValueError(f"indices must point into each layer's choices, not {indices!r}")
        return tuple(widths[index] for index, widths in zip(indices, choices, strict=True))


def _checked_widths(name: str, widths: Any) -> tuple[int, ...]:
    if isinstance(widths, str) or not isinstance(widths, Iterable):
        raise TypeError(f"{name} must be a tuple of integers, not {widths!r}")
    checked = tuple(widths)
    if any(isinstance(width, bool) or not isinstance(width, int) for width in checked):
        raise TypeError(f"{name} must be a tuple of integers, not {widths!r}")
    ascending = all(low < high for low, high in itertools.pairwise(checked))
    if not checked or not ascending or checked[0] < MIN_BITS or checked[-1] > MAX_BITS:
        raise ValueError(f"{name} must be ascending widths from {MIN_BITS} to {MAX_BITS}, not {widths!r}")
    return checked
