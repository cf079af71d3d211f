"""Images and tensors as the page shows them."""

from __future__ import annotations

import numpy as np

from mixq.graph import Tensor
from mixq.report.gather import Sample
from mixq.report.png import png_data_uri
from mixq.report.words import TIMES


def sample_uri(sample: Sample) -> str:
    """The image as a PNG in a data URI, pixel for pixel."""
    planes = np.array(sample.pixels, np.uint8)
    return png_data_uri(planes[0] if len(planes) == 1 else planes.transpose(1, 2, 0))


def tensor_words(tensor: Tensor) -> tuple[str, str]:
    """Shape and width of a tensor: ``16×8×8`` and ``u4``, C×H×W with u for unsigned and s for signed codes."""
    return TIMES.join(map(str, tensor.shape)), f"{'s' if tensor.format.signed else 'u'}{tensor.format.width}"
