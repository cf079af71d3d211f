"""A DMA engine as PYNQ drives it: two channels, polled."""

from __future__ import annotations

from typing import Any

from sim.virtual_board.dma import (
    ADDRESS,
    ADDRESS_HIGH,
    AT_REST,
    CONTROL,
    DECODE_ERROR,
    HALTED,
    INTERNAL_ERROR,
    LENGTH,
    LENGTH_BITS,
    RECEIVE,
    RUN,
    SEND,
    STATUS,
    Dma,
)

_ERRORS = 0x70


class Channel:
    """One direction. A send flushes the buffer at its start, a wait for what is received invalidates it."""

    def __init__(self, engine: Dma, base: int) -> None:
        self._engine, self._base = engine, base
        self._fresh = True
        self._buffer: Any = None
        #: Bytes of the last transfer that was waited for.
        self.transferred = 0
        self.start()

    @property
    def running(self) -> bool:
        """Whether it has been started, and not stopped by an error."""
        return not self._status & HALTED

    @property
    def idle(self) -> bool:
        """Whether the last transfer is done."""
        return bool(self._status & AT_REST)

    @property
    def error(self) -> bool:
        """Whether an error stopped it."""
        return bool(self._status & _ERRORS)

    def start(self) -> None:
        """Let it run."""
        self._engine.write(self._base + CONTROL, RUN)
        while not self.running:
            pass
        self._fresh = True

    def stop(self) -> None:
        """Stop it; waits until the transfer is through, however long that takes."""
        self._engine.write(self._base + CONTROL, 0)
        while self.running:
            pass

    def transfer(self, array: Any, start: int = 0, nbytes: int = 0) -> None:
        """Begin to move ``nbytes`` bytes of the array from byte ``start`` on, all where it is 0.

        Raises: RuntimeError for a channel that does not run or is busy, ValueError for more than the engine can move.
        """
        if not self.running:
            raise RuntimeError("DMA channel not started")
        if not self._fresh and not self.idle:
            raise RuntimeError("DMA channel not idle")
        size = nbytes or array.nbytes - start
        if size >= 1 << LENGTH_BITS:
            raise ValueError(f"transfer of {size} bytes: the DMA moves less than {1 << LENGTH_BITS}")
        if self._base == SEND:
            array.flush()
        address = array.physical_address + start
        self._engine.write(self._base + ADDRESS, address & 0xFFFFFFFF)
        self._engine.write(self._base + ADDRESS_HIGH, address >> 32)
        self._fresh = False
        self.transferred = 0
        self._buffer = array
        self._engine.write(self._base + LENGTH, size)

    def wait(self) -> None:
        """Return when the transfer is done; RuntimeError where an error stopped it, or nothing runs."""
        while True:
            status = self._status
            for bit, name in ((INTERNAL_ERROR, "internal"), (DECODE_ERROR, "decode")):
                if status & bit:
                    raise RuntimeError(f"DMA {name} error")
            if status & HALTED:
                raise RuntimeError("DMA channel not started")
            if status & AT_REST:
                break
        if self._base == RECEIVE:
            self._buffer.invalidate()
        self.transferred = self._engine.read(self._base + LENGTH)

    @property
    def _status(self) -> int:
        return self._engine.read(self._base + STATUS)


class DMA:
    """The engine: ``sendchannel``, ``recvchannel``, and its registers."""

    def __init__(self, engine: Dma) -> None:
        self._engine = engine
        self.buffer_max_size = (1 << LENGTH_BITS) - 1
        self.sendchannel, self.recvchannel = Channel(engine, SEND), Channel(engine, RECEIVE)

    def read(self, offset: int = 0) -> int:
        """A register."""
        return self._engine.read(offset)

    def write(self, offset: int, value: int) -> None:
        """Write a register."""
        self._engine.write(offset, value)
