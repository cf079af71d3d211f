"""The accelerator on boards that run PYNQ: a DMA in the fabric, registers in the address space."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pynq

from boards.driver.description import FILE, Description
from boards.driver.detector import Detector
from boards.driver.faults import AcceleratorError, AcceleratorTimeout
from boards.driver.transport import Transport

_DMA_CONTROL, _DMA_RESET = 0x00, 1 << 2
"""Control register of the memory-to-stream channel, and its bit that resets the whole DMA (PG021)."""

_SPIN_SECONDS, _SLEEP_SECONDS = 0.1, 0.001
"""A packet is waited for without a pause, as a pause would leave the DMA idle; what hangs needs no processor."""


class Accelerator(Detector, pynq.Overlay):
    """The overlay of an accelerator, as PYNQ's `Overlay` with what `Detector` and `Operations` add.

    The block design holds the cells ``dma`` and ``accelerator``.

    Parameters:
        bitfile_name: the bitstream; the file ``.hwh`` and ``accelerator.json`` stand beside it.
        batch_size: frames of a packet; None takes 16, or as many as the DMA can move.
        timeout: seconds that a packet may take.
        description: another path of ``accelerator.json``.
        overlay_options: further ones of `pynq.Overlay`, such as ``download``.

    Raises: AcceleratorError for another accelerator than the one described, or a block design without its cells.
    """

    def __init__(
        self,
        bitfile_name: str,
        *,
        batch_size: int | None = None,
        timeout: float = 10.0,
        description: str | None = None,
        **overlay_options: Any,
    ) -> None:
        own = Description.load(Path(description or Path(bitfile_name).resolve().parent / FILE))
        pynq.Overlay.__init__(self, str(bitfile_name), **overlay_options)
        try:
            transport = PynqTransport(self)
            self.begin(own, transport, batch_size=batch_size, timeout=timeout)
        except BaseException:
            self.free()
            raise


class PynqTransport(Transport):
    """Moves packets by the DMA of an overlay that is loaded."""

    def __init__(self, overlay: Any) -> None:
        for cell in ("dma", "accelerator"):
            if cell not in overlay.ip_dict:
                raise AcceleratorError(
                    f"the block design has no cell {cell!r}: {overlay.bitfile_name} is none of MixQ's"
                )
        self._overlay = overlay
        self._dma, self._ip = overlay.dma, overlay.accelerator
        self.most_bytes = int(getattr(self._dma, "buffer_max_size", self.most_bytes))

    def read(self, offset: int) -> int:
        """See `Transport`."""
        return int(self._ip.read(offset))

    def write(self, offset: int, value: int) -> None:
        """See `Transport`."""
        self._ip.write(offset, value)

    def allocate(self, size: int) -> Any:
        """Memory in one piece, that processor and DMA both see."""
        return pynq.allocate(shape=(size,), dtype=np.uint8)

    def free(self, buffer: Any) -> None:
        """See `Transport`."""
        buffer.freebuffer()

    def send(self, buffer: Any, size: int) -> None:
        """See `Transport`."""
        self._transfer(self._dma.sendchannel, buffer, size)

    def wait_sent(self, timeout: float) -> None:
        """See `Transport`."""
        self._wait(self._dma.sendchannel, timeout, "input", "taken in")

    def receive(self, buffer: Any, size: int, least: int) -> None:
        """See `Transport`."""
        self._transfer(self._dma.recvchannel, buffer, size)

    def wait_received(self, timeout: float) -> int:
        """See `Transport`."""
        channel = self._dma.recvchannel
        self._wait(channel, timeout, "output", "given out")
        return int(channel.transferred)

    def _transfer(self, channel: Any, buffer: Any, size: int) -> None:
        try:
            channel.transfer(buffer, nbytes=size)
        except RuntimeError as error:
            raise AcceleratorError(f"the DMA takes no transfer ({error})") from None

    def _wait(self, channel: Any, timeout: float, direction: str, done: str) -> None:
        """PYNQ's own ``wait`` never gives up: it is called when there is nothing left to wait for."""
        started = time.monotonic()
        while not channel.idle:
            waited = time.monotonic() - started
            if channel.error:
                raise AcceleratorError(f"the DMA stopped with an error at the {direction}")
            if waited > timeout:
                raise AcceleratorTimeout(f"a packet was not {done} within {timeout:g} s")
            if waited > _SPIN_SECONDS:
                time.sleep(_SLEEP_SECONDS)
        try:
            channel.wait()
        except RuntimeError as error:
            raise AcceleratorError(f"the DMA stopped with an error at the {direction} ({error})") from None

    def recover(self) -> None:
        """Reset the DMA, which stopping a channel would wait for packets for, and start both channels again."""
        self._dma.write(_DMA_CONTROL, _DMA_RESET)
        deadline = time.monotonic() + 1.0
        while self._dma.read(_DMA_CONTROL) & _DMA_RESET:
            if time.monotonic() > deadline:
                raise AcceleratorError("the DMA does not come out of its reset; load the bitstream again")
        self._dma.sendchannel.start()
        self._dma.recvchannel.start()

    def close(self) -> None:
        """Free the overlay."""
        self._overlay.free()
