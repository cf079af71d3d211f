"""DMA and memory of the virtual board, with a board that gives back what it is sent, doubled."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mixq.errors import CheckFailed, UserError
from sim.virtual_board import Bitstream, read_bitstream, write_bitstream
from sim.virtual_board.board import IDLE, THERE, TOO_LONG, WAITING, Board, State
from sim.virtual_board.dma import Dma
from sim.virtual_board.pynq.buffer import MEMORY, PynqBuffer, allocate
from sim.virtual_board.pynq.lib.dma import DMA


class Doubling(Board):
    """Takes a packet in five steps of time, and then gives another of twice each byte."""

    def __init__(self) -> None:
        self.sent = b""
        self.steps = 0
        self.room: int | None = None

    def send(self, data: bytes) -> None:
        self.sent, self.steps = data, 5

    def receive(self, room: int) -> None:
        self.room = room

    def abort(self) -> None:
        self.sent, self.steps, self.room = b"", 0, None

    def run(self, cycles: int) -> State:
        self.steps = max(0, self.steps - 1)
        if self.room is None or self.steps or not self.sent:
            return State(self.steps > 0, IDLE if self.room is None else WAITING, b"", 0)
        data = bytes(2 * byte % 256 for byte in self.sent)
        state = State(False, THERE if len(data) <= self.room else TOO_LONG, data[: self.room], 0)
        self.room, self.sent = None, b""
        return state


@pytest.fixture
def engine() -> Any:
    return DMA(Dma(Doubling(), MEMORY))


def filled(values: list[int]) -> PynqBuffer:
    buffer = allocate(shape=(len(values),), dtype=np.uint8)
    buffer[:] = values
    return buffer


def test_a_packet_there_and_one_back(engine: Any) -> None:
    source, target = filled([1, 2, 3, 4]), filled([0] * 8)
    engine.recvchannel.transfer(target)
    engine.sendchannel.transfer(source, nbytes=3)
    engine.sendchannel.wait()
    engine.recvchannel.wait()
    assert (engine.sendchannel.transferred, engine.recvchannel.transferred) == (3, 3)
    assert target[:3].tolist() == [2, 4, 6]
    engine.recvchannel.transfer(target, start=4)
    engine.sendchannel.transfer(source, start=1)
    engine.recvchannel.wait()
    assert target[4:7].tolist() == [4, 6, 8]


def test_a_busy_channel_takes_no_transfer(engine: Any) -> None:
    source = filled([1, 2, 3, 4])
    engine.sendchannel.transfer(source)
    with pytest.raises(RuntimeError, match=r"^DMA channel not idle$"):
        engine.sendchannel.transfer(source)
    engine.sendchannel.wait()
    engine.sendchannel.transfer(source)


def test_a_packet_that_is_too_long_stops_the_channel_until_a_reset(engine: Any) -> None:
    target = filled([0, 0])
    engine.recvchannel.transfer(target)
    engine.sendchannel.transfer(filled([1, 2, 3]))
    with pytest.raises(RuntimeError, match=r"^DMA internal error$"):
        engine.recvchannel.wait()
    assert engine.recvchannel.error and not engine.recvchannel.running
    with pytest.raises(RuntimeError, match=r"^DMA channel not started$"):
        engine.recvchannel.transfer(target)
    engine.write(0, 4)
    assert engine.read(0) & 4 == 0
    assert not engine.recvchannel.error
    engine.recvchannel.start()
    engine.sendchannel.start()
    engine.recvchannel.transfer(target)
    engine.sendchannel.transfer(filled([5]))
    engine.recvchannel.wait()
    assert target[0] == 10


def test_memory_that_was_given_back_is_no_longer_there(engine: Any) -> None:
    buffer = filled([1, 2, 3])
    buffer.freebuffer()
    engine.sendchannel.transfer(buffer)
    assert engine.sendchannel.error
    with pytest.raises(RuntimeError, match=r"^DMA decode error$"):
        engine.sendchannel.wait()


def test_a_transfer_of_nothing_and_one_of_too_much(engine: Any) -> None:
    engine.sendchannel.transfer(allocate(shape=(0,), dtype=np.uint8))
    with pytest.raises(RuntimeError, match=r"^DMA internal error$"):
        engine.sendchannel.wait()
    with pytest.raises(ValueError, match=r"^transfer of 67108864 bytes: the DMA moves less than 67108864$"):
        engine.recvchannel.transfer(filled([0]), nbytes=1 << 26)


def test_a_buffer_that_changes_while_it_is_sent(engine: Any) -> None:
    buffer = filled([1, 2, 3])
    engine.sendchannel.transfer(buffer)
    buffer[1] = 9
    with pytest.raises(CheckFailed, match=r"was changed while the DMA sent it$"):
        engine.sendchannel.wait()


def test_a_cut_of_a_buffer_knows_its_place() -> None:
    buffer: Any = allocate(shape=(4, 8), dtype="u2")
    assert buffer[1:, 3:].physical_address == buffer.physical_address + 22 == buffer.device_address + 22
    assert buffer.physical_address % 4096 == 0


def test_a_file_that_is_no_bitstream(tmp_path: Path) -> None:
    path = tmp_path / "mixq.bit"
    write_bitstream(path, tmp_path, stalls=("random", "wait"), seed=3)
    assert read_bitstream(path) == Bitstream(str(tmp_path.resolve()), "random", "wait", 3)
    for text in ("no json", "[]", '{"format": "other"}', '{"format": "mixq-virtual-bitstream"}'):
        path.write_text(text)
        with pytest.raises(UserError, match=r"is no bitstream of the virtual board; make it with sim\.virtual_board"):
            read_bitstream(path)
