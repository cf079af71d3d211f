from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from mixq import arithmetic, execute
from mixq.errors import UserError
from mixq.execute import apply_node, run, run_all
from mixq.formats import IntFormat
from mixq.graph import Graph
from tests.mixq.graphs import Chain, random_network

FORMATS = [IntFormat(2, False), IntFormat(8, False), IntFormat(5, True), IntFormat(8, True)]


# The oracles: plain loops over Python's integers, written from the definition of each operation.


def naive_conv(codes: Any, weights: Any, bias: Any, stride: int, padding: int) -> list:
    frames, channels, height, width = codes.shape
    outputs, _, kernel, _ = weights.shape
    x, w = codes.tolist(), weights.tolist()
    rows = range(-padding, height + padding - kernel + 1, stride)
    columns = range(-padding, width + padding - kernel + 1, stride)

    def at(f: int, o: int, top: int, left: int) -> int:
        total = 0 if bias is None else int(bias[o])
        for c, i, j in itertools.product(range(channels), range(kernel), range(kernel)):
            if 0 <= top + i < height and 0 <= left + j < width:
                total += x[f][c][top + i][left + j] * w[o][c][i][j]
        return total

    return [[[[at(f, o, y, z) for z in columns] for y in rows] for o in range(outputs)] for f in range(frames)]


def naive_requantise(code: int, multiplier: int, bias: int, shift: int, low: int, high: int) -> int:
    """Round half up: floor((x * m + b) / 2^T + 1/2), then clamp."""
    value = (2 * (code * multiplier + bias) + 2**shift) // (2 * 2**shift)
    return low if value < low else high if value > high else value


def naive_pool(codes: Any, kernel: int, stride: int) -> list:
    x = codes.tolist()
    rows = range(0, codes.shape[2] - kernel + 1, stride)
    columns = range(0, codes.shape[3] - kernel + 1, stride)
    return [
        [
            [[max(x[f][c][y + i][z + j] for i in range(kernel) for j in range(kernel)) for z in columns] for y in rows]
            for c in range(codes.shape[1])
        ]
        for f in range(len(codes))
    ]


def codes_of(graph: Graph, frames: int = 2, seed: int = 1) -> np.ndarray:
    format = graph.tensor(graph.input).format
    rng = np.random.default_rng(seed)
    return rng.integers(format.low, format.high, (frames, *graph.tensor(graph.input).shape), endpoint=True)


@pytest.mark.parametrize("format", FORMATS, ids=str)
@pytest.mark.parametrize("kernel, padding", [(1, 0), (3, 0), (3, 1), (3, 2), (5, 0), (5, 1), (5, 2)])
def test_convolution(format: IntFormat, kernel: int, padding: int) -> None:
    rng = np.random.default_rng(kernel * 10 + padding)
    for stride, with_bias, (height, width) in itertools.product((1, 2), (False, True), ((5, 6), (7, 5))):
        weights = rng.integers(-128, 128, (3, 2, kernel, kernel))
        bias = rng.integers(-9999, 9999, 3) if with_bias else None
        graph = Chain((2, height, width), format).conv(weights, 8, bias, stride=stride, padding=padding).graph()
        codes = codes_of(graph)
        assert run(graph, codes).tolist() == naive_conv(codes, weights, bias, stride, padding)


@pytest.mark.parametrize("format", FORMATS, ids=str)
def test_dense_reads_channel_row_column(format: IntFormat) -> None:
    rng = np.random.default_rng(2)
    weights, bias = rng.integers(-128, 128, (4, 24)), rng.integers(-9999, 9999, 4)
    graph = Chain((2, 3, 4), format).dense(weights, 8, bias).graph()
    codes = codes_of(graph, 3)
    expected = []
    for frame in codes.tolist():
        flat = [frame[c][y][x] for c in range(2) for y in range(3) for x in range(4)]
        expected.append(
            [
                [[sum(a * int(b) for a, b in zip(flat, row, strict=True)) + int(offset)]]
                for row, offset in zip(weights, bias, strict=True)
            ]
        )
    assert run(graph, codes).tolist() == expected


@pytest.mark.parametrize(
    "target", [IntFormat(4, False), IntFormat(4, True), IntFormat(5, False, 3, 17), IntFormat(64, True)], ids=str
)
@pytest.mark.parametrize("shift", [0, 1, 2, 7])
def test_requantise_on_every_code(target: IntFormat, shift: int) -> None:
    multipliers, biases = [3, -3, 0, 1, -128, 77], [0, 5, -9, 1, 64, -300]
    graph = Chain((6, 16, 16), IntFormat(8, True)).requantise(multipliers, biases, shift, target).graph()
    every = np.broadcast_to(np.arange(-128, 128).reshape(16, 16), (1, 6, 16, 16))
    expected = [
        [[naive_requantise(int(x), m, b, shift, target.low, target.high) for x in row] for row in every[0, c]]
        for c, (m, b) in enumerate(zip(multipliers, biases, strict=True))
    ]
    assert run(graph, every).tolist() == [expected]


def test_requantise_rounds_half_up() -> None:
    graph = Chain((1, 1, 8), IntFormat(4, True)).requantise([1], [0], 1, IntFormat(4, True)).graph()
    assert run(graph, [[[[-4, -3, -2, -1, 0, 1, 2, 3]]]]).ravel().tolist() == [-2, -1, -1, 0, 0, 1, 1, 2]


@pytest.mark.parametrize(
    "multiplier, bias, shift",
    [
        (2**40, 0, 40),
        (2**43, -(2**62) - 2**41, 40),  # only the sum leaves 64 bits
        (2**55 + 1, -(2**62), 57),
        (-(2**62), 2**62, 62),
        (2**63 - 1, 2**63 - 1, 62),
        (-(2**63), -(2**63), 62),
        (1, 2**63 - 1, 62),
    ],
)
def test_requantise_beyond_64_bits_stays_exact(multiplier: int, bias: int, shift: int) -> None:
    source, target = IntFormat(20, True), IntFormat(24, True)
    graph = Chain((1, 1, 5), source).requantise([multiplier], [bias], shift, target).graph()
    codes = [source.low, -1, 0, 1, source.high]
    expected = [naive_requantise(x, multiplier, bias, shift, target.low, target.high) for x in codes]
    assert run(graph, [[[codes]]]).ravel().tolist() == expected


@pytest.mark.parametrize("width", range(2, 8))
def test_the_input_is_truncated_as_a_shift(width: int) -> None:
    shift = 8 - width
    chain = Chain((1, 16, 16), IntFormat(8, False))
    graph = chain.requantise([1], [-(2 ** (shift - 1))], shift, IntFormat(width, False)).graph()
    pixels = np.arange(256).reshape(1, 1, 16, 16)
    assert np.array_equal(run(graph, pixels), pixels >> shift)


@pytest.mark.parametrize("kernel, stride", [(2, 1), (2, 2), (3, 1), (3, 2), (3, 3)])
def test_max_pool(kernel: int, stride: int) -> None:
    for height, width in ((3, 3), (4, 7), (6, 5), (8, 9)):
        graph = Chain((2, height, width), IntFormat(6, True)).pool(kernel, stride).graph()
        codes = codes_of(graph)
        assert run(graph, codes).tolist() == naive_pool(codes, kernel, stride)


def test_whole_networks_node_by_node_within_their_formats() -> None:
    for seed in range(10):
        graph = random_network(seed)
        codes = codes_of(graph, 3, seed)
        tensors = run_all(graph, codes)
        assert list(tensors) == [tensor.name for tensor in graph.tensors]
        assert np.array_equal(tensors["x"], codes)
        for node in graph.nodes:
            target = graph.tensor(node.output)
            value = tensors[node.output]
            assert value.dtype == np.int64 and value.shape == (3, *target.shape) and target.format.contains(value)
            assert np.array_equal(apply_node(graph, node.name, *(tensors[source] for source in node.reads)), value)
        assert np.array_equal(run(graph, codes), tensors[graph.output])
        conv = graph.node("conv4")
        oracle = naive_conv(tensors["t3"], conv.weights, conv.bias, 2, 2)  # type: ignore[attr-defined]
        assert tensors["t4"].tolist() == oracle


def test_worst_case_accumulators_are_exact() -> None:
    """All weights and codes at their extremes: the sums pass 2^24, where float32 would round."""
    weights = np.full((2, 512, 3, 3), -128)
    weights[1] = 127
    graph = Chain((512, 3, 3), IntFormat(8, False)).conv(weights, bias=np.array([1, -1])).graph()
    codes = np.full((1, 512, 3, 3), 255)
    codes[0, 0, 0, 0] = 254
    total = 255 * 512 * 9 - 1
    assert total * 128 > 2**24
    assert run(graph, codes).ravel().tolist() == [-128 * total + 1, 127 * total - 1]
    accumulator = graph.tensor("t0").format
    assert run(graph, np.full((1, 512, 3, 3), 255)).min() == accumulator.low


def test_the_sum_just_beyond_float32_is_exact() -> None:
    weights = np.full((1, 600, 1, 1), 127)
    assert 2**24 < 127 * 600 * 250 < 127 * 600 * 255 < 2**25
    graph = Chain((600, 1, 1), IntFormat(8, False)).conv(weights).graph()
    rng = np.random.default_rng(9)
    for _ in range(50):
        codes = rng.integers(250, 256, (1, 600, 1, 1))
        assert run(graph, codes).item() == 127 * sum(codes.ravel().tolist())


@pytest.mark.parametrize("batch, columns", [(1, 1), (1 << 10, 100), (1 << 11, 1 << 11), (1 << 23, 1 << 22)])
def test_the_size_of_batches_makes_no_difference(monkeypatch: pytest.MonkeyPatch, batch: int, columns: int) -> None:
    graph = random_network(3)
    codes = codes_of(graph, 7)
    expected = run_all(graph, codes)
    monkeypatch.setattr(execute, "_BATCH_ELEMENTS", batch)
    monkeypatch.setattr(arithmetic, "_COLUMN_ELEMENTS", columns)
    done: list[int] = []
    assert np.array_equal(run(graph, codes, progress=done.append), expected[graph.output])
    assert done == sorted(set(done)) and done[-1] == 7 and (len(done) == 7) == (batch < 1080)
    assert all(np.array_equal(value, expected[name]) for name, value in run_all(graph, codes).items())


def test_frames_do_not_influence_each_other_and_the_input_is_kept() -> None:
    graph = random_network(4)
    codes = codes_of(graph, 5)
    before = codes.copy()
    together = run(graph, codes)
    assert np.array_equal(codes, before)
    assert all(np.array_equal(run(graph, codes[n : n + 1])[0], together[n]) for n in range(5))
    assert run(graph, codes[:0]).shape == (0, 10, 1, 1)
    assert np.array_equal(run(graph, codes.astype(np.uint8)), together)


def test_a_fork_feeds_both_consumers() -> None:
    chain = Chain((2, 4, 4), IntFormat(4, False)).pool(2, 1).pool(2, 1)
    graph = Graph("g", tuple(chain.tensors), tuple(chain.nodes), "x", "t1")
    codes = codes_of(graph)
    middle = Graph("g", tuple(chain.tensors[:2]), tuple(chain.nodes[:1]), "x", "t0")
    assert np.array_equal(run(graph, codes), naive_pool(run(middle, codes), 2, 1))


@pytest.mark.parametrize(
    "codes, message",
    [
        (np.zeros((1, 3, 9, 10)), "codes of x must be integers (convert the array to an integer type), not float64"),
        (np.zeros((1, 3, 9, 10), bool), "codes of x must be integers (convert the array to an integer type), not bool"),
        (np.zeros((3, 9, 10), int), "codes of x must have the shape (N, 3, 9, 10) = (N, C, H, W), not (3, 9, 10)"),
        (
            np.zeros((1, 9, 10, 3), int),
            "codes of x must have the shape (N, 3, 9, 10) = (N, C, H, W), not (1, 9, 10, 3)",
        ),
        (np.full((1, 3, 9, 10), 256), "codes of x must lie in 0..255, not 256..256"),
        (np.full((1, 3, 9, 10), -1), "codes of x must lie in 0..255, not -1..-1"),
    ],
)
def test_wrong_codes(codes: np.ndarray, message: str) -> None:
    for call in (run, run_all):
        with pytest.raises(UserError) as caught:
            call(random_network(), codes)
        assert str(caught.value) == message


def test_apply_node_checks_too() -> None:
    with pytest.raises(UserError, match=r"^codes of t0 must lie in 0..15, not 16..16$"):
        apply_node(random_network(), "conv1", np.full((1, 3, 9, 10), 16))
    with pytest.raises(KeyError):
        apply_node(random_network(), "none", np.zeros((1, 3, 9, 10), int))
