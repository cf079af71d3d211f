"""Mixed-precision quantised CNNs: integer formats, graphs, packing, planning and training."""

from __future__ import annotations

__version__ = "0.1.0"
