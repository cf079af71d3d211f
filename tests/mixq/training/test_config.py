"""Recipes check themselves."""

from __future__ import annotations

from dataclasses import asdict, fields

import pytest

from mixq.training import TrainConfig


def test_a_recipe_is_made_of_plain_values() -> None:
    values = asdict(TrainConfig())
    assert set(values) == {field.name for field in fields(TrainConfig)}
    assert all(type(value) in (int, float, str, bool) for value in values.values())
    assert TrainConfig(**values) == TrainConfig()


@pytest.mark.parametrize(
    "name, value, message",
    [
        ("epochs", 0, "epochs must be positive, not 0"),
        ("batch", 0, "batch must be positive, not 0"),
        ("threads", -1, "threads must be positive, not -1"),
        ("momentum", -0.1, "momentum must not be negative, not -0.1"),
        ("weight_decay", float("inf"), "weight_decay must be finite, not inf"),
        ("shift", -1, "shift must not be negative, not -1"),
        ("warmup", -2, "warmup must not be negative, not -2"),
        ("learning_rate", 0.0, "learning_rate must be positive, not 0.0"),
        ("learning_rate", float("nan"), "learning_rate must be finite, not nan"),
        ("crop", 1, "crop must be in 0..1, below 1, not 1"),
        ("brightness", 1.1, "brightness must be in 0..1, not 1.1"),
        ("saturation", -1, "saturation must be in 0..1, not -1"),
        ("ema", 1.0, "ema must be in 0..1, below 1, not 1.0"),
        ("label_smoothing", -0.1, "label_smoothing must be in 0..1, below 1, not -0.1"),
        ("distill_weight", 1.5, "distill_weight must be in 0..1, not 1.5"),
        ("distill_temperature", 0.0, "distill_temperature must be positive, not 0.0"),
        ("checkpoint_seconds", -1.0, "checkpoint_seconds must not be negative, not -1.0"),
        ("precision", "fp16", "precision must be float32 or bf16, not 'fp16'"),
        ("keep", "first", "keep must be last or best, not 'first'"),
    ],
)
def test_wrong_values(name: str, value: object, message: str) -> None:
    with pytest.raises(ValueError) as raised:
        TrainConfig(**{name: value})  # type: ignore[arg-type]
    assert str(raised.value) == message


@pytest.mark.parametrize(
    "name, value, message",
    [
        ("epochs", 1.5, "epochs must be an integer, not 1.5"),
        ("seed", True, "seed must be an integer, not True"),
        ("learning_rate", "0.1", "learning_rate must be a number, not '0.1'"),
        ("flip", 1, "flip must be a bool, not 1"),
        ("contrast", "much", "contrast must be a number, not 'much'"),
        ("precision", 16, "precision must be a text, not 16"),
    ],
)
def test_wrong_types(name: str, value: object, message: str) -> None:
    with pytest.raises(TypeError) as raised:
        TrainConfig(**{name: value})  # type: ignore[arg-type]
    assert str(raised.value) == message
