"""``mixq packings``: how densely small multiplications fit a DSP."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from mixq.cli.progress import progress
from mixq.cli.tables import Cell, show_facts, show_table
from mixq.errors import UserError
from mixq.packing import KERNELS, WIDTHS, Packing, solve


def register(app: typer.Typer) -> None:
    """Adds the verb."""
    app.command()(packings)


def packings(
    kernel: Annotated[int | None, typer.Option(metavar="K", help="Kernel size, 1, 3 or 5; 1 also for dense.")] = None,
    weight_bits: Annotated[int | None, typer.Option(metavar="W", help="Weight width, 2 to 8.")] = None,
    act_bits: Annotated[int | None, typer.Option(metavar="A", help="Activation width, 2 to 8.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document instead of tables.")] = False,
    draw: Annotated[bool, typer.Option("--draw", help="Draw the packing lane by lane; takes all three sizes.")] = False,
) -> None:
    """Show how many multiplications one DSP does in a cycle, exactly, for every pair of widths.

    Weights are signed, activations unsigned. Weights of 4 bits and more exclude the most negative code ("narrow").
    """
    kernels = _chosen("--kernel", kernel, KERNELS)
    weights = _chosen("--weight-bits", weight_bits, tuple(WIDTHS))
    acts = _chosen("--act-bits", act_bits, tuple(WIDTHS))
    single = len(kernels) == len(weights) == len(acts) == 1
    if draw and not single:
        raise UserError("--draw draws one packing; give --kernel, --weight-bits and --act-bits too")
    if draw and as_json:
        raise UserError("--draw and --json exclude each other; give one of them")
    cells = [(k, w, a) for k in kernels for w in weights for a in acts]
    found: dict[tuple[int, int, int], Packing] = {}
    with progress("solving packings", len(cells)) as update:
        for number, (k, w, a) in enumerate(cells, 1):
            found[k, w, a] = solve(w, a, k)
            update(number)
    if as_json:
        typer.echo(json.dumps([_record(packing) for packing in found.values()], indent=2))
    elif single:
        _show_one(*found.values(), draw=draw)
    else:
        _show_tables(found, kernels, weights, acts)


def _chosen(option: str, value: int | None, allowed: tuple[int, ...]) -> tuple[int, ...]:
    if value is None:
        return allowed
    if value not in allowed:
        raise UserError(f"{option} must be one of {', '.join(map(str, allowed))}, not {value}")
    return (value,)


def _record(packing: Packing) -> dict[str, Any]:
    """A packing for machines. ``luts`` are not known without synthesis."""
    return {
        "kernel": packing.kernel,
        "weight_bits": packing.weight_bits,
        "act_bits": packing.act_bits,
        "residue_bits": 0,
        "density": packing.density,
        "dsps": 1,
        "macs": packing.macs,
        "accumulate_max": packing.accumulate_max,
        "strides": {
            "pixel": packing.pixel_stride,
            "tap": packing.tap_stride,
            "channel": packing.channel_stride,
        },
        "pixels": packing.pixels,
        "taps": packing.taps,
        "channels": packing.channels,
        "weight_range": packing.weight_range,
        "luts": None,
    }


def _show_one(packing: Packing, *, draw: bool) -> None:
    show_facts(
        [
            ("density", f"{packing.density:g} multiplications per DSP and cycle"),
            ("operands", f"{packing.pixels} pixels x {packing.taps} taps x {packing.channels} output channels"),
            (
                "strides",
                f"pixel {packing.pixel_stride}, tap {packing.tap_stride}, channel {packing.channel_stride} bits",
            ),
            ("summed before the lanes are read", f"{packing.accumulate_max} products at most"),
            ("weight range", packing.weight_range),
        ]
    )
    if draw:
        from mixq.drawing import draw_text

        typer.echo()
        typer.echo(draw_text(packing))


def _show_tables(
    found: dict[tuple[int, int, int], Packing],
    kernels: tuple[int, ...],
    weights: tuple[int, ...],
    acts: tuple[int, ...],
) -> None:
    for k in kernels:
        typer.echo(f"multiplications per DSP and cycle, kernel {k} x {k}" + (" and dense" if k == 1 else ""))
        rows: list[tuple[Cell, ...]] = [(f"w{w}", *(round(found[k, w, a].density, 2) for a in acts)) for w in weights]
        show_table(("", *(f"a{a}" for a in acts)), rows)
        if k != kernels[-1]:
            typer.echo()
