"""The files of ``vivado/``: scripts for Vivado, Yosys and FuseSoC, and the IP's description, of a generated build."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from boards.axis import TOP
from boards.clock_constraints import clock_constraints, single_clock_constraints
from boards.ip_interfaces import ADDRESS_BLOCK, BLOCK_BYTES, CONTROL, LIBRARY, VENDOR, VERSION, register_entries
from boards.quoting import comment, tcl_word, yosys_word
from boards.swap import locked, replace_folder
from boards.vivado_design import VivadoDesign
from mixq import __version__
from mixq.build_folder import BuildFolder
from mixq.errors import UserError
from mixq.files import dump_yaml

_TEMPLATES = Path(__file__).resolve().parent / "templates"
#: Templates that are files of the folder under their own names.
_SCRIPTS = ("package_ip.tcl", "block_design.tcl", "project.tcl", "bitstream.tcl", "ooc.tcl", "Makefile", "synth.ys")
#: First addresses of AXI4-Lite slaves in the processing system's map (AMD UG1085, UG585).
_CONTROL_BASE = {"zynq-ultrascale+": 0xA0000000, "zynq-7000": 0x40000000, "none": 0}
#: Families of Vivado's catalog whose devices have the kind of DSP.
_FAMILIES = {
    "dsp48e1": ("zynq", "artix7", "kintex7", "virtex7"),
    "dsp48e2": ("zynquplus", "virtexuplus", "kintexuplus", "artixuplus", "virtexu", "kintexu"),
}


def write_vivado(folder: BuildFolder, files: Mapping[str, str]) -> bool:
    """Write :func:`vivado_files` into ``vivado/`` of the build, in place of the folder; return whether anything was.

    Where its files are already as they would be, the folder stays, with what Vivado has made in it. Raises UserError
    where the system refuses to write, or another process has the build.
    """
    with locked(folder.path):
        if all(_holds(folder.vivado / name, text) for name, text in files.items()):
            return False
        replace_folder(folder.vivado, dict(files))
    return True


def vivado_files(design: VivadoDesign) -> dict[str, str]:
    """Return the files of ``vivado/``: name -> text. Raises UserError for a name that a script cannot hold."""
    values = _values(design)
    plain, xml = _environment(autoescape=False), _environment(autoescape=True)
    try:
        files = {name: plain.get_template(f"{name}.j2").render(values) for name in _SCRIPTS}
        files["component.xml"] = xml.get_template("component.xml.j2").render(values)
    except ValueError as error:
        raise UserError(f"a name in the build or the board's file does not suit Vivado ({error}); rename it") from None
    files[f"{TOP}.xdc"] = (clock_constraints if design.fast_clock else single_clock_constraints)(
        design.clock_mhz, top=TOP
    )
    if design.fast_clock and design.board.device == "dsp48e2":
        files["clocks.xdc"] = plain.get_template("clocks.xdc.j2").render(values)
    files[f"{TOP}.core"] = "CAPI=2:\n" + dump_yaml(core_description(design))
    return files


def core_description(design: VivadoDesign) -> dict[str, Any]:
    """Return the build as FuseSoC's core description, version 2 (CAPI2).

    FuseSoC reads names of files as expressions of its own: only those without blanks and marks, as all generated ones
    are, are what they seem to it.
    """
    images = [f"../rtl/{name}" for name in design.images]
    return {
        "name": f"{VENDOR}:{LIBRARY}:{TOP}:{VERSION}",
        "description": f"MixQ accelerator of {design.network}",
        "filesets": {
            "rtl": {"files": [f"../rtl/{name}" for name in design.sources], "file_type": "verilogSource"},
            # Verilog names its memory images without a folder: simulators find them beside each other.
            "images": {
                "files": [{path: {"copyto": name}} for path, name in zip(images, design.images, strict=True)],
                "file_type": "user",
            },
            "vivado": {
                "files": [*({path: {"file_type": "mem"}} for path in images), {f"{TOP}.xdc": {"file_type": "xdc"}}],
            },
        },
        "targets": {
            "default": {"filesets": ["rtl", "images"], "toplevel": TOP},
            "ooc": {
                "filesets": ["rtl", "vivado"],
                "toplevel": TOP,
                "flow": "vivado",
                "flow_options": {"part": design.board.part, "pnr": "none"},
            },
        },
    }


def _values(design: VivadoDesign) -> dict[str, Any]:
    """What the templates are filled with."""
    ultrascale = design.vivado.ps == "zynq-ultrascale+"
    families = _FAMILIES.get(design.target, tuple(name for names in _FAMILIES.values() for name in names))
    base = _CONTROL_BASE[design.vivado.ps]
    return {
        "design": design,
        "version": __version__,
        "top": TOP,
        "vlnv": f"{VENDOR}:{LIBRARY}:{TOP}:{VERSION}",
        "vendor": VENDOR,
        "library": LIBRARY,
        "ip_version": VERSION,
        "control": CONTROL,
        "block": ADDRESS_BLOCK,
        "block_bytes": BLOCK_BYTES,
        "registers": register_entries(),
        "families": families,
        "clock": f"{design.clock_mhz:.6f}".rstrip("0").rstrip("."),
        "fast_clock": f"{2 * design.clock_mhz:.6f}".rstrip("0").rstrip("."),
        "base": f"0x{base:08X}",
        "dma_base": f"0x{base + 0x10000:08X}",
        "addresses": 40 if ultrascale else 32,
        "synth_family": "xcup" if design.board.device == "dsp48e2" else "xc7",
    }


def _environment(*, autoescape: bool) -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=autoescape,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(tcl=tcl_word, yosys=yosys_word, comment=comment, xml=_xml_text)
    return environment


def _xml_text(text: str) -> str:
    """The text, where XML 1.0 can hold its characters."""
    for character in text:
        code = ord(character)
        if (code < 0x20 and character not in "\t\n\r") or 0xD800 <= code < 0xE000 or code in (0xFFFE, 0xFFFF):
            raise ValueError(f"text must have characters of XML alone, not {character!r}")
    return text


def _holds(path: Path, text: str) -> bool:
    try:
        return path.read_bytes() == text.encode()
    except OSError:
        return False
