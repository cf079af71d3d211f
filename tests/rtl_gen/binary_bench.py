"""Plays long binary stimulus into components with plain ports under Verilator, many of them in one build."""

from __future__ import annotations

import gc
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from amaranth.back import verilog
from amaranth.hdl import Cat, Module, Shape, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from sim.tools import find_verilator
from sim.verilog_source import library_sources
from tests.rtl_gen.plain_bench import Row

Bits = npt.NDArray[np.uint8]

_MAIN = Path(__file__).resolve().parent / "binary_main.cpp"
_TIMEOUT_SECONDS = 600

# Compiling takes longer than running: one file, not optimised.
_FLAGS = ("--cc", "--exe", "--prefix", "Vtop", "--top-module", "top", "--no-timing", "--x-assign", "fast")
_WARNINGS = ("-Wno-fatal", "-Wno-lint", "-Wno-style")
_OPTIMISATION = ("OPT_FAST=-O0", "OPT_SLOW=-O0", "OPT_GLOBAL=-O1", "VM_PARALLEL_BUILDS=0")


def port_widths(part: Any, flow: Any) -> dict[str, int]:
    """Bits of each input (``In``) or each output (``Out``) of a component, in the order of its signature."""
    members = part.signature.members.items()
    return {name: Shape.cast(member.shape).width for name, member in members if member.flow == flow}


def split(rows: Bits, widths: Mapping[str, int]) -> dict[str, Bits]:
    """Columns of each port."""
    ends = np.cumsum(list(widths.values()))
    return dict(zip(widths, np.split(rows, ends[:-1], axis=1), strict=True))


def unpacked(part: Any, rows: Bits) -> list[Row]:
    """Rows of input bits as integers by port, as :func:`tests.rtl_gen.plain_bench.play` takes them."""
    ports = split(rows, port_widths(part, In))
    columns = {
        port: [int.from_bytes(row.tobytes(), "little") for row in np.packbits(bits, axis=1, bitorder="little")]
        for port, bits in ports.items()
    }
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def packed(part: Any, rows: Sequence[Row]) -> Bits:
    """Integers by port as rows of output bits: the inverse of :func:`unpacked`, for outputs."""
    columns = []
    for port, width in port_widths(part, Out).items():
        size = -(-width // 8)
        text = b"".join(row[port].to_bytes(size, "little") for row in rows)
        columns.append(
            np.unpackbits(np.frombuffer(text, np.uint8).reshape(-1, size), axis=1, bitorder="little")[:, :width]
        )
    return np.concatenate(columns, axis=1)


class Joined(wiring.Component):
    """Components side by side: ``<name>_i`` and ``<name>_o`` are all inputs and all outputs of one, first lowest."""

    def __init__(self, parts: Mapping[str, Any]) -> None:
        self._parts = parts
        members: dict[str, Any] = {}
        for name, part in parts.items():
            members[f"{name}_i"] = In(sum(port_widths(part, In).values()))
            members[f"{name}_o"] = Out(sum(port_widths(part, Out).values()))
        super().__init__(members)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        for name, part in self._parts.items():
            m.submodules[name] = part
            inputs, outputs = (
                Cat(Value.cast(getattr(part, port)) for port in port_widths(part, flow)) for flow in (In, Out)
            )
            m.d.comb += [inputs.eq(getattr(self, f"{name}_i")), getattr(self, f"{name}_o").eq(outputs)]
        return m


def converted(joined: Joined) -> str:
    """Verilog of a module ``top``."""
    # Half of the time would go into looking for garbage among objects that are all in use.
    enabled = gc.isenabled()
    gc.disable()
    try:
        return verilog.convert(joined, name="top", emit_src=False, strip_internal_attrs=True)
    finally:
        if enabled:
            gc.enable()


@dataclass(frozen=True)
class Recorded:
    """Rows of outputs of each component, and the seconds that each step took."""

    outputs: dict[str, Bits]
    seconds: dict[str, float]


def play_binary(parts: Mapping[str, Any], stimulus: Mapping[str, Bits], folder: Path) -> Recorded:
    """Outputs of each component in each cycle, just before the clock edge that ends it.

    stimulus: for each component rows of bits (cycles, width), 0 or 1, the first port lowest. The outputs come so too.
    """
    joined = Joined(parts)
    started = time.monotonic()
    text = converted(joined)
    seconds = {"convert": time.monotonic() - started}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "top.v").write_text(text)
    recorded = play_verilog(joined, [folder / "top.v", *library_sources([text])], stimulus, folder)
    return Recorded(recorded.outputs, seconds | recorded.seconds)


def play_verilog(joined: Joined, sources: Sequence[Path], stimulus: Mapping[str, Bits], folder: Path) -> Recorded:
    """As :func:`play_binary`, of a module ``top`` in Verilog that has the ports of ``joined``."""
    tool = find_verilator()
    widths = {name: (len(getattr(joined, f"{name}_i")), len(getattr(joined, f"{name}_o"))) for name in stimulus}
    for name, rows in stimulus.items():
        assert rows.shape[1] == widths[name][0], name
        np.packbits(rows, axis=1, bitorder="little").tofile(folder / f"{name}.in")
    entries = [f"X({name}, {-(-i // 8)}, {-(-o // 8)})" for name, (i, o) in widths.items()]
    (folder / "binary_config.h").write_text(f"#define PARTS(X) {' '.join(entries)}\n")
    for path in (*sources, _MAIN):
        if path.parent != folder:
            shutil.copyfile(path, folder / path.name)
    files = [path.name for path in (_MAIN, *sources)]
    commands = {
        "verilate": [str(tool.executable), *_FLAGS, *_WARNINGS, "-Mdir", ".", "-o", "model", *files],
        "compile": [str(tool.make), "-s", "-j1", "-f", "Vtop.mk", *_OPTIMISATION],
        "simulate": [str(folder / "model")],
    }
    seconds = {}
    for step, command in commands.items():
        started = time.monotonic()
        done = subprocess.run(
            command,
            cwd=folder,
            env=tool.environment,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_TIMEOUT_SECONDS,
            check=False,
        )
        seconds[step] = time.monotonic() - started
        if done.returncode or (step == "simulate" and "ERROR" in done.stdout):
            raise AssertionError(f"{step}: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    outputs = {}
    for name, (_, width) in widths.items():
        packed = np.fromfile(folder / f"{name}.out", np.uint8).reshape(len(stimulus[name]), -1)
        outputs[name] = np.unpackbits(packed, axis=1, bitorder="little")[:, :width]
    return Recorded(outputs, seconds)
