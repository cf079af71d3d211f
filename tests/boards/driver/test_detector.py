"""Images on their way into the buffers, and boxes out of them, with a transport that only remembers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from boards.driver.description import Description, Port
from boards.driver.detector import Detector
from boards.driver.faults import AcceleratorError
from boards.driver.transport import Transport
from boards.registers import MAGIC, MAP_VERSION, OFFSETS
from mixq.data.dacsdc import load_dacsdc
from mixq.detection_decode import AnchorGrid, iou
from mixq.errors import UserError
from mixq.formats import IntFormat

WIDTH, HEIGHT = 48, 32
INPUT = Port((3, HEIGHT, WIDTH), IntFormat(8, False), 128)
OUTPUT = Port((36, HEIGHT // 16, WIDTH // 16), IntFormat(17, True), 128)
OUTPUT_BYTES = 36 * 2 * 3 * 4


class Remembering(Transport):
    """Keeps the frames that are sent, and gives out ``outputs``, codes in their containers, frame after frame."""

    def __init__(self, outputs: np.ndarray) -> None:
        self.frames: list[bytes] = []
        self.data = [frame.transpose(1, 2, 0).astype("<i4").tobytes() for frame in outputs]
        self.batch = 1
        self.buffer: Any = None

    def read(self, offset: int) -> int:
        known = {"ID": MAGIC, "VERSION": MAP_VERSION, "INPUT_BYTES": 3 * HEIGHT * WIDTH, "OUTPUT_BYTES": OUTPUT_BYTES}
        known["BUS_BITS"] = 128 | 128 << 16
        return {OFFSETS[name]: value for name, value in known.items()}.get(offset, 0)

    def write(self, offset: int, value: int) -> None:
        if offset == OFFSETS["BATCH"]:
            self.batch = value

    def allocate(self, size: int) -> np.ndarray:
        return np.full(size, 0xEE, np.uint8)

    def free(self, buffer: Any) -> None:
        pass

    def send(self, buffer: Any, size: int) -> None:
        data = buffer[:size].tobytes()
        step = size // self.batch
        self.frames += [data[place * step : (place + 1) * step] for place in range(self.batch)]

    def wait_sent(self, timeout: float) -> None:
        pass

    def receive(self, buffer: Any, size: int, least: int) -> None:
        self.buffer, self.size = buffer, size

    def wait_received(self, timeout: float) -> int:
        done = len(self.frames) - self.batch
        data = b"".join(self.data[done : done + self.batch])
        self.buffer[: len(data)] = np.frombuffer(data, np.uint8)
        return self.size

    def recover(self) -> None:
        pass

    def close(self) -> None:
        pass


def opened(outputs: np.ndarray, *, batch: int = 2, **changes: Any) -> tuple[Detector, Remembering]:
    own = {"scales": (0.01,) * 36, "grid": AnchorGrid(), **changes}
    description = Description("net", "board", "pynq", 0, 300.0, 100, INPUT, OUTPUT, **own)
    transport = Remembering(outputs)
    detector = Detector()
    detector.begin(description, transport, batch_size=batch, timeout=1)
    return detector, transport


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("images")
    random = np.random.default_rng(0)
    for index, (width, height) in enumerate([(96, 70), (96, 64), (48, 32), (100, 37), (30, 20)]):
        pixels = random.integers(0, 256, (height, width, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path / f"{index}.png")
        (path / f"{index}.xml").write_text(
            f"<annotation><size><width>{width}</width><height>{height}</height></size><object><bndbox><xmin>3</xmin>"
            f"<ymin>{index}</ymin><xmax>{width - 7}</xmax><ymax>{height - 1}</ymax></bndbox></object></annotation>"
        )
    return path


def random_outputs(count: int) -> np.ndarray:
    return np.random.default_rng(1).integers(-400, 400, (count, *OUTPUT.shape))


@pytest.mark.parametrize("order", ["rgb", "bgr"])
@pytest.mark.parametrize("resize", ["pillow", "opencv"])
def test_frames_and_figures_are_those_of_the_data_set(folder: Path, resize: Any, order: Any) -> None:
    outputs = random_outputs(5)
    detector, transport = opened(outputs, channel_order=order, resize=resize)
    with detector:
        found = detector.iou_on_folder(folder, chunk=3)
    data = load_dacsdc(folder, height=HEIGHT, width=WIDTH, channel_order=order, resize=resize)
    images = np.concatenate([part.images for part in (data.train, data.validation, data.test)])
    boxes = np.concatenate([part.boxes for part in (data.train, data.validation, data.test)])
    sent = [np.frombuffer(frame, np.uint8).reshape(HEIGHT, WIDTH, 3).transpose(2, 0, 1) for frame in transport.frames]
    places = [next(place for place, own in enumerate(images) if np.array_equal(own, frame)) for frame in sent]
    assert sorted(places) == [0, 1, 2, 3, 4]
    predicted = AnchorGrid().predict_integers(outputs, 0.01)
    assert np.array_equal(found["boxes"], predicted)
    truth = AnchorGrid().pixels(boxes[places], 2, 3)
    assert np.array_equal(found["iou"], iou(predicted, truth))
    assert found["mean_iou"] == float(iou(predicted, truth).mean())
    assert [path.name for path in found["images"]] == [f"{index}.png" for index in range(5)]


def test_images_of_the_network_s_size_are_frames(folder: Path) -> None:
    images = np.random.default_rng(2).integers(0, 256, (3, HEIGHT, WIDTH, 3), dtype=np.uint8)
    outputs = random_outputs(3)
    detector, transport = opened(outputs, batch=16, channel_order="bgr")
    assert np.array_equal(detector.execute(images), outputs)
    assert transport.frames == [image[:, :, ::-1].tobytes() for image in images]


def test_refusals(folder: Path, tmp_path: Path) -> None:
    detector, _ = opened(random_outputs(1), scales=None)
    with pytest.raises(AcceleratorError, match=r"^net finds no boxes: its output is none of a detector's$"):
        detector.detect([])
    with pytest.raises(TypeError, match=r"^images must hold 8-bit pixels, not float64$"):
        detector.run_images([np.zeros((4, 4, 3))])  # type: ignore[list-item]
    with pytest.raises(ValueError, match=r"^images must be of shape \(H, W, 3\), not \(3, 4, 4\)$"):
        detector.run_images([np.zeros((3, 4, 4), np.uint8)])
    with pytest.raises(AcceleratorError, match=r" holds no JPEG, PNG or BMP images$"):
        detector.iou_on_folder(tmp_path)
    detector, _ = opened(random_outputs(1))
    (tmp_path / "a.png").write_bytes((folder / "0.png").read_bytes())
    with pytest.raises(UserError, match=r"^cannot read .*a\.xml: No such file or directory$"):
        detector.iou_on_folder(tmp_path)
    (tmp_path / "a.xml").write_bytes((folder / "1.xml").read_bytes())
    with pytest.raises(UserError, match=r"a\.xml: is for an image of 96 x 64, not 96 x 70; correct it$"):
        detector.iou_on_folder(tmp_path)
    (tmp_path / "a.png").write_text("no image")
    with pytest.raises(UserError, match=r"a\.png: cannot be read as an image"):
        detector.iou_on_folder(tmp_path)
