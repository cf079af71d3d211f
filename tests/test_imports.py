"""Who may import whom: read from the source, function-level imports included, and tried in a fresh Python."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGES = ("mixq", "nas", "rtl_gen", "sim", "boards", "examples")
WITHOUT_TORCH = ("rtl_gen", "sim", "boards", "examples")
ALLOWED = {
    "mixq": set(),
    "nas": {"mixq"},
    "rtl_gen": {"mixq"},
    "sim": {"mixq", "rtl_gen"},
    "boards": {"mixq", "rtl_gen"},
    "examples": {"mixq", "rtl_gen", "sim"},
}
TORCH = {"torch", "torchvision", "sklearn"}
FORBIDDEN = {
    "mixq": {"amaranth", "cocotb", "tests"},
    "nas": {"amaranth", "cocotb", "tests"},
    "rtl_gen": TORCH | {"cocotb", "tests"},
    "sim": TORCH | {"tests"},
    "boards": TORCH | {"cocotb", "tests"},
    "examples": TORCH | {"tests"},
}
#: Stands for a user's own code: a PyTorch module and its images.
USERS_CODE = "examples.own_model."
#: The command line joins all packages, but only inside the functions that need them.
COMMAND_LINE = "mixq.cli"


def source_files(root: Path) -> dict[str, Path]:
    """Module name -> file, for every Python file of our packages."""
    files = {}
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            files[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return {module: path for module, path in files.items() if not module.startswith(USERS_CODE)}


def imports(source: str, module: str, *, is_package: bool) -> Iterator[tuple[str, int, bool]]:
    """Each imported name with its line, and whether it is loaded when the module itself is.

    ``from a import b`` gives ``a.b``, which is a module or stands in ``a``. Imports under TYPE_CHECKING are
    left out: they load nothing.
    """

    def visit(node: ast.AST, at_load: bool) -> Iterator[tuple[str, int, bool]]:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            for statement in node.orelse:
                yield from visit(statement, at_load)
            return
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno, at_load
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = module.split(".")
                parents = parents[: len(parents) - node.level + is_package]
                base = ".".join([*parents, base] if base else parents)
            for alias in node.names:
                yield f"{base}.{alias.name}", node.lineno, at_load
        inner = at_load and not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for child in ast.iter_child_nodes(node):
            yield from visit(child, inner)

    yield from visit(ast.parse(source), True)


def violations(module: str, source: str, torch_modules: set[str], *, is_package: bool) -> list[str]:
    """The imports of one module that break a rule, each as one line."""
    package = module.split(".")[0]
    in_command_line = module == COMMAND_LINE or module.startswith(COMMAND_LINE + ".")
    found = []
    for name, line, at_load in imports(source, module, is_package=is_package):
        top = name.split(".")[0]
        ours = top in PACKAGES and top != package
        if in_command_line and not at_load:
            continue
        wrong = (
            (ours and top not in ALLOWED[package])
            or top in FORBIDDEN[package]
            or (in_command_line and top in TORCH)
            or (package in WITHOUT_TORCH and {name, name.rpartition(".")[0]} & torch_modules)
        )
        if wrong:
            found.append(f"{module}:{line} imports {name}")
    return found


def loads_torch(files: dict[str, Path]) -> set[str]:
    """Modules of mixq that load PyTorch when imported, directly or through another module."""
    loaded = {
        module: {
            target
            for name, _, at_load in imports(path.read_text(), module, is_package=path.name == "__init__.py")
            if at_load
            for target in (name, name.rpartition(".")[0], name.split(".")[0])
        }
        for module, path in files.items()
        if module.split(".")[0] == "mixq"
    }
    reached = {module for module, names in loaded.items() if names & TORCH}
    while True:
        # The parent package of every import is loaded too; `mixq` itself must stay free of PyTorch.
        more = {module for module, names in loaded.items() if names & reached} - reached
        if not more:
            return reached
        reached |= more


def test_every_import_keeps_to_the_rules(root: Path) -> None:
    files = source_files(root)
    assert len(files) > 5, "the packages were not found"
    torch_modules = loads_torch(files)
    found = [
        line
        for module, path in files.items()
        for line in violations(module, path.read_text(), torch_modules, is_package=path.name == "__init__.py")
    ]
    assert found == []


@pytest.mark.parametrize(
    ("module", "source", "caught"),
    [
        ("mixq.plan", "import rtl_gen", True),
        ("mixq.plan", "def f():\n    from boards import load_board", True),
        ("mixq.plan", "def f():\n    import amaranth.hdl", True),
        ("mixq.plan", "import torch", False),
        ("mixq.cli.build", "def f():\n    from boards import load_board", False),
        ("mixq.cli.build", "from boards import load_board", True),
        ("mixq.cli.build", "import torch", True),
        ("mixq.client", "def f():\n    from boards import load_board", True),
        ("rtl_gen.conv", "import torch.nn", True),
        ("rtl_gen.conv", "from mixq.train import fit", True),
        ("rtl_gen.conv", "from mixq import train", True),
        ("rtl_gen.conv", "from mixq.graph import Graph", False),
        ("rtl_gen.conv", "from sim import tools", True),
        ("sim.network", "from rtl_gen import build", False),
        ("sim.network", "from ..boards import axis", True),
        ("boards.shell", "class A:\n    from nas import search", True),
        ("boards.shell", "if TYPE_CHECKING:\n    import torch", False),
        ("nas.space", "from mixq import train", False),
        ("sim.network", "from tests import conftest", True),
        ("sim.network", "from examples import simulate", True),
        ("examples.fir_filter.design", "from rtl_gen import ConvRow", False),
        ("examples.fir_filter.bench", "import cocotb", False),
        ("examples.simulate", "from sim.cocotb_run import build", False),
        ("examples.fir_filter.design", "from boards import load_board", True),
        ("examples.fir_filter.design", "from mixq import train", True),
        ("examples.fir_filter.bench", "import torch", True),
        ("examples.fir_filter.bench", "from tests import conftest", True),
    ],
)
def test_a_broken_rule_is_found(module: str, source: str, caught: bool) -> None:
    assert bool(violations(module, source, {"mixq.train"}, is_package=False)) is caught


def test_torch_is_followed_through_other_modules(tmp_path: Path) -> None:
    sources = {
        "mixq": "",
        "mixq.layers": "from torch import nn",
        "mixq.model": "from mixq.layers import Conv",
        "mixq.lazy": "def f():\n    import torch",
        "mixq.formats": "import numpy",
    }
    files = {}
    for module, source in sources.items():
        files[module] = tmp_path / f"{module}.py"
        files[module].write_text(source)
    assert loads_torch(files) == {"mixq.layers", "mixq.model"}


def run_python(code: str) -> None:
    """Runs code in a fresh interpreter from another folder; its assertions are the test's."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd="/", check=False)
    assert done.returncode == 0, done.stderr


BLOCK_TORCH = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] == 'torch':
            raise ModuleNotFoundError("No module named 'torch'", name='torch')
sys.meta_path.insert(0, Blocked())
"""


@pytest.mark.parametrize("module", ["mixq", "mixq.cli", "mixq.errors"])
def test_loads_neither_torch_nor_amaranth(module: str) -> None:
    run_python(
        f"import sys, {module}\nassert not {{'torch', 'amaranth', 'cocotb', 'sklearn'}} & set(sys.modules), "
        "'loads a package that it must not'"
    )


@pytest.mark.parametrize("package", WITHOUT_TORCH)
def test_every_module_loads_on_a_machine_without_torch(package: str) -> None:
    run_python(
        f"{BLOCK_TORCH}\nimport importlib, pkgutil, {package}\n"
        f"for found in pkgutil.walk_packages({package}.__path__, '{package}.'):\n"
        "    importlib.import_module(found.name)\n"
    )


def test_the_block_of_torch_works() -> None:
    with pytest.raises(AssertionError, match="No module named 'torch'"):
        run_python(f"{BLOCK_TORCH}\nimport torch")
