"""The folder for the board: what is in it, and that a board's Python takes it."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from boards import load_board
from boards.driver.description import Description
from boards.driver.faults import AcceleratorError
from boards.driver_files import SHARED, driver_files, package_files, write_driver
from boards.emit import INPUTS
from boards.manifest import BuildManifest
from mixq.build_folder import BuildFolder
from mixq.detection_decode import AnchorGrid
from mixq.errors import UserError
from mixq.files import write_atomic
from mixq.formats import IntFormat
from mixq.graph import Graph
from mixq.plan import plan
from tests.mixq.graphs import random_network

OLDEST = (3, 8)
#: What came to Python's library after its oldest version here, and is no syntax.
NEWER = ("removeprefix", "removesuffix", "functools.cache", "pairwise", "bit_count")
NEWER_ARGUMENTS = {("zip", "strict"), ("dataclass", "kw_only"), ("dataclass", "slots")}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return driver_files(build(tmp_path_factory.mktemp("build")), load_board("ultra96-v2"))


def build(path: Path, graph: Graph | None = None) -> BuildFolder:
    """A build folder without its Verilog, but for an empty file."""
    folder = BuildFolder(path)
    own = graph or random_network()
    own.save(path)
    plan(own, load_board("ultra96-v2"), max_cycles=1 << 20).save(path)
    folder.rtl.mkdir()
    (folder.rtl / "mixq_top.v").write_text("")
    BuildManifest.of(path, target="dsp48e2", build_hash=0x123456789, inputs=INPUTS, outputs=()).save(path)
    return folder


def run_time_expressions(tree: ast.Module) -> list[ast.AST]:
    """All nodes but those of annotations, which nobody evaluates."""
    found: list[ast.AST] = []

    def visit(node: ast.AST) -> None:
        found.append(node)
        for name, value in ast.iter_fields(node):
            if name in ("annotation", "returns"):
                continue
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST):
                    visit(child)

    visit(tree)
    return found


def too_new(node: ast.AST) -> bool:
    """Types written X | None and list[X], and arguments that functions had not yet."""
    if isinstance(node, ast.Subscript):
        return ast.unparse(node.value) in ("dict", "list", "set", "tuple", "type", "Callable")
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        return "None" in (ast.unparse(node.left), ast.unparse(node.right))
    if isinstance(node, ast.Call):
        return any((ast.unparse(node.func), own.arg) in NEWER_ARGUMENTS for own in node.keywords)
    return False


def test_it_is_python_as_old_as_on_boards(files: dict[str, bytes]) -> None:
    modules = {name: content.decode() for name, content in files.items() if name.endswith(".py")}
    assert len(modules) > 15
    for name, source in modules.items():
        tree = ast.parse(source, filename=name, feature_version=OLDEST)
        assert "from __future__ import annotations\n" in source, name
        for node in run_time_expressions(tree):
            assert not too_new(node), f"{name}: {ast.unparse(node)}"
        assert not [word for word in NEWER if word in source], name


def test_it_needs_numpy_alone_and_never_mixq(files: dict[str, bytes], tmp_path: Path) -> None:
    for name, content in files.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
    site = Path(np.__file__).parents[1]
    code = f"""
import sys
sys.path[:] = [p for p in sys.path if "site-packages" not in p] + [{str(tmp_path)!r}]
class Only:
    def find_spec(self, name, path=None, target=None):
        top = name.split(".")[0]
        if top not in sys.stdlib_module_names and top not in ("numpy", "mixq_driver"):
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Only())
sys.path.append({str(site)!r})
import pathlib, pkgutil, importlib, mixq_driver
names = [m.name for m in pkgutil.iter_modules(mixq_driver.__path__)]
for name in names:
    if name != "overlay":
        importlib.import_module("mixq_driver." + name)
assert not [m for m in sys.modules if m.split(".")[0] in ("mixq", "boards")]
own = mixq_driver.Description.load(pathlib.Path({str(tmp_path)!r}, "accelerator.json"))
assert own.transport == "pynq"
try:
    mixq_driver.Accelerator
except ModuleNotFoundError as error:
    print(len(names), error.name)
"""
    done = subprocess.run(
        [sys.executable, "-I", "-W", "error", "-c", code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str(sum(name.startswith("mixq_driver/") for name in files) - 1), "pynq"]


def test_shared_modules_are_the_product_s_own_but_for_where_they_import_from(root: Path) -> None:
    files = package_files()
    for module in SHARED:
        path = root.joinpath(*module.split(".")).with_suffix(".py")
        copied = files[f"mixq_driver/{path.name}"].decode().splitlines()
        for own, other in zip(path.read_text().splitlines(), copied, strict=True):
            if own != other:
                assert own.startswith(("from mixq.", "from boards.")) and other == "from ." + own.split(".")[-1]


def test_the_description_is_that_of_the_build(files: dict[str, bytes], tmp_path: Path) -> None:
    path = tmp_path / "accelerator.json"
    path.write_bytes(files["accelerator.json"])
    own, graph = Description.load(path), random_network()
    source, target = graph.tensor(graph.input), graph.tensor(graph.output)
    assert (own.build_hash, own.board, own.transport) == (0x123456789, "ultra96-v2", "pynq")
    assert (own.input.shape, own.input.format) == (source.shape, source.format)
    assert (own.output.shape, own.output.format) == (target.shape, target.format)
    assert (own.grid, own.resize, own.channel_order) == (None, "pillow", "rgb")
    assert json.loads(path.read_text())["build_hash"] == "0000000123456789"
    assert b"mixq_driver import Accelerator" in files["README.md"] and b"{" not in files["README.md"]
    assert {"run.py", "requirements.txt"} <= set(files)


def test_cards_are_reached_otherwise_and_data_say_how_images_were_made(tmp_path: Path) -> None:
    folder = build(tmp_path)
    write_atomic(folder.project, "data: {name: dacsdc, options: {resize: opencv, channel_order: bgr}}\n")
    document = json.loads(driver_files(folder, load_board("u250"))["accelerator.json"])
    assert document["transport"] == "xdma"
    assert document["images"] == {"channel_order": "bgr", "resize": "opencv"}


def test_it_is_written_beside_the_bitstream(tmp_path: Path) -> None:
    folder = build(tmp_path)
    target = write_driver(folder, driver_files(folder, load_board("ultra96-v2")))
    assert target == tmp_path / "driver"
    (target / "mixq.bit").write_text("bitstream")
    (target / "mixq_driver" / "old.py").write_text("")
    write_driver(folder, driver_files(folder, load_board("u250")))
    found = {path.relative_to(target).as_posix(): path.read_bytes() for path in target.rglob("*") if path.is_file()}
    assert found.pop("mixq.bit") == b"bitstream"
    assert found == driver_files(folder, load_board("u250"))


def test_a_build_without_verilog_is_refused(tmp_path: Path) -> None:
    folder = build(tmp_path)
    (folder.rtl / "mixq_top.v").unlink()
    with pytest.raises(UserError, match=r"holds no Verilog; make it with: mixq generate"):
        driver_files(folder, load_board("ultra96-v2"))


def test_a_description_comes_back_as_it_was(tmp_path: Path, files: dict[str, bytes]) -> None:
    path = tmp_path / "accelerator.json"
    path.write_bytes(files["accelerator.json"])
    own = Description.load(path)
    grid = AnchorGrid(stride=8, anchors=((3.0, 4.5), (1.0, 2.0)))
    full = Description(**{**vars(own), "grid": grid, "scales": (0.5, 0.25), "channel_order": "bgr"})
    path.write_text(json.dumps(full.document()))
    assert Description.load(path) == full
    assert full.input.format == IntFormat(
        *(getattr(full.input.format, key) for key in ("width", "signed", "low", "high"))
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 2}, "is not of the form mixq-accelerator 1; package the build again"),
        ({"transport": "pcie"}, ": transport must be one of pynq, xdma, not 'pcie'"),
        (
            {"images": {"channel_order": "grb", "resize": "pillow"}},
            ": channel_order must be one of rgb, bgr, not 'grb'",
        ),
        ({"build_hash": "zz"}, "is damaged"),
        ({"input": {}}, r"is damaged \(KeyError\('shape'\)\)"),
    ],
)
def test_a_wrong_description_is_refused(
    change: dict[str, object], message: str, files: dict[str, bytes], tmp_path: Path
) -> None:
    path = tmp_path / "accelerator.json"
    path.write_text(json.dumps({**json.loads(files["accelerator.json"]), **change}))
    with pytest.raises(AcceleratorError, match=message):
        Description.load(path)
