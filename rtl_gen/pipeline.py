"""Registers between the steps of a pipeline."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Shape, Signal


def delayed(m: Module, value: Any, cycles: int, *, name: str, reset: bool = False) -> Any:
    """Return ``value`` after ``cycles`` registers (0: ``value`` itself).

    ``name`` names the registers; ``reset`` says whether a reset clears them (valid bits) or leaves them
    alone (data, which then needs no reset wire).
    """
    for cycle in range(cycles):
        register = Signal(_shape(value), name=f"{name}_{cycle + 1}", reset_less=not reset)
        m.d.sync += register.eq(value)
        value = register
    return value


def _shape(value: Any) -> Shape:
    return value.shape()
