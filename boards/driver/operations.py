"""An accelerator that is opened: frames in, integers out, whatever the way to it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from boards.driver.description import Description
from boards.driver.energy import PowerMeter, power_rails
from boards.driver.faults import AcceleratorError
from boards.driver.frames import Frames, check_codes
from boards.driver.transport import Transport
from boards.registers import BUSY, LONG_FRAME, MAGIC, MAP_VERSION, OFFSETS, SHORT_FRAME, SOFT_RESET

if TYPE_CHECKING:
    from typing import TypeAlias

BATCH_SIZE = 16
"""Frames of a packet, where nothing else is asked for and the DMA can move as many."""

_SHORT_SECONDS, _RESET_SECONDS = 0.02, 1.0
_MOST_BATCH = (1 << 16) - 1

Visit: TypeAlias = "Callable[[Any, int, int], None]"
"""Of a buffer, and the first frame and the one behind the last that stand in it."""


class Operations:
    """What can be done with an accelerator; `Accelerator` of each kind of board adds the way to it.

    Members: ``description``, what it is; ``timeout``, seconds that a packet may take.
    """

    description: Description
    timeout: float

    def begin(self, description: Description, transport: Transport, *, batch_size: int | None, timeout: float) -> None:
        """Check that the accelerator at the other end is the one described, and make the buffers.

        Raises: AcceleratorError for another one. ValueError for a batch or a time that is not positive.
        """
        if not timeout > 0:
            raise ValueError(f"timeout must be positive, not {timeout!r}")
        self.description, self.timeout = description, timeout
        self._transport = transport
        self._inputs, self._outputs = Frames(description.input), Frames(description.output)
        self._buffers: list[tuple[Any, Any]] = []
        self._batch = 0
        self._check_identity()
        self.batch_size = min(BATCH_SIZE, self._most_frames()) if batch_size is None else batch_size
        self.soft_reset()  # another program may have left frames inside

    def _check_identity(self) -> None:
        """AcceleratorError, in one line, where a register that never changes reads another value than it must."""
        found = self.register("ID")
        if found != MAGIC:
            raise AcceleratorError(f"ID reads 0x{found:08x}, not 0x{MAGIC:08x}: this is no accelerator of MixQ's")
        found = self.register("VERSION")
        if found != MAP_VERSION:
            raise AcceleratorError(
                f"VERSION reads {found}, not {MAP_VERSION}: the driver is for other registers; package the build again"
            )
        found = self.register("BUILD_HASH_HIGH") << 32 | self.register("BUILD_HASH_LOW")
        if found != self.description.build_hash:
            raise AcceleratorError(
                f"the bitstream is of build {found:016x}, accelerator.json of {self.description.build_hash:016x}; "
                "take both from the same folder"
            )
        buses = self.description.input.bus_bits | self.description.output.bus_bits << 16
        for name, expected in (
            ("INPUT_BYTES", self._inputs.frame_bytes),
            ("OUTPUT_BYTES", self._outputs.frame_bytes),
            ("BUS_BITS", buses),
        ):
            found = self.register(name)
            if found != expected:
                raise AcceleratorError(
                    f"{name} reads {found}, accelerator.json says {expected}; package the build again"
                )

    def register(self, name: str) -> int:
        """What the register of that name reads, 32 bits; KeyError where there is none."""
        return int(self._transport.read(OFFSETS[name]))

    @property
    def batch_size(self) -> int:
        """Frames of a packet, from 1 up; setting it makes the buffers anew.

        Raises: ValueError for a number that is not positive, or whose packets the DMA cannot move.
        """
        return self._batch_size

    @batch_size.setter
    def batch_size(self, frames: int) -> None:
        if not 1 <= frames <= self._most_frames():
            raise ValueError(f"batch_size must be from 1 to {self._most_frames()}, not {frames!r}")
        self._free_buffers()
        self._batch_size = frames
        allocate = self._transport.allocate
        for _ in range(2):
            pair = (allocate(self._inputs.bytes_of(frames)), allocate(self._outputs.bytes_of(frames)))
            self._buffers.append(pair)

    def _most_frames(self) -> int:
        """Of a packet that register and DMA can count; at least 1."""
        most = self._transport.most_bytes // max(self._inputs.stride, self._outputs.stride)
        return max(1, min(most, _MOST_BATCH))

    def _free_buffers(self) -> None:
        while self._buffers:
            for buffer in self._buffers.pop():
                self._transport.free(buffer)

    def execute(self, input_npy: NDArray[Any]) -> NDArray[np.int64]:
        """The final integers of some frames, int64 (N, C, H, W), as ``mixq run`` gives them.

        Parameters:
            input_npy: integer codes (N, C, H, W) in the network's own order of channels, or RGB images of the
                network's size, uint8 (N, H, W, C).

        Raises:
            TypeError, ValueError: an array that is neither. AcceleratorTimeout: no answer in time; the message ends
            with the state of the registers, and the accelerator is reset and can be used again. AcceleratorError:
            the DMA tells an error.
        """
        frames = np.asarray(input_npy)
        shape, format = self.description.input.shape, self.description.input.format
        channels, height, width = shape
        images = frames.dtype == np.uint8 and frames.ndim == 4 and frames.shape[1:] == (height, width, channels)
        if images and frames.shape[1:] != shape:
            frames = frames.transpose(0, 3, 1, 2)
            if self.description.channel_order == "bgr":
                frames = frames[:, ::-1]
        check_codes(frames, shape, format)

        def fill(buffer: Any, start: int, stop: int) -> None:
            self._inputs.pack(buffer, frames[start:stop])

        return self.stream(len(frames), fill)

    def stream(self, count: int, fill: Visit) -> NDArray[np.int64]:
        """As :meth:`execute`, of frames that ``fill(buffer, start, stop)`` writes to the start of a buffer."""
        out = np.empty((count, *self.description.output.shape), np.int64)

        def take(buffer: Any, start: int, stop: int) -> None:
            self._outputs.unpack(buffer, out[start:stop])

        self._move(count, fill, take)
        return out

    def _move(self, count: int, fill: Visit, take: Visit) -> None:
        """Frames through the accelerator, in packets of the batch and a smaller one for what is left."""
        size = self._batch_size
        whole = count - count % size
        groups = [[(start, start + size) for start in range(0, whole, size)]]
        if whole < count:
            groups.append([(whole, count)])
        try:
            for parts in groups:
                self._move_parts(parts, fill, take)
        except BaseException as error:
            # A program that is interrupted here leaves packets under way, too: whoever comes next must not get them.
            said = f"{error}; {self._state()}" if isinstance(error, AcceleratorError) else ""
            self.soft_reset()
            if said:
                raise type(error)(said) from None
            raise

    def _move_parts(self, parts: list[tuple[int, int]], fill: Visit, take: Visit) -> None:
        """Packets of one size, the next one packed and the last one read while the DMA moves another."""
        if not parts:
            return
        frames = parts[0][1] - parts[0][0]
        if frames != self._batch:
            # Nothing is inside: the packets before are out.
            self._transport.write(OFFSETS["BATCH"], frames)
            self._batch = frames
        transport, limit = self._transport, self.timeout
        in_bytes, out_bytes = self._inputs.bytes_of(frames), self._outputs.bytes_of(frames)
        least = out_bytes - self._outputs.stride + self._outputs.frame_bytes  # the last beat may be partial
        fill(self._buffers[0][0], *parts[0])
        transport.receive(self._buffers[0][1], out_bytes, least)
        transport.send(self._buffers[0][0], in_bytes)
        for place, part in enumerate(parts):
            more = place + 1 < len(parts)
            received = self._buffers[place % 2][1]
            next_input, next_output = self._buffers[(place + 1) % 2]
            if more:
                fill(next_input, *parts[place + 1])
            transport.wait_sent(limit)
            if more:
                transport.send(next_input, in_bytes)
            found = transport.wait_received(limit)
            if found not in (least, out_bytes):
                raise AcceleratorError(f"a packet of {frames} frames came out with {found} bytes, not {out_bytes}")
            if more:
                transport.receive(next_output, out_bytes, least)
            take(received, *part)

    def soft_reset(self) -> None:
        """Drop all frames that are inside or under way, and be as after loading the bitstream.

        Raises: AcceleratorError where DMA or accelerator does not come back.
        """
        transport = self._transport
        transport.recover()
        transport.write(OFFSETS["CONTROL"], SOFT_RESET)
        if not self._reset_ends(_SHORT_SECONDS):
            # A beat that is offered stands until it is taken, through a reset too: somebody has to take it.
            transport.receive(self._buffers[0][1], self._outputs.bytes_of(self._batch_size), 1)
            if not self._reset_ends(_RESET_SECONDS):
                raise AcceleratorError(f"no end of the soft reset in {_RESET_SECONDS:g} s; load the bitstream again")
            transport.recover()

    def _reset_ends(self, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while self.register("CONTROL") & SOFT_RESET:
            if time.monotonic() > deadline:
                return False
        return True

    def counters(self) -> dict[str, int]:
        """What the accelerator counted since its last reset.

        Keys: ``frames_in``, ``frames_out``, ``short_frames``, ``long_frames``, ``cycles`` (of the clock, 64 bits),
        ``frame_cycles`` (between the last two frames out, 0 before), ``status`` (bits as in `registers`).
        """
        names = ("FRAMES_IN", "FRAMES_OUT", "SHORT_FRAMES", "LONG_FRAMES", "FRAME_CYCLES", "STATUS")
        found = {name.lower(): self.register(name) for name in names}
        low = self.register("CYCLES_LOW")  # holds the other half until that is read
        found["cycles"] = self.register("CYCLES_HIGH") << 32 | low
        return found

    def frame_rate(self) -> float | None:
        """Frames per second by the distance of the two frames given out last, None before there are two."""
        cycles = self.register("FRAME_CYCLES")
        return self.description.clock_mhz * 1e6 / cycles if cycles else None

    def measured_clock_mhz(self, seconds: float = 0.1) -> float:
        """The clock as the cycle counter and the processor's time have it; the longer, the more exact."""
        cycles, started = self.counters()["cycles"], time.monotonic()
        time.sleep(seconds)
        return float((self.counters()["cycles"] - cycles) / (time.monotonic() - started) / 1e6)

    def _state(self) -> str:
        """The registers that say what happened, for a message."""
        found = self.counters()
        bits = ((SHORT_FRAME, "short frame"), (LONG_FRAME, "long frame"), (BUSY, "frames inside"))
        status = ", ".join(word for bit, word in bits if found["status"] & bit) or "idle"
        return (
            f"STATUS {found['status']} ({status}), FRAMES_IN {found['frames_in']}, FRAMES_OUT {found['frames_out']}, "
            f"SHORT_FRAMES {found['short_frames']}, LONG_FRAMES {found['long_frames']}; it has been reset"
        )

    def throughput_test(self, batches: int = 16, *, seed: int = 0) -> dict[str, Any]:
        """Move packets of random frames as fast as it goes, without packing and reading them, which is timed apart.

        Keys, those of FINN's driver where it has the same: ``runtime[ms]``, ``throughput[images/s]``,
        ``DRAM_in_bandwidth[MB/s]``, ``DRAM_out_bandwidth[MB/s]``, ``fclk[mhz]``, ``batch_size``, ``pack_input[ms]`` and
        ``unpack_output[ms]`` of one packet; and ``images``, ``cycles_per_frame`` (measured), ``cycles_planned``,
        ``throughput_by_cycles[images/s]``, and ``energy[J]``, joules by rail, None where the board has no sensors.

        Raises: ValueError for a number of batches that is not positive; else as :meth:`execute`.
        """
        if batches < 1:
            raise ValueError(f"batches must be at least 1, not {batches!r}")
        size, own = self._batch_size, self.description
        codes = np.random.default_rng(seed).integers(
            own.input.format.low, own.input.format.high, (size, *own.input.shape), np.int64, endpoint=True
        )
        started = time.perf_counter()
        for buffer, _ in self._buffers:
            self._inputs.pack(buffer, codes)
        packed = (time.perf_counter() - started) / len(self._buffers)
        meter = PowerMeter(power_rails())
        with meter:
            started = time.perf_counter()
            self._move(size * batches, _nothing, _nothing)
            runtime = time.perf_counter() - started
        started = time.perf_counter()
        self._outputs.unpack(self._buffers[0][1], np.empty((size, *own.output.shape), np.int64))
        unpacked = time.perf_counter() - started
        images = size * batches
        return {
            "runtime[ms]": runtime * 1e3,
            "throughput[images/s]": images / runtime,
            "DRAM_in_bandwidth[MB/s]": self._inputs.bytes_of(images) / runtime / 1e6,
            "DRAM_out_bandwidth[MB/s]": self._outputs.bytes_of(images) / runtime / 1e6,
            "fclk[mhz]": own.clock_mhz,
            "batch_size": size,
            "images": images,
            "pack_input[ms]": packed * 1e3,
            "unpack_output[ms]": unpacked * 1e3,
            "cycles_per_frame": self.register("FRAME_CYCLES"),
            "cycles_planned": own.cycles_per_frame,
            "throughput_by_cycles[images/s]": self.frame_rate(),
            "energy[J]": meter.joules,
        }

    def close(self) -> None:
        """Give buffers and transport back; the object is of no use afterwards."""
        self._free_buffers()
        self._transport.close()

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _nothing(buffer: Any, start: int, stop: int) -> None:
    """Neither fills a buffer nor reads it."""
