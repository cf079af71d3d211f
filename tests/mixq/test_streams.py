from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from mixq.formats import IntFormat
from mixq.streams import StreamShape

SHAPES = [
    # channels, height, width, bits, signed, pixels, lanes
    (6, 2, 5, 4, False, 2, 3),
    (6, 3, 4, 5, True, 2, 1),
    (1, 1, 1, 1, False, 1, 1),
    (4, 2, 3, 64, True, 1, 2),
    (4, 2, 3, 63, False, 5, 4),
    (8, 3, 7, 21, True, 4, 8),
    (2, 4, 2, 8, False, 3, 2),
    (5, 2, 3, 4, True, 2, 4),
    (3, 1, 2, 3, False, 1, 2),
]


def stream(case: tuple) -> StreamShape:
    channels, height, width, bits, signed, pixels, lanes = case
    return StreamShape(channels, height, width, IntFormat(bits, signed), pixels, lanes)


def random_codes(shape: StreamShape, frames: int) -> np.ndarray:
    rng = np.random.default_rng(7)
    return rng.integers(shape.format.low, shape.format.high, (frames, *shape.shape), endpoint=True)


def naive_beats(shape: StreamShape, frames: np.ndarray) -> list[int]:
    """The contract, word by word: row, group of pixels, group of channels; in a beat pixel, then channel."""
    beats = []
    for frame in frames.tolist():
        for row in range(shape.height):
            for group in range(0, shape.width, shape.pixels):
                for lane in range(0, shape.channels, shape.lanes):
                    word = 0
                    for pixel in range(shape.pixels):
                        for channel in range(shape.lanes):
                            if group + pixel < shape.width and lane + channel < shape.channels:
                                code = frame[lane + channel][row][group + pixel] % 2**shape.format.width
                                word |= code << (pixel * shape.lanes + channel) * shape.format.width
                    beats.append(word)
    return beats


@pytest.mark.parametrize("case", SHAPES)
def test_pack_is_the_order_of_the_contract(case: tuple) -> None:
    shape = stream(case)
    frames = random_codes(shape, 3)
    beats = shape.pack(frames)
    assert beats == naive_beats(shape, frames)
    assert len(beats) == 3 * shape.beats and all(type(beat) is int for beat in beats)


@pytest.mark.parametrize("case", SHAPES)
def test_unpack_inverts_pack_and_ignores_the_bits_outside_the_mask(case: tuple) -> None:
    shape = stream(case)
    frames = random_codes(shape, 2)
    beats = shape.pack(frames)
    full = 2**shape.payload_bits - 1
    dirty = [beat | full & ~shape.mask(index % shape.beats) for index, beat in enumerate(beats)]
    unpacked = shape.unpack(dirty)
    assert unpacked.dtype == np.int64 and unpacked.shape == frames.shape
    assert np.array_equal(unpacked, frames)
    assert (dirty != beats) == bool(shape.width % shape.pixels or shape.channels % shape.lanes)


@pytest.mark.parametrize("case", SHAPES)
def test_mask_holds_exactly_the_bits_that_unpack_reads(case: tuple) -> None:
    shape = stream(case)
    for index, bit in itertools.product(range(shape.beats), range(shape.payload_bits)):
        beats = [0] * shape.beats
        beats[index] = 1 << bit
        assert bool(shape.unpack(beats).any()) == bool(shape.mask(index) >> bit & 1)


def test_counts_of_the_example() -> None:
    shape = stream(SHAPES[0])
    assert (shape.groups, shape.channel_groups, shape.beats, shape.payload_bits) == (3, 2, 12, 24)
    assert shape.with_beat(pixels=1, lanes=6).beats == 10
    assert [shape.mask(index) for index in range(6)] == [0xFFFFFF] * 4 + [0xFFF] * 2


def test_large_frames_and_none() -> None:
    shape = StreamShape(16, 64, 130, IntFormat(4, False), 2, 16)
    frames = random_codes(shape, 3)  # more than one chunk of the vectorised code
    beats = shape.pack(frames)
    assert beats == naive_beats(shape, frames) and np.array_equal(shape.unpack(beats), frames)
    assert shape.pack(frames[:0]) == [] and shape.unpack([]).shape == (0, 16, 64, 130)


def test_codes_of_any_integer_type() -> None:
    shape = StreamShape(1, 1, 2, IntFormat(8, False))
    for dtype in (np.uint8, np.uint64, np.int16, np.int64):
        assert shape.pack(np.array([[[[3, 200]]]], dtype=dtype)) == [3, 200]
    signed = StreamShape(1, 1, 2, IntFormat(8, True))
    assert signed.pack(np.array([[[[-1, 100]]]], dtype=np.int8)) == [255, 100]


@pytest.mark.parametrize(
    "change, error, message",
    [
        ({"channels": 0}, ValueError, "channels must be at least 1, not 0"),
        ({"pixels": -1}, ValueError, "pixels must be at least 1, not -1"),
        ({"height": 2.0}, TypeError, "height must be an integer, not 2.0"),
        ({"lanes": True}, TypeError, "lanes must be an integer, not True"),
        ({"lanes": 7}, ValueError, "lanes must be at most the 6 channels, not 7"),
        ({"format": 4}, TypeError, "format must be an IntFormat, not 4"),
    ],
)
def test_wrong_shapes(change: dict[str, Any], error: type[Exception], message: str) -> None:
    good: dict[str, Any] = {"channels": 6, "height": 2, "width": 5, "format": IntFormat(4, False)}
    with pytest.raises(error) as caught:
        StreamShape(**{**good, **change})
    assert str(caught.value) == message


def test_wrong_frames_and_beats() -> None:
    shape = StreamShape(1, 1, 2, IntFormat(4, False, 0, 9))
    with pytest.raises(TypeError, match=r"^frames must hold integers, not float64$"):
        shape.pack(np.zeros((1, 1, 1, 2)))
    with pytest.raises(ValueError, match=r"must have the shape .* not \(1, 2, 1, 1\)$"):
        shape.pack(np.zeros((1, 2, 1, 1), int))
    with pytest.raises(ValueError, match=r"^frames must hold codes in 0..9, not 0..10$"):
        shape.pack(np.array([[[[0, 10]]]]))
    with pytest.raises(ValueError, match=r"^beats must be a multiple of the frame's 2, not 3 of them$"):
        shape.unpack([0, 0, 0])
    with pytest.raises(ValueError, match=r"^beats must fit in 4 payload bits, not 16$"):
        shape.unpack([0, 16])
    with pytest.raises(ValueError, match=r"^beats must fit in 4 payload bits, not -1$"):
        shape.unpack([0, -1])
    for beat in (-1, 2):
        with pytest.raises(IndexError, match=rf"^beat must be 0 to 1, not {beat}$"):
            shape.mask(beat)
