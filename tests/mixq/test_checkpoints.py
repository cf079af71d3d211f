"""Checkpoints: round trips, random models, and one clear line for every damaged or foreign file."""

from __future__ import annotations

import hashlib
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from mixq.checkpoints import load_checkpoint, load_source, random_model, save_checkpoint
from mixq.errors import UserError
from mixq.execute import run_all
from mixq.lowering import lower
from mixq.models import TrainingModel, build_model
from mixq.networks import network
from tests.mixq.test_safetensors import encode
from tests.mixq.torch_models import pixels


def same(one: TrainingModel, other: TrainingModel) -> bool:
    left, right = one.state_dict(), other.state_dict()
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


@pytest.fixture
def model() -> TrainingModel:
    return random_model("digits_cnn", 1, weight_bits=[2, 3, 4, 5], act_bits=[6, 7, 8, 2])


def test_a_saved_model_comes_back(model: TrainingModel, tmp_path: Path) -> None:
    save_checkpoint(model, tmp_path / "m.pt")
    loaded = load_checkpoint(tmp_path / "m.pt")
    assert same(loaded, model)
    assert (loaded.weight_bits, loaded.act_bits) == ((2, 3, 4, 5), (6, 7, 8, 2))
    assert loaded.table.name == "digits_cnn"
    assert not loaded.training


def test_what_is_given_goes_before_what_the_file_says(model: TrainingModel, tmp_path: Path) -> None:
    save_checkpoint(model, tmp_path / "m.pt")
    loaded = load_checkpoint(tmp_path / "m.pt", weight_bits=[8, 8, 8, 8])
    assert (loaded.weight_bits, loaded.act_bits) == ((8, 8, 8, 8), (6, 7, 8, 2))


def test_plain_state_dicts(model: TrainingModel, tmp_path: Path) -> None:
    torch.save(model.state_dict(), tmp_path / "m.pth")
    np.savez(tmp_path / "m.npz", **{name: value.numpy() for name, value in model.state_dict().items()})
    (tmp_path / "m.safetensors").write_bytes(encode({k: v.numpy() for k, v in model.state_dict().items()}))
    for name in ("m.pth", "m.npz", "m.safetensors"):
        loaded = load_source(str(tmp_path / name), "digits-cnn", weight_bits=[4], act_bits=[4])
        assert same(loaded, model)
        assert loaded.weight_bits == (4, 4, 4, 4)


def test_the_counters_of_batch_norm_may_be_missing(model: TrainingModel, tmp_path: Path) -> None:
    arrays = {n: v.numpy() for n, v in model.state_dict().items() if not n.endswith("num_batches_tracked")}
    np.savez(tmp_path / "m.npz", **arrays)
    loaded = load_checkpoint(tmp_path / "m.npz", "digits_cnn")
    assert torch.equal(loaded.state_dict()["conv1.weight"], model.state_dict()["conv1.weight"])


class Touch:
    """Runs a command when it is unpickled by a loader that trusts its input."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.path),)


def test_pickled_code_is_never_run(tmp_path: Path) -> None:
    torch.save({"conv1.weight": Touch(tmp_path / "a")}, tmp_path / "m.pt")
    np.savez(tmp_path / "m.npz", a=np.array([Touch(tmp_path / "b")], dtype=object))
    (tmp_path / "old.pt").write_bytes(pickle.dumps(Touch(tmp_path / "c")))
    for name in ("m.pt", "m.npz", "old.pt"):
        with pytest.raises(UserError, match="cannot be read as a checkpoint") as raised:
            load_checkpoint(tmp_path / name, "digits_cnn")
        assert "\n" not in str(raised.value)
    assert not any((tmp_path / name).exists() for name in "abc")


@pytest.mark.parametrize("ending", ["pt", "npz"])
def test_truncated_and_foreign_files(model: TrainingModel, tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"m.{ending}"
    if ending == "pt":
        save_checkpoint(model, path)
    else:
        np.savez(path, **{name: value.numpy() for name, value in model.state_dict().items()})
    whole = path.read_bytes()
    for content in (b"", b"not a checkpoint", whole[: len(whole) // 2], whole[:-1], whole[100:]):
        path.write_bytes(content)
        with pytest.raises(UserError) as raised:
            load_checkpoint(path, "digits_cnn")
        assert str(raised.value).startswith(f"{path} cannot be read as a checkpoint (")
        assert "\n" not in str(raised.value)


def test_missing_files_and_unknown_endings(tmp_path: Path) -> None:
    with pytest.raises(UserError) as missing:
        load_checkpoint(tmp_path / "m.pt", "digits_cnn")
    assert str(missing.value) == f"there is no file {tmp_path / 'm.pt'}; check the path"
    with pytest.raises(UserError) as unknown:
        load_source(str(tmp_path / "m.bin"), "digits_cnn")
    assert (
        str(unknown.value)
        == f"{tmp_path / 'm.bin'} is no checkpoint; give a file that ends in .pt, .pth, .npz, .safetensors"
    )
    (tmp_path / "folder.pt").mkdir()
    with pytest.raises(UserError, match=r"cannot be read as a checkpoint \("):
        load_checkpoint(tmp_path / "folder.pt", "digits_cnn")


def test_the_network_must_be_known(model: TrainingModel, tmp_path: Path) -> None:
    torch.save(model.state_dict(), tmp_path / "m.pt")
    with pytest.raises(UserError) as raised:
        load_checkpoint(tmp_path / "m.pt")
    assert str(raised.value) == "the network is not known; name it with --network"
    with pytest.raises(UserError, match="no network is called 'alexnet'"):
        load_checkpoint(tmp_path / "m.pt", "alexnet")


def test_another_networks_checkpoint(model: TrainingModel, tmp_path: Path) -> None:
    path = tmp_path / "m.pt"
    torch.save(model.state_dict(), path)
    with pytest.raises(UserError) as raised:
        load_checkpoint(path, "vgg_tiny")
    assert str(raised.value) == (
        f"{path} is no checkpoint of vgg_tiny: it lacks conv4.weight, conv4_norm.bias, conv4_norm.running_mean "
        "and 12 more; check --network"
    )


def refusal(tmp_path: Path, state: object) -> str:
    path = tmp_path / "m.pt"
    torch.save(state, path)
    with pytest.raises(UserError) as raised:
        load_checkpoint(path, "digits_cnn")
    return str(raised.value).removeprefix(f"{path}")


def test_states_that_do_not_fit(model: TrainingModel, tmp_path: Path) -> None:
    state = dict(model.state_dict())
    assert refusal(tmp_path, [1, 2]) == " holds no state_dict; save the model's state_dict() there"
    assert refusal(tmp_path, {1: 2}) == " holds no state_dict; save the model's state_dict() there"
    assert refusal(tmp_path, {**state, "extra": torch.ones(1)}) == (
        " is no checkpoint of digits_cnn: it holds unknown extra; check --network"
    )
    assert refusal(tmp_path, {**state, "conv1.weight": torch.ones(16, 1, 5, 5)}) == (
        ": conv1.weight must have the shape (16, 1, 3, 3), not (16, 1, 5, 5); check --network and --input-shape"
    )
    assert refusal(tmp_path, {**state, "conv1.weight": 3}) == (
        ": conv1.weight is no tensor of real numbers; save the state_dict again"
    )
    assert refusal(tmp_path, {**state, "dense.bias": torch.ones(10, dtype=torch.complex64)}) == (
        ": dense.bias is no tensor of real numbers; save the state_dict again"
    )
    for value in (float("nan"), float("inf")):
        damaged = {**state, "conv2_norm.running_var": torch.full((32,), value)}
        assert refusal(tmp_path, damaged) == ": conv2_norm.running_var holds NaN or infinity; retrain the network"


def test_wrong_widths_in_the_file(model: TrainingModel, tmp_path: Path) -> None:
    content = {"state_dict": model.state_dict(), "network": "digits_cnn", "weight_bits": [4, 99, 4, 4]}
    torch.save(content, tmp_path / "m.pt")
    with pytest.raises(UserError, match="weight widths of digits_cnn must be integers from 2 to 8, not 99"):
        load_checkpoint(tmp_path / "m.pt")


def test_random_models_repeat_themselves() -> None:
    before = torch.random.get_rng_state()
    one, other = load_source("random:7", "vgg_tiny"), random_model("vgg_tiny", 7)
    assert same(one, other)
    assert not same(one, random_model("vgg_tiny", 8))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert next(one.parameters()).dtype == torch.float32


def test_the_threads_do_not_change_a_random_model() -> None:
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = random_model("digits_cnn", 3)
        torch.set_num_threads(2)
        assert same(one, random_model("digits_cnn", 3))
    finally:
        torch.set_num_threads(threads)


def test_a_random_model_stays_the_same_over_versions() -> None:
    # The weights' codes follow from NumPy's generator alone, so this digest holds on every machine.
    graph = lower(random_model("digits_cnn", 0, weight_bits=[4], act_bits=[4]))
    digest = hashlib.sha256(graph.node("conv1").weights.astype("<i8").tobytes()).hexdigest()  # type: ignore[attr-defined]
    random = np.random.default_rng(0)
    weights = (random.standard_normal((16, 1, 3, 3)) * (2 / 9) ** 0.5).astype(np.float32).astype(np.float64)
    codes = np.clip(np.rint(weights / (0.336 * weights.std(ddof=1))), -8, 7).astype("<i8")
    assert digest == hashlib.sha256(codes.tobytes()).hexdigest()


def test_the_codes_of_a_random_model_are_spread() -> None:
    model = random_model("vgg_tiny", 0, weight_bits=[2], act_bits=[8, 4, 3, 2, 5, 6])
    graph = lower(model)
    values = run_all(graph, pixels(0, 1, 3, 32, 32))
    for node in graph.nodes:
        if node.op == "requantise":
            codes = values[node.output]
            bits = graph.tensor(node.output).format.width
            assert len(np.unique(codes)) > 0.7 * 2**bits, node.name
            assert 0.2 < (codes == 0).mean() < 0.8, node.name
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    negative = float(torch.cat([norm.weight < 0 for norm in norms]).double().mean())
    assert 0.02 < negative < 0.12
    assert {norm.momentum for norm in norms} == {0.1}, "training may go on from here"


@pytest.mark.parametrize("seed", ["", "-1", "x", "1.5", "9999999999", "٣"])
def test_wrong_seeds(seed: str) -> None:
    with pytest.raises(UserError) as raised:
        load_source(f"random:{seed}", "vgg_tiny")
    assert str(raised.value) == f"the seed of random:SEED must be an integer from 0 to 999999999, not {seed!r}"


def test_a_trained_models_state_dict_fits_its_builder() -> None:
    state = build_model(network("ultranet")).state_dict()
    assert {name.split(".")[0] for name in state if name.startswith("conv9")} == {"conv9"}


def test_images_of_another_shape() -> None:
    model = load_source("random:1", "ultranet", input_shape=(3, 32, 48))
    assert model.input_shape == (3, 32, 48)
    with pytest.raises(UserError) as refusal:
        load_source("random:1", "digits-cnn", input_shape=(1, 3, 8))
    assert str(refusal.value) == "images of the shape 1,3,8 are too small for digits_cnn; give larger ones"


def test_tensors_without_plain_values(model: TrainingModel, tmp_path: Path) -> None:
    state = dict(model.state_dict())
    weight = state["conv1.weight"]
    for odd in (weight.to_sparse(), weight.to("meta")):
        assert refusal(tmp_path, {**state, "conv1.weight": odd}) == (
            ": conv1.weight is no dense tensor with values; save the state_dict of the plain model"
        )


def test_widths_that_are_no_list(model: TrainingModel, tmp_path: Path) -> None:
    content = {"state_dict": model.state_dict(), "network": "digits_cnn", "act_bits": 5}
    assert refusal(tmp_path, content) == ": act_bits must be a list of widths, not 5; save the checkpoint again"


def test_the_name_given_must_be_the_checkpoints(model: TrainingModel, tmp_path: Path) -> None:
    save_checkpoint(model, tmp_path / "m.pt")
    assert same(load_checkpoint(tmp_path / "m.pt", "digits-cnn"), model)
    with pytest.raises(UserError, match=r"m\.pt is a checkpoint of digits_cnn, not vgg-tiny; leave --network out"):
        load_checkpoint(tmp_path / "m.pt", "vgg-tiny")


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "m.pt")
    with pytest.raises(UserError, match=r"m.pt cannot be read as a checkpoint \(it is no regular file\)"):
        load_checkpoint(tmp_path / "m.pt", "digits_cnn")


@pytest.mark.parametrize("shape", [(1, 999_999_999, 999_999_999), (3, 60_000, 60_000)])
def test_images_that_no_graph_holds(shape: tuple[int, int, int]) -> None:
    with pytest.raises(UserError, match="are too large; a tensor may have 65536 along an axis and 67108864 elements"):
        load_source("random:1", "digits_cnn", input_shape=shape)


def test_checkpoints_keep_the_weight_range(tmp_path: Path) -> None:
    narrow = random_model("digits_cnn", 1, weight_bits=[4], weight_range="narrow")
    save_checkpoint(narrow, tmp_path / "m.pt")
    assert load_checkpoint(tmp_path / "m.pt").weight_range == "narrow"
    assert load_checkpoint(tmp_path / "m.pt", weight_range="full").weight_range == "full"
    old = torch.load(tmp_path / "m.pt", weights_only=True)
    del old["weight_range"]
    torch.save(old, tmp_path / "old.pt")
    assert load_checkpoint(tmp_path / "old.pt").weight_range == "full"
    assert load_source(str(tmp_path / "old.pt"), weight_range="narrow").weight_range == "narrow"
    assert load_source("random:1", "digits_cnn", weight_range="narrow").weight_range == "narrow"
    torch.save({**old, "weight_range": "wide"}, tmp_path / "wrong.pt")
    with pytest.raises(UserError) as failure:
        load_checkpoint(tmp_path / "wrong.pt")
    line = f"{tmp_path / 'wrong.pt'}: weight_range must be full or narrow, not 'wide'; save the checkpoint again"
    assert str(failure.value) == line
