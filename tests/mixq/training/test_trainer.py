"""The trainer: learns, repeats itself bit for bit, and leaves nothing changed behind it."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from mixq.conversion import measure_conversion
from mixq.converted import ConvertedModel
from mixq.data import Dataset, Samples
from mixq.data.digits import load_digits
from mixq.errors import UserError
from mixq.execute import run
from mixq.lowering import lower
from mixq.models import NetworkModel, build_model
from mixq.networks import network
from mixq.training import Classification, EpochResult, Progress, TrainConfig, Trainer, accuracy, train
from tests.mixq.training.toy import ToyExtension, digest, toy_data, toy_model


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load_digits()


def trained(data: Dataset, **options: float) -> tuple[NetworkModel, tuple[EpochResult, ...]]:
    model = build_model(network("digits_cnn"))
    config = TrainConfig(**options)  # type: ignore[arg-type]
    return model, train(model, data.train, validation=data.validation, config=config)


def integer_accuracy(model: NetworkModel, samples: Samples) -> float:
    classes = run(lower(model), samples.images.astype(np.int64)).reshape(len(samples), -1).argmax(1)
    return float((classes == samples.labels).mean())


def test_two_epochs_learn_and_convert(digits: Dataset) -> None:
    model, results = trained(digits, epochs=2)
    assert [result.epoch for result in results] == [1, 2]
    assert results[1].loss < results[0].loss < np.log(10)
    assert results[1].train_metric > results[0].train_metric
    assert results[1].validation_metric == accuracy(model, digits.validation)
    assert accuracy(model, digits.test) > 0.7
    assert not model.training
    part = digits.test.take(slice(0, 100))
    report = measure_conversion(model, part)
    report.check()
    assert report.accuracy is not None
    assert report.accuracy.integer == pytest.approx(integer_accuracy(model, part))
    images = part.images.astype(np.int64)
    assert np.array_equal(run(lower(model), images), ConvertedModel(model)(torch.from_numpy(images)).numpy())


def test_training_repeats_itself_whatever_ran_before(digits: Dataset) -> None:
    part = Dataset(
        name="part",
        train=digits.train.take(slice(0, 97)),
        validation=digits.validation.take(slice(0, 20)),
        test=digits.test,
        class_names=digits.class_names,
    )
    one, first = trained(part, epochs=2, seed=3)
    torch.manual_seed(99)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(threads + 1)
        other, second = trained(part, epochs=2, seed=3)
        assert torch.get_num_threads() == threads + 1
    finally:
        torch.set_num_threads(threads)
    assert digest(one) == digest(other)
    assert first == second
    different, _ = trained(part, epochs=2, seed=4)
    assert digest(different) != digest(one)


def test_training_leaves_the_global_generator_alone(digits: Dataset) -> None:
    part = digits.train.take(slice(0, 40))
    before = torch.random.get_rng_state()
    train(build_model(network("digits_cnn")), part, validation=part, config=TrainConfig(epochs=1))
    # The builder draws initial weights, so the state is compared around the training alone.
    model = build_model(network("digits_cnn"))
    before = torch.random.get_rng_state()
    train(model, part, validation=part, config=TrainConfig(epochs=1))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert not torch.are_deterministic_algorithms_enabled()


def test_progress_is_told_after_every_epoch(digits: Dataset) -> None:
    part = digits.train.take(slice(0, 40))
    told: list[Progress] = []
    results = train(
        build_model(network("digits_cnn")), part, validation=part, config=TrainConfig(epochs=3), progress=told.append
    )
    assert tuple(state.result for state in told if state.result is not None) == results
    assert len(results) == 3
    assert (told[-1].epoch, told[-1].epochs, told[-1].step, told[-1].steps) == (3, 3, 6, 6)
    assert told[-1].seconds_left == 0


def test_progress_is_told_within_an_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mixq.training.run.TELL_SECONDS", 0.0)
    told: list[Progress] = []
    model = toy_model()
    config = TrainConfig(epochs=2, batch=10)
    Trainer(model, toy_data(), config, progress=told.append, extension=ToyExtension(model)).run()
    assert [(state.epoch, state.step, state.result is None) for state in told] == [
        (1 + step // 6, step, step % 5 > 0) for step in range(1, 11)
    ]
    for state in told:
        assert 0 <= state.metric <= 1 and math.isfinite(state.loss) and state.steps == 10
        assert state.facts["steps"] == state.step
        assert state.seconds_left is not None and state.seconds_left >= 0


def test_the_learning_rate_falls_along_half_a_cosine(digits: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    part = digits.train.take(slice(0, 80))
    rates: list[float] = []
    step = torch.optim.SGD.step

    def spy(self: torch.optim.SGD, *arguments: object) -> object:
        rates.append(self.param_groups[0]["lr"])
        return step(self, *arguments)

    monkeypatch.setattr(torch.optim.SGD, "step", spy)
    config = TrainConfig(epochs=4, batch=32, learning_rate=0.2)
    train(build_model(network("digits_cnn")), part, validation=part, config=config)
    assert rates == pytest.approx([0.1 * (1 + math.cos(math.pi * index / 12)) for index in range(12)])


def test_images_move_by_at_most_the_given_pixels() -> None:
    # Only shifts can make these two differ, as the samples are one single image over and over.
    image = np.zeros((64, 1, 8, 8), dtype=np.uint8)
    image[:, :, 3:5, 3:5] = 200
    samples = Samples(image, np.arange(64) % 10)
    digests = set()
    for most in (0, 1):
        model = build_model(network("digits_cnn"))
        train(model, samples, validation=samples, config=TrainConfig(epochs=1, shift=most))
        digests.add(digest(model))
    assert len(digests) == 2


def test_a_diverging_training_says_so(digits: Dataset) -> None:
    part = digits.train.take(slice(0, 64))
    with pytest.raises(UserError, match=r"training diverged in epoch \d+; try a learning rate below 1e\+30"):
        train(
            build_model(network("digits_cnn")),
            part,
            validation=part,
            config=TrainConfig(epochs=3, learning_rate=1e30),
        )


def test_the_weights_are_those_of_the_first_release(digits: Dataset[Samples]) -> None:
    """The recipe written out anew: README's quickstart figures follow from its random numbers and order of sums."""
    part = digits.train.take(slice(0, 90))
    config = TrainConfig(epochs=2, batch=32, seed=5)
    model = build_model(network("digits_cnn"))
    train(model, part, validation=digits.validation.take(slice(0, 9)), config=config)

    other = build_model(network("digits_cnn"))
    threads = torch.get_num_threads()
    with torch.random.fork_rng(devices=[]):
        torch.set_num_threads(1)
        torch.manual_seed(5)
        for module in other.modules():
            reset = getattr(module, "reset_parameters", None)
            if callable(reset):
                reset()
        generator = torch.Generator().manual_seed(5)
        optimizer = torch.optim.SGD(other.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 6)
        other.train()
        for _ in range(2):
            order = torch.randperm(90, generator=generator)
            for batch in (order[:32], order[32:64], order[64:]):
                offsets = torch.randint(0, 3, (2, len(batch)), generator=generator)
                images = torch.zeros(len(batch), 8, 8, 1).permute(0, 3, 1, 2)
                for index, which in enumerate(batch.tolist()):
                    padded = np.pad(part.images[which, 0], 1)
                    row, column = offsets[:, index].tolist()
                    images[index, 0] = torch.from_numpy(padded[row : row + 8, column : column + 8] / 256)
                loss = nn.functional.cross_entropy(other(images).flatten(1), torch.from_numpy(part.labels)[batch])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
        torch.set_num_threads(threads)
    assert digest(model) == digest(other)


def test_a_last_batch_of_one_sample_is_left_out_but_counts_as_a_step() -> None:
    data = toy_data(train=33)
    told: list[Progress] = []
    Trainer(toy_model(), data, TrainConfig(epochs=2, batch=16), progress=told.append).run()
    assert [state.step for state in told if state.result is not None] == [3, 6]


@pytest.mark.parametrize("samples, batch, what", [(1, 16, "1 sample"), (8, 1, "a batch of 1")])
def test_too_few_samples(samples: int, batch: int, what: str) -> None:
    with pytest.raises(UserError, match=f"batch norm cannot train on {what}; take at least 2"):
        Trainer(toy_model(), toy_data(train=samples), TrainConfig(batch=batch))


def test_weights_that_the_model_has_are_kept_where_asked() -> None:
    config = TrainConfig(epochs=1, learning_rate=1e-30, weight_decay=0)
    model, other = toy_model(1), toy_model(1)
    before = weight(other, "1")
    Trainer(model, toy_data(), config, initialise=False).run()
    assert torch.equal(weight(model, "1"), before)
    Trainer(model, toy_data(), config).run()
    assert not torch.equal(weight(model, "1"), before)


def test_best_weights_are_kept_where_asked() -> None:
    data = toy_data()
    config = TrainConfig(epochs=8, batch=8, learning_rate=0.3, seed=1)
    results = {}
    for keep in ("last", "best"):
        model = toy_model()
        result = Trainer(model, data, replace(config, keep=keep)).run()
        measured = [epoch.validation_metric for epoch in result.epochs]
        assert result.best_epoch == 1 + measured.index(max(measured))
        assert accuracy(model, data.validation) == result.kept.validation_metric
        results[keep] = result
    assert results["best"].kept_epoch == results["best"].best_epoch < results["last"].kept_epoch == 8
    assert results["best"].kept.validation_metric > results["last"].kept.validation_metric


def test_averaged_weights_are_what_is_measured_and_kept() -> None:
    # A decay next to 1 follows the schedule (1 + n) / (10 + n) of the start.
    data, model = toy_data(), toy_model()
    seen: list[torch.Tensor] = []

    class Watch(ToyExtension):
        def after_step(self) -> None:
            seen.append(weight(model, "6").clone())

    extension = Watch(model)
    result = Trainer(model, data, TrainConfig(epochs=2, batch=10, ema=0.999), extension=extension).run()
    # What the weights started from weighs the product of the decays; it is found from the others.
    decays = [(1 + step) / (10 + step) for step in range(1, 11)]
    assert len(seen) == 10
    average = torch.zeros_like(seen[0]).double()
    for decay, value in zip(decays[1:], seen[1:], strict=True):
        average = decay * average + (1 - decay) * value.double()
    rest = weight(model, "6").double() - average
    share = math.prod(decays[1:])
    start = seen[0].double() * (1 - decays[0])
    first = (rest / share - start) / decays[0]
    assert torch.allclose(first, initial_weights(0).double(), atol=1e-3)
    assert accuracy(model, data.validation) == result.kept.validation_metric


def weight(model: nn.Module, name: str) -> torch.Tensor:
    """Weights of a layer of the toy model."""
    return model.state_dict()[f"{name}.weight"]


def initial_weights(seed: int) -> torch.Tensor:
    """The last layer's weights as the trainer draws them."""
    model = toy_model(9)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for module in model.modules():
            reset = getattr(module, "reset_parameters", None)
            if callable(reset):
                reset()
    return weight(model, "6")


def test_an_extension_moves_its_own_parameters_alone() -> None:
    data, config = toy_data(), TrainConfig(epochs=12, batch=10, weight_decay=0.5)
    model = toy_model()
    extension = ToyExtension(model)
    result = Trainer(model, data, config, extension=extension).run()
    # The penalty pulls the scale to 2 against nothing but a small gradient of the loss; decay would hold it below 1.
    assert extension.scale.min() > 1.3
    assert extension.steps == 60
    assert result.epochs[-1].facts == {"scale": pytest.approx(float(extension.scale.detach().mean())), "steps": 60.0}
    assert result.epochs[0].penalty > result.epochs[-1].penalty > 0


def test_parameters_of_the_model_that_an_extension_owns_are_left_alone() -> None:
    model = toy_model()
    norm = model.get_submodule("2")

    class Owner(ToyExtension):
        def own_parameters(self) -> list[nn.Parameter]:
            return list(norm.parameters())

        def optimizers(self, steps: int) -> list[tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]]:
            return []

    config = TrainConfig(epochs=2, batch=10, ema=0.5)
    Trainer(model, toy_data(), config, extension=Owner(model)).run()
    # Batch norm starts with these; neither a gradient nor decay nor an average has moved them.
    assert model.state_dict()["2.weight"].tolist() == [1.0] * 4
    assert model.state_dict()["2.bias"].tolist() == [0.0] * 4


def test_learned_steps_are_not_decayed() -> None:
    # All gradients vanish, so only decay could move a step; it does move the weights.
    class Nothing(Classification):
        def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
            return outputs.sum() * 0

    model = toy_model(quantizer="lsq")
    first: dict[str, torch.Tensor] = {}

    class Watch(ToyExtension):
        def after_step(self) -> None:
            first.update({} if first else {name: value.clone() for name, value in model.state_dict().items()})

    config = TrainConfig(epochs=2, batch=10, weight_decay=0.5)
    Trainer(model, toy_data(), config, task=Nothing(), extension=Watch(model)).run()
    state = model.state_dict()
    steps = [name for name in state if name.endswith(".step")]
    assert len(steps) == 3
    assert all(torch.equal(state[name], first[name]) for name in steps)
    assert float(state["1.weight"].abs().sum()) < 0.99 * float(first["1.weight"].abs().sum())


def test_the_penalty_is_logged_in_the_mean_over_the_steps() -> None:
    class Still(ToyExtension):
        def optimizers(self, steps: int) -> list[tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]]:
            return []

    model = toy_model()
    result = Trainer(model, toy_data(), TrainConfig(epochs=1, batch=10), extension=Still(model)).run()
    # Four scales stay at 1, so the penalty of step n is 4 * (0.1 + 0.01 n), n = 0..4.
    assert result.epochs[0].penalty == pytest.approx(4 * (0.1 + 0.01 * 2))


def test_a_student_follows_its_teacher() -> None:
    data = toy_data(train=120, validation=60)
    teacher = toy_model(1)
    Trainer(teacher, data, TrainConfig(epochs=10, batch=20)).run()
    # Labels that say nothing: only the teacher can teach.
    noise = Samples(data.train.images, np.zeros_like(data.train.labels))
    blind = Dataset(name="b", train=noise, validation=data.validation, test=data.test, class_names=data.class_names)
    config = TrainConfig(epochs=10, batch=20, distill_weight=1.0, distill_temperature=2.0)
    student = toy_model(2)
    result = Trainer(student, blind, config, teacher=teacher).run()
    assert accuracy(teacher, data.validation) > 0.9
    assert result.kept.validation_metric > 0.8
    assert not teacher.training


def test_warmup_rises_and_then_falls(monkeypatch: pytest.MonkeyPatch) -> None:
    rates: list[float] = []
    step = torch.optim.SGD.step

    def spy(self: torch.optim.SGD, *arguments: object) -> object:
        rates.append(self.param_groups[0]["lr"])
        return step(self, *arguments)

    monkeypatch.setattr(torch.optim.SGD, "step", spy)
    config = TrainConfig(epochs=2, batch=10, learning_rate=0.8, warmup=3)
    Trainer(toy_model(), toy_data(), config).run()
    assert rates == pytest.approx([0.2, 0.4, 0.6] + [0.4 * (1 + math.cos(math.pi * index / 7)) for index in range(7)])


def test_bf16_learns_too() -> None:
    data = toy_data(train=120)
    full, half = (
        Trainer(toy_model(), data, TrainConfig(epochs=6, batch=20, precision=precision)).run()
        for precision in ("float32", "bf16")
    )
    assert half.kept.loss == pytest.approx(full.kept.loss, abs=0.1)
    assert half.kept.loss != full.kept.loss


@pytest.mark.parametrize(
    "options, message",
    [
        ({"config": TrainConfig(distill_weight=0.5)}, "teacher must be given where distill_weight is above 0"),
        ({"teacher": nn.Identity()}, "teacher must be given where distill_weight is above 0"),
        ({"config": TrainConfig(label_smoothing=0.1), "task": Classification()}, "label_smoothing must be the task's"),
    ],
)
def test_parts_that_do_not_fit(options: dict[str, Any], message: str) -> None:
    arguments = {"config": TrainConfig(), **options}
    with pytest.raises(ValueError, match=message):
        Trainer(toy_model(), toy_data(), arguments.pop("config"), **arguments)


def test_a_device_that_is_not_there() -> None:
    for name, message in (("tpu", "device must be cpu, cuda or cuda:N, not tpu"), ("cuda:x", "device must be")):
        with pytest.raises(UserError, match=message):
            Trainer(toy_model(), toy_data(), TrainConfig(), device=name).run()
    if not torch.cuda.is_available():
        with pytest.raises(UserError, match="device cuda is not there: PyTorch finds no GPU; take the device cpu"):
            Trainer(toy_model(), toy_data(), TrainConfig(), device="cuda").run()


@pytest.mark.gpu
@pytest.mark.parametrize("compiled", [False, True])
def test_a_gpu_learns_the_same(compiled: bool, tmp_path: Path) -> None:
    data = toy_data(train=120)
    config = TrainConfig(epochs=6, batch=20, precision="bf16", compile=compiled, ema=0.5)
    cpu = Trainer(toy_model(), data, replace(config, precision="float32", compile=False)).run()
    gpu = Trainer(toy_model(), data, config, device="cuda", run_dir=tmp_path).run()
    assert gpu.kept.loss == pytest.approx(cpu.kept.loss, abs=0.2)
    assert Trainer(toy_model(), data, config, device="cuda", run_dir=tmp_path).run() == gpu


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_the_integer_network_reaches_96_percent(digits: Dataset, seed: int, tmp_path: Path) -> None:
    model, _ = trained(digits, seed=seed)
    report = measure_conversion(model, digits.test)
    report.write(tmp_path)
    report.check()
    assert integer_accuracy(model, digits.test) >= 0.96
