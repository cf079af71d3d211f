"""Runs the scripts for Vivado in tclsh against a stand-in that knows Vivado's commands, options and IPs by tables.

``python session.py -mode batch -source SCRIPT [-tclargs ...]`` takes the place of ``vivado`` in a makefile.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml

from tests.boards.vivado.model import Fault, Vivado

_HERE = Path(__file__).resolve().parent
TABLES: dict[str, Any] = yaml.safe_load((_HERE / "commands.yaml").read_text())
_OPTIONS_OF_VIVADO = {"-mode": 1, "-source": 1, "-log": 1, "-journal": 1, "-nojournal": 0, "-nolog": 0, "-notrace": 0}


def run_script(script: Path, vivado: Vivado, arguments: tuple[str, ...] = ()) -> tuple[int, str]:
    """Run a script; return the exit status and what it wrote, the fault's trace at the end."""
    with tempfile.TemporaryDirectory() as folder:
        names = Path(folder) / "names"
        names.write_text("\n".join(TABLES["commands"]))
        process = subprocess.Popen(
            ["tclsh", str(_HERE / "session.tcl"), str(script), str(names), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        assert process.stdin is not None and process.stdout is not None
        said = []
        with process.stdin, process.stdout:
            for line in process.stdout:
                if not line.startswith(b"\x01"):
                    said.append(line.decode(errors="replace"))
                    continue
                name, *words = (bytes.fromhex(word[1:].decode()).decode() for word in line[1:].split())
                try:
                    answer = "=" + str(call(vivado, name, words)).encode().hex()
                except Fault as fault:
                    answer = "!" + str(fault).encode().hex()
                process.stdin.write(answer.encode() + b"\n")
                process.stdin.flush()
        return process.wait(), "".join(said)


def call(vivado: Vivado, name: str, words: list[str]) -> str:
    """Check a command's words against the table and carry it out; Fault where they are none that Vivado takes."""
    table = TABLES["commands"][name]
    flags = {*table.get("flags", ()), "-quiet", "-verbose"}
    options: dict[str, str] = {}
    others: list[str] = []
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if word in flags:
            options[word] = "1"
        elif word in table.get("options", ()):
            if not rest:
                raise Fault(f"{name}: {word} has no value")
            options[word] = rest.pop(0)
        elif word.startswith("-"):
            raise Fault(f"{name} has no option {word}")
        else:
            others.append(word)
    least, most = table["words"]
    if not least <= len(others) <= most:
        raise Fault(f"{name} takes {least} to {most} words, not {len(others)}")
    vivado.log.append((name, tuple(words)))
    return vivado.call(name, others, options, TABLES["properties"])


def main() -> int:
    """Stand in for the program ``vivado``: a session of its own for each script, as with the program."""
    script, arguments = None, list(sys.argv[1:])
    while arguments:
        word = arguments.pop(0)
        if word == "-tclargs":
            break
        if word not in _OPTIONS_OF_VIVADO:
            sys.exit(f"vivado has no option {word}")
        values = [arguments.pop(0) for _ in range(_OPTIONS_OF_VIVADO[word])]
        if word == "-source":
            script = Path(values[0])
    if script is None:
        sys.exit("no script")
    status, said = run_script(script, Vivado(), tuple(arguments))
    sys.stdout.write(said)
    return status


if __name__ == "__main__":
    sys.exit(main())
