"""What a driver asks of the way to its accelerator: registers, buffers, and packets to and fro."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any


class Transport(ABC):
    """Registers and two streams of packets; one packet a direction at a time.

    A class for each kind of board does it; all times are in seconds. What is wrong is an `AcceleratorError`, what
    takes too long an `AcceleratorTimeout`, both without the state of the registers: the caller adds that.
    """

    #: Most bytes of a packet.
    most_bytes = 1 << 26

    @abstractmethod
    def read(self, offset: int) -> int:
        """The register at a byte offset."""

    @abstractmethod
    def write(self, offset: int, value: int) -> None:
        """Write the register at a byte offset."""

    @abstractmethod
    def allocate(self, size: int) -> Any:
        """A buffer of ``size`` bytes that packets are sent from and received in, an array uint8 (size,)."""

    @abstractmethod
    def free(self, buffer: Any) -> None:
        """Give a buffer back."""

    @abstractmethod
    def send(self, buffer: Any, size: int) -> None:
        """Begin to send the first ``size`` bytes as a packet; until it is sent nobody writes to them."""

    @abstractmethod
    def wait_sent(self, timeout: float) -> None:
        """Return when the packet has left."""

    @abstractmethod
    def receive(self, buffer: Any, size: int, least: int) -> None:
        """Begin to receive a packet of at most ``size`` bytes, and of ``least`` where nothing is wrong."""

    @abstractmethod
    def wait_received(self, timeout: float) -> int:
        """Return when the packet is there and can be read, with its number of bytes."""

    @abstractmethod
    def recover(self) -> None:
        """Give up what is on its way, in both directions, and be ready for new packets."""

    @abstractmethod
    def close(self) -> None:
        """Give everything back."""
