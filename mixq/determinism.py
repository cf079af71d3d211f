"""Makes PyTorch repeat itself: the same result, bit for bit, when the same machine computes it again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def reproducible(*, threads: int, deterministic: bool = True) -> Iterator[None]:
    """Context in which PyTorch uses ``threads`` threads and, where ``deterministic``, deterministic algorithms alone.

    The number of threads decides the order in which sums are added up, so it must not depend on the
    machine's load or on what ran before. What was set before is set again at the end. Some of a GPU's fast
    algorithms are not deterministic.

    Raises:
        TypeError, ValueError: ``threads`` is not a positive integer.
    """
    if not isinstance(threads, int) or isinstance(threads, bool):
        raise TypeError(f"threads must be an integer, not {threads!r}")
    if threads < 1:
        raise ValueError(f"threads must be positive, not {threads!r}")
    before = torch.get_num_threads()
    algorithms = torch.are_deterministic_algorithms_enabled()
    try:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(deterministic)
        yield
    finally:
        torch.use_deterministic_algorithms(algorithms)
        torch.set_num_threads(before)
