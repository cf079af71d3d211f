"""The trainer: learns, repeats itself bit for bit, and leaves nothing changed behind it."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path

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
from mixq.training import EpochResult, TrainConfig, accuracy, real_images, train


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


def digest(model: nn.Module) -> str:
    state = b"".join(value.numpy().tobytes() for value in model.state_dict().values())
    return hashlib.sha256(state).hexdigest()


def test_two_epochs_learn_and_convert(digits: Dataset) -> None:
    model, results = trained(digits, epochs=2)
    assert [result.epoch for result in results] == [1, 2]
    assert results[1].loss < results[0].loss < np.log(10)
    assert results[1].train_accuracy > results[0].train_accuracy
    assert results[1].validation_accuracy == accuracy(model, digits.validation)
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
    told: list[EpochResult] = []
    results = train(
        build_model(network("digits_cnn")), part, validation=part, config=TrainConfig(epochs=3), progress=told.append
    )
    assert tuple(told) == results
    assert len(told) == 3


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
        train(model, samples, validation=samples, config=TrainConfig(epochs=1, max_shift=most))
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


def test_accuracy_counts_right_answers() -> None:
    class Brightest(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return images.flatten(1)

    images = np.zeros((5, 1, 1, 3), dtype=np.uint8)
    images[np.arange(5), 0, 0, [0, 1, 2, 1, 0]] = 255
    samples = Samples(images, np.array([0, 1, 2, 0, 2]))
    assert accuracy(Brightest(), samples, batch=2) == 0.6
    assert real_images(samples).max() == 255 / 256


@pytest.mark.parametrize(
    "name, value, message",
    [
        ("epochs", 0, "epochs must be positive, not 0"),
        ("batch", 0, "batch must be positive, not 0"),
        ("threads", -1, "threads must be positive, not -1"),
        ("momentum", -0.1, "momentum must not be negative, not -0.1"),
        ("max_shift", -1, "max_shift must not be negative, not -1"),
        ("learning_rate", 0.0, "learning_rate must be positive, not 0.0"),
        ("learning_rate", float("nan"), "learning_rate must be positive, not nan"),
    ],
)
def test_wrong_recipes(name: str, value: float, message: str) -> None:
    with pytest.raises(ValueError) as raised:
        TrainConfig(**{name: value})  # type: ignore[arg-type]
    assert str(raised.value) == message


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_the_integer_network_reaches_96_percent(digits: Dataset, seed: int, tmp_path: Path) -> None:
    model, _ = trained(digits, seed=seed)
    report = measure_conversion(model, digits.test)
    report.write(tmp_path)
    report.check()
    assert integer_accuracy(model, digits.test) >= 0.96
