"""How a tensor travels on a stream: the order of codes in beats, packed and unpacked in NumPy.

A beat carries the same ``lanes`` channels of ``pixels`` neighbouring pixels of a row. Beats follow each
other by row, then by group of pixels, then by group of channels. Inside a beat the code of pixel ``p`` and
channel ``ch`` sits at bits ``[(p * lanes + ch) * width +: width]``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from mixq.formats import IntFormat

# Codes that are expanded to single bits at a time; bounds the memory of packing to some tens of MB.
_CHUNK_CODES = 1 << 18


@dataclass(frozen=True)
class StreamShape:
    """Shape of a tensor (channels, height, width) on a stream of ``pixels`` x ``lanes`` codes a beat.

    Parameters: ``channels``, ``height``, ``width`` of the tensor; ``format`` of its codes; ``pixels`` of
    one row in a beat (the last group of a row is filled up with don't-care codes when ``pixels`` does not
    divide ``width``); ``lanes``, the channels in a beat (the last group of channels of a pixel is filled up with
    don't-care codes when ``lanes`` does not divide ``channels``).

    Example: channels=6, height=2, width=5, 4-bit codes, pixels=2, lanes=3 gives 3 groups a row,
    12 beats a frame and 24 payload bits.

    Raises: TypeError for a wrong type, ValueError for a value below 1 or more lanes than channels.
    """

    channels: int
    height: int
    width: int
    format: IntFormat
    pixels: int = 1
    lanes: int = 1

    def __post_init__(self) -> None:
        for name in ("channels", "height", "width", "pixels", "lanes"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
                raise TypeError(f"{name} must be an integer, not {value!r}")
            if value < 1:
                raise ValueError(f"{name} must be at least 1, not {value!r}")
            object.__setattr__(self, name, int(value))
        if not isinstance(self.format, IntFormat):
            raise TypeError(f"format must be an IntFormat, not {self.format!r}")
        if self.lanes > self.channels:
            raise ValueError(f"lanes must be at most the {self.channels} channels, not {self.lanes!r}")

    @property
    def groups(self) -> int:
        """Groups of pixels in a row: ceil(width / pixels)."""
        return -(-self.width // self.pixels)

    @property
    def channel_groups(self) -> int:
        """Groups of channels of a pixel: ceil(channels / lanes)."""
        return -(-self.channels // self.lanes)

    @property
    def even(self) -> bool:
        """Whether every beat carries ``lanes`` channels, none of them filled up."""
        return self.channels % self.lanes == 0

    @property
    def beats(self) -> int:
        """Beats of one frame."""
        return self.height * self.groups * self.channel_groups

    @property
    def payload_bits(self) -> int:
        """Bits of one beat."""
        return self.pixels * self.lanes * self.format.width

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape (C, H, W) of the tensor."""
        return self.channels, self.height, self.width

    def with_beat(self, *, pixels: int, lanes: int) -> StreamShape:
        """Return the same tensor in beats of ``pixels`` x ``lanes`` codes."""
        return replace(self, pixels=pixels, lanes=lanes)

    def mask(self, beat: int) -> int:
        """Return the payload bits that matter in beat ``beat`` (0 to beats - 1) of a frame.

        Pixels beyond the width in the last group of a row are don't-care, and channels beyond the tensor's in the last
        group of a pixel. IndexError outside the frame.
        """
        if not 0 <= beat < self.beats:
            raise IndexError(f"beat must be 0 to {self.beats - 1}, not {beat!r}")
        pixel_group, channel_group = divmod(beat, self.channel_groups)
        pixels = min(self.pixels, self.width - pixel_group % self.groups * self.pixels)
        lanes = min(self.lanes, self.channels - channel_group * self.lanes)
        one = (1 << lanes * self.format.width) - 1
        return sum(one << pixel * self.lanes * self.format.width for pixel in range(pixels))

    def places(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Return where each code of the tensor travels: its beat of the frame, and its place in it; (C, H, W) each.

        >>> beat, place = StreamShape(2, 1, 3, IntFormat(4, False), pixels=2, lanes=1).places()
        >>> beat.tolist(), place.tolist()
        ([[[0, 0, 2]], [[1, 1, 3]]], [[[0, 1, 0]], [[0, 1, 0]]])
        """
        channel, row, column = np.indices(self.shape)
        beat = (row * self.groups + column // self.pixels) * self.channel_groups + channel // self.lanes
        return beat, column % self.pixels * self.lanes + channel % self.lanes

    def pack(self, frames: npt.ArrayLike) -> list[int]:
        """Return the beats of ``frames``, integer codes (F, C, H, W), F * beats of them.

        Negative codes are packed in two's complement; don't-care codes are 0. TypeError for codes that
        are no integers, ValueError for another shape or a code outside the format.
        """
        codes = np.asarray(frames)
        if codes.dtype.kind not in "iu":
            raise TypeError(f"frames must hold integers, not {codes.dtype}")
        if codes.ndim != 4 or codes.shape[1:] != self.shape:
            raise ValueError(f"frames must have the shape (F, C, H, W) = (F, {self.shape}), not {codes.shape!r}")
        if not self.format.contains(codes):
            raise ValueError(
                f"frames must hold codes in {self.format.low}..{self.format.high}, not "
                f"{int(codes.min())}..{int(codes.max())!r}"
            )
        # Two's complement of any width is the low bits of the 64-bit one.
        unsigned = (
            codes.astype(np.uint64, copy=False) if codes.dtype.kind == "u" else codes.astype(np.int64).view(np.uint64)
        )
        padding = self.groups * self.pixels - self.width
        surplus = self.channel_groups * self.lanes - self.channels
        padded = np.pad(unsigned, ((0, 0), (0, surplus), (0, 0), (0, padding)))
        split = padded.reshape(len(codes), self.channel_groups, self.lanes, self.height, self.groups, self.pixels)
        return _to_beats(split.transpose(0, 3, 4, 1, 5, 2).reshape(-1, self.pixels * self.lanes), self.format.width)

    def unpack(self, beats: Sequence[int]) -> npt.NDArray[np.int64]:
        """Return the codes (F, C, H, W) of whole frames of beats; the inverse of :meth:`pack`.

        Don't-care codes are ignored. Codes are taken as they are, also where the format's range is
        narrower than its width. ValueError for a number of beats that is not a multiple of the frame's,
        or for a beat that does not fit in the payload.
        """
        if len(beats) % self.beats:
            raise ValueError(f"beats must be a multiple of the frame's {self.beats}, not {len(beats)!r} of them")
        return self.unpack_bytes(_to_bytes(beats, self.payload_bits))

    def unpack_bytes(self, payloads: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
        """Return the codes (F, C, H, W) of whole frames of beats, as bytes (F * beats, B), the lowest first.

        B is ceil(payload_bits / 8); what they hold above the payload is ignored. ValueError for another shape.
        """
        size = (self.payload_bits + 7) // 8
        if payloads.ndim != 2 or payloads.shape[1] != size or len(payloads) % self.beats:
            raise ValueError(
                f"payloads must have the shape (F * {self.beats}, {size}) of whole frames, not {payloads.shape!r}"
            )
        frames = len(payloads) // self.beats
        codes = _from_beats(payloads, self.pixels * self.lanes, self.format)
        split = codes.reshape(frames, self.height, self.groups, self.channel_groups, self.pixels, self.lanes)
        channels = self.channel_groups * self.lanes
        whole = split.transpose(0, 3, 5, 1, 2, 4).reshape(frames, channels, self.height, self.groups * self.pixels)
        return np.ascontiguousarray(whole[:, : self.channels, :, : self.width])


def _to_beats(codes: npt.NDArray[np.uint64], width: int) -> list[int]:
    """Pack rows of codes (beats, codes of a beat), first code least significant, ``width`` bits each."""
    shifts = np.arange(width, dtype=np.uint64)
    step = max(1, _CHUNK_CODES // codes.shape[1])
    result: list[int] = []
    for start in range(0, len(codes), step):
        part = codes[start : start + step]
        bits = ((part[..., None] >> shifts) & np.uint64(1)).astype(np.uint8).reshape(len(part), -1)
        rows = np.packbits(bits, axis=1, bitorder="little")
        result.extend(int.from_bytes(row.tobytes(), "little") for row in rows)
    return result


def _to_bytes(beats: Sequence[int], bits: int) -> npt.NDArray[np.uint8]:
    """Return beats of ``bits`` bits as bytes (beats, bytes of a beat), the lowest first."""
    size = (bits + 7) // 8
    for beat in beats:
        if not 0 <= beat < 1 << bits:
            raise ValueError(f"beats must fit in {bits} payload bits, not {beat!r}")
    raw = b"".join(int(beat).to_bytes(size, "little") for beat in beats)
    return np.frombuffer(raw, dtype=np.uint8).reshape(len(beats), size)


def _from_beats(payloads: npt.NDArray[np.uint8], per_beat: int, format: IntFormat) -> npt.NDArray[np.int64]:
    """Inverse of :func:`_to_beats`, from bytes: signed or unsigned codes (beats, codes of a beat)."""
    result = np.empty((len(payloads), per_beat), dtype=np.int64)
    shifts = np.arange(format.width, dtype=np.uint64)
    step = max(1, _CHUNK_CODES // per_beat)
    for start in range(0, len(payloads), step):
        raw = payloads[start : start + step]
        bits = np.unpackbits(raw, axis=1, count=per_beat * format.width, bitorder="little")
        fields = bits.reshape(len(raw), per_beat, format.width).astype(np.uint64)
        codes = (fields << shifts).sum(axis=2, dtype=np.uint64)
        result[start : start + step] = _signed(codes, format)
    return result


def _signed(codes: npt.NDArray[np.uint64], format: IntFormat) -> npt.NDArray[Any]:
    if not format.signed or format.width == 64:
        return codes.view(np.int64)
    sign = np.int64(1 << (format.width - 1))
    return (codes.view(np.int64) ^ sign) - sign
