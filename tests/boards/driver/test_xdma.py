"""The way to a card, with a file for its registers and FIFOs for its streams."""

from __future__ import annotations

import json
import os
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from boards.driver.description import Description, Port
from boards.driver.faults import AcceleratorError, AcceleratorTimeout
from boards.driver.xdma import Accelerator
from boards.registers import MAGIC, MAP_VERSION, OFFSETS
from mixq.formats import IntFormat

OWN = Description(
    name="stand-in",
    board="u250",
    transport="xdma",
    build_hash=0x0123456789ABCDEF,
    clock_mhz=250.0,
    cycles_per_frame=7,
    input=Port((2, 1, 3), IntFormat(4, True), 64),
    output=Port((1, 1, 3), IntFormat(12, True), 64),
)


class Card:
    """Registers that read what they were given, and a thread that gives 100 times the first channel for each frame."""

    def __init__(self, folder: Path) -> None:
        self.device = str(folder / "card0")
        registers = bytearray(256)
        for name, value in (
            ("ID", MAGIC),
            ("VERSION", MAP_VERSION),
            ("BUILD_HASH_LOW", 0x89ABCDEF),
            ("BUILD_HASH_HIGH", 0x01234567),
            ("INPUT_BYTES", 6),
            ("OUTPUT_BYTES", 6),
            ("BUS_BITS", 64 | 64 << 16),
        ):
            registers[OFFSETS[name] : OFFSETS[name] + 4] = struct.pack("<I", value)
        self.user = Path(f"{self.device}_user")
        self.user.write_bytes(registers)
        for suffix in ("h2c_0", "c2h_0"):
            os.mkfifo(f"{self.device}_{suffix}")
        (folder / "accelerator.json").write_text(json.dumps(OWN.document()))
        self.bitstream = str(folder / "mixq.bit")
        self.packets: list[int] = []
        self.silent = False
        self.split = 0
        self.resets = 0
        self.ended = threading.Event()
        for run in (self._serve, self._reset):
            threading.Thread(target=run, daemon=True).start()

    def _reset(self) -> None:
        """A soft reset is done soon after it was asked for."""
        with self.user.open("r+b", buffering=0) as registers:
            while not self.ended.wait(0.001):
                registers.seek(OFFSETS["CONTROL"])
                if registers.read(1) == b"\1":
                    self.resets += 1
                    registers.seek(OFFSETS["CONTROL"])
                    registers.write(b"\0")

    def _serve(self) -> None:
        with (
            open(f"{self.device}_h2c_0", "rb", buffering=0) as source,
            open(f"{self.device}_c2h_0", "wb", buffering=0) as target,
        ):
            while True:
                batch = 1
                data = source.read(8)
                if not data:
                    return
                word = self.user.read_bytes()[OFFSETS["BATCH"] :][:4]
                batch = struct.unpack("<I", word)[0]
                while len(data) < 8 * batch:
                    more = source.read(8 * batch - len(data))
                    if not more:
                        return
                    data += more
                self.packets.append(batch)
                if self.silent:
                    continue
                codes = np.frombuffer(data, np.int8).reshape(batch, 8)[:, 0:6:2].astype("<i2") * 100
                padded = np.zeros((batch, 4), "<i2")
                padded[:, :3] = codes
                # The last frame's last beat is partial, and so is the card's, which comes whole. A FIFO knows no
                # packets: whole beats of the card are what keeps two of them apart, as no packet here is longer.
                packet = padded.tobytes()[:-2]
                for part in (packet[: self.split], packet[self.split :] + bytes(-len(packet) % 64)):
                    target.write(part)


@pytest.fixture
def card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Card]:
    # A thread ends the reset, when it gets to run; hardware does within cycles.
    monkeypatch.setattr("boards.driver.operations._SHORT_SECONDS", 30.0)
    made = Card(tmp_path)
    yield made
    made.ended.set()


@pytest.mark.parametrize("split", [0, 4])
def test_frames_go_there_and_back(split: int, card: Card) -> None:
    card.split = split
    frames = np.random.default_rng(0).integers(-8, 8, (7, 2, 1, 3))
    with Accelerator(card.bitstream, device=card.device, batch_size=3) as accelerator:
        found = accelerator.execute(frames)
        counters = accelerator.counters()
    assert found.dtype == np.int64 and np.array_equal(found, 100 * frames[:, :1])
    assert card.packets == [3, 3, 1]
    assert card.resets == 1  # when it was opened
    assert counters["frames_in"] == 0  # a file counts nothing


def test_codes_out_of_range_are_refused(card: Card) -> None:
    with Accelerator(card.bitstream, device=card.device) as accelerator:
        for frames, message in (
            (np.full((1, 2, 1, 3), 8), r"^frames must hold codes in -8..7, not 8..8$"),
            (np.zeros((1, 1, 2, 3), np.int8), r"^frames must be of shape \(N, 2, 1, 3\), not \(1, 1, 2, 3\)$"),
        ):
            with pytest.raises(ValueError, match=message):
                accelerator.execute(frames)
        with pytest.raises(TypeError, match=r"^frames must hold integers, not float64$"):
            accelerator.execute(np.zeros((1, 2, 1, 3)))
        with pytest.raises(AcceleratorError, match=r"^stand-in does not take images of three channels; use execute$"):
            accelerator.run_images([])
        with pytest.raises(ValueError, match=r"^batch_size must be from 1 to 65535, not 0$"):
            accelerator.batch_size = 0
        assert accelerator.execute(np.zeros((0, 2, 1, 3), np.int8)).shape == (0, 1, 1, 3)
    assert card.packets == []


def test_no_answer_in_time(card: Card, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("boards.driver.xdma.DRIVER_SECONDS", 0.05)
    card.silent = True
    accelerator = Accelerator(card.bitstream, device=card.device, timeout=0.1)
    with pytest.raises(
        AcceleratorError, match=r"^the driver xdma does not give a transfer up; load it again$"
    ) as found:
        accelerator.execute(np.zeros((1, 2, 1, 3), np.int8))
    assert isinstance(found.value.__context__, AcceleratorTimeout)


def test_a_card_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "accelerator.json").write_text(json.dumps(OWN.document()))
    with pytest.raises(AcceleratorError, match=r"^cannot open .*none_user: No such file or directory; load AMD's"):
        Accelerator(str(tmp_path / "mixq.bit"), device=str(tmp_path / "none"))


def test_another_file_in_the_place_of_the_registers(card: Card) -> None:
    card.user.write_bytes(bytes(256))
    with pytest.raises(
        AcceleratorError, match=r"^ID reads 0x00000000, not 0x4d495851: this is no accelerator of MixQ's$"
    ):
        Accelerator(card.bitstream, device=card.device)
