"""The driver of a generated accelerator, as it travels to a board: NumPy, and PYNQ where the board has it::

    from mixq_driver import Accelerator

    with Accelerator("mixq.bit") as accelerator:
        outputs = accelerator.execute(frames)

``Accelerator`` is loaded when it is asked for, and is that of the board which ``accelerator.json`` beside this folder
names: `overlay` under PYNQ, or `xdma` for a card in a PCI Express slot.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from boards.driver.description import FILE, Description
from boards.driver.faults import AcceleratorError, AcceleratorTimeout

__all__ = ["AcceleratorError", "AcceleratorTimeout", "Description"]


def __getattr__(name: str) -> Any:
    if name != "Accelerator":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    file = Path(__file__).resolve().parent.parent / FILE
    if file.is_file() and Description.load(file).transport == "xdma":
        from boards.driver.xdma import Accelerator as OnCard

        return OnCard
    from boards.driver.on_board.overlay import Accelerator as OnPynq

    return OnPynq
