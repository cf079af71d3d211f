# amaranth: UnusedElaboratable=no
"""A build's generated files: right in simulation, the same everywhere, and never half written."""

from __future__ import annotations

import gc
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from boards import load_board
from boards.axis import AxisTop
from boards.emit import generate, render
from boards.manifest import BuildManifest, hash_of_build
from mixq.containers import frame_bytes, to_bytes
from mixq.errors import UserError
from mixq.execute import run
from mixq.formats import IntFormat
from mixq.graph import Graph
from mixq.plan import Plan, plan
from mixq.streams import StreamShape
from sim.network import simulate
from tests.boards.stand_in import Identity
from tests.mixq.graphs import Chain
from tests.mixq.plan.holds import on_dsps

SHAPE = StreamShape(2, 3, 3, IntFormat(8, False), 1, 2)


def small_network() -> Graph:
    """Pixels cut to 4 bits, a convolution, requantisation, max-pooling and a dense layer."""
    rng = np.random.default_rng(4)
    chain = Chain((2, 4, 5), IntFormat(8, False), 1 / 256)
    chain.requantise([1] * 2, [-8] * 2, 4, IntFormat(4, False))
    chain.conv(rng.integers(-3, 4, (4, 2, 3, 3)), 3, padding=1)
    chain.requantise(rng.integers(-90, 90, 4), rng.integers(-900, 900, 4), 9, IntFormat(3, False))
    chain.pool(2, 2)
    chain.dense(rng.integers(-7, 8, (3, 4 * 2 * 2)), 4)
    return chain.graph()


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A build folder with graph and plan."""
    folder = tmp_path_factory.mktemp("planned")
    graph = small_network()
    graph.save(folder)
    plan(graph, load_board("ultra96-v2"), foldings=on_dsps(graph)).save(folder)
    return folder


@pytest.fixture
def build(planned: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(planned, tmp_path / "build"))


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.icarus
def test_a_network_from_files_to_results(build: Path) -> None:
    steps: list[str] = []
    made = generate(build, progress=steps.append)
    assert steps == [
        "reading graph and plan",
        "building the accelerator",
        "converting to Verilog",
        "writing the files",
    ]
    assert BuildManifest.load(build) == made
    assert made.changed(build) == []
    assert set(made.inputs) == {"graph.json", "graph.npz", "plan.yaml"}
    assert made.build_hash == f"{hash_of_build(build, target='dsp48e2', inputs=made.inputs):016x}"
    assert set(made.outputs) == {f"rtl/{path.name}" for path in (build / "rtl").iterdir()}
    assert (build / "rtl" / "files.f").read_text() == "mixq_top.v\nmixq_rom.v\n"

    graph = Graph.load(build)
    pixels = np.random.default_rng(9).integers(0, 256, (6, 2, 4, 5))
    given, taken = graph.tensor(graph.input), graph.tensor(graph.output)
    seen = simulate(
        build / "rtl",
        [to_bytes(frame[None], given.format) for frame in pixels],
        output_frame_bytes=frame_bytes(taken.shape, taken.format),
        simulator="icarus",
    )
    assert seen.protocol_errors == []
    assert seen.outputs == [to_bytes(frame[None], taken.format) for frame in run(graph, pixels)]
    assert seen.cycles_per_frame == Plan.load(build).cycles


def test_the_same_bytes_in_every_folder_and_under_every_hash_seed(planned: Path, tmp_path: Path, root: Path) -> None:
    results = []
    for number, name in enumerate(("here", "some where/else")):
        folder = Path(shutil.copytree(planned, tmp_path / name))
        environment = os.environ | {"PYTHONHASHSEED": str(number + 1), "PYTHONPATH": str(root), "TZ": f"UTC{number}"}
        code = "import sys; from boards.emit import generate; generate(sys.argv[1])"
        subprocess.run([sys.executable, "-c", code, folder], check=True, env=environment, cwd=folder)
        results.append(content(folder))
    first, second = results
    assert "rtl/mixq_top.v" in first
    assert "manifest.json" in first
    assert len(first) > 8
    assert first == second


class Killed(BaseException):
    """Like the end of the process."""


@pytest.mark.parametrize("step", ["build", "replace_folder", "BuildManifest.save"])
def test_killed_before_a_step(step: str, build: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    generate(build, "generic")
    old = content(build)

    def killed(*_: object, **__: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(f"boards.emit.{step}", killed)
        with pytest.raises(Killed):
            generate(build)
    if step == "BuildManifest.save":  # the new files, which the old manifest does not claim
        assert "rtl/mixq_top.v" in BuildManifest.load(build).changed(build)
    else:
        assert content(build) == old
    made = generate(build)
    assert made.target == "dsp48e2"
    assert made.changed(build) == []
    assert b"DSP48E2" in (build / "rtl" / "mixq_top.v").read_bytes()
    assert {path.name for path in build.iterdir()} == {path.split("/")[0] for path in old}


def test_what_a_killed_process_left_is_cleared(build: Path) -> None:
    for name in ("rtl.new", "rtl.old"):
        (build / name).mkdir()
        (build / name / "mixq_top.v").write_text("half")
    (build / "rtl").mkdir()
    (build / "rtl" / "stale.mem").write_text("0")
    made = generate(build)
    assert not (build / "rtl.new").exists()
    assert not (build / "rtl.old").exists()
    assert set(made.outputs) == {f"rtl/{path.name}" for path in (build / "rtl").iterdir()}


def test_memory_images_stand_beside_the_verilog() -> None:
    top = AxisTop(Identity(SHAPE, images={"b.mem": "1\n", "a.mem": "2\n"}), input_bus_bits=32, output_bus_bits=32)
    files = render(top, target="generic")
    assert list(files) == ["mixq_top.v", "mixq_rom.v", "files.f", "a.mem", "b.mem"]
    assert (files["a.mem"], files["b.mem"]) == ("2\n", "1\n")


@pytest.mark.parametrize("name", ["mixq_top.v", "files.f", "mixq_rom.v"])
def test_a_memory_image_may_not_replace_a_source(name: str) -> None:
    top = AxisTop(Identity(SHAPE, images={name: ""}), input_bus_bits=32, output_bus_bits=32)
    with pytest.raises(ValueError) as failure:
        render(top, target="generic")
    assert str(failure.value) == f"memory_images must not have the name of another file, not {name!r}"


def test_mistakes_are_named(build: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError) as failure:
        generate(build, "dsp58")  # type: ignore[arg-type]
    assert str(failure.value) == "target must be one of dsp48e2, dsp48e1, generic, not 'dsp58'"
    with pytest.raises(UserError) as failure:
        generate(tmp_path / "none")
    assert str(failure.value) == f"{tmp_path / 'none'} is no build folder; make one with `mixq import` first"
    (build / "plan.yaml").unlink()
    with pytest.raises(UserError, match=r"plan\.yaml is missing: run `mixq plan"):
        generate(build)
    assert not (build / "rtl").exists()


# Amaranth warns of a component whose constructor raised as of one that nobody used.
@pytest.mark.filterwarnings("ignore::amaranth.hdl.UnusedElaboratable")
def test_a_plan_of_another_graph_is_refused(build: Path) -> None:
    chain = Chain((2, 4, 5), IntFormat(8, False))
    chain.pool(2, 2)
    chain.graph().save(build)
    with pytest.raises(UserError, match=r"plan\.yaml does not suit the graph .*; plan it again"):
        generate(build)
    gc.collect()


@pytest.mark.filterwarnings("ignore::amaranth.hdl.UnusedElaboratable")
def test_a_bus_that_holds_no_container_is_refused(build: Path) -> None:
    replace(Plan.load(build), output_bus_bits=12).save(build)
    with pytest.raises(UserError, match=r"does not suit the graph \(output_bus_bits: bits must be a multiple"):
        generate(build)
    gc.collect()
    assert not (build / "rtl").exists()
