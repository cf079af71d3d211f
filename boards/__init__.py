"""What stands around the accelerator: board files, the AXI4-Stream top level, and the emission of Verilog."""

from __future__ import annotations

from boards.library import board_names, load_board

__all__ = ["board_names", "load_board"]
