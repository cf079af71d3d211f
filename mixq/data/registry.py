"""Data sets by name: those of MixQ, and any function that makes one."""

from __future__ import annotations

import importlib
import inspect
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mixq.data.dataset import Dataset
from mixq.errors import UserError

#: Name -> module and function, and whether it reads files.
_BUILT_IN = {
    "digits": ("mixq.data.digits", "load_digits", False),
    "cifar10": ("mixq.data.cifar10", "load_cifar10", True),
    "dacsdc": ("mixq.data.dacsdc", "load_dacsdc", True),
}

NAMES = tuple(_BUILT_IN)
"""The data sets that MixQ has loaders for."""

Progress = Callable[[int, int], None]


def load_dataset(
    name: str,
    *,
    root: str | os.PathLike[str] | None = None,
    options: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> Dataset[Any]:
    """Load a data set by its name.

    Parameters:
        name: "digits", "cifar10", "dacsdc", or "package.module:factory", a function that returns a
            `Dataset`. The module must be importable: installed, or in a folder on PYTHONPATH.
        root: file or folder of the data; needed by "cifar10" and "dacsdc", not taken by "digits". A
            factory gets it as its parameter ``root``, if it is given.
        options: further keyword arguments of the function, plain values.
        progress: called with images read and images in all, if the function has a parameter of that name.

    Raises:
        UserError: no such name or function, options that it does not take or refuses, or whatever fails in it.
    """
    chosen = dict(options or {})
    wrong = [key for key in chosen if not isinstance(key, str) or key in ("root", "progress")]
    if wrong:
        raise UserError(f"data set {name}: {wrong[0]!r} cannot be an option; remove it")
    if name in _BUILT_IN:
        module, function, reads_files = _BUILT_IN[name]
        if reads_files and root is None:
            raise UserError(f"data set {name}: the path of the data is needed; docs/data.md says where to get them")
        if not reads_files and root is not None:
            raise UserError(f"data set {name}: comes with a package and takes no path; remove {os.fspath(root)!r}")
        loader = getattr(importlib.import_module(module), function)
    elif ":" in name:
        loader = _factory(name)
    else:
        raise UserError(f"there is no data set {name!r}; give {', '.join(NAMES)} or package.module:factory")
    if root is not None:
        chosen["root"] = Path(root)
    return _call(name, loader, chosen, progress)


def _factory(name: str) -> Callable[..., Any]:
    module_name, _, function = name.partition(":")
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # somebody else's code runs here
        raise UserError(
            f"data set {name}: cannot import {module_name} ({_reason(error)}); "
            "install it, or put its folder on PYTHONPATH"
        ) from error
    factory = getattr(module, function, None)
    if not callable(factory):
        raise UserError(f"data set {name}: {module_name} has no function {function!r}; check the name")
    return factory


def _call(name: str, loader: Callable[..., Any], chosen: dict[str, Any], progress: Progress | None) -> Dataset[Any]:
    try:
        signature = inspect.signature(loader)
        if progress is not None and "progress" in signature.parameters:
            chosen["progress"] = progress
        signature.bind(**chosen)
    except (TypeError, ValueError) as error:
        known = [key for key in _parameters(loader) if key not in ("root", "progress")]
        raise UserError(f"data set {name}: {error}; its options are {', '.join(known) or 'none'}") from None
    try:
        dataset = loader(**chosen)
    except UserError:
        raise
    except Exception as error:  # a wrong value of an option, or a fault in somebody else's function
        raise UserError(f"data set {name}: {_reason(error)}") from error
    if not isinstance(dataset, Dataset):
        raise UserError(f"data set {name}: must return a mixq.data.Dataset, not {type(dataset).__name__}")
    return dataset


def _parameters(loader: Callable[..., Any]) -> tuple[str, ...]:
    try:
        return tuple(inspect.signature(loader).parameters)
    except (TypeError, ValueError):
        return ()


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split())[:200]
    return text if isinstance(error, TypeError | ValueError) and text else f"{type(error).__name__}: {text}"
