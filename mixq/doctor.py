"""What is installed of all that MixQ can use, what is missing, and the command that brings it.

The packages and their version ranges are read from the installed distribution's own metadata, so that they
stand in one place.
"""

from __future__ import annotations

import importlib.metadata
import shlex
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from packaging.requirements import Requirement

from mixq.errors import UserError

#: What the groups of requirements are for; "" is the base, the others are extras of the distribution.
PURPOSES = {
    "": "everything",
    "train": "training, quickstart",
    "sim": "simulation, resource counts",
    "prove": "proofs of packings",
    "ray": "sweeps over machines",
}


class Versioned(Protocol):
    """A tool that was found."""

    @property
    def version(self) -> str:
        """The version as the tool writes it."""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked for.

    ``version`` is None where it was not found. ``remedy`` is empty where all is well, else one line that says
    what to do: the thing is missing, or its version is outside the range that MixQ takes.
    """

    name: str
    version: str | None
    needed_for: str
    remedy: str = ""

    @property
    def ok(self) -> bool:
        """Whether the thing is there in a version that fits."""
        return not self.remedy


def check_requirement(text: str, needed_for: str) -> Finding:
    """Compares one requirement, e.g. ``"numpy~=2.4"``, with what is installed.

    The remedy installs into the environment that this very Python belongs to.

    >>> check_requirement("no-such-package>=1", "nothing").remedy.endswith(" -m pip install 'no-such-package>=1'")
    True
    """
    requirement = Requirement(text)
    bare = f"{requirement.name}{_extras(requirement)}{requirement.specifier}"
    try:
        version = importlib.metadata.version(requirement.name)
    except importlib.metadata.PackageNotFoundError:
        version = None
    fits = version is not None and requirement.specifier.contains(version, prereleases=True)
    remedy = "" if fits else shlex.join([sys.executable, "-m", "pip", "install", bare])
    return Finding(requirement.name, version, needed_for, remedy)


def check_packages(distribution: str = "mixq") -> list[Finding]:
    """The Python packages of the base and of the extras, and what extras of theirs ask for.

    Raises:
        UserError: the distribution is not installed, so nothing tells what it needs.
    """
    findings: dict[str, Finding] = {}
    for extra, purpose in PURPOSES.items():
        for requirement in _requirements(distribution, extra):
            for text in [str(requirement), *_required_by_extras(requirement)]:
                finding = check_requirement(text, purpose)
                findings.setdefault(finding.name, finding)
    return list(findings.values())


def check_tool(name: str, find: Callable[[], Versioned], needed_for: str) -> Finding:
    """Looks for a tool with ``find``, which raises UserError with the remedy in it if it is missing."""
    try:
        return Finding(name, find().version, needed_for)
    except UserError as error:
        return Finding(name, None, needed_for, str(error))


def _requirements(distribution: str, extra: str) -> list[Requirement]:
    """The requirements that one extra adds ("": those without any)."""
    try:
        texts = importlib.metadata.requires(distribution) or []
    except importlib.metadata.PackageNotFoundError:
        raise UserError(
            f"the package {distribution} is not installed, only imported; run: python -m pip install ."
        ) from None
    requirements = [Requirement(text) for text in texts]
    if not extra:
        return [r for r in requirements if r.marker is None or r.marker.evaluate({"extra": ""})]
    return [
        r
        for r in requirements
        if r.marker is not None and r.marker.evaluate({"extra": extra}) and not r.marker.evaluate({"extra": ""})
    ]


def _required_by_extras(requirement: Requirement) -> list[str]:
    """What the extras named in a requirement need, where the package itself is installed."""
    try:
        return [str(r) for extra in sorted(requirement.extras) for r in _requirements(requirement.name, extra)]
    except UserError:
        return []  # the package itself is missing, and reported


def _extras(requirement: Requirement) -> str:
    return f"[{','.join(sorted(requirement.extras))}]" if requirement.extras else ""
