from __future__ import annotations

import numpy as np
import pytest

from mixq.containers import container_bits, container_dtype, frame_bytes, frame_view, from_bytes, to_bytes
from mixq.formats import IntFormat


@pytest.mark.parametrize("width", range(1, 65))
def test_smallest_container(width: int) -> None:
    bits = container_bits(IntFormat(width, True))
    assert bits in (8, 16, 32, 64) and bits >= width
    assert bits == 8 or bits // 2 < width


@pytest.mark.parametrize(
    "width, signed", [(2, False), (8, True), (9, True), (16, False), (21, True), (48, True), (64, True)]
)
def test_bytes_are_pixel_by_pixel_channels_innermost(width: int, signed: bool) -> None:
    format = IntFormat(width, signed)
    rng = np.random.default_rng(width)
    frames = rng.integers(format.low, format.high, (2, 3, 2, 5), endpoint=True)
    size = container_bits(format) // 8
    expected = b"".join(
        int(frames[f, c, y, x]).to_bytes(size, "little", signed=signed)
        for f in range(2)
        for y in range(2)
        for x in range(5)
        for c in range(3)
    )
    assert to_bytes(frames, format) == expected
    assert frame_bytes((3, 2, 5), format) == len(expected) // 2
    decoded = from_bytes(expected, format, (3, 2, 5))
    assert decoded.dtype == np.int64 and np.array_equal(decoded, frames)


def test_a_wrong_sign_extension_is_seen() -> None:
    assert from_bytes(b"\x0f", IntFormat(4, True), (1, 1, 1)).tolist() == [[[[15]]]]
    assert from_bytes(b"\xff", IntFormat(4, True), (1, 1, 1)).tolist() == [[[[-1]]]]


def test_frames_with_gaps_are_written_and_read_in_place() -> None:
    frames = np.arange(-6, 6).reshape(2, 3, 1, 2)
    buffer = np.full(2 * 16, 0xAA, np.uint8)
    frame_view(buffer, IntFormat(5, True), (3, 1, 2), count=2, stride=16)[...] = frames
    gap = b"\xaa" * 10
    packed = to_bytes(frames, IntFormat(5, True))
    assert buffer.tobytes() == packed[:6] + gap + packed[6:] + gap
    assert np.array_equal(frame_view(buffer, IntFormat(5, True), (3, 1, 2), count=2, stride=16), frames)
    with pytest.raises(ValueError, match=r"^stride must be at least the frame's 6 bytes, not 5$"):
        frame_view(buffer, IntFormat(5, True), (3, 1, 2), count=2, stride=5)
    with pytest.raises(ValueError, match=r"^buffer must hold 3 frames, 38 bytes, not 32$"):
        frame_view(buffer, IntFormat(5, True), (3, 1, 2), count=3, stride=16)


def test_refusals() -> None:
    with pytest.raises(TypeError, match=r"^format must be an IntFormat, not 8$"):
        container_dtype(8)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"^frames must hold integers, not float64$"):
        to_bytes(np.zeros((1, 1, 1, 1)), IntFormat(8, True))
    with pytest.raises(ValueError, match=r"^frames must have the shape \(F, C, H, W\), not \(1, 1\)$"):
        to_bytes([[1]], IntFormat(8, True))
    with pytest.raises(ValueError, match=r"^frames must hold codes in 0..3, not 0..4$"):
        to_bytes([[[[0, 4]]]], IntFormat(2, False))
    with pytest.raises(ValueError, match=r"^data must be a multiple of the frame's 4 bytes, not 6 bytes$"):
        from_bytes(b"123456", IntFormat(16, True), (2, 1, 1))
    with pytest.raises(ValueError, match=r"^data must hold codes below 2\*\*63, not 18446744073709551615$"):
        from_bytes(b"\xff" * 8, IntFormat(64, False), (1, 1, 1))
