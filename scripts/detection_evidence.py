"""Trains a detector, and shows that training model, integers and Verilog find the same boxes.

``python -m scripts.detection_evidence`` in the repository's root trains UltraNet as ``scripts/detection_evidence.yaml``
says, measures the mean IoU of its three forms on the validation images, plans and generates it, and simulates whole
images in Verilator. What it finds stands in ``report/detection_evidence.json`` of the build folder and in
``docs/detection.md``. A run that was cut short goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from boards import load_board
from mixq.build_folder import BuildFolder
from mixq.cli.accuracy import load_data, write_accuracy
from mixq.cli.generating import generate_rtl
from mixq.cli.planning import make_plan
from mixq.cli.training import train
from mixq.cli.verification import verify_frames
from mixq.data import BoxSamples
from mixq.detection_decode import AnchorGrid, iou
from mixq.detection_fixed import PIXEL_FRACTION, FixedDecoder
from mixq.errors import CheckFailed, MixqError
from mixq.execute import run
from mixq.files import write_json
from mixq.graph import Graph

HERE = Path("scripts")
CONFIG, BITS, OUT = HERE / "detection_evidence.yaml", HERE / "detection_bits.yaml", Path("build/detection-evidence")
BOARD = "ultra96-v2"
MOST_DIFFERENCE = 0.005
"""Of the mean IoU between the training model and the integers."""
FRAMES = 3
"""Images that are simulated, back to back."""


@dataclass(frozen=True, kw_only=True)
class Boxes:
    """Mean IoU, 0..1, of the three forms of a network on ``images`` images.

    fixed_point: of the interpreter's integers decoded by tables and shifts instead of exactly.
    """

    images: int
    fake_quantised: float
    converted: float
    interpreter: float
    fixed_point: float

    def check(self) -> None:
        """CheckFailed unless both integer forms are equal to the last digit, and near the training model."""
        if self.converted != self.interpreter:
            raise CheckFailed(
                f"the converted model has an IoU of {self.converted!r}, the interpreter {self.interpreter!r}"
            )
        difference = abs(self.fake_quantised - self.converted)
        if not difference < MOST_DIFFERENCE:
            raise CheckFailed(
                f"integers and training model differ by {difference:.4f} in IoU, not below {MOST_DIFFERENCE}"
            )


@dataclass(frozen=True, kw_only=True)
class Verilog:
    """What was planned for `BOARD` and came out of the simulation of ``frames`` images."""

    cycles: int
    dsp: int
    lut: int
    frames: int
    mismatches: int
    cycles_per_frame: int | None


def main(words: list[str]) -> int:
    """Do everything; the exit status is 0 where all holds."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--config", type=Path, default=CONFIG, metavar="FILE", help="the project file")
    parser.add_argument("--bits", type=Path, default=BITS, metavar="FILE", help="the widths of the layers")
    parser.add_argument("--out", type=Path, default=OUT, metavar="DIR", help="the build folder")
    options = parser.parse_args(words)
    folder = BuildFolder(options.out)
    try:
        with redirect_stdout(sys.stderr):
            started = time.monotonic()
            train(options.config, bits=options.bits, out=folder.path)
            seconds = time.monotonic() - started
            boxes = measured(folder)
            verilog = simulated(folder)
    except MixqError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_status
    found = {
        "training": training(folder),
        "seconds": round(seconds),
        "cores": len(os.sched_getaffinity(0)),
        "iou": asdict(boxes),
        "verilog": asdict(verilog),
    }
    write_json(folder.report_file("detection_evidence.json"), found)
    sys.stdout.write(json.dumps(found, indent=2) + "\n")
    return 0


def training(folder: BuildFolder) -> dict[str, float]:
    """Epochs, and the seconds that their steps took, of all runs that the training went on in."""
    lines = [json.loads(line) for line in (folder.train_run / "log.jsonl").read_text().splitlines()]
    return {"epochs": len(lines), "seconds": round(sum(line["seconds"] for line in lines))}


def measured(folder: BuildFolder) -> Boxes:
    """IoU of the three forms on the test images of the build's data set.

    Raises CheckFailed where the integers of two forms differ, or what :meth:`Boxes.check` says.
    """
    graph = folder.load_graph()
    images = _images(folder)
    # This holds the converted model's integers to the interpreter's, all of them, before any box is found.
    found = write_accuracy(folder, graph, images, converted=True)
    if found.float_value is None or found.converted_value is None:
        raise CheckFailed(f"{folder} has no checkpoint to measure")
    boxes = Boxes(
        images=len(images),
        fake_quantised=found.float_value,
        converted=found.converted_value,
        interpreter=found.value,
        fixed_point=_fixed_point(graph, images),
    )
    boxes.check()
    return boxes


def _fixed_point(graph: Graph, images: BoxSamples) -> float:
    grid, scales = AnchorGrid(), graph.tensor(graph.output).channel_scales
    outputs = run(graph, images.images)
    found = FixedDecoder(grid=grid, scales=np.array(scales)).predict(outputs) / 2**PIXEL_FRACTION
    return float(iou(found, grid.pixels(images.boxes, *outputs.shape[2:])).mean())


def simulated(folder: BuildFolder) -> Verilog:
    """Plan, generate, and simulate the first images of the reference; CheckFailed for any integer that differs."""
    graph = folder.load_graph()
    plan, _ = make_plan(folder, graph, load_board(BOARD))
    generate_rtl(folder)
    codes, expected = np.load(folder.codes)[:FRAMES], np.load(folder.expected)[:FRAMES]
    if not np.array_equal(codes, _images(folder).images[:FRAMES]):
        raise CheckFailed(f"{folder.codes} holds other images than the data set")
    verification = verify_frames(folder, graph, codes, expected, simulator="verilator", stalls="none", seed=0)
    verification.check()
    used, seen = plan.resources, verification.performance
    return Verilog(
        cycles=plan.cycles,
        dsp=used.dsp,
        lut=used.lut,
        frames=seen.frames,
        mismatches=seen.mismatches,
        cycles_per_frame=seen.cycles_per_frame,
    )


def _images(folder: BuildFolder) -> BoxSamples:
    images = load_data(folder, folder.load_graph()).test
    if not isinstance(images, BoxSamples):
        raise CheckFailed(f"{folder} is no detector: its images have labels, no boxes")
    return images


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
