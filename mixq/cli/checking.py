"""``mixq check``: whether a network maps to a board, before it is trained."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from mixq.board import Board
from mixq.build_folder import BuildFolder
from mixq.cli import models, options
from mixq.cli.importing import QONNX_SUFFIXES, read_qonnx_file
from mixq.cli.planning import gap_words, limit_words
from mixq.cli.progress import progress
from mixq.cli.projects import load_project_board, model_settings, project_limits, project_widths, read_project
from mixq.cli.tables import show_facts, show_table, show_usage
from mixq.errors import CheckFailed, UserError
from mixq.graph import Graph
from mixq.networks import network as table_of
from mixq.networks import network_names
from mixq.packing import WeightRange
from mixq.plan import plan, resnet
from mixq.plan.footprint import LUT_BITS, LayerSize, block_ram_bits, footprint, sizes_of_graph, sizes_of_table
from mixq.quantizer_kinds import QuantizerKind

#: Weights do not change whether a network fits by much; these stand for those that training will find.
_RANDOM = "random:1"


def register(app: typer.Typer) -> None:
    """Adds the verb."""
    app.command()(check)


def check(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="A network's name, resnet18 included, a project file, random:SEED, a checkpoint, a QONNX file or a "
            "folder with a graph.",
        ),
    ],
    board: Annotated[
        str | None,
        typer.Option(metavar="BOARD", help="The board, e.g. ultra96-v2, or a board file; by default the project's."),
    ] = None,
    network: options.NetworkName = None,
    input_shape: options.InputShape = None,
    weight_bits: options.WeightBits = None,
    act_bits: options.ActBits = None,
    weight_range: options.WeightRangeName = None,
    quantizer: options.QuantizerName = None,
) -> None:
    """Tell whether a network fits a board, and how fast it can be there; before any training, and writing nothing.

    Exit status 1, with the numbers, where it does not fit even in its slowest design, or has layers that no hardware
    is built for. A network's name needs no weights: random ones stand for them, as for the network of a project, which
    is checked with its widths, those of bits.yaml in its build folder included, and within its budget's resources.
    """
    from boards import load_board

    shape = options.shape("--input-shape", input_shape)
    weights, acts = options.integers("--weight-bits", weight_bits), options.integers("--act-bits", act_bits)
    given: dict[str, object] = {"--network": network, "--input-shape": shape}
    given |= {"--weight-bits": weights, "--act-bits": acts, "--weight-range": weight_range, "--quantizer": quantizer}
    if not source:
        raise UserError("SOURCE is empty; give a network's name, random:SEED, a checkpoint or a folder with a graph")
    if source.lower().endswith((".yaml", ".yml")):
        _refuse(given, f"cannot change the project {source}")
        _check_project(Path(source), board)
        return
    if board is None:
        raise UserError("the board is not known; name it with --board")
    made = load_board(board)
    if Path(source).is_dir() or source.lower().endswith(QONNX_SUFFIXES):
        _refuse(given, f"cannot change the graph in the {'folder' if Path(source).is_dir() else 'file'} {source}")
        graph = Graph.load(Path(source)) if Path(source).is_dir() else read_qonnx_file(Path(source))
        _check_memory(graph.name, sizes_of_graph(graph), made)
        _show_plan(graph, made)
        return
    weights_from, name = source, network
    if _names_a_network(source):
        _refuse({"--network": network}, f"cannot change the network {source}")
        weights_from, name = _RANDOM, source
    if name is not None and _key(name) == resnet.NAME:
        sizes = resnet.resnet18_sizes(shape or resnet.INPUT_SHAPE, weight_bits=weights, act_bits=acts)
        _check_memory(resnet.NAME, sizes, made, unsupported=resnet.UNSUPPORTED)
        raise CheckFailed(f"{resnet.NAME} cannot be built: there is no hardware for {', '.join(resnet.UNSUPPORTED)}")
    if name is not None and ":" not in name and weights_from.startswith("random:"):
        table = table_of(name)
        table = table if shape is None else replace(table, input_shape=shape)
        if min(min(size) for size in table.shapes()) >= 1:  # smaller images are refused below
            _check_memory(table.name, sizes_of_table(table, weight_bits=weights, act_bits=acts), made)
    graph = _graph(weights_from, name, shape, weights, acts, weight_range, quantizer)
    if not weights_from.startswith("random:"):
        _check_memory(graph.name, sizes_of_graph(graph), made)
    _show_plan(graph, made)


def _check_project(path: Path, board: str | None) -> None:
    """Check the network of a project, with random weights."""
    project = read_project(path, quick=False)
    if board is not None:
        project = replace(project, board=board)
    whole = load_project_board(project)
    made = replace(whole, resources=project_limits(project, whole))
    table = project.table()
    widths, origin = project_widths(project, table, BuildFolder(project.folder))
    with progress("making the integer graph"):
        from mixq.checkpoints import random_model
        from mixq.lowering import lower

        model = random_model(table, 1, **model_settings(project, widths))
        graph = lower(model)
    _check_memory(graph.name, sizes_of_graph(graph), made)
    _show_plan(graph, made, ("widths", origin))


def _key(name: str) -> str:
    return name.strip().lower().replace("-", "").replace("_", "")


def _names_a_network(source: str) -> bool:
    """Whether weights come from nowhere. UserError for a word that is neither a network's name nor a path."""
    if source.startswith("random:") or Path(source).exists() or Path(source).suffix or "/" in source:
        return False
    if _key(source) not in {_key(name) for name in (*network_names(), resnet.NAME)}:
        names = ", ".join((*network_names(), resnet.NAME))
        raise UserError(f"{source} is no network, checkpoint or folder; the networks are {names}")
    return True


def _refuse(given: dict[str, object], why: str) -> None:
    unused = [name for name, value in given.items() if value is not None]
    if unused:
        raise UserError(f"{', '.join(unused)} {why}; leave it out")


def _graph(
    source: str,
    name: str | None,
    shape: models.Shape | None,
    weights: list[int] | None,
    acts: list[int] | None,
    weight_range: WeightRange | None,
    quantizer: QuantizerKind | None,
) -> Graph:
    with progress("making the integer graph"):
        model = models.load_model(
            source,
            network=name,
            input_shape=shape,
            weight_bits=weights,
            act_bits=acts,
            weight_range=weight_range,
            quantizer=quantizer,
        )
        from mixq.lowering import lower

        return lower(model)


def _check_memory(name: str, layers: tuple[LayerSize, ...], board: Board, *, unsupported: tuple[str, ...] = ()) -> None:
    """CheckFailed where the least memory of the layers is more than the board has."""
    limits = board.resources
    least = footprint(layers, limits)
    lacking = least.lacking_bits(limits)
    if not lacking:
        return
    rows = [
        (size.name, size.macs, size.weights, size.weight_bits, _megabits(size.weight_memory_bits), size.line_bits)
        for size in layers
    ]
    show_table(("layer", "MACs", "weights", "weight bits", "weight Mb", "line buffer bits"), rows)
    needed, have = least.least_luts(limits), limits.lut
    message = (
        f"{name} does not fit {board.name} in any design: weights need at least {_megabits(least.weight_bits)} Mb and "
        f"line buffers {_megabits(least.line_bits)} Mb; block RAM holds {_megabits(block_ram_bits(limits))} Mb and all "
        f"{have:,} LUTs {_megabits(have * LUT_BITS)} Mb, {_megabits(lacking)} Mb too little: beside full block RAM it "
        f"takes {needed:,} LUTs or more, {needed - have:,} too many"
    )
    if unsupported:
        message += f"; and there is no hardware for {', '.join(unsupported)}"
    raise CheckFailed(message)


def _megabits(bits: int) -> float:
    return round(bits / 1e6, 1)


def _show_plan(graph: Graph, board: Board, *facts: tuple[str, object]) -> None:
    """The fastest plan and further facts; CheckFailed, with the numbers, where there is none."""
    least = footprint(sizes_of_graph(graph), board.resources)
    with progress(f"planning for {board.name}"):
        made = plan(graph, board)
    show_usage(made.resources, made.limits)
    typer.echo()
    show_facts(
        [
            ("network", graph.name),
            ("board", f"{board.name}: it fits"),
            ("memory, at least", f"{_megabits(least.memory_bits)} Mb"),
            ("fastest", f"{made.cycles:,} cycles per frame"),
            ("speed", f"{made.fps:,.1f} frames per second at {made.clock_mhz:g} MHz (assumed)"),
            ("bottleneck", made.bottleneck),
            ("limited by", limit_words(made)),
            ("gap", gap_words(made)),
            *facts,
        ]
    )
