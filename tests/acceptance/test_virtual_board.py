"""The driver as it is shipped, on a board in simulation: from images in files to boxes, and what goes wrong on the way.

Each run is a process that sees the driver's folder, the stand-in for PYNQ and NumPy, as on a board: it prints one line
of JSON.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image

from boards import load_board
from boards.driver_files import driver_files, write_driver
from boards.emit import generate
from mixq.build_folder import BuildFolder
from mixq.checkpoints import random_model
from mixq.converted import ConvertedModel
from mixq.data.dacsdc import load_dacsdc
from mixq.detection_decode import AnchorGrid, iou
from mixq.files import write_atomic
from mixq.lowering import lower
from mixq.networks import ConvSpec, NetworkTable, PoolSpec
from mixq.plan import plan
from sim.virtual_board import PYNQ_PATH, write_bitstream

pytestmark = [pytest.mark.verilator]

BOARD = "ultra96-v2"
SIZE = (48, 32)
"""Width and height of the network's images."""

DETECTOR = NetworkTable(
    name="detector",
    input_shape=(3, SIZE[1], SIZE[0]),
    layers=(
        ConvSpec(channels=4),
        PoolSpec(),
        ConvSpec(channels=6),
        PoolSpec(),
        PoolSpec(),
        PoolSpec(),
        ConvSpec(channels=36, kernel=1, padding=0, bias=True, batch_norm=False),
    ),
    weight_bits=(4, 3, 5),
    act_bits=(8, 4, 4),
)

PREPARE = """
import json, sys
import numpy as np
from mixq_driver import Accelerator, AcceleratorError, AcceleratorTimeout
def tell(**found):
    print(json.dumps(found))
"""


@dataclass(frozen=True)
class Made:
    """A build with its driver's folder, the model in PyTorch, and images with annotations."""

    build: BuildFolder
    driver: Path
    model: ConvertedModel
    images: Path

    def run(self, code: str, *, stalls: tuple[str, str] = ("random", "random"), seed: int = 1) -> Any:
        """What the code tells that runs beside the driver, with this bitstream."""
        write_bitstream(self.driver / "mixq.bit", self.build.rtl, stalls=stalls, seed=seed)
        places = (str(PYNQ_PATH), str(Path(__file__).resolve().parents[2]))
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(places)}
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", PREPARE + code],
            cwd=self.driver,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def outputs(self, pixels: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
        """The integers of the PyTorch model."""
        return np.asarray(self.model(torch.from_numpy(pixels.astype(np.int64))).numpy())


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = BuildFolder(tmp_path_factory.mktemp("detector"))
    model = random_model(DETECTOR, 5)
    graph = lower(model)
    graph.save(folder)
    made = plan(graph, load_board(BOARD), max_cycles=3_000)
    made.save(folder.path)
    generate(folder)
    write_atomic(folder.project, "data:\n  name: dacsdc\n  options: {resize: opencv, channel_order: bgr}\n")
    driver = write_driver(folder, driver_files(folder, load_board(BOARD)))
    images = folder.path / "images"
    images.mkdir()
    _draw(images, 7)
    return Made(folder, driver, ConvertedModel(model), images)


def _draw(folder: Path, count: int) -> None:
    """JPEG images of one bright rectangle each before noise, with annotations."""
    random = np.random.default_rng(3)
    for index in range(count):
        width, height = (96, 72) if index % 2 else (80, 60)
        pixels = random.integers(0, 200, (height, width, 3), dtype=np.uint8)
        left, top = random.integers(0, width // 2), random.integers(0, height // 2)
        right, bottom = left + random.integers(8, width // 2), top + random.integers(8, height // 2)
        pixels[top:bottom, left:right] = random.integers(150, 256, 3)
        Image.fromarray(pixels).save(folder / f"{index}.jpg", quality=90)
        box = "".join(
            f"<{name}>{edge}</{name}>"
            for name, edge in zip(("xmin", "ymin", "xmax", "ymax"), (left, top, right, bottom), strict=True)
        )
        (folder / f"{index}.xml").write_text(f"<annotation><object><bndbox>{box}</bndbox></object></annotation>")


@pytest.mark.parametrize(("stalls", "seed", "batch"), [(("none", "none"), 1, 1), (("random", "often"), 2, 3)])
def test_from_images_to_boxes(made: Made, stalls: tuple[str, str], seed: int, batch: int) -> None:
    data = load_dacsdc(made.images, height=SIZE[1], width=SIZE[0], channel_order="bgr", resize="opencv", seed=0)
    samples = (data.train, data.validation, data.test)
    pixels = np.concatenate([part.images for part in samples])
    graph = made.build.load_graph()
    boxes = AnchorGrid().predict_integers(made.outputs(pixels), np.array(graph.tensor(graph.output).channel_scales))
    truth = AnchorGrid().pixels(np.concatenate([part.boxes for part in samples]), SIZE[1] // 16, SIZE[0] // 16)
    found = made.run(
        f"""
with Accelerator("mixq.bit", batch_size={batch}) as a:
    result = a.iou_on_folder({str(made.images)!r})
    tell(boxes=result["boxes"].tolist(), iou=result["iou"].tolist(), mean=result["mean_iou"], counters=a.counters())
""",
        stalls=stalls,
        seed=seed,
    )
    assert len(found["boxes"]) == 7
    # The data set's order is another.
    assert sorted(found["boxes"]) == sorted(boxes.tolist())
    assert sorted(found["iou"]) == sorted(iou(boxes, truth).tolist())
    assert len({tuple(box) for box in found["boxes"]}) > 2
    counted = found["counters"]
    assert (counted["frames_in"], counted["frames_out"]) == (7, 7)
    assert (counted["short_frames"], counted["long_frames"], counted["status"]) == (0, 0, 0)


def test_frames_in_batches(made: Made, tmp_path: Path) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (11, *DETECTOR.input_shape), dtype=np.uint8)
    np.save(tmp_path / "in.npy", pixels)
    made.run(
        f"""
frames = np.load({str(tmp_path / "in.npy")!r})
with Accelerator("mixq.bit", batch_size=4) as a:
    first = a.execute(frames)                            # two packets of 4 and one of 3
    a.batch_size = 2
    images = a.execute(frames[:5, ::-1].transpose(0, 2, 3, 1))
    alone = a.execute(frames[:1].astype(np.int64))
np.savez({str(tmp_path / "out.npz")!r}, first=first, images=images, alone=alone)
tell()
"""
    )
    with np.load(tmp_path / "out.npz") as out:
        expected = made.outputs(pixels)
        assert len(np.unique(expected)) > 4
        assert out["first"].dtype == np.int64 and np.array_equal(out["first"], expected)
        assert np.array_equal(out["images"], expected[:5])
        assert np.array_equal(out["alone"], expected[:1])


def test_throughput(made: Made) -> None:
    found = made.run(
        """
with Accelerator("mixq.bit", batch_size=3) as a:
    result = a.throughput_test(4)
    tell(result=result, rate=a.frame_rate(), clock=a.measured_clock_mhz(0.001))
""",
        stalls=("none", "none"),
    )
    result, planned = found["result"], made.build.load_plan()
    assert (result["images"], result["batch_size"], result["fclk[mhz]"]) == (12, 3, planned.clock_mhz)
    assert result["cycles_per_frame"] == result["cycles_planned"] == planned.cycles
    assert found["rate"] == result["throughput_by_cycles[images/s]"] == planned.clock_mhz * 1e6 / planned.cycles
    assert result["throughput[images/s]"] == 12 / (result["runtime[ms]"] / 1e3)
    assert result["energy[J]"] is None  # no sensors
    assert found["clock"] > 0


def test_a_hang_is_told_and_mended(made: Made) -> None:
    found = made.run(
        """
frames = np.random.default_rng(2).integers(0, 256, (5, 3, 32, 48), dtype=np.uint8)
with Accelerator("mixq.bit", batch_size=2, timeout=0.5) as a:
    before = a.execute(frames)
    send = a._transport.send
    a._transport.send = lambda buffer, size: send(buffer, size - 1000)
    said = []
    for count in (2, 4):
        try:
            a.execute(frames[:count])
        except AcceleratorTimeout as error:
            said.append(str(error))
    a._transport.send = send
    counters = a.counters()
    same = bool(np.array_equal(a.execute(frames), before))
    after = a.counters()
    a.begin(a.description, a._transport, batch_size=2, timeout=1)
    tell(said=said, same=same, counters=counters, after=after, begun=a.counters())
"""
    )
    hung, mixed = found["said"]
    assert hung == (
        "a packet was not given out within 0.5 s; STATUS 1 (short frame), FRAMES_IN 6, FRAMES_OUT 6, SHORT_FRAMES 1, "
        "LONG_FRAMES 0; it has been reset"
    )
    # The first frames of two packets came out as one, and nothing as the second.
    assert mixed.startswith("a packet was not given out") and "SHORT_FRAMES 2" in mixed
    assert found["same"]
    assert found["counters"]["frames_in"] == found["counters"]["short_frames"] == 0
    assert found["begun"]["frames_in"] == 0
    assert (found["after"]["frames_in"], found["after"]["frames_out"]) == (5, 5)


def test_a_packet_larger_than_its_buffer_stops_the_dma_and_is_told(made: Made) -> None:
    found = made.run(
        """
frames = np.random.default_rng(2).integers(0, 256, (3, 3, 32, 48), dtype=np.uint8)
with Accelerator("mixq.bit", batch_size=1) as a:
    before = a.execute(frames)
    receive = a._transport.receive
    a._transport.receive = lambda buffer, size, least: receive(buffer, size - 8, least)
    try:
        a.execute(frames)
        said = ""
    except AcceleratorError as error:
        said = str(error)
    a._transport.receive = receive
    tell(said=said, same=bool(np.array_equal(a.execute(frames), before)))
"""
    )
    assert found["said"].startswith("the DMA stopped with an error at the output; STATUS ")
    assert found["same"]


def test_another_accelerator_than_the_one_described_is_refused(made: Made) -> None:
    document = json.loads((made.driver / "accelerator.json").read_text())
    own = document["build_hash"]

    def said(**changes: Any) -> str:
        (made.driver / "other.json").write_text(json.dumps({**document, **changes}))
        code = """
try:
    Accelerator("mixq.bit", description="other.json")
    tell(said="")
except AcceleratorError as error:
    tell(said=str(error))
"""
        return str(made.run(code)["said"])

    assert said(build_hash="0123456789abcdef") == (
        f"the bitstream is of build {own}, accelerator.json of 0123456789abcdef; take both from the same folder"
    )
    shape = {**document["input"], "shape": [3, 32, 64]}
    assert said(input=shape) == ("INPUT_BYTES reads 4608, accelerator.json says 6144; package the build again")
    assert said(version=7) == "other.json is not of the form mixq-accelerator 1; package the build again"
    (made.driver / "other.json").unlink()


def test_what_the_processor_does_not_flush_or_invalidate_is_not_there(made: Made) -> None:
    found = made.run(
        """
import pynq
buffer = pynq.allocate(shape=(64,), dtype=np.uint8)
region = buffer.region
buffer[:] = 1
unseen = region.stored.tolist() != [1] * 64
buffer[8:16].flush()
part = region.stored[8:16].tolist() == [1] * 8 and region.stored[16:].tolist() != [1] * 48
region.stored[:] = 2
stale = buffer.tolist() == [1] * 64
buffer.invalidate()
fresh = buffer.tolist() == [2] * 64
buffer = pynq.allocate(shape=(1 << 16,), dtype=np.uint8)
overlay = pynq.Overlay("mixq.bit")
channel = overlay.dma.sendchannel
channel.transfer(buffer)
try:
    channel.transfer(buffer)
    busy = ""
except RuntimeError as error:
    busy = str(error)
buffer[3] = 7
try:
    while True:
        channel.idle
except Exception as error:
    changed = str(error)
tell(seen=[unseen, part, stale, fresh], busy=busy, changed=changed)
"""
    )
    assert found["seen"] == [True] * 4
    assert found["busy"] == "DMA channel not idle"
    assert found["changed"].endswith("was changed while the DMA sent it")


def test_the_example(made: Made, tmp_path: Path) -> None:
    pixels = np.random.default_rng(4).integers(0, 256, (2, *DETECTOR.input_shape), dtype=np.uint8)
    np.save(tmp_path / "in.npy", pixels)
    made.run("tell()")  # writes the bitstream
    places = os.pathsep.join((str(PYNQ_PATH), str(Path(__file__).resolve().parents[2])))
    command = [sys.executable, "run.py", "--inputs", str(tmp_path / "in.npy"), "--outputs", str(tmp_path / "out.npy")]
    environment = {**os.environ, "PYTHONPATH": places}
    done = subprocess.run(command, cwd=made.driver, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert np.array_equal(np.load(tmp_path / "out.npy"), made.outputs(pixels))
    moved = tmp_path / "moved"
    shutil.copytree(made.driver, moved)
    (moved / "accelerator.json").unlink()
    done = subprocess.run([*command], cwd=moved, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert (
        done.stderr.strip().endswith("copy the whole folder driver/ of the build") and "\n" not in done.stderr.strip()
    )
