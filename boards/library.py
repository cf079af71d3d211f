"""Boards by name: each is a file in ``boards/data``, or one of the user's own."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from mixq.board import REPORT_KEYS, Board, Resources, VivadoBoard
from mixq.errors import UserError
from mixq.files import load_yaml

_DATA = Path(__file__).parent / "data"
_DEVICES = ("dsp48e1", "dsp48e2")
_REQUIRED = ("name", "part", "device", "resources", "dsp_columns", "dsp_column_height", "clock_mhz")
_OPTIONAL = ("description", "aliases", "dsp_clock_mhz", "vivado")
_VIVADO = ("ps", "board_part", "dma_bits")


def board_names() -> tuple[str, ...]:
    """Return the names of the boards that come with the package, sorted."""
    return tuple(sorted(path.stem for path in _DATA.glob("*.yaml")))


def load_board(name_or_path: str | os.PathLike[str]) -> Board:
    """Return the board of a name, or of a board file of one's own.

    A text that ends in ``.yaml`` or ``.yml`` or holds a ``/`` is a path. A name may be any of the board's aliases;
    upper and lower case, hyphens, underscores and blanks make no difference: "ultra96-v2", "Ultra96_V2".

    Raises: UserError for a name that no board has, and for a file that is no board, with the file and the key.

    >>> load_board("Ultra96-V2").resources.dsp
    360
    """
    text = os.fspath(name_or_path)
    if text.endswith((".yaml", ".yml")) or "/" in text:
        return read_board(Path(text))
    for name in board_names():
        board = read_board(_DATA / f"{name}.yaml")
        if _plain(text) in {_plain(spelling) for spelling in (board.name, *board.aliases)}:
            return board
    raise UserError(f"no board is named {text!r}; use one of {', '.join(board_names())}, or the path of a board file")


def read_board(path: Path) -> Board:
    """Return the board of a file; UserError, naming the file and the key, when it is not one.

    Keys: ``name``, ``part`` (order code of the device), ``device`` ("dsp48e2" or "dsp48e1"), ``resources`` (LUT, FF,
    DSP, BRAM_36K, URAM, all of them), ``dsp_columns`` and ``dsp_column_height`` (columns times height holds all DSPs),
    ``clock_mhz``; and, where wanted, ``description``, ``aliases`` (a list of other names), ``dsp_clock_mhz``, what the
    device's DSPs can be clocked at, by default that of the slowest grade (:data:`mixq.board.DSP_CLOCK_MHZ`), and
    ``vivado``, of the keys ``ps``, ``board_part`` and ``dma_bits``, all of them (:class:`mixq.board.VivadoBoard`).
    """
    record = _mapping(path, "the file", load_yaml(path), required=_REQUIRED, optional=_OPTIONAL)
    counts = _mapping(path, "resources", record["resources"], required=tuple(REPORT_KEYS.values()))
    resources = Resources(
        **{field: _count(path, f"resources.{key}", counts[key]) for field, key in REPORT_KEYS.items()}
    )
    aliases = record.get("aliases", [])
    if not isinstance(aliases, list):
        raise UserError(f"{path}: aliases must be a list of names, not {aliases!r}")
    device = _text(path, "device", record["device"])
    if device not in _DEVICES:
        raise UserError(f"{path}: device must be one of {', '.join(_DEVICES)}, not {device!r}")
    columns = _count(path, "dsp_columns", record["dsp_columns"])
    height = _count(path, "dsp_column_height", record["dsp_column_height"])
    if columns * height < resources.dsp:
        raise UserError(
            f"{path}: dsp_columns times dsp_column_height must hold {resources.dsp} DSPs, not {columns * height!r}"
        )
    return Board(
        name=_text(path, "name", record["name"]),
        part=_text(path, "part", record["part"]),
        resources=resources,
        dsp_columns=columns,
        dsp_column_height=height,
        clock_mhz=_clock(path, "clock_mhz", record["clock_mhz"]),
        device=device,
        description=_text(path, "description", record["description"]) if "description" in record else "",
        aliases=tuple(_text(path, "aliases", alias) for alias in aliases),
        dsp_clock_mhz=_clock(path, "dsp_clock_mhz", record["dsp_clock_mhz"]) if "dsp_clock_mhz" in record else None,
        vivado=_vivado(path, record["vivado"]) if "vivado" in record else None,
    )


def _vivado(path: Path, value: Any) -> VivadoBoard:
    record = _mapping(path, "vivado", value, required=_VIVADO)
    ps, board_part = (_text(path, f"vivado.{key}", record[key]) for key in ("ps", "board_part"))
    try:
        return VivadoBoard(ps, board_part, record["dma_bits"])
    except ValueError as error:
        raise UserError(f"{path}: vivado.{error}") from None


def _plain(name: str) -> str:
    return re.sub(r"[-_\s]", "", name).casefold()


def _mapping(
    path: Path, label: str, value: Any, *, required: tuple[str, ...], optional: tuple[str, ...] = ()
) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise UserError(f"{path}: {label} must be keys and values, not {value!r}")
    for key in required:
        if key not in value:
            raise UserError(f"{path}: {label} must have the key {key!r}")
    for key in value:
        if key not in (*required, *optional):
            raise UserError(f"{path}: {label} must have no keys but {', '.join((*required, *optional))}, not {key!r}")
    return value


def _text(path: Path, key: str, value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise UserError(f"{path}: {key} must be a text, not {value!r}")
    return value


def _count(path: Path, key: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise UserError(f"{path}: {key} must be a whole number of at least 0, not {value!r}")
    return value


def _clock(path: Path, key: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 2000:
        raise UserError(f"{path}: {key} must be a number above 0 and at most 2000, not {value!r}")
    return float(value)
