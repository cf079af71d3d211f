"""Remembers which steps of a longer way were done with which inputs, so that they need not be done again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from mixq.build_folder import BuildFolder
from mixq.errors import UserError
from mixq.files import read_json, write_json

_PACKAGES = ("mixq", "nas", "rtl_gen", "sim", "boards")
_SUFFIXES = {".py", ".v", ".cpp", ".yaml"}


class Steps:
    """The steps that were done in a build folder, kept in its ``steps.json``.

    A step is done again where its inputs, files of the build among them, or MixQ's own code have changed, or where
    what it made is missing.
    """

    def __init__(self, folder: BuildFolder) -> None:
        self._folder = folder

    def is_done(self, name: str, *, settings: Any = None, inputs: Sequence[Path] = (), made: Sequence[Path]) -> bool:
        """Whether the step was last done with these settings and inputs and all that it made is as it was then."""
        key = self._key(settings, inputs, made)
        return key is not None and self._load().get(name) == key

    def record(self, name: str, *, settings: Any = None, inputs: Sequence[Path] = (), made: Sequence[Path]) -> None:
        """Remember that the step has been done."""
        key = self._key(settings, inputs, made)
        if key is None:
            raise ValueError(f"made must name files that are there, not {list(made)!r}")
        write_json(self._folder.steps, {**self._load(), name: key})

    def _load(self) -> dict[str, str]:
        try:
            document = read_json(self._folder.steps)
        except UserError:
            return {}
        return document if isinstance(document, dict) else {}

    def _key(self, settings: Any, inputs: Sequence[Path], made: Sequence[Path]) -> str | None:
        """A hash of everything that matters, None where a file is missing."""
        digests = {}
        for path in (*inputs, *made):
            found = _digest(path)
            if found is None:
                return None
            digests[path.relative_to(self._folder.path).as_posix()] = found
        text = json.dumps([settings, digests, source_digest()], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


@cache
def source_digest() -> str:
    """SHA-256 over the code of MixQ as it is installed."""
    root = Path(__file__).resolve().parents[2]
    digest = hashlib.sha256()
    for package in _PACKAGES:
        for path in sorted((root / package).rglob("*")):
            if path.suffix in _SUFFIXES:
                digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def _digest(path: Path) -> str | None:
    """SHA-256 of a file, or of all files of a folder; None where it is missing."""
    if path.is_dir():
        parts = [f"{child.name} {_digest(child)}" for child in sorted(path.iterdir()) if child.is_file()]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None
