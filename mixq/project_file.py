"""Reads a project file: YAML, checked by Pydantic, with one line for whatever is wrong in it.

The line names the file, the line in it, the key, what is wrong and how to mend it. ``quick`` in the file holds changes
to ``data``, ``search`` and ``train`` for a first look at everything; both forms are checked whenever a file is read.
"""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, NoReturn, cast, get_args, get_origin, get_type_hints

import pydantic
import pydantic.dataclasses
from pydantic_core import ErrorDetails

from mixq.build_folder import PROJECT_FILE
from mixq.errors import UserError
from mixq.files import KeyPath, dump_yaml, load_yaml_lines, write_atomic
from mixq.project import Project, merged

QUICK = "quick"
QUICK_SECTIONS = ("data", "search", "train")
"""Sections that ``quick`` may change."""

_HEAD = "# What this build was made from, complete and with absolute paths; mixq test reads it.\n"

# What Pydantic finds of a value, and what the value must be.
_TYPES = {
    "int_type": "an integer",
    "int_from_float": "an integer",
    "float_type": "a number",
    "finite_number": "a finite number",
    "string_type": "a text",
    "path_type": "a path",
    "bool_type": "true or false",
    "tuple_type": "a list, such as [2, 4, 8]",
    "dict_type": "keys with values",
    "dataclass_type": "keys with values",
    "dataclass_exact_type": "keys with values",
    "too_long": "a shorter list",
}


def load_project(path: Path, *, quick: bool = False, seed: int | None = None) -> Project:
    """The project of a file; ``quick`` with the changes that its section ``quick`` makes, ``seed`` instead of its own.

    The root of the data and the path of a board file are relative to the file, and absolute in what is returned.

    Raises:
        UserError: the file cannot be read or is no project, with its line, the key and the way to mend it.
    """
    document, lines = load_yaml_lines(path)
    return _File(path, lines).project(document, quick=quick, seed=seed)


def project_of(document: Mapping[str, Any], *, seed: int | None = None) -> Project:
    """The project of what `Project.document` gave."""
    return _File(Path(PROJECT_FILE), {}).project(dict(document), seed=seed)


def save_project(project: Project, folder: Path) -> None:
    """Write ``project.yaml`` of a build folder."""
    write_atomic(folder / PROJECT_FILE, _HEAD + dump_yaml(project.document()))


class _File:
    """A file with the lines of its keys."""

    def __init__(self, path: Path, lines: Mapping[KeyPath, int]) -> None:
        self._path, self._lines = path, lines

    def project(self, document: Any, *, quick: bool = False, seed: int | None = None) -> Project:
        if not isinstance(document, dict):
            self._refuse((), "this is no project file; make one with: mixq init > project.yaml")
        base = {key: value for key, value in document.items() if key != QUICK}
        changes = self._quick(document.get(QUICK, {}))
        whole = self._checked(base)
        # The quick form is checked even where it is not asked for: a mistake in it is to be found at once.
        shorter = self._checked(merged(base, changes), changed=changes) if changes else whole
        found = shorter if quick else whole
        return self._anchored(found if seed is None else self._seeded(found, seed))

    def _quick(self, changes: Any) -> dict[str, Any]:
        """The section ``quick``, whose own sections are those of a project."""
        if not isinstance(changes, dict):
            self._refuse((QUICK,), f"must hold keys with values, not {changes!r}")
        for key, value in changes.items():
            if key not in QUICK_SECTIONS:
                self._refuse((QUICK, str(key)), _unknown(str(key), QUICK_SECTIONS))
            if not isinstance(value, dict):
                self._refuse((QUICK, str(key)), f"must hold keys with values, not {value!r}")
            if key == "data" and {"name", "root"} & set(value):
                wrong = next(name for name in ("name", "root") if name in value)
                self._refuse((QUICK, key, wrong), "cannot be changed by quick; remove it")
        return changes

    def _checked(self, document: Mapping[str, Any], changed: Mapping[str, Any] | None = None) -> Project:
        for section in ("search", "train"):
            if isinstance(document.get(section), dict) and "seed" in document[section]:
                self._refuse(
                    self._place((section, "seed"), changed), "stands at the top of the file, as seed, for both; move it"
                )
            if isinstance(document.get(section), dict) and document[section].get("distill_weight"):
                place = self._place((section, "distill_weight"), changed)
                self._refuse(place, "needs a teacher, which only mixq.training takes, from Python; remove it")
        try:
            text = json.dumps(document)
        except (TypeError, ValueError) as error:
            raise UserError(f"{self._path}: {error}") from None
        try:
            found = _adapter().validate_json(text)
            return Project(**{own.name: getattr(found, own.name) for own in fields(Project)})
        except pydantic.ValidationError as error:
            self._explain(error.errors(include_url=False)[0], changed)

    def _explain(self, found: ErrorDetails, changed: Mapping[str, Any] | None) -> NoReturn:
        """Raise the UserError for the first thing that Pydantic found."""
        kind, place, value = found["type"], found["loc"], found["input"]
        if kind == "unexpected_keyword_argument":
            section = _section(place[:-1])
            known = [own.name for own in fields(section)] if section is not None else []
            hidden = "seed" if place[:-1] else ""
            extra = [QUICK] if not place[:-1] else []
            names = [name for name in (*known, *extra) if name != hidden]
            self._refuse(self._place(place, changed), _unknown(str(place[-1]), names))
        if kind == "missing":
            self._refuse(self._place(place, changed), "is missing; add it, as mixq init shows")
        if kind == "value_error":
            message = str(found["ctx"]["error"])
            key, _, rest = message.partition(" ")
            section = _section(place)
            named = section is not None and key in {own.name for own in fields(section)}
            self._refuse(self._place((*place, key) if named else place, changed), rest if named else message)
        while place and not self._known(place, changed) and len(place) > 1:
            place = place[:-1]  # behind the key stands which of several types Pydantic tried
        wanted = _TYPES.get(kind, "")
        if kind == "literal_error":
            wanted = str(found["ctx"]["expected"]).replace("'", "")
        elif len(found["loc"]) > len(place):
            wanted = "a text, a number, true or false"
        elif not wanted:
            wanted = f"right ({found['msg']})"
        self._refuse(self._place(place, changed), f"must be {wanted}, not {_shown(value)}")

    def _known(self, place: KeyPath, changed: Mapping[str, Any] | None) -> bool:
        return place in self._lines or (changed is not None and (QUICK, *place) in self._lines)

    def _place(self, place: KeyPath, changed: Mapping[str, Any] | None) -> KeyPath:
        """Where a value of the checked document stands in the file: in ``quick`` where that gives it."""
        inside: Any = changed
        for key in place:
            if not isinstance(inside, Mapping) or key not in inside:
                return place
            inside = inside[key]
            if not isinstance(inside, Mapping):
                break
        return (QUICK, *place)

    def _refuse(self, place: KeyPath, message: str) -> NoReturn:
        line = next((self._lines[place[:end]] for end in range(len(place), 0, -1) if place[:end] in self._lines), None)
        where = f"{self._path}" if line is None else f"{self._path}, line {line}"
        key = "".join(f"[{part + 1}]" if isinstance(part, int) else f".{part}" for part in place).lstrip(".")
        raise UserError(f"{where}: {key}{' ' if key else ''}{message}")

    def _seeded(self, project: Project, seed: int) -> Project:
        try:
            return replace(project, seed=seed)
        except ValueError as error:
            raise UserError(f"--{error}") from None

    def _anchored(self, project: Project) -> Project:
        """The project with absolute paths, and its network known."""
        base = self._path.parent.absolute()
        data, board = project.data, project.board
        if data.root is not None:
            data = replace(data, root=Path(os.path.normpath(base / data.root.expanduser())))
        if board.endswith((".yaml", ".yml")) or "/" in board:
            board = os.path.normpath(base / Path(board).expanduser())
        try:
            project.table()
        except UserError as error:
            key = "network" if project.model is None else "model"
            raise UserError(f"{self.where(key)}: {error}") from error
        if project.layers:
            try:
                project.check_layers()
            except UserError as error:
                raise UserError(f"{self.where('layers')}: {error}") from error
        return replace(project, data=data, board=board)

    def where(self, *place: str | int) -> str:
        """File and line of a key."""
        line = self._lines.get(place)
        return f"{self._path}" if line is None else f"{self._path}, line {line}"


@cache
def _adapter() -> pydantic.TypeAdapter[Project]:
    """The checker: strict types, no other keys, no infinite numbers."""
    config = pydantic.ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)
    # A subclass: the project itself stays a plain dataclass.
    checked = pydantic.dataclasses.dataclass(frozen=True, kw_only=True, config=config)(
        type("Project", (Project,), {"__doc__": Project.__doc__, "__module__": __name__})
    )
    return pydantic.TypeAdapter(cast(type[Project], checked))


def _section(place: KeyPath) -> Any:
    """The dataclass whose keys stand at ``place``; None where keys are free."""
    found: Any = Project
    for key in place:
        if is_dataclass(found):
            found = get_type_hints(found).get(str(key))
        else:
            found = get_args(found)[1] if get_origin(found) is dict else None
    return found if is_dataclass(found) else None


def _unknown(name: str, known: Any) -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return f"is unknown; {f'did you mean {near[0]}?' if near else 'known are ' + ', '.join(known)}"


def _shown(value: Any) -> str:
    text = "null" if value is None else str(value).lower() if isinstance(value, bool) else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
