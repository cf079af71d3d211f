"""Which signals Verilator keeps for the benches to read, besides the ports of the top module."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sim.deadlock import SIGNALS

NAME = "public.vlt"


def public(module: str, *, more: Sequence[str] = ()) -> str:
    """The text of a configuration that keeps the signals of :mod:`rtl_gen.handshakes` in ``module``, and ``more``."""
    lines = [f'public_flat_rd -module "{module}" -var "{name}"' for name in (*SIGNALS.values(), *more)]
    return "\n".join(["`verilator_config", *lines, ""])


def traced(scopes: Sequence[tuple[str, int]]) -> str:
    """The text of a configuration that traces these scopes alone, each with so many levels, 0 for all below it."""
    lines = ['tracing_off -scope "*"']
    lines += [f'tracing_on -scope "{scope}" -levels {levels}' for scope, levels in scopes]
    return "\n".join(["`verilator_config", *lines, ""])


def write_public(folder: Path, module: str, *, more: Sequence[str] = ()) -> Path:
    """Write :func:`public` into a folder; returns the file."""
    path = folder / NAME
    path.write_text(public(module, more=more))
    return path
