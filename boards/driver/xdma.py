"""The accelerator on a card in a PCI Express slot, by AMD's XDMA driver: three character devices, no PYNQ.

The card's bitstream is loaded beforehand. A write to the device of the stream to the card is a packet, a read from the
other one gives a packet; both wait, so that a thread each does it.
"""

from __future__ import annotations

import os
import struct
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from boards.driver.description import FILE, Description
from boards.driver.detector import Detector
from boards.driver.faults import AcceleratorError, AcceleratorTimeout
from boards.driver.transport import Transport

DRIVER_SECONDS = 15.0
"""Longer than AMD's driver waits for a transfer, by default 10 seconds."""


_BEAT_BYTES = 64


class Accelerator(Detector):
    """An accelerator on a card; what can be done with it is that of `Detector` and `Operations`.

    Parameters:
        bitfile_name: a file beside ``accelerator.json``; it is not loaded.
        batch_size, timeout, description: as of `mixq_driver.overlay.Accelerator`.
        device: path of the card's devices, which end in ``_user``, ``_h2c_0`` and ``_c2h_0``.

    Raises: AcceleratorError where a device cannot be opened, or is another accelerator than the one described.
    """

    def __init__(
        self,
        bitfile_name: str = "mixq.bit",
        *,
        batch_size: int | None = None,
        timeout: float = 10.0,
        description: str | None = None,
        device: str = "/dev/xdma0",
    ) -> None:
        own = Description.load(Path(description or Path(bitfile_name).resolve().parent / FILE))
        transport = XdmaTransport(device)
        try:
            self.begin(own, transport, batch_size=batch_size, timeout=timeout)
        except BaseException:
            transport.close()
            raise


class XdmaTransport(Transport):
    """Moves packets by ``<device>_c2h_0`` and ``<device>_h2c_0``; the registers are those of ``<device>_user``."""

    def __init__(self, device: str) -> None:
        self._device = device
        self._files: list[int] = []
        self._sent: _Transfer | None = None
        self._received: _Transfer | None = None
        try:
            for suffix, mode in (("user", os.O_RDWR), ("h2c_0", os.O_WRONLY), ("c2h_0", os.O_RDONLY)):
                self._files.append(os.open(f"{device}_{suffix}", mode))
        except OSError as error:
            self.close()
            raise AcceleratorError(
                f"cannot open {error.filename}: {error.strerror}; load AMD's driver xdma, or see who may use the device"
            ) from None
        self._user, self._to_card, self._from_card = self._files

    def read(self, offset: int) -> int:
        """See `Transport`."""
        word = os.pread(self._user, 4, offset)
        if len(word) != 4:
            raise AcceleratorError(f"{self._device}_user gives no register at {offset:#x}")
        return int(struct.unpack("<I", word)[0])

    def write(self, offset: int, value: int) -> None:
        """See `Transport`."""
        os.pwrite(self._user, struct.pack("<I", value), offset)

    def allocate(self, size: int) -> Any:
        """Any memory, as xdma copies or maps it; whole beats of the card."""
        return np.zeros(_whole_beats(size), np.uint8)

    def free(self, buffer: Any) -> None:
        """Nothing: the memory is Python's."""

    def send(self, buffer: Any, size: int) -> None:
        """See `Transport`."""
        data = memoryview(buffer)[:size]
        self._sent = _Transfer(lambda: _write(self._to_card, data))

    def wait_sent(self, timeout: float) -> None:
        """See `Transport`."""
        self._result(self._sent, timeout, "taken in")

    def receive(self, buffer: Any, size: int, least: int) -> None:
        """See `Transport`."""
        data = memoryview(buffer)[: _whole_beats(size)]
        self._received = _Transfer(lambda: min(size, _read(self._from_card, data, least)))

    def wait_received(self, timeout: float) -> int:
        """See `Transport`."""
        return self._result(self._received, timeout, "given out")

    def _result(self, transfer: _Transfer | None, timeout: float, done: str) -> int:
        assert transfer is not None
        if not transfer.ended(timeout):
            raise AcceleratorTimeout(f"a packet was not {done} within {timeout:g} s")
        if transfer.error is not None:
            raise AcceleratorError(f"a packet was not {done}: the driver xdma says {transfer.error.strerror}")
        return transfer.count

    def recover(self) -> None:
        """Let the driver end what hangs, by the time-outs of its own: nobody else can."""
        for transfer in (self._sent, self._received):
            if transfer is not None and not transfer.ended(DRIVER_SECONDS):
                raise AcceleratorError("the driver xdma does not give a transfer up; load it again")
        self._sent = self._received = None

    def close(self) -> None:
        """Close the devices."""
        while self._files:
            os.close(self._files.pop())


def _whole_beats(size: int) -> int:
    """Bytes of what the card moves for a packet: its last beat comes whole."""
    return -(-size // _BEAT_BYTES) * _BEAT_BYTES


class _Transfer:
    """A call that waits, in a thread that keeps no program from ending; ``count`` is what it returned."""

    def __init__(self, move: Callable[[], int]) -> None:
        self._move = move
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.count = 0
        self.error: OSError | None = None
        self._thread.start()

    def ended(self, timeout: float) -> bool:
        """Whether it has ended within so many seconds."""
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            self.count = self._move()
        except OSError as error:
            self.error = error


def _write(file: int, data: memoryview) -> int:
    count = 0
    while count < len(data):
        count += os.write(file, data[count:])
    return count


def _read(file: int, data: memoryview, least: int) -> int:
    """One read gives the whole packet, unless the driver hands it out in parts."""
    count = 0
    while count < least:
        got = os.readv(file, [data[count:]])
        if not got:
            break
        count += got
    return count
