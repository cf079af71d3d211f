"""Files with `MultiThreshold`, as FINN streamlines them, give the executor's integers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mixq.execute import run
from mixq.graph import Conv, Dense, Requantise, Threshold
from mixq.qonnx import read_qonnx
from tests.mixq.qonnx.executor import execute
from tests.mixq.qonnx.models import DOMAIN, Model
from tests.mixq.qonnx.test_reader import refused


class Streamlined(Model):
    """A model of integer weights and thresholds."""

    def stairs(self, source: str, thresholds: Any, dtype: str, domain: str = DOMAIN, **attributes: Any) -> str:
        given = self.constant(thresholds)
        return self.node("MultiThreshold", source, given, domain=domain, out_dtype=dtype, **attributes)

    def integers(self, bits: int, *shape: int) -> str:
        high = 1 << (bits - 1)
        return self.quant(self.constant(self.random.integers(-high, high, shape)), 1.0, bits)


def check(model: Streamlined, output: str, path: Path, shape: tuple[int, ...], codes: Any) -> Any:
    """The executor's values are the interpreter's integers times the output's scale, plus the offset."""
    from qonnx.core.modelwrapper import ModelWrapper  # type: ignore[import-untyped]
    from qonnx.transformation.infer_shapes import InferShapes  # type: ignore[import-untyped]

    graph = read_qonnx(model.save(output, path))
    ModelWrapper(str(path)).transform(InferShapes()).save(str(path))
    mine = run(graph, codes.reshape(len(codes), *graph.tensor("x").shape))
    theirs = execute(path, (codes / 255).astype(np.float32))[output]
    scale = np.reshape(graph.tensor(graph.output).channel_scales or 1.0, (-1, 1, 1)).astype(np.float32)
    values = mine.astype(np.float32) * scale + np.float32(graph.metadata["output_offset"])
    np.testing.assert_array_equal(values.reshape(theirs.shape), theirs)
    assert len(np.unique(mine)) > 3
    return graph


# The executor renames the older domain, and says so.
@pytest.mark.filterwarnings("ignore:Some old-style domain:UserWarning")
def test_streamlined_network(tmp_path: Path) -> None:
    model = Streamlined((2, 8, 8))
    image = model.stairs("x", [[(code - 0.4) / 15 for code in range(1, 16)]], "UINT4", data_layout="NCHW")
    sums = model.node("Conv", image, model.integers(4, 6, 2, 3, 3), kernel_shape=[3, 3], pads=[1, 1, 1, 1])
    rising = np.sort(model.random.integers(-400, 400, (6, 7)), axis=1)
    first = model.stairs(sums, rising, "INT4", out_bias=-4.0, data_layout="NCHW")
    pooled = model.node("MaxPool", first, kernel_shape=[2, 2], strides=[2, 2])
    deep = model.node("Conv", pooled, model.integers(3, 6, 1, 3, 3), kernel_shape=[3, 3], group=6)
    turned = model.node("Mul", deep, model.constant(np.array([1, -1, 0.5, -1, 1, 1]).reshape(1, 6, 1, 1)))
    second = model.stairs(turned, rising / 8, "UINT3", "finn.custom_op.general")
    flat = model.node("Flatten", second, axis=1)
    hidden = model.node("MatMul", flat, model.integers(2, 24, 9))
    signs = model.stairs(hidden, np.zeros((9, 1)), "BIPOLAR", out_scale=2.0, out_bias=-1.0, data_layout="NC")
    output = model.node("Mul", model.node("MatMul", signs, model.integers(4, 9, 5)), model.constant(0.125))
    codes = np.random.default_rng(0).integers(0, 256, (12, 2, 8, 8))
    graph = check(model, output, tmp_path / "net.onnx", (2, 8, 8), codes)
    stairs = [node for node in graph.nodes if isinstance(node, Threshold | Requantise)]
    formats = [graph.tensor(node.output).format for node in stairs]
    assert [(format.width, format.signed, format.low, format.high) for format in formats] == [
        (4, False, 0, 15), (4, True, -4, 3), (3, False, 0, 7), (2, True, -1, 1),
    ]  # fmt: skip
    assert isinstance(stairs[0], Requantise)  # evenly spaced thresholds
    assert isinstance(stairs[1], Threshold) and isinstance(stairs[3], Threshold)
    assert set(stairs[3].step.tolist()) == {2}
    sums_of_first = graph.tensor(stairs[1].input).format
    np.testing.assert_array_equal(stairs[1].thresholds, np.clip(rising, sums_of_first.low, sums_of_first.high + 1))
    assert sum(isinstance(node, Conv | Dense) for node in graph.nodes) == 4


@pytest.mark.parametrize(
    ("scale", "bias", "width", "low", "high", "unit"),
    [
        (0.1, -0.8, 4, -8, -1, 0.1),  # 0.8 is eight times 0.1 as float32 rounds them
        (-0.5, 3.0, 4, -1, 6, 0.5),
        (0.5, -1.75, 4, -7, 7, 0.25),
        (-4.0, 2.0, 5, -13, 1, 2.0),
    ],
)
def test_scales_and_biases_of_levels(
    scale: float, bias: float, width: int, low: int, high: int, unit: float, tmp_path: Path
) -> None:
    model = Streamlined((3, 2, 2))
    rows = np.random.default_rng(1).uniform(0, 1, (3, 7))  # in no order
    output = model.stairs("x", rows, "FLOAT32", out_scale=scale, out_bias=bias)
    graph = read_qonnx(model.save(output, tmp_path / "net.onnx"))
    target = graph.tensor(graph.output)
    assert (target.format.width, target.format.low, target.format.high) == (width, low, high)
    assert target.scale == float(np.float32(unit))
    codes = np.arange(256).repeat(12).reshape(256, 3, 2, 2)
    counts = ((codes / 255).astype(np.float32)[..., None] >= rows.astype(np.float32)[None, :, None, None]).sum(-1)
    np.testing.assert_array_equal(run(graph, codes), np.rint((counts * scale + bias) / unit))


def test_one_row_for_all_channels_and_all_features(tmp_path: Path) -> None:
    model = Streamlined((3, 4, 4))
    image = model.stairs("x", [[0.2, 0.4, 0.6]], "UINT2", data_layout="NHWC")
    flat = model.node("Flatten", image, axis=1)
    again = model.stairs(flat, [[0.5, 2.0]], "INT2", out_bias=-1.0)
    output = model.node("MatMul", again, model.integers(3, 48, 4))
    codes = np.random.default_rng(0).integers(0, 256, (9, 3, 4, 4))
    check(model, output, tmp_path / "net.onnx", (3, 4, 4), codes)


@pytest.mark.parametrize(
    ("thresholds", "attributes", "says"),
    [
        (np.zeros((2, 3)), {}, "thresholds must have the shape (channels, n), a row for all channels or for each of 3"),
        (np.zeros(3), {}, "thresholds must have the shape"),
        (np.zeros((3, 256)), {}, "must have 1 to 255 thresholds in each channel, not 256; choose fewer bits"),
        (np.zeros((3, 0)), {}, "must have 1 to 255 thresholds in each channel, not 0"),
        (np.zeros((3, 2)), {"data_layout": "NHWC"}, "data_layout must be NCHW or NC, not NHWC"),
        (np.zeros((3, 2)), {"out_bias": 0.3}, "out_bias must be a multiple of out_scale / 2"),
        (np.zeros((3, 2)), {"out_scale": 0.0}, "out_scale must be finite and not 0"),
        (np.zeros((3, 2)), {"out_bias": float("nan")}, "out_bias finite"),
        (np.full((3, 2), np.inf), {}, "NaN or infinity"),
    ],
)
def test_refused(thresholds: Any, attributes: dict[str, Any], says: str, tmp_path: Path) -> None:
    model = Streamlined((3, 2, 2))
    assert says in refused(model, model.stairs("x", thresholds, "UINT2", **attributes), tmp_path)


def test_rows_by_channel_of_a_flattened_image_are_refused(tmp_path: Path) -> None:
    model = Streamlined((3, 4, 4))
    flat = model.node("Flatten", model.stairs("x", [[0.2]], "BINARY"), axis=1)
    assert "a row for all features" in refused(model, model.stairs(flat, np.zeros((3, 1)), "BINARY"), tmp_path)


def test_thresholds_that_are_computed_are_refused(tmp_path: Path) -> None:
    model = Streamlined((3, 4, 4))
    stairs = model.node("MultiThreshold", "x", "x", domain=DOMAIN, out_dtype="UINT2")
    assert "export thresholds as constants" in refused(model, stairs, tmp_path)
