"""Data sets by name, factories of users, and options that do not fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mixq.data import load_dataset
from mixq.errors import UserError
from tests.mixq.data.cifar10_files import write_batches

FACTORY = """
import numpy as np
from mixq.data import Dataset, Samples

def blank(*, count=2, root=None, progress=None):
    if progress is not None:
        progress(count, count)
    if count < 1:
        raise ValueError(f"count must be positive, not {count!r}")
    part = Samples(np.zeros((count, 1, 2, 2), np.uint8), np.zeros(count, np.int64))
    return Dataset(name=str(root), train=part, validation=part, test=part, class_names=("a",))

def nothing():
    return None

def broken():
    return {}["key"]

number = 5
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Name of an importable module with factories."""
    (tmp_path / "factories_of_a_user.py").write_text(FACTORY)
    (tmp_path / "module_with_an_error.py").write_text("import nothing_of_this_name")
    monkeypatch.syspath_prepend(tmp_path)
    return "factories_of_a_user"


def refusal(name: str, **keywords: Any) -> str:
    with pytest.raises(UserError) as raised:
        load_dataset(name, **keywords)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_built_in_sets(tmp_path: Path) -> None:
    pytest.importorskip("sklearn.datasets")
    assert load_dataset("digits").name == "digits"
    write_batches(tmp_path / "cifar-10-batches-py")
    data = load_dataset("cifar10", root=tmp_path, options={"train_size": 33})
    assert (data.name, len(data.train)) == ("cifar10", 33)


def test_a_factory(module: str) -> None:
    told: list[tuple[int, int]] = []
    data = load_dataset(
        f"{module}:blank",
        root="some/where",
        options={"count": 4},
        progress=lambda done, total: told.append((done, total)),
    )
    assert (data.name, len(data.test)) == (str(Path("some/where")), 4)
    assert told == [(4, 4)]
    assert load_dataset(f"{module}:blank").name == "None"


def test_faults(module: str) -> None:
    assert refusal("imagenet") == (
        "there is no data set 'imagenet'; give digits, cifar10, dacsdc or package.module:factory"
    )
    for name in ("cifar10", "dacsdc"):
        assert refusal(name) == (
            f"data set {name}: the path of the data is needed; docs/data.md says where to get them"
        )
    assert refusal("digits", root="x") == "data set digits: comes with a package and takes no path; remove 'x'"
    assert refusal("cifar10", root="x", options={"root": "y"}) == (
        "data set cifar10: 'root' cannot be an option; remove it"
    )
    assert refusal("cifar10", root="x", options={"size": 1}) == (
        "data set cifar10: got an unexpected keyword argument 'size'; its options are train_size, validation_size, seed"
    )
    assert refusal("cifar10", root="x", options={"train_size": "all"}) == (
        "data set cifar10: train_size must be an integer, not 'all'"
    )
    assert refusal("no_such_module:f") == (
        "data set no_such_module:f: cannot import no_such_module (ModuleNotFoundError: No module named "
        "'no_such_module'); install it, or put its folder on PYTHONPATH"
    )
    assert "No module named 'nothing_of_this_name'" in refusal("module_with_an_error:f")
    assert refusal(":f").startswith("data set :f: cannot import ")
    for function in ("number", "none", ""):
        assert refusal(f"{module}:{function}") == (
            f"data set {module}:{function}: {module} has no function {function!r}; check the name"
        )
    assert refusal(f"{module}:nothing") == (f"data set {module}:nothing: must return a mixq.data.Dataset, not NoneType")
    assert refusal(f"{module}:broken") == f"data set {module}:broken: KeyError: 'key'"
    assert refusal(f"{module}:blank", options={"count": 0}) == (
        f"data set {module}:blank: count must be positive, not 0"
    )
    assert refusal(f"{module}:nothing", root="x") == (
        f"data set {module}:nothing: got an unexpected keyword argument 'root'; its options are none"
    )


def test_the_example_in_the_documentation(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (root / "docs" / "data.md").read_text()
    code = page.partition("```python\n")[2].partition("```")[0]
    (tmp_path / "example_in_the_documentation.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    data = load_dataset("example_in_the_documentation:blobs", options={"count": 30})
    assert (data.name, len(data.train), len(data.validation), len(data.test)) == ("blobs", 10, 10, 10)
