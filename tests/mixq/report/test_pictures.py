from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image

from mixq.report.gather import Sample
from mixq.report.pictures import sample_uri


def test_png_holds_the_pixels() -> None:
    rng = np.random.default_rng(3)
    for planes in (1, 3):
        pixels = rng.integers(0, 256, (planes, 5, 7))
        uri = sample_uri(Sample(tuple(tuple(map(tuple, plane)) for plane in pixels.tolist()), 0, 0, ()))
        data = base64.b64decode(uri.removeprefix("data:image/png;base64,"), validate=True)
        image = np.asarray(Image.open(io.BytesIO(data)))
        assert np.array_equal(image if planes == 3 else image[:, :, None], pixels.transpose(1, 2, 0))
