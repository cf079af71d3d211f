"""What goes wrong between a program and its accelerator, each told in one line."""

from __future__ import annotations


class AcceleratorError(RuntimeError):
    """The accelerator is another one than was expected, or does not do as it should."""


class AcceleratorTimeout(AcceleratorError):
    """The accelerator did not answer in time; the message ends with what its registers read."""
