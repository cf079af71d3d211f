"""A board in simulation: ``pynq`` for the shipped driver, behind it DMA, memory and the Verilog of a build.

With this folder in front on ``sys.path``, ``import pynq`` finds the stand-in, and a driver runs on it as on a board,
unchanged::

    write_bitstream(Path("driver/mixq.bit"), Path("build/tiny/rtl"), stalls=("random", "random"), seed=1)
    sys.path.insert(0, str(PYNQ_PATH))
    from mixq_driver import Accelerator

The stand-in is as unforgiving as the real parts where that hurts: what is not flushed is not seen by the DMA, and what
is not invalidated not by the processor; a channel that is busy refuses a transfer; an engine stops with an error where
a packet is longer than its buffer; and nobody ends a transfer whose packet does not come.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from mixq.errors import UserError
from mixq.files import write_json

PYNQ_PATH = Path(__file__).resolve().parent
"""What ``sys.path`` needs in front, for ``import pynq`` to find the stand-in."""

_FORMAT = "mixq-virtual-bitstream"


@dataclass(frozen=True)
class Bitstream:
    """What a file says that the stand-in takes for a bitstream.

    rtl: folder of the Verilog, absolute. driver, sink: modes of :mod:`sim.stalls` of the streams to the accelerator and
    from it. seed: of stalls and of all that is random.
    """

    rtl: str
    driver: str = "none"
    sink: str = "none"
    seed: int = 0


def write_bitstream(path: Path, rtl: Path, *, stalls: tuple[str, str] = ("none", "none"), seed: int = 0) -> None:
    """Write the file that the stand-in loads as a bitstream; parameters as of :class:`Bitstream`."""
    own = Bitstream(rtl=str(rtl.resolve()), driver=stalls[0], sink=stalls[1], seed=seed)
    write_json(path, {"format": _FORMAT, **asdict(own)})


def read_bitstream(path: Path) -> Bitstream:
    """What :func:`write_bitstream` wrote; UserError for another file."""
    try:
        document = json.loads(path.read_text())
        if document.pop("format") == _FORMAT:
            return Bitstream(**document)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        pass
    raise UserError(f"{path} is no bitstream of the virtual board; make it with sim.virtual_board.write_bitstream")
