"""``mixq import``: from a checkpoint, random weights, a QONNX file or a graph folder to a build folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import typer

from mixq.build_folder import BuildFolder
from mixq.cli import models, options
from mixq.cli.arrays import read_frames, write_array
from mixq.cli.reports import write_counts
from mixq.cli.tables import show_facts, show_table
from mixq.errors import UserError
from mixq.execute import checked_input
from mixq.graph import Conv, Dense, Graph

#: Frames of the reference, fewer for networks so large that they would take long.
FRAMES, FRAMES_OF_LARGE = 10, 4
LARGE_MACS = 100_000_000
SEED = 20240817
QONNX_SUFFIXES = (".onnx", ".qonnx")


def register(app: typer.Typer) -> None:
    """Adds the verb."""
    app.command("import")(import_network)


def import_network(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="random:SEED, a checkpoint (.pt, .npz, .safetensors), a QONNX file (.onnx) or a folder with a graph.",
        ),
    ],
    out: Annotated[Path, typer.Option("--out", metavar="BUILD_DIR", help="The build folder to write.")],
    network: options.NetworkName = None,
    input_shape: options.InputShape = None,
    weight_bits: options.WeightBits = None,
    act_bits: options.ActBits = None,
    weight_range: options.WeightRangeName = None,
    quantizer: options.QuantizerName = None,
    weight_scale: options.WeightScaleName = None,
    channel_order: options.ChannelOrderName = None,
    images: Annotated[
        Path | None,
        typer.Option(metavar="FILE.npy", help="8-bit images (frames, C, H, W) for the reference; random by default."),
    ] = None,
) -> None:
    """Turn a network into an integer graph in a build folder.

    Writes graph.json and graph.npz and, for a network that comes with weights, its checkpoint, reference/ (images and
    the integers that the converted PyTorch model makes of them) and report/conversion.json. Interpreter and converted
    model must agree in every integer, exit status 1 otherwise. What another network left in the folder is removed.
    How many weights --weight-range narrow changed is counted in the graph's metadata and, by layer, in conversion.json.
    """
    shape = options.shape("--input-shape", input_shape)
    weights, acts = options.integers("--weight-bits", weight_bits), options.integers("--act-bits", act_bits)
    folder = BuildFolder(out)
    if not source:
        raise UserError("SOURCE is empty; give random:SEED, a checkpoint, a QONNX file or a folder with a graph")
    onnx = source.lower().endswith(QONNX_SUFFIXES)
    if onnx or Path(source).is_dir():
        given = {"--network": network, "--input-shape": shape, "--weight-bits": weights, "--act-bits": acts}
        given |= {"--weight-range": weight_range, "--quantizer": quantizer, "--channel-order": channel_order}
        given |= {"--weight-scale": weight_scale}
        unused = [name for name, value in given.items() if value is not None]
        if unused:
            place = "file" if onnx else "folder"
            raise UserError(f"{', '.join(unused)} cannot change the graph in the {place} {source}; leave it out")
        graph = _copy_graph(Path(source), folder, images, onnx=onnx)
    else:
        model = models.load_model(
            source,
            network=network,
            input_shape=shape,
            weight_bits=weights,
            act_bits=acts,
            weight_range=weight_range,
            quantizer=quantizer,
            weight_scale=weight_scale,
        )
        told: dict[str, str] = {} if channel_order is None else {"channel_order": channel_order}
        graph = _import_model(model, folder, models.checkpoint_origin(source), images, told)
    write_counts(folder, graph)
    _show(folder, graph)


def _import_model(model: Any, folder: BuildFolder, origin: str, images: Path | None, told: dict[str, str]) -> Graph:
    """Lower a model; the reference's images are the user's, or random."""
    from mixq.data import Samples

    macs = sum(layer.macs for layer in model.table.counts())
    pixels = _pixels(images, model.input_shape, FRAMES if macs < LARGE_MACS else FRAMES_OF_LARGE)
    samples = Samples(pixels, np.zeros(len(pixels), np.int64))
    return models.write_model(folder, model, origin=origin, pixels=pixels, samples=samples, classify=False, told=told)


def _pixels(images: Path | None, shape: models.Shape, frames: int) -> npt.NDArray[np.uint8]:
    if images is None:
        return np.random.default_rng(SEED).integers(0, 256, (frames, *shape), dtype=np.uint8)
    found = read_frames(images)
    if found.shape[1:] != shape:
        raise UserError(f"{images} must have the shape (frames, {', '.join(map(str, shape))}), not {found.shape}")
    if not 0 <= int(found.min()) <= int(found.max()) <= 255:
        raise UserError(f"{images} must hold 8-bit pixels, 0..255, not {found.min()}..{found.max()}")
    return found.astype(np.uint8)


def _copy_graph(source: Path, folder: BuildFolder, images: Path | None, *, onnx: bool) -> Graph:
    """Copy a graph or read a QONNX file, with frames for verification; no PyTorch model says what comes out."""
    graph = read_qonnx_file(source) if onnx else Graph.load(source)
    format = graph.tensor(graph.input).format
    if images is None:
        shape = (FRAMES, *graph.tensor(graph.input).shape)
        codes = np.random.default_rng(SEED).integers(format.low, format.high, shape, dtype=np.int64, endpoint=True)
    else:
        codes = checked_input(graph, read_frames(images))
    same = source.resolve() == folder.path.resolve()
    changed = folder.start(graph)
    if not same and not changed:
        folder.expected.unlink(missing_ok=True)
        folder.checkpoint.unlink(missing_ok=True)
    if not same:
        graph.save(folder.path)
    if not (same and folder.codes.is_file() and images is None):
        folder.codes.parent.mkdir(exist_ok=True)
        folder.expected.unlink(missing_ok=True)
        write_array(folder.codes, codes.astype(np.uint8) if format.low == 0 and format.high <= 255 else codes)
    return graph


def read_qonnx_file(source: Path) -> Graph:
    """Read a QONNX file; here alone is onnx loaded."""
    from mixq.qonnx import read_qonnx

    return read_qonnx(source)


def _show(folder: BuildFolder, graph: Graph) -> None:
    rows = []
    for node in graph.nodes:
        source, target = graph.tensor(node.reads[0]), graph.tensor(node.output)
        weights = node.weight_format.width if isinstance(node, Conv | Dense) else None
        shape = " x ".join(map(str, target.shape))
        rows.append((node.name, node.op, shape, weights, source.format.width, node.macs(target.shape) or None))
    show_table(("layer", "op", "output", "weight bits", "input bits", "MACs"), rows)
    facts: list[tuple[str, object]] = [("graph", folder.path / "graph.json")]
    if "float32_ties" in graph.metadata:
        facts.append(("ties in float32", f"{graph.metadata['float32_ties']} codes, see docs/qonnx.md"))
    if folder.expected.is_file():
        if "clamped_weights" in graph.metadata:
            facts.append(("clamped weights", graph.metadata["clamped_weights"]))
        facts += [("reference", folder.codes.parent), ("conversion", folder.report / "conversion.json")]
    show_facts([*facts, ("next", f"mixq plan {folder} --board ultra96-v2")])
