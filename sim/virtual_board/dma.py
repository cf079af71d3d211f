"""Registers of AMD's AXI DMA without scatter and gather (PG021), with a board's streams behind them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mixq.errors import CheckFailed
from sim.virtual_board.board import THERE, TOO_LONG, Board
from sim.virtual_board.memory import Memory, Region

SEND, RECEIVE = 0x00, 0x30
"""Where the registers of the channels begin: from memory to the stream, and from the stream to memory."""

CONTROL, STATUS, ADDRESS, ADDRESS_HIGH, LENGTH = 0x00, 0x04, 0x18, 0x1C, 0x28

RUN, RESET = 1 << 0, 1 << 2
"""Bits of ``CONTROL``."""

HALTED, AT_REST, INTERNAL_ERROR, DECODE_ERROR, INTERRUPT = 1 << 0, 1 << 1, 1 << 4, 1 << 6, 1 << 12
"""Bits of ``STATUS``; a channel is at rest when its transfer is done, not before the first one."""

LENGTH_BITS = 26

_POLL_CYCLES = 500
"""Of the accelerator, between two looks at a channel's status while something is under way."""


@dataclass
class _Channel:
    control: int = 0
    status: int = HALTED
    address: int = 0
    length: int = 0
    busy: bool = False
    region: Region | None = None
    start: int = 0
    sent: bytes = b""


class Dma:
    """Two channels; time passes on the board when the status of a busy one is read.

    Raises: CheckFailed where the processor's side of a buffer is changed while a packet is sent from it: on a board
    the cache may write it back at any time.
    """

    def __init__(self, board: Board, memory: Memory) -> None:
        self._board, self._memory = board, memory
        self._channels = {SEND: _Channel(), RECEIVE: _Channel()}

    def read(self, offset: int) -> int:
        """A register; those that this engine has none of read 0."""
        base = RECEIVE if offset >= RECEIVE else SEND
        channel = self._channels[base]
        if offset - base == STATUS:
            if channel.busy:
                self._pass_time()
            return channel.status
        known = {CONTROL: "control", ADDRESS: "address", LENGTH: "length"}
        name = known.get(offset - base)
        return 0 if name is None else int(getattr(channel, name))

    def write(self, offset: int, value: int) -> None:
        """Write a register; a length begins a transfer where the channel runs."""
        base = RECEIVE if offset >= RECEIVE else SEND
        channel = self._channels[base]
        register = offset - base
        if register == CONTROL and value & RESET:
            self._board.abort()
            self._channels = {SEND: _Channel(), RECEIVE: _Channel()}
        elif register == CONTROL:
            channel.control = value
            if value & RUN:
                channel.status &= ~HALTED
            elif not channel.busy:  # a channel halts when its transfer is through
                channel.status |= HALTED
        elif register == STATUS:
            channel.status &= ~(value & INTERRUPT)
        elif register == ADDRESS:
            channel.address = channel.address >> 32 << 32 | value
        elif register == ADDRESS_HIGH:
            channel.address = value << 32 | channel.address & 0xFFFFFFFF
        elif register == LENGTH and not channel.status & HALTED and not channel.busy:
            self._begin(base, channel, value % (1 << LENGTH_BITS))

    def _begin(self, base: int, channel: _Channel, length: int) -> None:
        channel.length = length
        channel.status &= ~AT_REST
        found = self._memory.find(channel.address, length)
        if length == 0 or found is None:
            self._stop(channel, DECODE_ERROR if length else INTERNAL_ERROR)
            return
        channel.region, channel.start = found
        channel.busy = True
        if base == SEND:
            channel.sent = channel.region.stored[channel.start : channel.start + length].tobytes()
            self._board.send(channel.sent)
        else:
            self._board.receive(length)

    def _pass_time(self) -> None:
        state = self._board.run(_POLL_CYCLES)
        sending, receiving = self._channels[SEND], self._channels[RECEIVE]
        if sending.busy and not state.sending:
            self._check_untouched(sending)
            self._finish(sending)
        if receiving.busy and state.receiving in (THERE, TOO_LONG):
            assert receiving.region is not None
            data = np.frombuffer(state.data, np.uint8)
            receiving.region.stored[receiving.start : receiving.start + len(data)] = data
            receiving.length = len(data)
            if state.receiving == TOO_LONG:
                self._stop(receiving, INTERNAL_ERROR)
            else:
                self._finish(receiving)

    def _check_untouched(self, channel: _Channel) -> None:
        assert channel.region is not None
        for side in (channel.region.cached, channel.region.stored):
            if side[channel.start : channel.start + channel.length].tobytes() != channel.sent:
                raise CheckFailed(f"the buffer at {channel.address:#x} was changed while the DMA sent it")

    def _finish(self, channel: _Channel) -> None:
        channel.busy = False
        channel.status |= AT_REST | INTERRUPT
        if not channel.control & RUN:
            channel.status |= HALTED

    def _stop(self, channel: _Channel, error: int) -> None:
        channel.busy = False
        channel.control &= ~RUN
        channel.status |= error | HALTED
