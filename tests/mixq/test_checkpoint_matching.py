"""Checkpoints whose layers have other names, matched by structure and shape."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mixq.checkpoint_matching import matched_state
from mixq.checkpoints import load_checkpoint, random_model
from mixq.errors import UserError
from mixq.models import TrainingModel
from tests.mixq.test_safetensors import encode

State = dict[str, torch.Tensor]

NAMES = {
    "conv1": "backbone.0",
    "conv1_norm": "backbone.1",
    "conv2": "backbone.4",
    "conv2_norm": "backbone.5",
    "conv3": "backbone.10",
    "conv3_norm": "backbone.11",
    "dense": "head",
}


@pytest.fixture(scope="module")
def model() -> TrainingModel:
    return random_model("digits_cnn", 1)


def renamed(model: TrainingModel, names: dict[str, str] = NAMES) -> State:
    found = {}
    for name, value in model.state_dict().items():
        path, _, own = name.rpartition(".")
        found[f"{names[path]}.{own}"] = value
    return found


def same(state: State, model: TrainingModel) -> bool:
    own = model.state_dict()
    return state.keys() == own.keys() and all(torch.equal(state[name], own[name]) for name in own)


def test_layers_of_other_names_in_order(model: TrainingModel) -> None:
    assert same(matched_state(model, renamed(model), "file"), model)


def test_names_in_the_order_of_the_alphabet(model: TrainingModel) -> None:
    state = dict(sorted(renamed(model).items()))
    assert next(iter(state)).startswith("backbone.0") and list(state)[6].startswith("backbone.10.")
    # The file has conv3 before conv2: sorted with numbers as numbers they stand right.
    assert same(matched_state(model, state, "file"), model)


def test_layers_told_by_their_shapes_alone(model: TrainingModel) -> None:
    state = renamed(model)
    second = ("backbone.4.", "backbone.5.")
    order = {name: value for name, value in state.items() if name.startswith(second)}
    order |= {name: value for name, value in state.items() if not name.startswith(second)}
    # Neither the file's order is the network's, nor that of the names.
    names = {"backbone.4": "b.1", "backbone.5": "b.2", "backbone.0": "b.3", "backbone.1": "b.4"}
    names |= {"backbone.10": "b.5", "backbone.11": "b.6", "head": "b.7"}
    turned = {f"{names[name.rpartition('.')[0]]}.{name.rpartition('.')[2]}": value for name, value in order.items()}
    assert same(matched_state(model, turned, "file"), model)


@pytest.mark.parametrize("prefix", ["module.", "model.", "module.model."])
def test_prefixes_of_wrappers(model: TrainingModel, prefix: str) -> None:
    assert same(matched_state(model, {prefix + name: value for name, value in renamed(model).items()}, "file"), model)


def test_files_of_all_kinds(model: TrainingModel, tmp_path: Path) -> None:
    state = renamed(model)
    torch.save({"epoch": 3, "model": state}, tmp_path / "m.pt")
    arrays: dict[str, Any] = {name: value.numpy() for name, value in state.items()}
    np.savez(tmp_path / "m.npz", **arrays)
    (tmp_path / "m.safetensors").write_bytes(encode({name: value.numpy() for name, value in state.items()}))
    for name in ("m.pt", "m.npz", "m.safetensors"):
        loaded = load_checkpoint(tmp_path / name, "digits_cnn", quantizer="dorefa")
        assert same(loaded.state_dict(), model) and loaded.quantizer == "dorefa"


def without(*prefixes: str) -> Callable[[State], State]:
    return lambda state: {name: value for name, value in state.items() if not name.startswith(prefixes)}


def changed(**tensors: torch.Tensor) -> Callable[[State], State]:
    return lambda state: {**state, **{name.replace("__", "."): value for name, value in tensors.items()}}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without("head"), "it has 3 layers with weights, not 4; check --network"),
        (without("backbone.5."), "backbone.4 has no batch norm behind it, conv2 of the network has; check --network"),
        (without("head.bias"), "head lacks bias, which dense of the network has; check --network"),
        (without("backbone.1.weight"), "backbone.1 lacks weight, which conv1_norm of the network has; check --network"),
        (
            changed(backbone__4__bias=torch.zeros(32)),
            "backbone.4 has bias, which conv2 of the network lacks; check --network",
        ),
        (
            changed(head__weight=torch.zeros(10, 64)),
            "head has weights of 10 x 64, where dense has 10 x 128; check --network",
        ),
        (
            changed(extra__scale=torch.zeros(1)),
            "extra belong to no layer of the network; check --network, or leave them out",
        ),
        (changed(alone=torch.zeros(1)), "alone belong to no layer of the network; check --network, or leave them out"),
        (
            changed(backbone__1__running_mean=torch.zeros(5)),
            "backbone.1 behind backbone.0 must be of 16 channels, not 5",
        ),
    ],
)
def test_what_does_not_match(model: TrainingModel, change: Callable[[State], State], message: str) -> None:
    with pytest.raises(UserError) as failure:
        matched_state(model, change(renamed(model)), "file")
    assert str(failure.value) == f"file: {message}"


def test_equal_shapes_out_of_order_are_ambiguous() -> None:
    model = random_model("ultranet", 0)
    names = {f"conv{n}": f"c.{n * 10}" for n in range(1, 10)} | {
        f"conv{n}_norm": f"c.{n * 10 + 1}" for n in range(1, 9)
    }
    state = renamed(model, names)
    assert same(matched_state(model, state, "file"), model)
    # conv1 in the end, and with the greatest number: conv4 to conv8 are of one shape.
    odd = {name.replace("c.10.", "c.900.").replace("c.11.", "c.901."): value for name, value in state.items()}
    odd = {name: value for name, value in odd.items() if ".90" not in name} | {
        n: v for n, v in odd.items() if ".90" in n
    }
    with pytest.raises(
        UserError, match="have one shape, 64 x 64 x 3 x 3, and do not stand in the network's order; rename them"
    ):
        matched_state(model, odd, "file")
