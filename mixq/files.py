"""Files that survive: atomic writes, and strict readers of YAML and JSON.

A reader never trusts what it reads: the size and the depth are bounded, YAML is loaded by a safe loader
that refuses aliases and duplicate keys, and whatever is wrong ends in one :class:`UserError` that names
the file.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import tempfile
from collections.abc import Hashable, Iterator
from pathlib import Path
from typing import Any

import yaml

from mixq.errors import UserError

MAX_TEXT_BYTES = 16 << 20
MAX_DEPTH = 40


def write_atomic(path: str | os.PathLike[str], data: bytes | str) -> None:
    """Write ``data`` (text as UTF-8, else escaped) to ``path``; a reader sees the old file or the new one, whole.

    The bytes go into a new file beside ``path``, are flushed to the disk, and then renamed. The folder
    must exist. UserError when the system refuses (no folder, no space, no permission) or ``path`` is no
    regular file, such as a device; the old file is then untouched and nothing is left beside it.
    """
    target = Path(path)
    # A rename would put a file in the place of a device, /dev/null for all programs of the machine.
    if os.path.exists(target) and not os.path.isfile(target):
        raise UserError(f"cannot write {target}: it is no regular file; give the path of a file")
    content = data.encode("utf-8", "backslashreplace") if isinstance(data, str) else data
    temporary: str | None = None
    try:
        handle, temporary = tempfile.mkstemp(prefix=f".{target.name[:100]}.", suffix=".tmp", dir=target.parent)
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
            stream.flush()
            # mkstemp makes the file private; a result is as readable as any other new file.
            os.fchmod(stream.fileno(), 0o666 & ~_umask())
            os.fsync(stream.fileno())
        os.replace(temporary, target)
        temporary = None
        _sync_folder(target.parent)
    except OSError as error:
        raise UserError(f"cannot write {target}: {error.strerror or error}") from error
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):
                os.unlink(temporary)


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _sync_folder(folder: Path) -> None:
    """Make the rename itself durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def read_bytes(path: str | os.PathLike[str], *, max_bytes: int = MAX_TEXT_BYTES) -> bytes:
    """Return the content of a regular file of at most ``max_bytes`` bytes; UserError otherwise."""
    source = Path(path)
    try:
        if not source.is_file():
            raise UserError(f"{source}: no such file" if not source.exists() else f"{source}: not a file")
        with source.open("rb") as stream:
            data = stream.read(max_bytes + 1)
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read {source}: {getattr(error, 'strerror', None) or error}") from error
    if len(data) > max_bytes:
        raise UserError(f"{source}: larger than {max_bytes} bytes; this is not a file of the expected kind")
    return data


def read_text(path: str | os.PathLike[str], *, max_bytes: int = MAX_TEXT_BYTES) -> str:
    """Return the UTF-8 text of a file of at most ``max_bytes`` bytes; UserError otherwise."""
    try:
        return read_bytes(path, max_bytes=max_bytes).decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text (byte {error.start})") from error


_BOOL = re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$")
_FLOAT = re.compile(
    r"^(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"
)
_INT = re.compile(r"^(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)$")
_NULL = re.compile(r"^(?:~|null|Null|NULL|)$")


def _core_schema_resolvers() -> dict[str | None, list[tuple[str, re.Pattern[str]]]]:
    """Plain scalars by YAML 1.2's core schema: ``on`` stays text and ``1e3`` is a number."""
    table: dict[str | None, list[tuple[str, re.Pattern[str]]]] = {}
    for tag, pattern, first in (
        ("bool", _BOOL, "tTfF"),
        ("int", _INT, "-+0123456789"),
        ("float", _FLOAT, "-+0123456789."),
        ("null", _NULL, ["~", "n", "N", ""]),
    ):
        for character in first:
            table.setdefault(character, []).append((f"tag:yaml.org,2002:{tag}", pattern))
    return table


class _Loader(yaml.SafeLoader):
    """Safe loader of YAML 1.2's core schema without aliases and duplicate keys, of bounded depth."""

    yaml_implicit_resolvers = _core_schema_resolvers()

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise self._refusal("aliases are not allowed")
        if self._depth >= MAX_DEPTH:
            raise self._refusal(f"nested deeper than {MAX_DEPTH} levels")
        self._depth += 1
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def _refusal(self, problem: str) -> yaml.MarkedYAMLError:
        event: Any = self.peek_event()
        return yaml.MarkedYAMLError(problem=problem, problem_mark=event.start_mark)

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        text = str(self.construct_scalar(node))
        if len(text) > 40:
            raise yaml.MarkedYAMLError(problem="integer too long", problem_mark=node.start_mark)
        return int(text, 0) if text[:2] in ("0o", "0x") else int(text)

    def construct_yaml_float(self, node: yaml.ScalarNode) -> float:
        # float() reads "inf" and "nan" without YAML's leading point.
        text = str(self.construct_scalar(node)).lower()
        return float(text.replace(".inf", "inf").replace(".nan", "nan"))

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Hashable] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, Hashable):
                raise yaml.MarkedYAMLError(problem="a key must be a plain value", problem_mark=key_node.start_mark)
            if key in seen:
                raise yaml.MarkedYAMLError(problem=f"key {key!r} stands twice", problem_mark=key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep=deep)


_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_yaml_int)
_Loader.add_constructor("tag:yaml.org,2002:float", _Loader.construct_yaml_float)


class _Dumper(yaml.SafeDumper):
    """Safe dumper of the same schema: text that the loader would take for a number is quoted."""

    yaml_implicit_resolvers = _core_schema_resolvers()

    def ignore_aliases(self, data: Any) -> bool:
        return True


KeyPath = tuple[str | int, ...]
"""Where a value stands in a document: keys of dicts, as text, and places in lists, from the outside in."""


def load_yaml(path: str | os.PathLike[str], *, max_bytes: int = 1 << 20) -> Any:
    """Return the one YAML document of a file: dicts, lists, text, numbers, bools and None.

    YAML 1.2's core schema (``on`` and ``yes`` are text, ``1e3`` is a number). UserError, with the line
    where there is one, for a file that cannot be read, is larger than ``max_bytes``, is not YAML, holds
    an alias, a duplicate key or a tag of its own, or is nested deeper than 40 levels.
    """
    return load_yaml_lines(path, max_bytes=max_bytes)[0]


def load_yaml_lines(path: str | os.PathLike[str], *, max_bytes: int = 1 << 20) -> tuple[Any, dict[KeyPath, int]]:
    """Return the document as `load_yaml` does, and the line, from 1, of every key and of every entry of a list."""
    text = read_text(path, max_bytes=max_bytes)
    try:
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            if node is None:
                return None, {}
            return loader.construct_document(node), dict(_lines(node, ()))
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"{path}, line {mark.line + 1}" if mark is not None else f"{path}"
        raise UserError(f"{where}: {error.problem}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from error


def _lines(node: yaml.Node, path: KeyPath) -> Iterator[tuple[KeyPath, int]]:
    """Path and line of everything below ``node``, which stands at ``path``."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            own = (*path, str(key.value))
            yield own, key.start_mark.line + 1
            yield from _lines(value, own)
    elif isinstance(node, yaml.SequenceNode):
        for place, value in enumerate(node.value):
            yield (*path, place), value.start_mark.line + 1
            yield from _lines(value, (*path, place))


def dump_yaml(obj: Any) -> str:
    """Return ``obj`` (dicts, lists, text, numbers, bools, None) as YAML in the given order of keys.

    ``load_yaml`` of the text gives an equal object. TypeError for any other kind of object.
    """
    try:
        return yaml.dump(obj, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)
    except yaml.representer.RepresenterError as error:
        raise TypeError(f"obj must hold plain values only, not {error.args[-1]!r}") from error


def write_json(path: str | os.PathLike[str], obj: Any) -> None:
    """Write ``obj`` as indented JSON, keys in the given order, atomically; NaN is a ValueError."""
    write_atomic(path, json.dumps(obj, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: str | os.PathLike[str], *, max_bytes: int = MAX_TEXT_BYTES) -> Any:
    """Return the JSON document of a file; UserError for anything but well-formed JSON.

    Duplicate keys and NaN or infinite numbers are refused too.
    """
    text = read_text(path, max_bytes=max_bytes)
    try:
        return json.loads(text, object_pairs_hook=_unique_keys, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        raise UserError(f"{path}, line {error.lineno}: not valid JSON: {error.msg}") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not valid JSON: {error}") from error


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, value in pairs:
        if key in result:
            raise ValueError(f"key {key!r} stands twice")
        result[key] = value
    return result


def _no_constant(text: str) -> Any:
    raise ValueError(f"{text} is not a JSON number")
