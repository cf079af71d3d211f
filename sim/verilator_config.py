"""Which signals Verilator keeps for the benches to read, besides the ports of the top module."""

from __future__ import annotations

from pathlib import Path

from sim.deadlock import SIGNALS

NAME = "public.vlt"


def public(module: str) -> str:
    """The text of a configuration that keeps the signals of :mod:`rtl_gen.handshakes` in ``module``."""
    lines = [f'public_flat_rd -module "{module}" -var "{name}"' for name in SIGNALS.values()]
    return "\n".join(["`verilator_config", *lines, ""])


def write_public(folder: Path, module: str) -> Path:
    """Write :func:`public` into a folder; returns the file."""
    path = folder / NAME
    path.write_text(public(module))
    return path
