"""`mixq import`: what it writes, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from mixq.execute import run
from mixq.graph import Conv, Dense, Graph
from mixq.plan.options import offered_packings
from mixq.plan.units import units
from tests.mixq.cli.conftest import SMALL, Run


def test_random_weights_make_a_whole_build(built: Path, mixq: Run) -> None:
    graph = Graph.load(built)
    assert graph.tensor(graph.input).shape == (1, 4, 4)
    weighted = [node for node in graph.nodes if isinstance(node, Conv | Dense)]
    assert [node.weight_format.width for node in weighted] == [2, 2, 2, 2]
    assert [graph.tensor(node.input).format.width for node in weighted] == [2, 2, 2, 3]
    codes, expected = np.load(built / "reference/codes.npy"), np.load(built / "reference/expected.npy")
    assert codes.dtype == np.uint8 and codes.shape == (10, 1, 4, 4) and expected.dtype == np.int64
    assert np.array_equal(run(graph, codes), expected)
    assert len(np.unique(expected)) > 10
    conversion = json.loads((built / "report/conversion.json").read_text())
    assert conversion["samples"] == 10 and conversion["accuracy"] is None
    counts = json.loads((built / "report/op_and_param_counts.json").read_text())
    assert counts["conv2"] == {"macs": 16 * 32 * 9 * 2 * 2, "weights": 16 * 32 * 9, "weight_bits": 2, "act_bits": 2}


def test_the_same_again_gives_the_same_bytes_and_keeps_the_plan(build: Path, mixq: Run) -> None:
    names = ("graph.json", "graph.npz", "reference/codes.npy", "reference/expected.npy")
    before = [(build / name).read_bytes() for name in names]
    outcome = mixq("import", "random:1", *SMALL, "--out", build)
    assert outcome.status == 0
    assert [(build / name).read_bytes() for name in names] == before
    assert (build / "plan.yaml").is_file() and (build / "rtl/mixq_top.v").is_file()


def test_a_narrow_range_is_counted_kept_and_planned_with_denser_packings(tmp_path: Path, mixq: Run) -> None:
    words = ("--network", "digits-cnn", "--weight-bits", "4", "--act-bits", "4")
    densities = []
    for name in ("full", "narrow"):
        out = tmp_path / name
        outcome = mixq("import", "random:1", *words, "--weight-range", name, "--out", out)
        assert outcome.status == 0
        unit = next(unit for unit in units(Graph.load(out)) if unit.node.name == "conv2")
        assert unit.weight_range == name
        densities.append(max(packing.density for packing in offered_packings(unit, "dsp48e2", 2)))
    # The published density of 4-bit weights and activations for a row of three: 12 without -8.
    assert densities[1] == 12 > densities[0]
    graph = Graph.load(tmp_path / "narrow")
    conversion = json.loads((tmp_path / "narrow/report/conversion.json").read_text())
    assert graph.metadata["clamped_weights"] == str(sum(conversion["clamped_weights"].values())) != "0"
    assert "clamped_weights" not in Graph.load(tmp_path / "full").metadata
    again = tmp_path / "again"
    checkpoint = tmp_path / "narrow/checkpoints/model.pt"
    assert mixq("import", checkpoint, "--out", again).status == 0
    assert Graph.load(again).nodes == graph.nodes
    outcome = mixq("import", again, "--weight-range", "full", "--out", tmp_path / "copy")
    assert outcome.status == 2 and "--weight-range cannot change the graph in the folder" in outcome.complaint


def test_learned_steps_are_imported_and_kept(tmp_path: Path, mixq: Run) -> None:
    learned, fixed, again = tmp_path / "learned", tmp_path / "fixed", tmp_path / "again"
    words = ("random:1", "--network", "digits-cnn")
    assert mixq("import", *words, "--quantizer", "lsq", "--out", learned).status == 0
    assert mixq("import", *words, "--out", fixed).status == 0
    graph = Graph.load(learned)
    assert graph.metadata["quantizer"] == "lsq"
    assert Graph.load(fixed).metadata["quantizer"] == "hwgq"
    assert [tensor.scale for tensor in graph.tensors] != [tensor.scale for tensor in Graph.load(fixed).tensors]
    assert mixq("import", learned / "checkpoints/model.pt", "--out", again).status == 0
    assert Graph.load(again).nodes == graph.nodes
    assert Graph.load(again).metadata["quantizer"] == "lsq"
    outcome = mixq("import", learned / "checkpoints/model.pt", "--quantizer", "hwgq", "--out", tmp_path / "other")
    assert outcome.status == 2 and outcome.complaint.endswith("give --quantizer lsq")
    outcome = mixq("import", fixed / "checkpoints/model.pt", "--quantizer", "lsq", "--out", tmp_path / "other")
    assert outcome.status == 2 and "layer conv1_act: its step has not been learned" in outcome.complaint
    outcome = mixq("import", again, "--quantizer", "lsq", "--out", tmp_path / "other")
    assert outcome.status == 2 and "--quantizer cannot change the graph in the folder" in outcome.complaint


def test_another_network_takes_what_followed_from_the_old_one_away(build: Path, mixq: Run) -> None:
    (build / "notes.txt").write_text("mine")
    before = Graph.load(build)
    assert mixq("import", "random:2", *SMALL, "--out", build).status == 0
    assert Graph.load(build) != before
    assert not (build / "plan.yaml").exists() and not (build / "rtl").exists()
    assert (build / "notes.txt").read_text() == "mine"


def test_a_checkpoint_gives_the_graph_that_it_was_saved_from(build: Path, tmp_path: Path, mixq: Run) -> None:
    out = tmp_path / "again"
    assert mixq("import", build / "checkpoints/model.pt", "--input-shape", "1,4,4", "--out", out).status == 0
    one, other = Graph.load(build), Graph.load(out)
    assert one.nodes == other.nodes and one.tensors == other.tensors
    assert str(build) not in (out / "graph.json").read_text()


def test_a_graph_folder_is_copied(build: Path, tmp_path: Path, mixq: Run) -> None:
    out = tmp_path / "copy"
    outcome = mixq("import", build, "--out", out)
    assert outcome.status == 0 and "conv2" in outcome.out
    assert Graph.load(out) == Graph.load(build)
    assert np.load(out / "reference/codes.npy").shape == (10, 1, 4, 4)
    assert not (out / "reference/expected.npy").exists() and not (out / "checkpoints").exists()


def test_a_graph_folder_may_be_its_own_destination(build: Path, mixq: Run) -> None:
    expected = (build / "reference/expected.npy").read_bytes()
    assert mixq("import", build, "--out", build).status == 0
    assert (build / "reference/expected.npy").read_bytes() == expected


def test_images_of_ones_own_become_the_reference(tmp_path: Path, mixq: Run) -> None:
    images = np.arange(3 * 16).reshape(3, 1, 4, 4)
    np.save(tmp_path / "images.npy", images)
    out = tmp_path / "out"
    assert mixq("import", "random:1", *SMALL, "--images", tmp_path / "images.npy", "--out", out).status == 0
    assert np.array_equal(np.load(out / "reference/codes.npy"), images)


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["random:x", "--network", "digits-cnn"], "the seed of random:SEED must be an integer from 0 to 999999999, "),
        (["random:1"], "the network is not known; name it with --network"),
        (["random:1", "--network", "lenet"], "no network is called 'lenet'; choose one of digits_cnn, "),
        (["model.onnx"], "model.onnx cannot be read: "),
        (["model.bin", "--network", "vgg-tiny"], "model.bin is no checkpoint; give a file that ends in .pt, "),
        (["none.pt", "--network", "vgg-tiny"], "there is no file none.pt; check the path"),
        (["random:1", *SMALL, "--weight-bits", "9"], "weight widths of digits_cnn must be integers from 2 to 8, not 9"),
        (["random:1", *SMALL, "--act-bits", "1"], "act widths of digits_cnn must be integers from 2 to 8, not 1"),
        (["random:1", *SMALL, "--act-bits", "2,2"], "digits_cnn takes 4 act widths, one for each of conv1, conv2, "),
        (["random:1", *SMALL, "--weight-bits", "2;3"], "--weight-bits must be whole numbers separated by commas, "),
        (["random:1", *SMALL, "--input-shape", "8,8"], "--input-shape must be three positive numbers C,H,W, "),
        (
            ["random:1", *SMALL, "--input-shape", "1,1,1"],
            "images of the shape 1,1,1 are too small for digits_cnn; give larger ones",
        ),
        (["random:1", *SMALL, "--weight-range", "wide"], "Invalid value for '--weight-range': "),
        (["random:1", *SMALL, "--quantizer", "ternary"], "Invalid value for '--quantizer': "),
        (["random:1", *SMALL, "--images", "none.npy"], "none.npy: no such file"),
    ],
)
def test_what_is_refused(words: list[str], line: str, tmp_path: Path, mixq: Run) -> None:
    outcome = mixq("import", *words, "--out", tmp_path / "out")
    assert outcome.status == 2
    assert outcome.complaint.startswith(f"mixq: {line}")
    assert not (tmp_path / "out").exists()


def test_folders_and_checkpoints_that_do_not_suit_are_refused(build: Path, tmp_path: Path, mixq: Run) -> None:
    outcome = mixq("import", build, "--weight-bits", "2", "--out", tmp_path / "out")
    assert (outcome.status, outcome.complaint) == (
        2,
        f"mixq: --weight-bits cannot change the graph in the folder {build}; leave it out",
    )
    outcome = mixq("import", tmp_path, "--out", tmp_path / "out")
    assert outcome.status == 2 and "graph.json: no such file" in outcome.complaint
    outcome = mixq("import", build / "checkpoints/model.pt", "--input-shape", "3,4,4", "--out", tmp_path / "out")
    assert outcome.status == 2
    assert "conv1.weight must have the shape (16, 3, 3, 3), not (16, 1, 3, 3); check --network" in outcome.complaint
    np.save(tmp_path / "images.npy", np.full((1, 1, 4, 4), 256))
    words = ["--images", tmp_path / "images.npy"]
    outcome = mixq("import", "random:1", *SMALL, *words, "--out", tmp_path / "out")
    assert outcome.status == 2 and outcome.complaint.endswith("must hold 8-bit pixels, 0..255, not 256..256")


def test_models_that_differ_are_found(tmp_path: Path, mixq: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(graph: Graph, codes: np.ndarray, **options: object) -> np.ndarray:
        result = run(graph, codes)
        result[2, 3] += 1
        return result

    monkeypatch.setattr("mixq.execute.run", wrong)
    outcome = mixq("import", "random:1", *SMALL, "--out", tmp_path / "out")
    assert outcome.status == 1
    place = "1 of 100 integers, first in frame 2 at channel, row, column [3, 0, 0]"
    assert f"interpreter and converted model differ in {place}" in outcome.complaint
