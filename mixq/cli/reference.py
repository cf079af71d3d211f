"""The command reference, docs/commands.md, from the commands themselves: ``python -m mixq.cli.reference``."""

from __future__ import annotations

import inspect
from enum import Enum
from typing import Any

import typer

from mixq.cli import build_app

_HEAD = """\
# Commands

Generated from the code by `python -m mixq.cli.reference > docs/commands.md`; changes by hand are lost.

Progress goes to standard error, results go to standard output. What the exit statuses mean, and what fails with which
of them, stands in [exit-status.md](exit-status.md). A build folder is what `mixq import` and `mixq quickstart` write,
`build/<name>` by custom. Verbs can be run again, and in any order that their inputs allow.
"""


def render() -> str:
    """The whole page, as Markdown."""
    commands: dict[str, Any] = getattr(typer.main.get_command(build_app()), "commands")  # noqa: B009 - groups have it, commands not
    return "\n".join([_HEAD, *(_section(name, command) for name, command in commands.items())])


def _section(name: str, command: Any) -> str:
    """One verb: its usage, what it does, and its options."""
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    choices = [p for p in command.params if p.param_type_name == "option"]
    words = ["mixq", name, *(_metavar(p) for p in arguments)]
    words += [f"{p.opts[0]} {_metavar(p)}".strip() for p in choices if p.required]
    if any(not p.required for p in choices):
        words.append("[options]")
    lines = [f"## mixq {name}", "", f"    {' '.join(words)}", "", inspect.cleandoc(command.help or ""), ""]
    if command.params:
        lines += ["| | |", "|---|---|", *(_row(p) for p in (*arguments, *choices)), ""]
    return "\n".join(lines)


def _row(parameter: Any) -> str:
    label = f"`{_metavar(parameter)}`"
    if parameter.param_type_name == "option":
        label = f"`{f'{parameter.opts[0]} {_metavar(parameter)}'.strip()}`".replace("|", "\\|")
    notes = [str(parameter.help or "")]
    if parameter.required and parameter.param_type_name == "option":
        notes.append("Required.")
    default = parameter.default
    if default is not None and default is not ... and not isinstance(default, bool) and not parameter.required:
        notes.append(f"Default: `{default.value if isinstance(default, Enum) else default}`.")
    return f"| {label} | {' '.join(notes)} |"


def _metavar(parameter: Any) -> str:
    """What stands for the value: nothing for a flag."""
    if getattr(parameter, "is_flag", False):
        return ""
    kind = parameter.type_descriptor.annotation
    if isinstance(kind, type) and issubclass(kind, Enum):
        return "|".join(str(choice.value) for choice in kind)
    return str(parameter.metavar)


if __name__ == "__main__":
    typer.echo(render(), nl=False)
