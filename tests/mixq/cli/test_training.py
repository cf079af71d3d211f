"""`mixq init`, `mixq train` and `mixq test`: from a project file to measured integers; resumed after a kill."""

from __future__ import annotations

import base64
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from mixq.bits import BitAllocation
from mixq.checkpoints import load_checkpoint
from mixq.execute import run
from mixq.graph import Graph
from mixq.networks import network
from mixq.report.boxes import FOUND_COLOUR, TRUE_COLOUR
from mixq.training.detection import Detection
from tests.mixq.cli import project_files
from tests.mixq.cli.conftest import Run
from tests.mixq.cli.project_files import BOXES, DIGITS, write


def accuracy_report(build: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((build / "report/accuracy.json").read_text())
    return document


def log(build: Path) -> list[dict[str, Any]]:
    """The log's lines without their times."""
    lines = [json.loads(line) for line in (build / "train/log.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]


def test_init_writes_a_project_of_the_network(mixq: Run) -> None:
    outcome = mixq("init", "--model", "UltraNet")
    assert outcome.status == 0 and outcome.err == ""
    assert "network: ultranet\n" in outcome.out and "name: dacsdc" in outcome.out
    assert mixq("init", "--model", "resnet").complaint.startswith("mixq: no network is called 'resnet'; choose one of")


def test_train_and_test_digits(tmp_path: Path, mixq: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = write(tmp_path)
    outcome = mixq("train", config)
    assert outcome.status == 0, outcome.err
    build = Path("build/tiny")
    assert "the network's own, as there is no build/tiny/bits.yaml" in outcome.out
    assert outcome.out.splitlines()[-1].endswith("mixq test build/tiny; mixq plan build/tiny --board ultra96-v2")
    # The training's own results, and the checkpoint, measured again by other means.
    found = accuracy_report(build)
    assert (found["split"], found["samples"], found["metric"]) == ("validation", 64, "top1")
    assert [line["epoch"] for line in log(build)] == [1, 2]
    assert found["float_value"] == log(build)[-1]["validation"]
    graph = Graph.load(build)
    images, expected = np.load(build / "reference/codes.npy"), np.load(build / "reference/expected.npy")
    assert len(images) == 64 and (run(graph, images) == expected).all()
    assert load_checkpoint(build / "checkpoints/model.pt").weight_bits == network("digits_cnn").weight_bits
    assert json.loads((build / "report/conversion.json").read_text())["samples"] == 64
    assert set(json.loads((build / "report/op_and_param_counts.json").read_text())) == set(
        network("digits_cnn").weighted_names
    )

    outcome = mixq("test", build, "--samples", "30")
    assert outcome.status == 0 and "digits, 30 of 40 test images" in outcome.out
    found = accuracy_report(build)
    assert (found["split"], found["samples"]) == ("test", 30)
    from mixq.data.digits import load_digits

    part = load_digits().test.take(slice(0, 30))
    right = run(graph, part.images).reshape(30, 10).argmax(1) == part.labels
    assert found["value"] == right.mean() > 0.3

    # Again: nothing is trained anew, other settings are refused.
    assert "training digits_cnn: done in 0." in mixq("train", config, "--resume").err
    refused = mixq("train", config, "--quick")
    assert (refused.status, refused.complaint) == (
        2,
        "mixq: build/tiny/train holds another run: epochs is 2 there and 1 here; "
        "give another folder, or --fresh to start over",
    )
    assert mixq("train", config, "--quick", "--fresh").status == 0
    assert [line["epoch"] for line in log(build)] == [1]


def test_train_takes_the_widths_of_a_search(tmp_path: Path, mixq: Run) -> None:
    build = tmp_path / "b"
    build.mkdir()
    bits = BitAllocation(
        network="digits_cnn",
        layers=network("digits_cnn").weighted_names,
        weight_bits=(2, 3, 4, 5),
        act_bits=(5, 4, 3, 2),
        quantizer="lsq",
        predicted={"cycles": 321},
        found_by={"quick": True},
    )
    bits.save(build)
    config = write(tmp_path)
    outcome = mixq("train", config, "--quick", "--out", build, "--seed", "3")
    assert outcome.status == 0, outcome.err
    model = load_checkpoint(build / "checkpoints/model.pt")
    assert (model.weight_bits, model.act_bits, model.quantizer) == ((2, 3, 4, 5), (5, 4, 3, 2), "lsq")
    assert f"{build}/bits.yaml (of a quick search)" in outcome.out and "321 cycles a frame" in outcome.out
    assert "seed: 3\n" in (build / "project.yaml").read_text()


def bits_document(**changes: Any) -> str:
    layers = {name: {"weight_bits": 4, "act_bits": 4} for name in network("digits_cnn").weighted_names}
    return json.dumps({"mixq_bits": 1, "network": "digits_cnn", "quantizer": "lsq", "layers": layers, **changes})


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--resume"], "build/tiny/train holds no run that could go on; leave --resume out"),
        (["--resume", "--fresh"], "--resume and --fresh exclude each other; give one of them"),
        (["--bits", "no.yaml"], "no.yaml: no such file"),
        (
            ["--bits", "hwgq.yaml"],
            "hwgq.yaml has widths for quantizer hwgq, the project says lsq; set quantizer: hwgq in it, or search again",
        ),
        (
            ["--bits", "full.yaml"],
            "full.yaml has widths for weight_range full, the project says narrow; "
            "set weight_range: full in it, or search again",
        ),
        (
            ["--bits", "vgg.yaml"],
            "vgg.yaml: the widths are those of vgg_tiny, with the layers conv1; "
            "digits_cnn has conv1, conv2, conv3, dense; search again, or name another file with --bits",
        ),
        (["--seed", "-1"], "--seed must not be negative, not -1"),
    ],
)
def test_what_train_refuses(
    words: list[str], line: str, tmp_path: Path, mixq: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("hwgq.yaml").write_text(bits_document(quantizer="hwgq"))
    Path("full.yaml").write_text(bits_document(weight_range="full"))
    layers = {"conv1": {"weight_bits": 4, "act_bits": 4}}
    Path("vgg.yaml").write_text(bits_document(network="vgg_tiny", layers=layers))
    outcome = mixq("train", write(tmp_path), *words)
    assert (outcome.status, outcome.complaint) == (2, f"mixq: {line}")
    assert not Path("build").exists()


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("name: digits,", "name: cifar10, root: x,", "x; docs/data.md says where to get cifar10, or set data.root"),
        (
            "name: digits, train_size: 320,",
            "name: digits, train_size: 3200,",
            "data set digits has 1167 train images, not 3200; lower train_size",
        ),
        (
            "network: digits-cnn",
            "network: digits-cnn\ninput_shape: [1, 12, 12]",
            "the images of digits have the shape 1,8,8, not 1,12,12 as digits_cnn takes them; "
            "set input_shape: [1, 8, 8] or take other data",
        ),
        (
            "network: digits-cnn",
            "model: tests.mixq.cli.project_files:classifier",
            "tests_classifier has 3 outputs, digits has 10 classes; take another network or other data",
        ),
        ("train: {epochs: 2,", "board: de10\ntrain: {epochs: 2,", "no board is named 'de10'; use one of"),
        (
            "train: {epochs: 2, batch: 32}",
            "train: {batch: 1}",
            "batch norm cannot train on a batch of 1; take at least 2",
        ),
    ],
)
def test_what_a_project_is_refused_for(
    old: str, new: str, line: str, tmp_path: Path, mixq: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert old in DIGITS
    outcome = mixq("train", write(tmp_path, DIGITS.replace(old, new)))
    assert outcome.status == 2 and line in outcome.complaint


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (
            ("train: {", "train: {label_smoothing: 0.1, "),
            "label_smoothing is for classes, not for boxes; remove it from the project file",
        ),
        (
            ("model: tests.mixq.cli.project_files:detector", "network: vgg-tiny"),
            "vgg_tiny has an output of 10 x 1 x 1; boxes in images of 32 x 32 take 36 x 2 x 2; take ultranet, "
            "or other data",
        ),
    ],
)
def test_what_boxes_are_refused_for(change: tuple[str, str], line: str, tmp_path: Path, mixq: Run) -> None:
    outcome = mixq("train", write(tmp_path, BOXES.replace(*change)), "--out", tmp_path / "b")
    assert (outcome.status, outcome.complaint) == (2, f"mixq: {line}")


def test_boxes_with_a_network_and_data_of_ones_own(tmp_path: Path, mixq: Run) -> None:
    build = tmp_path / "b"
    outcome = mixq("train", write(tmp_path, BOXES), "--out", build)
    assert outcome.status == 0, outcome.err
    assert accuracy_report(build)["metric"] == "iou" and "mean IoU" in outcome.out
    outcome = mixq("test", build)
    assert outcome.status == 0
    # The three forms, each in its line; both integer ones to the last digit.
    found = accuracy_report(build)
    assert found["converted_value"] == found["value"] > 0 and abs(found["float_value"] - found["value"]) < 0.05
    lines = [" ".join(line.split()) for line in outcome.out.splitlines()]
    for form, value in (("integer network", "value"), ("converted model", "value"), ("training model", "float_value")):
        assert f"{form} mean IoU {found[value]:.4f}" in lines
    # The integers, scaled by hand from the checkpoint's own steps, through the task's measure.
    found, part = accuracy_report(build), project_files.boxes(count=8).test
    graph = Graph.load(build)
    model = load_checkpoint(build / "checkpoints/model.pt", project_files.detector())
    head, before = model.get_submodule("conv5"), model.get_submodule("conv4_act")
    step = float(head.weight_quantizer.step(head.weight)) * before.step  # type: ignore[operator, union-attr]
    outputs = torch.from_numpy(run(graph, part.images) * step)
    measured = Detection().measure(outputs, torch.from_numpy(part.boxes)).mean()
    assert found["value"] == pytest.approx(float(measured), rel=1e-12)
    assert (found["split"], found["samples"], found["metric"]) == ("test", 8, "iou")
    assert mixq("plan", build, "--board", "ultra96-v2").status == 0
    # The report's pictures: the first 8 test images, their true boxes, and what the integers say.
    outcome = mixq("report", build)
    assert outcome.status == 0 and "left out" not in outcome.out
    pictures = json.loads((build / "report/boxes.json").read_text())["images"]
    assert [entry["truth"] for entry in pictures] == (part.boxes.astype(np.float64) * 32).tolist()
    assert sum(entry["iou"] for entry in pictures) / 8 == pytest.approx(found["value"], rel=1e-12)
    for entry, image in zip(pictures, part.images, strict=True):
        shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(entry["picture"].partition(",")[2]))))
        lines = (shown == FOUND_COLOUR).all(-1) | (shown == TRUE_COLOUR).all(-1)
        # Red first, though the data are blue first.
        assert lines.sum() < 400 and np.array_equal(shown[~lines], image[::-1].transpose(1, 2, 0)[~lines])
    assert (build / "report/index.html").read_text().count('<img src="data:image/png;base64,') == 8
    # Without the data they are left out, with a line that says so.
    project = build / "project.yaml"
    text = project.read_text()
    project.write_text(text.replace("project_files:boxes", "project_files:gone"))
    outcome = mixq("report", build)
    reason = "data set tests.mixq.cli.project_files:gone: tests.mixq.cli.project_files has no function 'gone'"
    assert outcome.status == 0 and f"images      left out: {reason}" in outcome.out
    assert "No images: data set tests.mixq.cli.project_files:gone" in (build / "report/index.html").read_text()
    project.write_text(text)
    # Another training's checkpoint is found out, and no accuracy is written for it.
    (build / "report/accuracy.json").unlink()
    other = tmp_path / "other"
    assert mixq("train", tmp_path / "tiny.yaml", "--seed", "5", "--out", other).status == 0
    (other / "checkpoints/model.pt").replace(build / "checkpoints/model.pt")
    outcome = mixq("test", build)
    assert outcome.status == 1 and "mixq: interpreter and converted model differ in " in outcome.complaint
    assert not (build / "report/accuracy.json").exists()
    # Without one, the integers alone are measured.
    (build / "checkpoints/model.pt").unlink()
    outcome = mixq("test", build)
    assert outcome.status == 0 and "converted model  no checkpoint\n" in outcome.out
    alone = accuracy_report(build)
    assert (alone["value"], alone["converted_value"], alone["float_value"]) == (found["value"], None, None)


def test_a_build_that_does_not_say_its_data(tmp_path: Path, mixq: Run) -> None:
    build = tmp_path / "b"
    words = ("--network", "vgg-tiny", "--input-shape", "3,8,8", "--weight-bits", "2", "--act-bits", "2")
    assert mixq("import", "random:1", *words, "--out", build).status == 0
    assert mixq("test", build).complaint == (
        f"mixq: {build} does not say what data vgg_tiny is for (it has no project.yaml); make it with: mixq train"
    )


def test_another_graph_takes_the_project_away(tmp_path: Path, mixq: Run) -> None:
    build = tmp_path / "b"
    assert mixq("train", write(tmp_path), "--quick", "--out", build).status == 0
    assert (build / "project.yaml").is_file()
    assert mixq("import", "random:1", "--network", "digits-cnn", "--out", build).status == 0
    assert not (build / "project.yaml").exists() and (build / "train/last.pt").is_file()


def start(config: Path, build: Path) -> subprocess.Popen[bytes]:
    code = "import sys, mixq.cli\nsys.exit(mixq.cli.main(sys.argv[1:]))"
    words = [sys.executable, "-c", code, "train", str(config), "--out", str(build)]
    return subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def test_a_killed_training_goes_on_to_the_same_bits(tmp_path: Path, mixq: Run) -> None:
    text = DIGITS.replace("train: {epochs: 2,", "train: {epochs: 12,").replace("train_size: 320, ", "")
    config = write(tmp_path, text)
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert mixq("train", config, "--out", whole).status == 0
    process = start(config, broken)
    lines = broken / "train/log.jsonl"
    limit = time.monotonic() + 60
    while not (lines.is_file() and lines.read_bytes().count(b"\n") >= 3):
        assert process.poll() is None and time.monotonic() < limit
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL and not (broken / "graph.json").exists()
    assert lines.read_bytes().count(b"\n") < 12
    outcome = mixq("train", config, "--out", broken, "--resume")
    assert outcome.status == 0, outcome.err
    assert log(broken) == log(whole) and len(log(whole)) == 12
    states = [load_checkpoint(build / "checkpoints/model.pt").state_dict() for build in (whole, broken)]
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())
    for name in ("graph.npz", "graph.json", "report/accuracy.json", "reference/expected.npy"):
        assert (broken / name).read_bytes() == (whole / name).read_bytes()
