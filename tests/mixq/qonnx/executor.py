"""Runs a QONNX file in the qonnx package's executor, frame by frame."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

Values = dict[str, npt.NDArray[np.floating]]


def execute(path: Path, images: npt.NDArray[np.float32]) -> Values:
    """Return every value of the file by name, for float32 images (N, C, H, W), frames along the first axis."""
    from qonnx.core.modelwrapper import ModelWrapper  # type: ignore[import-untyped]
    from qonnx.core.onnx_exec import execute_onnx  # type: ignore[import-untyped]

    model = ModelWrapper(str(path))
    name = model.graph.input[0].name
    frames = [execute_onnx(model, {name: image[None]}, return_full_exec_context=True) for image in images]
    written = [name, *(output for node in model.graph.node for output in node.output)]
    return {key: np.concatenate([frame[key] for frame in frames]) for key in written}
