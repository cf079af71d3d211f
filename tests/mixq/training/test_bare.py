"""The trainer needs PyTorch, NumPy and PyYAML, and nothing that the command line or the data sets bring."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SCRIPT = """
import sys
sys.path.insert(0, {root!r})
# an entry of None makes an import of the name fail as that of a missing package does
WITHOUT = "pydantic typer rich sklearn PIL jinja2 amaranth packaging scipy tensorboard".split()
sys.modules.update(dict.fromkeys(WITHOUT))
from pathlib import Path
from dataclasses import replace
from tests.mixq.training.toy import FULL, train_full
print(len(train_full({folder!r}, replace(FULL, epochs=2))[2].epochs))
"""


def test_the_trainer_runs_from_a_checkout_with_little_else(tmp_path: Path, root: Path) -> None:
    script = SCRIPT.format(root=str(root), folder=str(tmp_path / "run"))
    command = [sys.executable, "-I", "-W", "error", "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "2\n"), done.stderr
