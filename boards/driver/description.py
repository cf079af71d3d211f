"""What a driver has to know of its accelerator: ``accelerator.json``, written with the build, read on the board."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from boards.driver.faults import AcceleratorError
from boards.registers import MAP_VERSION
from mixq.detection_decode import AnchorGrid
from mixq.formats import IntFormat

FILE = "accelerator.json"
_FORMAT = "mixq-accelerator"
_VERSION = 1

TRANSPORTS = ("pynq", "xdma")
"""How the board is reached: DMA in the fabric under PYNQ, or AMD's XDMA driver over PCI Express."""

CHANNEL_ORDERS = ("rgb", "bgr")
RESIZES = ("pillow", "opencv")
"""Filters that a network's images may have been resized with, see `mixq.data.dacsdc`."""


@dataclass(frozen=True)
class Port:
    """A tensor on its bus.

    shape: (C, H, W) of a frame. format: of its codes. bus_bits: width of the stream, whole bytes.
    """

    shape: tuple[int, int, int]
    format: IntFormat
    bus_bits: int

    def document(self) -> dict[str, Any]:
        """As the file has it."""
        own = self.format
        codes = {"width": own.width, "signed": own.signed, "low": own.low, "high": own.high}
        return {"shape": list(self.shape), **codes, "bus_bits": self.bus_bits}

    @classmethod
    def of(cls, document: dict[str, Any]) -> Port:
        """The reverse of :meth:`document`."""
        channels, height, width = document["shape"]
        format = IntFormat(document["width"], document["signed"], document["low"], document["high"])
        return cls((channels, height, width), format, document["bus_bits"])


@dataclass(frozen=True)
class Description:
    """An accelerator as its driver sees it.

    name: of the network. board: that it is built for. transport: one of :data:`TRANSPORTS`. build_hash: what the
    registers must read, 64 bits. clock_mhz: of ``ap_clk``. cycles_per_frame: as planned. input, output: the tensors.
    scales: what the output's integers are worth, one for each channel, or None. grid: decodes boxes, None where the
    output is none of a detector. channel_order, resize: how the images of the data set were made.
    """

    name: str
    board: str
    transport: str
    build_hash: int
    clock_mhz: float
    cycles_per_frame: int
    input: Port
    output: Port
    scales: tuple[float, ...] | None = None
    grid: AnchorGrid | None = None
    channel_order: str = "rgb"
    resize: str = "pillow"

    def document(self) -> dict[str, Any]:
        """The content of the file: plain values by key."""
        grid = self.grid
        return {
            "format": _FORMAT,
            "version": _VERSION,
            "register_map": MAP_VERSION,
            "name": self.name,
            "board": self.board,
            "transport": self.transport,
            "build_hash": f"{self.build_hash:016x}",
            "clock_mhz": self.clock_mhz,
            "cycles_per_frame": self.cycles_per_frame,
            "input": self.input.document(),
            "output": {**self.output.document(), "scales": None if self.scales is None else list(self.scales)},
            "detection": None
            if grid is None
            else {"stride": grid.stride, "anchors": [list(own) for own in grid.anchors]},
            "images": {"channel_order": self.channel_order, "resize": self.resize},
        }

    @classmethod
    def load(cls, path: Path) -> Description:
        """Read the file at ``path``; AcceleratorError where it is missing, damaged or of another version."""
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise AcceleratorError(
                f"{path} cannot be read ({reason}); copy the whole folder driver/ of the build"
            ) from None
        known = document.get("format") if isinstance(document, dict) else None
        if known != _FORMAT or document.get("version") != _VERSION:
            raise AcceleratorError(f"{path} is not of the form {_FORMAT} {_VERSION}; package the build again")
        try:
            scales, detection = document["output"]["scales"], document["detection"]
            found = cls(
                name=str(document["name"]),
                board=str(document["board"]),
                transport=document["transport"],
                build_hash=int(document["build_hash"], 16),
                clock_mhz=float(document["clock_mhz"]),
                cycles_per_frame=int(document["cycles_per_frame"]),
                input=Port.of(document["input"]),
                output=Port.of(document["output"]),
                scales=None if scales is None else tuple(map(float, scales)),
                grid=None if detection is None else _grid(detection),
                channel_order=document["images"]["channel_order"],
                resize=document["images"]["resize"],
            )
        except (KeyError, TypeError, ValueError) as error:
            raise AcceleratorError(f"{path} is damaged ({error!r}); package the build again") from None
        for key, value, allowed in (
            ("transport", found.transport, TRANSPORTS),
            ("channel_order", found.channel_order, CHANNEL_ORDERS),
            ("resize", found.resize, RESIZES),
        ):
            if value not in allowed:
                raise AcceleratorError(f"{path}: {key} must be one of {', '.join(allowed)}, not {value!r}")
        return found


def _grid(document: dict[str, Any]) -> AnchorGrid:
    anchors = tuple((float(width), float(height)) for width, height in document["anchors"])
    return AnchorGrid(stride=int(document["stride"]), anchors=anchors)
