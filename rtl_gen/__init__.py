"""Hardware in Amaranth: the packed multiplier, streaming stages, and the accelerator made of them."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rtl_gen.accelerator import build
    from rtl_gen.conv_row import ConvRow
    from rtl_gen.dot_product import DotProduct
    from rtl_gen.packed_mac import PackedMac

__all__ = ["ConvRow", "DotProduct", "PackedMac", "build"]

# Amaranth is loaded with the first name that needs it, not with the package.
_HOMES = {
    "ConvRow": "rtl_gen.conv_row",
    "DotProduct": "rtl_gen.dot_product",
    "PackedMac": "rtl_gen.packed_mac",
    "build": "rtl_gen.accelerator",
}


def __getattr__(name: str) -> Any:
    """Load a public name from its module."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
