"""Reference vectors of a build: pixels, and the integers that the converted PyTorch model makes of them."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mixq.converted import ConvertedModel
from mixq.files import write_atomic

CODES, EXPECTED = "codes.npy", "expected.npy"


def write_reference(
    converted: ConvertedModel, pixels: NDArray[Any], build_dir: Path, *, batch: int = 16
) -> NDArray[np.int64]:
    """Write ``reference/codes.npy`` and ``reference/expected.npy`` in ``build_dir``.

    Parameters:
        pixels: integers 0..255, (N, C, H, W); saved as uint8.
        batch: images that the model takes at a time.

    Returns:
        What ``expected.npy`` holds: the final integers, int64 (N, C, H, W).

    Raises:
        TypeError, ValueError: ``pixels`` are no integers 0..255.
    """
    parts = [
        converted(torch.from_numpy(np.ascontiguousarray(pixels[start : start + batch])))
        for start in range(0, len(pixels), batch)
    ]
    if not parts:
        raise ValueError(f"pixels must hold at least one image, not {pixels.shape!r}")
    expected: NDArray[np.int64] = torch.cat(parts).numpy()
    folder = Path(build_dir) / "reference"
    folder.mkdir(parents=True, exist_ok=True)
    write_atomic(folder / CODES, _npy(pixels.astype(np.uint8)))
    write_atomic(folder / EXPECTED, _npy(expected))
    return expected


def _npy(array: NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()
