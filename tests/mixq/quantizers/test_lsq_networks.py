"""Networks with learned steps: integers of interpreter and converted model, checkpoints, training that goes on."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from mixq.checkpoints import load_checkpoint, load_source, random_model, save_checkpoint
from mixq.conversion import measure_conversion
from mixq.converted import ConvertedModel
from mixq.data import Samples
from mixq.data.digits import load_digits
from mixq.errors import UserError
from mixq.execute import run
from mixq.graph import Conv, Dense
from mixq.layers import activation_step, quantised_weights
from mixq.lowering import lower
from mixq.models import TrainingModel, build_model
from mixq.networks import network
from mixq.quantizers import LSQActivationQuantizer, LSQWeightQuantizer, parameters_without_decay
from tests.mixq.torch_models import pixels, random_table, scramble


def random_lsq_network(seed: int, weight_range: Any = "full") -> TrainingModel:
    """A scrambled model of a random table whose steps were found from random images, then moved at random."""
    table, weight_bits, act_bits = random_table(seed)
    model = build_model(table, weight_bits=weight_bits, act_bits=act_bits, weight_range=weight_range, quantizer="lsq")
    scramble(model, seed)
    random = np.random.default_rng(seed + 1000)
    with torch.no_grad():
        model.train()(torch.from_numpy(random.integers(0, 256, (4, *table.input_shape)) / 256).float())
        for step in parameters_without_decay(model):
            step.mul_(float(random.uniform(0.3, 1.5) * random.choice([-1, 1])))
    scramble(model, seed)
    return model.eval()


def assert_equal(model: TrainingModel, images: np.ndarray) -> np.ndarray:
    found = run(lower(model), images)
    assert np.array_equal(found, ConvertedModel(model)(torch.from_numpy(images)).numpy())
    return found


@pytest.mark.parametrize("weight_range", ["full", "narrow"])
@pytest.mark.parametrize("seed", range(12))
def test_interpreter_and_converted_model_agree(seed: int, weight_range: Any) -> None:
    model = random_lsq_network(seed, weight_range)
    outputs = assert_equal(model, pixels(seed, 3, *model.input_shape))
    assert len(np.unique(outputs)) > 1
    images = np.random.default_rng(seed).integers(0, 256, (3, *model.input_shape), dtype=np.uint8)
    report = measure_conversion(model, Samples(images, np.zeros(3, np.int64)), classify=False)
    report.check()


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(12, 200))
def test_more_networks_agree(seed: int) -> None:
    model = random_lsq_network(seed)
    assert_equal(model, pixels(seed, 3, *model.input_shape))


@pytest.mark.parametrize("bits", range(2, 9))
def test_narrow_weights_never_have_the_most_negative_code(bits: int) -> None:
    model = random_model("digits_cnn", 1, weight_bits=[bits], weight_range="narrow", quantizer="lsq")
    with torch.no_grad():
        for step in parameters_without_decay(model):
            step.mul_(0.05)
    graph = lower(model)
    low = -(2 ** (bits - 1)) + (bits >= 4)
    for node in graph.nodes:
        if isinstance(node, Conv | Dense):
            assert node.weights.min() == node.weight_format.low == low
    clamped = graph.metadata.get("clamped_weights", "0")
    assert (int(clamped) > 0) == (bits >= 4)
    assert_equal(model, pixels(1, 2, 1, 8, 8))


def test_random_models_have_their_steps() -> None:
    model, other = (random_model("vgg_tiny", 7, quantizer="lsq") for _ in range(2))
    state, again = model.state_dict(), other.state_dict()
    assert all(torch.equal(state[name], again[name]) for name in state)
    assert model.quantizer == "lsq" and not model.training
    for module in model.modules():
        if isinstance(module, LSQWeightQuantizer | LSQActivationQuantizer):
            assert module.learned.is_initialised
            # Twelve bits, so that libraries which add in another order give the same.
            assert (np.frexp(float(module.learned.step.detach()))[0] * 4096).is_integer()
    # The weights are the same as with fixed steps, which change nothing in the generator's order.
    fixed = random_model("vgg_tiny", 7)
    assert torch.equal(model.get_parameter("conv3.weight"), fixed.get_parameter("conv3.weight"))
    assert load_source("random:7", "vgg_tiny", quantizer="lsq").quantizer == "lsq"
    assert load_source("random:7", "vgg_tiny").quantizer == "hwgq"


def test_checkpoints_keep_kind_and_steps(tmp_path: Path) -> None:
    model = random_model("digits_cnn", 2, quantizer="lsq", weight_bits=[4], weight_range="narrow")
    save_checkpoint(model, tmp_path / "m.pt")
    loaded = load_checkpoint(tmp_path / "m.pt")
    assert (loaded.quantizer, loaded.weight_range) == ("lsq", "narrow")
    assert all(torch.equal(value, loaded.state_dict()[name]) for name, value in model.state_dict().items())
    images = pixels(0, 3, 1, 8, 8)
    assert np.array_equal(run(lower(loaded), images), run(lower(model), images))
    state = model.state_dict()
    torch.save(state, tmp_path / "plain.pt")
    np.savez(tmp_path / "plain.npz", **{name: value.numpy() for name, value in state.items()})
    for name in ("plain.pt", "plain.npz"):
        plain = load_source(str(tmp_path / name), "digits_cnn", weight_bits=[4], quantizer="lsq", weight_range="narrow")
        assert np.array_equal(run(lower(plain), images), run(lower(model), images))


def test_old_checkpoints_have_fixed_steps(tmp_path: Path) -> None:
    fixed = random_model("digits_cnn", 1)
    save_checkpoint(fixed, tmp_path / "m.pt")
    content = torch.load(tmp_path / "m.pt", weights_only=True)
    assert content.pop("quantizer") == "hwgq"
    torch.save(content, tmp_path / "old.pt")
    assert load_checkpoint(tmp_path / "old.pt").quantizer == "hwgq"
    torch.save({**content, "quantizer": "ternary"}, tmp_path / "wrong.pt")
    with pytest.raises(UserError) as failure:
        load_checkpoint(tmp_path / "wrong.pt")
    known = "hwgq, lsq, dorefa or dorefa-pow2"
    line = f"{tmp_path / 'wrong.pt'}: quantizer must be {known}, not 'ternary'; save the checkpoint again"
    assert str(failure.value) == line


def test_learned_steps_start_from_a_network_with_fixed_ones(tmp_path: Path) -> None:
    save_checkpoint(random_model("digits_cnn", 1), tmp_path / "m.pt")
    model = load_checkpoint(tmp_path / "m.pt", quantizer="lsq")
    for convert in (lower, ConvertedModel):
        with pytest.raises(UserError) as failure:
            convert(model)
        line = "layer conv1_act: its step has not been learned; retrain it or repair the checkpoint"
        assert str(failure.value) == line
    with torch.no_grad():
        model.train()(torch.rand(4, 1, 8, 8))
    assert_equal(model.eval(), pixels(0, 2, 1, 8, 8))


def test_steps_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.pt"
    model = random_model("digits_cnn", 1, quantizer="lsq")
    save_checkpoint(model, path)
    with pytest.raises(UserError) as failure:
        load_checkpoint(path, quantizer="hwgq")
    expected = f"{path} has learned steps, which quantisers of hwgq lack; give --quantizer lsq"
    assert str(failure.value) == expected
    state = model.state_dict()
    torch.save(state, path)
    with pytest.raises(UserError, match="has learned steps"):
        load_checkpoint(path, "digits_cnn")
    torch.save({k: v for k, v in state.items() if k != "conv2_act.learned.step"}, path)
    with pytest.raises(UserError, match=r"it lacks conv2_act\.learned\.step"):
        load_checkpoint(path, "digits_cnn", quantizer="lsq")
    torch.save({**state, "conv2_act.learned.step": torch.tensor(float("nan"))}, path)
    with pytest.raises(UserError, match=r"conv2_act\.learned\.step holds NaN or infinity; retrain the network"):
        load_checkpoint(path, "digits_cnn", quantizer="lsq")


def test_steps_that_are_not_finite_are_refused() -> None:
    for path, problem in (
        ("conv2.weight_quantizer", "layer conv2: its weights and"),
        ("conv2_act", "layer conv2_act: "),
    ):
        model = random_model("digits_cnn", 1, quantizer="lsq")
        model.get_parameter(f"{path}.learned.step").data.fill_(float("nan"))
        for convert in (lower, ConvertedModel):
            with pytest.raises(UserError, match=f"{problem}.* finite; retrain it or repair the checkpoint"):
                convert(model)


def test_what_layers_tell_of_their_steps() -> None:
    model = random_model("digits_cnn", 1, quantizer="lsq")
    layer: Any = model.conv2
    codes, step = quantised_weights(layer, "conv2")
    assert step == float(layer.weight_quantizer.learned.step.detach())
    assert codes.tolist() == torch.round(layer.weight.detach().double() / step).clamp(-4, 3).tolist()
    signals: Any = model.conv2_act
    assert activation_step(signals, "conv2_act") == float(signals.learned.step.detach())


class Training:
    """Plain SGD with momentum on images that depend on the number of the step alone."""

    def __init__(self, model: TrainingModel) -> None:
        self.model = model
        steps = parameters_without_decay(model)
        others = [parameter for parameter in model.parameters() if all(parameter is not step for step in steps)]
        groups = [{"params": others, "weight_decay": 5e-4}, {"params": list(steps), "weight_decay": 0.0}]
        self.optimizer = torch.optim.SGD(groups, lr=0.05, momentum=0.9)

    def step(self, images: Tensor, labels: Tensor) -> None:
        self.model.train()
        self.optimizer.zero_grad()
        F.cross_entropy(self.model(images).flatten(1), labels).backward()
        self.optimizer.step()

    def steps(self, first: int, last: int) -> None:
        for number in range(first, last):
            generator = torch.Generator().manual_seed(number)
            self.step(torch.rand(8, 1, 8, 8, generator=generator), torch.randint(10, (8,), generator=generator))


@pytest.mark.parametrize("interrupted", [0, 3])
def test_training_that_goes_on_ends_in_the_same_weights(interrupted: int, tmp_path: Path) -> None:
    def fresh() -> TrainingModel:
        torch.manual_seed(1)
        return build_model(network("digits_cnn"), quantizer="lsq")

    whole = Training(fresh())
    whole.steps(0, 6)
    first = Training(fresh())
    first.steps(0, interrupted)
    torch.save({"model": first.model.state_dict(), "optimizer": first.optimizer.state_dict()}, tmp_path / "state.pt")
    second = Training(build_model(network("digits_cnn"), quantizer="lsq"))
    saved = torch.load(tmp_path / "state.pt", weights_only=True)
    second.model.load_state_dict(saved["model"])
    second.optimizer.load_state_dict(saved["optimizer"])
    second.steps(interrupted, 6)
    expected = whole.model.state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in second.model.state_dict().items())
    assert float(expected["conv1_act.learned.step"]) != 1.0


def test_a_trained_network_lowers_and_agrees() -> None:
    torch.manual_seed(0)
    data = load_digits()
    model = build_model(network("digits_cnn"), quantizer="lsq")
    training = Training(model)
    images, labels = torch.from_numpy(data.train.images).float() / 256, torch.from_numpy(data.train.labels)
    for _ in range(3):
        for batch in torch.randperm(len(labels)).split(32):
            training.step(images[batch], labels[batch])
    model.eval()
    part = data.test.take(slice(0, 200))
    report = measure_conversion(model, part)
    report.check()
    assert report.accuracy is not None
    assert report.accuracy.training > 0.85 and report.accuracy.integer > 0.85
    assert report.accuracy.agreement > 0.98
    assert_equal(model, part.images.astype(np.int64))


# Two processes whose first batches differ: both must start from the mean of their first steps.
DISTRIBUTED = """
import sys, torch
from mixq.quantizers import LSQActivationQuantizer
rank = int(sys.argv[1])
torch.distributed.init_process_group("gloo", init_method="file://" + sys.argv[2], rank=rank, world_size=2)
quantizer = LSQActivationQuantizer(4)
quantizer(torch.full((2, 3), [1.0, 3.0][rank]))
print(quantizer.step)
torch.distributed.destroy_process_group()
"""


def test_processes_that_train_together_share_the_first_step(tmp_path: Path, root: Path) -> None:
    command = [sys.executable, "-c", DISTRIBUTED]
    started = [
        subprocess.Popen([*command, str(rank), str(tmp_path / "store")], stdout=subprocess.PIPE, cwd=root, text=True)
        for rank in range(2)
    ]
    steps = [process.communicate(timeout=120)[0].strip() for process in started]
    assert [process.returncode for process in started] == [0, 0]
    assert steps[0] == steps[1]
    # Means 1 and 3, 15 the highest code.
    assert float(steps[0]) == pytest.approx(2 * 2 / 15**0.5, rel=1e-6)
