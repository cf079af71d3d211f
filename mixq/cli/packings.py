"""``mixq packings``: how densely small multiplications fit a DSP."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from mixq.cli.progress import progress
from mixq.cli.tables import Cell, show_facts, show_table
from mixq.errors import UserError
from mixq.packing import KERNELS, RESIDUE_BITS, WIDTHS, Packing, Part, candidates, solve
from mixq.packing.cost import packing_luts

#: Widths of the tables; binary ones come where they are asked for.
SHOWN_WIDTHS = tuple(width for width in WIDTHS if width > 1)

TARGETS = ("dsp48e2", "dsp48e1", "generic")

Cells = list[tuple[int, int, int]]


def register(app: typer.Typer) -> None:
    """Adds the verb."""
    app.command()(packings)


def packings(
    kernel: Annotated[
        int | None, typer.Option(metavar="K", help="Kernel size, 1, 3, 5 or 7; 1 also for dense.")
    ] = None,
    weight_bits: Annotated[
        int | None, typer.Option(metavar="W", help="Weight width, 1 to 8; without it 2 to 8.")
    ] = None,
    act_bits: Annotated[
        int | None, typer.Option(metavar="A", help="Activation width, 1 to 8; without it 2 to 8.")
    ] = None,
    residue_bits: Annotated[
        int | None,
        typer.Option(metavar="B", help="Low bits of a lane that look-up tables may know, 0, 1 or 2; 0 by default."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document instead of tables.")] = False,
    everything: Annotated[
        bool, typer.Option("--all", help="All packings worth choosing from instead of the densest.")
    ] = False,
    draw: Annotated[bool, typer.Option("--draw", help="Draw the packing lane by lane; takes all three sizes.")] = False,
    prove: Annotated[
        bool, typer.Option("--prove", help="Prove all packings worth choosing from exact; B of 0, 1 and 2 by default.")
    ] = False,
    products: Annotated[
        int | None, typer.Option(metavar="N", help="With --prove: random products as well; 10,000,000 by default.")
    ] = None,
    verilog: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the packed multiplier as Verilog; takes all three sizes.")
    ] = None,
    target: Annotated[
        str | None, typer.Option(metavar="T", help="With --verilog: dsp48e2 (the default), dsp48e1 or generic.")
    ] = None,
    length: Annotated[
        int | None, typer.Option(metavar="N", help="With --verilog: units in a chain; 1 by default.")
    ] = None,
    accumulate: Annotated[
        int | None, typer.Option(metavar="N", help="With --verilog: most cycles in a sum; 1 by default.")
    ] = None,
) -> None:
    """Show how many multiplications one DSP does in a cycle, exactly, for every pair of widths.

    Weights are signed, activations unsigned. Weights of 4 bits and more exclude the most negative code ("narrow");
    weights of 1 bit are -1 and +1.
    """
    kernels = _chosen("--kernel", kernel, KERNELS, KERNELS)
    weights = _chosen("--weight-bits", weight_bits, SHOWN_WIDTHS, tuple(WIDTHS))
    acts = _chosen("--act-bits", act_bits, SHOWN_WIDTHS, tuple(WIDTHS))
    bits = _chosen("--residue-bits", residue_bits, (0,), RESIDUE_BITS)[0]
    modes = {"--draw": draw, "--json": as_json, "--prove": prove, "--verilog": verilog is not None}
    single = len(kernels) == len(weights) == len(acts) == 1
    _check_modes([name for name, on in modes.items() if on], single=single, everything=everything)
    for option, value, mode in (
        ("--products", products, "--prove"),
        ("--target", target, "--verilog"),
        ("--length", length, "--verilog"),
        ("--accumulate", accumulate, "--verilog"),
    ):
        if value is not None and not modes[mode]:
            raise UserError(f"{option} belongs to {mode}; give both")
    cells = [(k, w, a) for k in kernels for w in weights for a in acts]
    if prove:
        known = RESIDUE_BITS if residue_bits is None else range(bits + 1)
        _prove(cells, known, products)
    elif verilog is not None:
        if target is not None and target not in TARGETS:
            raise UserError(f"--target must be one of {', '.join(TARGETS)}, not {target}")
        sizes = _positive("--length", length, 1), _positive("--accumulate", accumulate, 1)
        _write_verilog(*cells[0], bits, _Verilog(verilog, target or TARGETS[0], *sizes))
    elif everything:
        found = [p for k, w, a in _each(cells) for p in candidates(w, a, k, bits)]
        (_show_json if as_json else _show_all)(found)
    else:
        densest = {(k, w, a): solve(w, a, k, bits) for k, w, a in _each(cells)}
        if as_json:
            _show_json(densest.values())
        elif single:
            _show_one(*densest.values(), draw=draw)
        else:
            _show_tables(densest, kernels, weights, acts)


def _chosen(option: str, value: int | None, default: tuple[int, ...], allowed: Sequence[int]) -> tuple[int, ...]:
    if value is None:
        return default
    if value not in allowed:
        raise UserError(f"{option} must be one of {', '.join(map(str, allowed))}, not {value}")
    return (value,)


def _positive(option: str, value: int | None, default: int) -> int:
    if value is not None and value < 1:
        raise UserError(f"{option} must be at least 1, not {value}")
    return default if value is None else value


def _check_modes(modes: list[str], *, single: bool, everything: bool) -> None:
    """Refuse options that exclude each other, or that need one cell of the tables."""
    if len(modes) > 1:
        raise UserError(f"{modes[0]} and {modes[1]} exclude each other; give one of them")
    if everything and modes and modes != ["--json"]:
        raise UserError(f"--all and {modes[0]} exclude each other; give one of them")
    if single:
        return
    sizes = "give --kernel, --weight-bits and --act-bits too"
    if everything and not modes:
        raise UserError(f"--all lists the packings of one pair of widths; {sizes}, or --json")
    if "--draw" in modes:
        raise UserError(f"--draw draws one packing; {sizes}")
    if "--verilog" in modes:
        raise UserError(f"--verilog writes one packing; {sizes}")


def _each(cells: Cells) -> Iterable[tuple[int, int, int]]:
    """The cells, with the progress of what is done for each."""
    with progress("solving packings", len(cells)) as update:
        for number, cell in enumerate(cells, 1):
            yield cell
            update(number)


def _prove(cells: Cells, residue_bits: Iterable[int], products: int | None) -> None:
    from mixq.cli.proving import run_proofs
    from mixq.packing.proof import RANDOM_PRODUCTS

    count = _positive("--products", products, RANDOM_PRODUCTS)
    found = (p for k, w, a in _each(cells) for bits in residue_bits for p in candidates(w, a, k, bits))
    run_proofs(list(dict.fromkeys(found)), count)


# -- Verilog -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Verilog:
    """What --verilog writes."""

    path: Path
    target: str
    length: int
    accumulate: int


def _write_verilog(kernel: int, weight_bits: int, act_bits: int, residue_bits: int, choice: _Verilog) -> None:
    from mixq.files import write_atomic
    from rtl_gen import PackedMac
    from rtl_gen.packed_verilog import packed_mac_verilog

    device = "dsp48e1" if choice.target == "dsp48e1" else "dsp48e2"
    found = candidates(weight_bits, act_bits, kernel, residue_bits, device=device)
    products = choice.length * choice.accumulate
    deep = [packing for packing in found if packing.accumulate_max >= products]
    if not deep:
        most = max(packing.accumulate_max for packing in found)
        raise UserError(
            f"--length times --accumulate must be at most {most} for these widths, not {products}; give less of either"
        )
    packing = deep[0]
    target: Any = choice.target
    mac = PackedMac(packing, length=choice.length, accumulate=choice.accumulate, target=target)
    name = f"packed_mac_w{weight_bits}a{act_bits}k{kernel}r{packing.residue_bits}_{choice.length}x{choice.accumulate}"
    write_atomic(choice.path, packed_mac_verilog(mac, name))
    show_facts(
        [
            ("Verilog", f"{choice.path} ({choice.path.stat().st_size:,} bytes)"),
            ("module", name),
            ("density", _density(packing)),
            ("DSPs", choice.length * packing.dsps),
            ("latency", f"{mac.latency} cycles"),
            ("target", choice.target),
        ]
    )


# -- JSON and tables -----------------------------------------------------------------------------------


def _show_json(found: Iterable[Packing]) -> None:
    typer.echo(json.dumps([_record(packing) for packing in found], indent=2))


def _record(packing: Packing) -> dict[str, Any]:
    """A packing for machines. ``luts`` are an estimate, for each cycle of a unit."""
    from mixq.packing.proof import proof_kind

    strides = [_strides(part) for part in packing.parts]
    return {
        "kernel": packing.kernel,
        "weight_bits": packing.weight_bits,
        "act_bits": packing.act_bits,
        "residue_bits": packing.residue_bits,
        "density": packing.density,
        "dsps": packing.dsps,
        "macs": packing.macs,
        "accumulate_max": packing.accumulate_max,
        "strides": [{**_split_bits(part), **s} for part, s in zip(packing.parts, strides, strict=True)]
        if packing.split
        else strides[0],
        "weight_range": packing.weight_range,
        "luts": round(packing_luts(packing), 1),
        "proof": proof_kind(packing),
        "pixels": packing.pixels,
        "taps": packing.taps,
        "channels": packing.channels,
        "act_signed": packing.act_signed,
        "pair": any(part.product.pair for part in packing.parts),
        "split": packing.split,
        "tracked": packing.tracked,
        "device": packing.device,
    }


def _strides(part: Part) -> dict[str, int]:
    """Distances in bits, and where pixels lie in blocks, how many make one and how far they are apart."""
    product = part.product
    strides = {"pixel": product.pixel_stride, "tap": product.tap_stride, "channel": product.channel_stride}
    return strides | ({"block_pixels": product.block, "block": product.block_stride} if product.block else {})


def _split_bits(part: Part) -> dict[str, Any]:
    """What a part of a split operand holds: its lowest bit in either operand, and its size."""
    product = part.product
    return {
        "act_shift": part.act_shift,
        "weight_shift": part.weight_shift,
        "pixels": product.pixels,
        "taps": product.taps,
        "channels": product.channels,
        "pair": product.pair,
    }


def kind(packing: Packing) -> str:
    """How a packing is more than one plain DSP: "split", "pair", "tracked", or "plain"."""
    if packing.split:
        return "split"
    return "pair" if packing.product.pair else "tracked" if packing.tracked else "plain"


def _density(packing: Packing) -> str:
    return f"{packing.density:.2f}".rstrip("0").rstrip(".") + " multiplications per DSP and cycle"


def _show_one(packing: Packing, *, draw: bool) -> None:
    facts = [
        ("density", _density(packing)),
        ("operands", f"{packing.pixels} pixels x {packing.taps} taps x {packing.channels} output channels"),
        ("kind", f"{kind(packing)}, {packing.dsps} DSP{'s' if packing.dsps > 1 else ''}"),
    ]
    for number, part in enumerate(packing.parts, 1):
        strides = ", ".join(f"{name.replace('_', ' ')} {bits}" for name, bits in _strides(part).items())
        facts.append((f"strides of part {number}" if packing.split else "strides", f"{strides} bits"))
    facts += [
        ("summed before the lanes are read", f"{packing.accumulate_max:,} products at most"),
        ("known low bits of a lane", f"{packing.residue_bits} at most"),
        ("look-up tables", f"about {packing_luts(packing) / packing.macs:.1f} for each multiplication"),
        ("weight range", packing.weight_range),
    ]
    show_facts(facts)
    if draw:
        from mixq.drawing import draw_text

        typer.echo()
        typer.echo(draw_text(packing))


def _show_all(found: Iterable[Packing]) -> None:
    headings = ("density", "LUTs per mult.", "products", "pixels x taps x channels", "DSPs", "known bits", "kind")
    rows: list[tuple[Cell, ...]] = [
        (
            round(p.density, 2),
            round(packing_luts(p) / p.macs, 1),
            p.accumulate_max,
            f"{p.pixels} x {p.taps} x {p.channels}",
            p.dsps,
            p.residue_bits,
            kind(p),
        )
        for p in found
    ]
    show_table(headings, rows)


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
