"""The training model of a build: where it comes from, and how it goes into the build folder."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mixq.build_folder import BuildFolder
from mixq.cli.progress import progress
from mixq.errors import CheckFailed, UserError
from mixq.graph import Graph
from mixq.networks import network_names

if TYPE_CHECKING:
    from mixq.converted import ConvertedModel
    from mixq.data import Samples
    from mixq.models import TrainingModel
    from mixq.packing import WeightRange
    from mixq.quantizer_kinds import QuantizerKind, WeightScale

Shape = tuple[int, int, int]


def has_torch() -> bool:
    """Whether PyTorch is installed; it is not loaded."""
    return importlib.util.find_spec("torch") is not None


def check_torch(what: str) -> None:
    """UserError, with the command that installs it, where PyTorch is missing."""
    if not has_torch():
        raise UserError(f"{what} needs PyTorch; install it with: python -m pip install 'mixq[train]'")


def load_model(
    source: str,
    *,
    network: str | None,
    input_shape: Shape | None,
    weight_bits: list[int] | None,
    act_bits: list[int] | None,
    weight_range: WeightRange | None = None,
    quantizer: QuantizerKind | None = None,
    weight_scale: WeightScale | None = None,
) -> TrainingModel:
    """The model of ``random:SEED`` or of a checkpoint, for images of ``input_shape`` (None: the network's own).

    network: name of one of MixQ's, or "package.module:factory".
    weight_range, quantizer, weight_scale: None takes the checkpoint's, or else "full", "hwgq" and "tensor".

    Raises UserError for what cannot be had.
    """
    check_torch("importing a network")
    from mixq.checkpoints import load_source
    from mixq.project import own_network

    return load_source(
        source,
        own_network(network) if network is not None and ":" in network else network,
        weight_bits=weight_bits,
        act_bits=act_bits,
        input_shape=input_shape,
        weight_range=weight_range,
        quantizer=quantizer,
        weight_scale=weight_scale,
    )


def load_build_model(folder: BuildFolder, graph: Graph) -> TrainingModel:
    """The training model that ``graph`` was lowered from. UserError where its checkpoint is damaged.

    A network of the user's own is the one that the build's project names.
    """
    from mixq.checkpoints import load_checkpoint
    from mixq.project_file import load_project

    own = None
    if graph.metadata.get("network") not in network_names() and folder.project.is_file():
        own = load_project(folder.project).table()
    return load_checkpoint(folder.checkpoint, own, input_shape=graph.tensor(graph.input).shape)


def write_model(
    folder: BuildFolder,
    model: TrainingModel,
    *,
    origin: str,
    pixels: npt.NDArray[np.uint8],
    samples: Samples,
    classify: bool,
    told: dict[str, str] | None = None,
) -> Graph:
    """Lower ``model`` into ``folder``: graph, checkpoint, reference vectors, ``report/conversion.json``.

    origin: text for the graph's metadata. pixels: frames of the reference, uint8 (N, C, H, W). samples, classify: what
    the training model and the integer model are compared on, see :func:`mixq.conversion.measure_conversion`. told:
    further metadata of the graph.

    Raises CheckFailed where interpreter and converted model differ, or where the integer model is further from the
    training model than rounding explains.
    """
    from mixq.checkpoints import save_checkpoint
    from mixq.conversion import measure_conversion
    from mixq.converted import ConvertedModel
    from mixq.lowering import lower
    from mixq.reference import write_reference

    graph = lower(model, metadata={**_metadata(model, origin), **(told or {})})
    converted = ConvertedModel(model)
    folder.start(graph)
    folder.checkpoint.parent.mkdir(exist_ok=True)
    save_checkpoint(model, folder.checkpoint)
    with progress("computing the reference", len(pixels)) as update:
        expected = write_reference(converted, pixels, folder.path)
        update(len(pixels))
    check_interpreter(graph, pixels, expected)
    graph.save(folder.path)
    with progress("comparing integers with the training model", len(samples)) as update:
        report = measure_conversion(model, samples, converted=converted, classify=classify)
        update(len(samples))
    report.write(folder.path)
    report.check()
    return graph


def check_interpreter(graph: Graph, pixels: npt.NDArray[Any], expected: npt.NDArray[np.int64]) -> None:
    """CheckFailed, with the place, unless the interpreter gives exactly ``expected`` for ``pixels``."""
    from mixq.execute import run

    with progress("running the interpreter", len(pixels)) as update:
        found = run(graph, pixels, progress=update)
    check_equal(found, expected)


def check_equal(found: npt.NDArray[np.int64], expected: npt.NDArray[np.int64]) -> None:
    """CheckFailed, with the place, unless the interpreter's integers are exactly those of the converted model."""
    places = np.argwhere(found != expected)
    if len(places):
        frame, *place = (int(index) for index in places[0])
        raise CheckFailed(
            f"interpreter and converted model differ in {len(places)} of {found.size} integers, first in frame {frame} "
            f"at channel, row, column {place}: {found[(frame, *place)]}, not {expected[(frame, *place)]}"
        )


def converted_outputs(model: ConvertedModel, pixels: npt.NDArray[Any], *, batch: int = 8) -> npt.NDArray[np.int64]:
    """What the converted model makes of ``pixels``, int64 (N, C, H, W)."""
    import torch

    parts = []
    with progress("running the converted PyTorch model", len(pixels)) as update:
        for start in range(0, len(pixels), batch):
            part = np.ascontiguousarray(pixels[start : start + batch]).astype(np.int64)
            parts.append(model(torch.from_numpy(part)).numpy())
            update(min(start + batch, len(pixels)))
    return np.concatenate(parts)


def checkpoint_origin(source: str) -> str:
    """Text that says where weights come from, without the machine's paths."""
    import hashlib

    path = Path(source)
    if not path.is_file():
        return source
    with path.open("rb") as stream:
        return f"checkpoint, SHA-256 {hashlib.file_digest(stream, 'sha256').hexdigest()}"


def _metadata(model: TrainingModel, origin: str) -> dict[str, str]:
    return {
        "origin": origin,
        "network": model.table.name,
        "weight_bits": ",".join(map(str, model.weight_bits)),
        "act_bits": ",".join(map(str, model.act_bits)),
        "quantizer": model.quantizer,
        **({"weight_scale": model.weight_scale} if model.weight_scale != "tensor" else {}),
    }
