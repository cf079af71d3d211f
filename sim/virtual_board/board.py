"""The compiled accelerator as a process that does as it is told: registers, packets, and the passing of time."""

from __future__ import annotations

import contextlib
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from mixq.errors import CheckFailed
from sim import verilated
from sim.network import check_path, read_design
from sim.virtual_board import Bitstream

IDLE, WAITING, THERE, TOO_LONG = range(4)
"""States of the receiving side."""


@dataclass(frozen=True)
class State:
    """After some cycles: whether a packet is being sent, one of the states above, what came, and the cycle."""

    sending: bool
    receiving: int
    data: bytes
    cycle: int


class Board:
    """A board with a bitstream loaded; ``sim/cpp/board_main.cpp`` has the requests.

    Raises: UserError, CheckFailed as :func:`sim.verilated.build`; CheckFailed from all methods where the accelerator
    breaks a rule of AXI, or the process has ended.
    """

    def __init__(self, bitstream: Bitstream) -> None:
        rtl = Path(bitstream.rtl)
        design = read_design(rtl)
        folder = rtl.parent / "sim"
        check_path(folder, "verilator")
        folder.mkdir(parents=True, exist_ok=True)
        model = design.compile(folder, optimise="compile", main=verilated.BOARD)
        command = [str(model), bitstream.driver, bitstream.sink, str(bitstream.seed)]
        self._process = subprocess.Popen(command, cwd=rtl, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def read(self, offset: int) -> int:
        """A register by AXI4-Lite, 32 bits."""
        return int(self._ask(f"read {offset}"))

    def write(self, offset: int, value: int) -> None:
        """Write a register by AXI4-Lite."""
        self._ask(f"write {offset} {value}")

    def send(self, data: bytes) -> None:
        """Begin to send a packet."""
        self._ask(f"send {len(data)}", data)

    def receive(self, room: int) -> None:
        """Begin to receive a packet of at most ``room`` bytes."""
        self._ask(f"receive {room}")

    def abort(self) -> None:
        """Drop what is on its way, in both directions."""
        self._ask("abort")

    def run(self, cycles: int) -> State:
        """Let time pass: so many cycles, or until a packet is sent or received."""
        sending, receiving, count, cycle = map(int, self._ask(f"run {cycles}").split())
        return State(bool(sending), receiving, self._output.read(count), cycle)

    def close(self) -> None:
        """End the process."""
        with contextlib.suppress(OSError):
            self._input.close()
        self._output.close()
        self._process.wait()

    @property
    def _input(self) -> IO[bytes]:
        assert self._process.stdin is not None
        return self._process.stdin

    @property
    def _output(self) -> IO[bytes]:
        assert self._process.stdout is not None
        return self._process.stdout

    def _ask(self, request: str, data: bytes = b"") -> str:
        """What follows the first word of the answer."""
        try:
            self._input.write(f"{request}\n".encode() + data)
            self._input.flush()
            answer = self._output.readline().decode()
        except (OSError, ValueError):
            answer = ""
        word, _, rest = answer.strip().partition(" ")
        if word == "error":
            raise CheckFailed(f"mixq_top breaks a rule: {rest}")
        if not word:
            raise CheckFailed(f"the virtual board has ended, and does not {request.split()[0]} any more")
        return rest
