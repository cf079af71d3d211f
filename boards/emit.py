"""The generated files of a build: Verilog, memory images, the list of sources, and the manifest."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from boards import verilog
from boards.axis import TOP, AxisTop
from boards.clock_constraints import clock_constraints
from boards.manifest import BuildManifest, hash_of_build
from boards.swap import locked, replace_folder
from mixq.errors import UserError
from mixq.graph import Graph
from mixq.plan import Plan
from rtl_gen import build
from rtl_gen.dsp import TARGETS, Target
from rtl_gen.rom import verilog_sources

RTL = "rtl"
LISTING = "files.f"
CONSTRAINTS = f"{TOP}.xdc"
#: What the generated files follow from, and nothing else but the versions in the manifest.
INPUTS = ("graph.json", "graph.npz", "plan.yaml")


def generate(
    build_dir: str | os.PathLike[str],
    target: Target | None = None,
    *,
    progress: Callable[[str], None] | None = None,
) -> BuildManifest:
    """Write ``rtl/`` and ``manifest.json`` of the graph and the plan in ``build_dir``, and return the manifest.

    ``rtl/`` is replaced as a whole: a process that is killed leaves the old folder or the new one, and temporary
    folders that the next call removes. The manifest is written last. The bytes depend on the inputs, ``target`` and
    the versions in the manifest alone. ``progress`` is called with what is done next.

    ``target``: "dsp48e2" and "dsp48e1" instantiate the primitive, which must be that of the board planned for;
    "generic" describes it. By default the board's.

    Raises: UserError for another target, a missing or wrong input, a plan of another graph, a system that refuses to
    write, or another process that generates the same build.
    """
    folder = Path(build_dir)
    tell = progress if progress is not None else _silent
    if target is not None and target not in TARGETS:
        raise UserError(f"target must be one of {', '.join(TARGETS)}, not {target!r}")
    if not folder.is_dir():
        raise UserError(f"{folder} is no build folder; make one with `mixq import` first")
    with locked(folder):
        tell("reading graph and plan")
        graph, plan = Graph.load(folder), Plan.load(folder)
        chosen: Target = target or plan.device
        tell("building the accelerator")
        try:
            accelerator = build(graph, plan, chosen)
            top = AxisTop(
                accelerator,
                input_bus_bits=plan.input_bus_bits,
                output_bus_bits=plan.output_bus_bits,
                build_hash=hash_of_build(folder, target=chosen, inputs=INPUTS),
            )
        except (KeyError, ValueError) as error:
            raise UserError(f"{folder / 'plan.yaml'} does not suit the graph ({error}); plan it again") from error
        return write_build(folder, top, target=chosen, clock_mhz=plan.clock_mhz, inputs=INPUTS, progress=tell)


def write_build(
    folder: Path,
    top: AxisTop,
    *,
    target: str,
    clock_mhz: float | None = None,
    inputs: tuple[str, ...] = (),
    progress: Callable[[str], None] | None = None,
) -> BuildManifest:
    """Write ``rtl/`` and ``manifest.json`` of a top level into ``folder``; see :func:`generate`.

    ``clock_mhz``: as of :func:`render`. ``inputs``: names of files in ``folder`` that the manifest lists. The caller
    holds the folder (:func:`boards.swap.locked`).
    """
    tell = progress if progress is not None else _silent
    tell("converting to Verilog")
    files = render(top, target=target, clock_mhz=clock_mhz)
    tell("writing the files")
    replace_folder(folder / RTL, files)
    outputs = [f"{RTL}/{name}" for name in files]
    manifest = BuildManifest.of(folder, target=target, build_hash=top.build_hash, inputs=inputs, outputs=outputs)
    manifest.save(folder)
    return manifest


def render(top: AxisTop, *, target: str, clock_mhz: float | None = None) -> dict[str, bytes | str]:
    """Return the files of ``rtl/``: name -> content.

    ``mixq_top.v``, the hand-written modules, ``files.f`` (the Verilog files, one a line), and the memory images; where
    there is a second clock and ``clock_mhz`` says what the first one is, ``mixq_top.xdc`` with the constraints of both.

    Raises: ValueError where a memory image has the name of another file.
    """
    sources: dict[str, bytes | str] = {f"{TOP}.v": verilog.convert(top, name=TOP, target=target)}
    sources |= {path.name: path.read_bytes() for path in verilog_sources()}
    others = {LISTING: "".join(f"{name}\n" for name in sources)}
    if top.fast_clock and clock_mhz is not None:
        others[CONSTRAINTS] = clock_constraints(clock_mhz, top=TOP)
    images = top.memory_images
    for name in images:
        if name in sources or name in others:
            raise ValueError(f"memory_images must not have the name of another file, not {name!r}")
    return {**sources, **others, **dict(sorted(images.items()))}


def _silent(step: str) -> None:
    """Progress that nobody asked for."""
