"""The detector's evidence: its checks, and a short training on real images whose forms find the same boxes."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path

import numpy as np
import pytest

from mixq.bits import BitAllocation
from mixq.build_folder import BuildFolder
from mixq.cli.training import train
from mixq.data.dacsdc import load_dacsdc
from mixq.detection_decode import AnchorGrid, iou
from mixq.errors import CheckFailed
from mixq.execute import run
from mixq.project_file import load_project
from scripts import detection_evidence
from scripts.detection_data import contest_sample
from scripts.detection_evidence import BITS, CONFIG, Boxes, Verilog, measured, training

PROJECT = """\
name: short
network: ultranet
data: {{name: dacsdc, root: "{root}", train_size: 100, validation_size: 2, test_size: 10, options: {options}}}
quantizer: lsq
weight_range: narrow
train: {{epochs: 3, batch: 10, learning_rate: 0.02, shift: 16, flip: true}}
"""


@pytest.mark.slow
def test_a_short_training_finds_the_same_boxes_in_all_forms(shared: Path, root: Path, tmp_path: Path) -> None:
    archive = shared / "data" / "dacsdc_sample300.zip"
    config = tmp_path / "short.yaml"
    config.write_text(PROJECT.format(root=archive, options="{channel_order: bgr}"))
    folder = BuildFolder(tmp_path / "build")
    train(config, bits=root / BITS, out=folder.path)
    found = measured(folder)
    assert found.images == 10 and found.interpreter == found.converted
    assert training(folder)["epochs"] == 3
    # The boxes once more, without the verbs: integers times their steps, decoded, beside the true ones.
    graph = folder.load_graph()
    test = load_dacsdc(archive, channel_order="bgr", train_size=1, validation_size=1, test_size=10).test
    steps = graph.tensor(graph.output).channel_scales
    assert steps is not None
    boxes = AnchorGrid().predict(run(graph, test.images) * np.array(steps)[:, None, None])
    assert iou(boxes, test.boxes * np.array([320, 160, 320, 160], np.float64)).mean() == found.interpreter
    assert found.interpreter > 0 and abs(found.fixed_point - found.interpreter) < 0.01
    document = json.loads((folder.report / "accuracy.json").read_text())
    assert document["converted_value"] == document["value"] == found.interpreter


def test_project_and_widths_fit_each_other(root: Path) -> None:
    project, widths = load_project(root / CONFIG), BitAllocation.load(root / BITS)
    widths.check(project.table())
    assert (project.quantizer, project.weight_range) == (widths.quantizer, widths.weight_range)
    assert project.data.root is not None  # links are not followed: the folder of shared data may be one
    assert Path(os.path.abspath(project.data.root)).parent == root.parent / "shared" / "data"


def test_all_images_but_those_of_validation_are_trained_on(shared: Path) -> None:
    dataset = contest_sample(str(shared / "data" / "dacsdc_sample300.zip"))
    assert (len(dataset.train), len(dataset.validation)) == (250, 50)
    assert dataset.test is dataset.validation
    trained = {image.tobytes() for image in dataset.train.images}
    assert len(trained) == 250 and not trained & {image.tobytes() for image in dataset.validation.images}


def test_what_fails() -> None:
    Boxes(images=1, fake_quantised=0.5, converted=0.504, interpreter=0.504, fixed_point=0.5).check()
    with pytest.raises(CheckFailed, match=r"the converted model has an IoU of 0.5, the interpreter 0.5000000000000001"):
        Boxes(images=1, fake_quantised=0.5, converted=0.5, interpreter=math.nextafter(0.5, 1), fixed_point=0.5).check()
    with pytest.raises(CheckFailed, match=r"differ by 0.0060 in IoU, not below 0.005"):
        Boxes(images=1, fake_quantised=0.5, converted=0.506, interpreter=0.506, fixed_point=0.5).check()


def test_what_is_found_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    boxes = Boxes(images=2, fake_quantised=0.5, converted=0.25, interpreter=0.25, fixed_point=0.25)
    verilog = Verilog(cycles=10, dsp=1, lut=2, frames=3, mismatches=0, cycles_per_frame=10)
    asked: dict[str, Path] = {}

    def train(config: Path, *, bits: Path, out: Path) -> None:
        asked.update(config=config, bits=bits)
        (out / "train").mkdir(parents=True)
        (out / "train" / "log.jsonl").write_text('{"seconds": 1.25}\n{"seconds": 2.0}\n')

    for name, value in (("train", train), ("measured", lambda _: boxes), ("simulated", lambda _: verilog)):
        monkeypatch.setattr(detection_evidence, name, value)
    assert detection_evidence.main(["--out", str(tmp_path)]) == 0
    assert asked == {"config": CONFIG, "bits": BITS}
    found = json.loads(capsys.readouterr().out)
    assert found == json.loads((tmp_path / "report" / "detection_evidence.json").read_text())
    assert found["training"] == {"epochs": 2, "seconds": 3}
    assert (found["iou"]["converted"], found["verilog"]["mismatches"]) == (0.25, 0)

    def fails(_: BuildFolder) -> Boxes:
        raise CheckFailed("they differ")

    monkeypatch.setattr(detection_evidence, "measured", fails)
    assert detection_evidence.main(["--out", str(tmp_path / "other")]) == 1
    assert capsys.readouterr().err == "they differ\n"
