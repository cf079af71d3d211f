"""Names of a foreign checkpoint's tensors, matched with a network's by structure and shape.

Published checkpoints call their layers what their authors did: ``layers.0.weight``, ``features.3.conv.weight``. What
they agree on is the order of the layers, the shapes of their weights, and the names of a layer's own tensors. Here a
layer with weights and the batch norm behind it are recognised by those.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from mixq.errors import UserError

NORM = ("weight", "bias", "running_mean", "running_var")
"""Tensors of batch norm; ``num_batches_tracked`` may be missing, the first two are in networks that have none."""

_PREFIXES = ("module.", "model.", "network.")
_SHOWN = 4


@dataclass(frozen=True)
class _Block:
    """The tensors of one module of a checkpoint, by their own names."""

    path: str
    tensors: Mapping[str, torch.Tensor]

    @property
    def is_norm(self) -> bool:
        return "running_mean" in self.tensors and "running_var" in self.tensors

    @property
    def is_weighted(self) -> bool:
        return not self.is_norm and "weight" in self.tensors and self.tensors["weight"].ndim in (2, 4)

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.tensors["weight"].shape)


@dataclass(frozen=True)
class _Wanted:
    """A weighted layer of the network, and the batch norm behind it ("" where there is none)."""

    path: str
    shape: tuple[int, ...]
    bias: bool
    norm: str


def matched_state(model: nn.Module, state: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The tensors of ``state`` under the names of ``model``; ``where`` is the file as errors call it.

    The file's layers must have the shapes of the network's in the network's order: in the file's own order, or sorted
    by name with numbers as numbers; else each shape must stand once on both sides. Every layer is followed by its batch
    norm. Prefixes of wrappers, ``module.`` and the like, do not matter.

    Raises:
        UserError: layers that do not match, that match in more than one way, or tensors that belong to no layer.
    """
    blocks, odd = _blocks(state)
    wanted = _wanted(model)
    pairs = _pairs(blocks, wanted, where)
    found: dict[str, Any] = {}
    used: set[str] = set()
    for want, weighted, norm in pairs:
        _take(found, want.path, weighted, ("weight", "bias") if want.bias else ("weight",), where)
        used.add(weighted.path)
        if norm is not None:
            _take(found, want.norm, norm, (*NORM, "num_batches_tracked"), where)
            used.add(norm.path)
    odd += [block.path for block in blocks if block.path not in used]
    if odd:
        raise UserError(f"{where}: {_some(odd)} belong to no layer of the network; check --network, or leave them out")
    return found


def _blocks(state: Mapping[str, Any]) -> tuple[list[_Block], list[str]]:
    """The modules of a checkpoint, in its order, and the names of what is no module's tensor."""
    groups: dict[str, dict[str, torch.Tensor]] = {}
    odd: list[str] = []
    for name, value in state.items():
        path, _, own = _stripped(name).rpartition(".")
        if isinstance(value, torch.Tensor) and path:
            groups.setdefault(path, {})[own] = value
        else:
            odd.append(name)
    return [_Block(path, tensors) for path, tensors in groups.items()], odd


def _stripped(name: str) -> str:
    for prefix in _PREFIXES:
        name = name.removeprefix(prefix)
    return name


def _wanted(model: nn.Module) -> list[_Wanted]:
    """The model's weighted layers with their norms, in its order."""
    layers: list[_Wanted] = []
    for path, module in model.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            layers.append(_Wanted(path, tuple(module.weight.shape), module.bias is not None, ""))
        elif isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d) and layers:
            last = layers[-1]
            layers[-1] = _Wanted(last.path, last.shape, last.bias, path)
    return layers


def _pairs(
    blocks: Sequence[_Block], wanted: Sequence[_Wanted], where: str
) -> list[tuple[_Wanted, _Block, _Block | None]]:
    """Each of the network's layers with the file's, and with the file's norm."""
    shapes = [want.shape for want in wanted]
    orders = [list(blocks), sorted(blocks, key=lambda block: _natural(block.path))]
    for order in orders:
        weighted = [block for block in order if block.is_weighted]
        if [block.shape for block in weighted] == shapes:
            norms = _norms(order)
            return [
                (want, block, _norm(want, block, norms.get(block.path), where))
                for want, block in zip(wanted, weighted, strict=True)
            ]
    own = [block for block in blocks if block.is_weighted]
    if sorted(shapes) == sorted(block.shape for block in own):
        if len(set(shapes)) < len(shapes):
            twice = next(shape for shape in shapes if shapes.count(shape) > 1)
            same = _some([block.path for block in own if block.shape == twice])
            raise UserError(
                f"{where}: {same} have one shape, {_text(twice)}, and do not stand in the network's order; rename "
                f"them as `mixq train` does, {', '.join(want.path for want in wanted if want.shape == twice)}"
            )
        by_shape, norms = {block.shape: block for block in own}, _norms(orders[0])
        return [
            (want, by_shape[want.shape], _norm(want, by_shape[want.shape], norms.get(by_shape[want.shape].path), where))
            for want in wanted
        ]
    raise UserError(f"{where}: {_difference(own, wanted)}; check --network")


def _norms(order: Sequence[_Block]) -> dict[str, _Block]:
    """The norm behind each weighted layer, by the layer's path, in an order of the blocks."""
    found: dict[str, _Block] = {}
    last = ""
    for block in order:
        if block.is_weighted:
            last = block.path
        elif block.is_norm and last and last not in found:
            found[last] = block
    return found


def _norm(want: _Wanted, block: _Block, norm: _Block | None, where: str) -> _Block | None:
    if not want.norm:
        return None
    if norm is None:
        raise UserError(
            f"{where}: {block.path} has no batch norm behind it, {want.path} of the network has; check --network"
        )
    channels = tuple(norm.tensors["running_mean"].shape)
    if channels != want.shape[:1]:
        raise UserError(
            f"{where}: {norm.path} behind {block.path} must be of {want.shape[0]} channels, not {_text(channels)}"
        )
    return norm


def _take(found: dict[str, Any], path: str, block: _Block, names: Sequence[str], where: str) -> None:
    """Copy a module's tensors under its new path; it must have these, batch counters excepted, and no other."""
    optional = {"num_batches_tracked"}
    for name in names:
        if name not in block.tensors and name not in optional:
            raise UserError(f"{where}: {block.path} lacks {name}, which {path} of the network has; check --network")
    unknown = sorted(set(block.tensors) - set(names))
    if unknown:
        raise UserError(
            f"{where}: {block.path} has {_some(unknown)}, which {path} of the network lacks; check --network"
        )
    found.update({f"{path}.{name}": block.tensors[name] for name in names if name in block.tensors})


def _difference(own: Sequence[_Block], wanted: Sequence[_Wanted]) -> str:
    if len(own) != len(wanted):
        return f"it has {len(own)} layers with weights, not {len(wanted)}"
    block, want = next((b, w) for b, w in zip(own, wanted, strict=True) if b.shape != w.shape)
    return f"{block.path} has weights of {_text(block.shape)}, where {want.path} has {_text(want.shape)}"


def _natural(path: str) -> list[tuple[int, int, str]]:
    pieces = re.findall(r"[0-9]+|[^0-9]+", path)
    return [(0, int(piece), piece) if piece.isascii() and piece.isdigit() else (1, 0, piece) for piece in pieces]


def _text(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
