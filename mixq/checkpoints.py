"""Weights for a network of the tables: from a checkpoint file, or random.

A checkpoint is the ``state_dict`` of a `mixq.models.TrainingModel`, alone or under the key ``state_dict``
beside ``network``, ``weight_bits``, ``act_bits``, ``weight_range``, ``quantizer`` and ``weight_scale``, as
`save_checkpoint` writes it.
One whose layers have other names is matched by structure and shape (`mixq.checkpoint_matching`). Files are read by
`mixq.checkpoint_files`, which trusts none.
"""

from __future__ import annotations

import io
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from mixq.checkpoint_files import quantizer_of, read_content, text_of, weight_range_of, weight_scale_of, widths_of
from mixq.checkpoint_matching import matched_state
from mixq.determinism import reproducible
from mixq.errors import UserError
from mixq.files import write_atomic
from mixq.graph.tensor import MAX_AXIS, MAX_ELEMENTS
from mixq.layers import QuantConv2d, QuantLinear
from mixq.models import Network, TrainingModel, build_model
from mixq.networks import network
from mixq.packing import WeightRange
from mixq.quantise_module import FloatNetwork, QuantisedModule, with_state
from mixq.quantizers import QuantizerKind, WeightScale, check_weight_scale, parameters_without_decay

RANDOM_PREFIX = "random:"

_STATE_KEYS = ("state_dict", "model", "model_state_dict", "net")
"""What checkpoints call the weights where there is more in them."""


def load_source(
    source: str,
    network_name: str | Network | None = None,
    *,
    weight_bits: Sequence[int] | None = None,
    act_bits: Sequence[int] | None = None,
    input_shape: tuple[int, int, int] | None = None,
    weight_range: WeightRange | None = None,
    quantizer: QuantizerKind | None = None,
    weight_scale: WeightScale | None = None,
) -> TrainingModel:
    """Model of ``random:SEED`` or of a checkpoint file (`.pt`, `.pth`, `.npz`, `.safetensors`), in evaluation mode.

    Parameters:
        source: where the weights come from.
        network_name: name of the network, or the network; None where the checkpoint says it.
        weight_bits, act_bits: widths; None takes the checkpoint's, or else the network's defaults.
        input_shape: (C, H, W) of an image; None takes the network's.
        weight_range: "full" or "narrow"; None takes the checkpoint's, or else "full".
        quantizer: kind of the quantisers; None takes the checkpoint's, or else "hwgq". A checkpoint without steps, of
            another kind, does for "lsq": they are learned when training goes on.
        weight_scale: "tensor" or "channel", steps of a layer's weights; None takes the checkpoint's, or else "tensor".

    Raises:
        UserError: no such file or network, a file that is no checkpoint of it, wrong widths, wrong seed, images too
            small for the network.
    """
    if source.startswith(RANDOM_PREFIX):
        seed = source.removeprefix(RANDOM_PREFIX)
        if not (seed.isascii() and seed.isdigit() and len(seed) <= 9):
            raise UserError(f"the seed of random:SEED must be an integer from 0 to 999999999, not {seed!r}")
        table = _table(network_name, input_shape)
        _check_scale(weight_scale, quantizer)
        return random_model(
            table,
            int(seed),
            weight_bits=weight_bits,
            act_bits=act_bits,
            weight_range="full" if weight_range is None else weight_range,
            quantizer="hwgq" if quantizer is None else quantizer,
            weight_scale="tensor" if weight_scale is None else weight_scale,
        )
    return load_checkpoint(
        source,
        network_name,
        weight_bits=weight_bits,
        act_bits=act_bits,
        input_shape=input_shape,
        weight_range=weight_range,
        quantizer=quantizer,
        weight_scale=weight_scale,
    )


def load_checkpoint(
    path: str | os.PathLike[str],
    network_name: str | Network | None = None,
    *,
    weight_bits: Sequence[int] | None = None,
    act_bits: Sequence[int] | None = None,
    input_shape: tuple[int, int, int] | None = None,
    weight_range: WeightRange | None = None,
    quantizer: QuantizerKind | None = None,
    weight_scale: WeightScale | None = None,
) -> TrainingModel:
    """Model of a checkpoint file, in evaluation mode; parameters as in `load_source`.

    A network that is none of MixQ's own is given as its table.

    Raises:
        UserError: the file is missing, too large, damaged, or does not fit the network.
    """
    path = Path(path)
    content = read_content(path)
    state = content
    key = next((name for name in _STATE_KEYS if isinstance(content.get(name), Mapping)), None)
    if key is not None:
        state = content[key]
        network_name = _agreed(path, network_name, text_of(content.get("network")))
        weight_bits = weight_bits if weight_bits is not None else widths_of(path, "weight_bits", content)
        act_bits = act_bits if act_bits is not None else widths_of(path, "act_bits", content)
        weight_range = weight_range if weight_range is not None else weight_range_of(path, content)
        quantizer = quantizer if quantizer is not None else quantizer_of(path, content)
        stored = weight_scale_of(path, content)
        learned = any(".weight_quantizer.learned." in name for name in state)
        if learned and weight_scale not in (None, stored):
            raise UserError(f"{path} has learned steps for weight scale {stored}, not {weight_scale}; leave it out")
        weight_scale = stored if weight_scale is None else weight_scale
    table = _table(network_name, input_shape)
    _check_scale(weight_scale, quantizer)
    is_float = False
    if isinstance(table, FloatNetwork) and "weight_bits" not in content and table.holds(state):
        # The weights of the float module itself, from before it was quantised.
        is_float, table = True, with_state(table, _checked_state(table.module.state_dict(), state, path))
    model = build_model(
        table,
        weight_bits=weight_bits,
        act_bits=act_bits,
        weight_range="full" if weight_range is None else weight_range,
        quantizer="hwgq" if quantizer is None else quantizer,
        weight_scale="tensor" if weight_scale is None else weight_scale,
    )
    if not is_float:
        _load_state(model, state, path)
    return model.eval()


def save_checkpoint(model: TrainingModel, path: str | os.PathLike[str]) -> None:
    """Write ``model`` to ``path`` (`.pt`), whole or not at all: weights, name, widths, kind of quantisers."""
    buffer = io.BytesIO()
    content = {
        "network": model.table.name,
        "weight_bits": list(model.weight_bits),
        "act_bits": list(model.act_bits),
        "weight_range": model.weight_range,
        "quantizer": model.quantizer,
        "weight_scale": model.weight_scale,
        "state_dict": {key: value.detach().cpu() for key, value in model.state_dict().items()},
    }
    torch.save(content, buffer)
    write_atomic(path, buffer.getvalue())


def random_model(
    network_name: str | Network,
    seed: int,
    *,
    weight_bits: Sequence[int] | None = None,
    act_bits: Sequence[int] | None = None,
    weight_range: WeightRange = "full",
    quantizer: QuantizerKind = "hwgq",
    weight_scale: WeightScale = "tensor",
) -> TrainingModel:
    """Model of a network, by name or table, with random weights, in evaluation mode.

    Its codes are spread like a trained model's.

    Weights are Gaussian. Batch norm's statistics are measured on random images, its scales lie in 0.5..1.5,
    one in sixteen of them negative, its shifts are Gaussian; weights and images give learned steps their values.
    The same seed gives the same model: numbers come from NumPy's generator, and statistics and steps, measured in
    float64, are rounded to 12 bits, which takes away what libraries and processors do differently.

    Raises:
        UserError: no such network, wrong widths.
    """
    table = network(network_name) if isinstance(network_name, str) else network_name
    with torch.random.fork_rng(devices=[]):  # the builder draws weights, which are replaced below
        model = build_model(
            table,
            weight_bits=weight_bits,
            act_bits=act_bits,
            weight_range=weight_range,
            quantizer=quantizer,
            weight_scale=weight_scale,
        )
    random = np.random.default_rng(seed)
    for module in model.modules():
        if isinstance(module, QuantConv2d | QuantLinear):
            spread = (2.0 / module.weight[0].numel()) ** 0.5
            _fill(module.weight, random.standard_normal(module.weight.shape) * spread)
            if module.bias is not None:
                _fill(module.bias, random.standard_normal(module.bias.shape) * 0.1)
        elif isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            size = module.num_features
            signs = np.where(random.random(size) < 1 / 16, -1.0, 1.0)
            _fill(module.weight, random.uniform(0.5, 1.5, size) * signs)
            _fill(module.bias, random.standard_normal(size) * 0.25)
    images = random.integers(0, 256, (2, *model.input_shape)) / 256.0
    _calibrate(model, torch.from_numpy(images))
    return model.eval()


def _calibrate(model: TrainingModel, images: torch.Tensor) -> None:
    """Set batch norm's running statistics and learned steps to those of one batch, computed in float64."""
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 1.0
    with reproducible(threads=1), torch.no_grad():
        model.double().train()(images)
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
            for statistic in (norm.running_mean, norm.running_var):
                assert statistic is not None
                _round_to_12_bits(statistic)
        for step in parameters_without_decay(model):
            _round_to_12_bits(step)
    model.float()


def _round_to_12_bits(values: torch.Tensor) -> None:
    mantissa, exponent = torch.frexp(values)
    values.copy_(torch.ldexp(torch.round(mantissa * 4096), exponent - 12))


def _fill(parameter: torch.Tensor, values: Any) -> None:
    with torch.no_grad():
        parameter.copy_(torch.from_numpy(values))


def _table(network_name: str | Network | None, input_shape: tuple[int, int, int] | None) -> Network:
    """A network for images of ``input_shape``, the network's own where that is None."""
    if network_name is None:
        raise UserError("the network is not known; name it with --network")
    table = network(network_name) if isinstance(network_name, str) else network_name
    if input_shape is not None:
        table = replace(table, input_shape=input_shape)
    shape = table.image_shape
    given = ",".join(map(str, shape))
    if max(shape) > MAX_AXIS or math.prod(shape) > MAX_ELEMENTS:
        most = f"{MAX_AXIS} along an axis and {MAX_ELEMENTS} elements at most"
        raise UserError(f"images of the shape {given} are too large; a tensor may have {most}")
    if any(min(shape) < 1 for shape in table.shapes()):
        raise UserError(f"images of the shape {given} are too small for {table.name}; give larger ones")
    return table


def _agreed(path: Path, given: str | Network | None, stored: str | None) -> str | Network | None:
    """The network, which the user and the checkpoint must agree on where both say one."""
    if given is None or stored is None:
        return stored if given is None else given
    if isinstance(given, str):
        if network(given).name != network(stored).name:
            raise UserError(f"{path} is a checkpoint of {stored}, not {given}; leave --network out")
    elif stored != given.name:
        raise UserError(f"{path} is a checkpoint of {stored}, not {given.name}; train the network again")
    return given


def _check_scale(weight_scale: WeightScale | None, quantizer: QuantizerKind | None) -> None:
    """UserError where quantisers of a kind know no such steps."""
    try:
        check_weight_scale("weight scale", weight_scale or "tensor", quantizer or "hwgq")
    except ValueError as error:
        raise UserError(str(error)) from None


def _load_state(model: TrainingModel, state: Mapping[str, Any], path: Path) -> None:
    """Copy ``state`` into the model after checking names, types, shapes and that values are finite."""
    expected = model.state_dict()
    # A checkpoint may lack the batch counters, which inference does not read.
    required = {name for name in expected if not name.endswith("num_batches_tracked")}
    steps = {name for name in expected if ".learned." in name}
    few = 2 * len((required - steps) & set(state)) < len(required - steps)
    if few and not isinstance(model, QuantisedModule):  # whose channels may stand in another order than a file's
        state = matched_state(model, state, str(path))
    if not steps & set(state):
        required -= steps  # of a network of the other kind, whose training goes on with learned steps
    if model.quantizer != "lsq" and any(".learned." in name for name in state):
        raise UserError(f"{path} has learned steps, which quantisers of {model.quantizer} lack; give --quantizer lsq")
    for kind, names in (("lacks", required - set(state)), ("holds unknown", set(state) - set(expected))):
        if names:
            shown = ", ".join(sorted(names)[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
            raise UserError(f"{path} is no checkpoint of {model.table.name}: it {kind} {shown}; check --network")
    model.load_state_dict({**expected, **_checked_state(expected, state, path)})


def _checked_state(expected: Mapping[str, Any], state: Mapping[str, Any], path: Path) -> Mapping[str, Any]:
    """The state, all of dense tensors of finite values and the shapes of those expected."""
    for name, value in state.items():
        if not isinstance(value, torch.Tensor) or value.dtype.is_complex:
            raise UserError(f"{path}: {name} is no tensor of real numbers; save the state_dict again")
        if value.layout != torch.strided or value.device.type != "cpu" or value.is_quantized:
            raise UserError(f"{path}: {name} is no dense tensor with values; save the state_dict of the plain model")
        if value.shape != expected[name].shape:
            shapes = f"{tuple(expected[name].shape)}, not {tuple(value.shape)}"
            raise UserError(f"{path}: {name} must have the shape {shapes}; check --network and --input-shape")
        if not bool(torch.isfinite(value.float()).all()):
            raise UserError(f"{path}: {name} holds NaN or infinity; retrain the network")
    return state
