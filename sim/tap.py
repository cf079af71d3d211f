"""Runs an accelerator once more and keeps what its stages give each other, or the waveforms of a part of it.

The Verilog is simulated as it stands on the disk; which streams there are, and what they carry, it says itself
(:mod:`rtl_gen.handshakes`). All runs are Verilator's.
"""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mixq.errors import CheckFailed, UserError
from mixq.graph import Graph, Tensor
from mixq.streams import StreamShape
from rtl_gen.handshakes import StreamLabel
from sim import verilated
from sim.deadlock import Handshakes, Streams
from sim.network import TOP, Design, check_path, read_design, split
from sim.parts import BUSES

#: Units of time of a waveform in one cycle; the clock rises in the middle.
UNITS_OF_CYCLE = 10


@dataclass(frozen=True, kw_only=True)
class Case:
    """A simulation that is looked into; the parameters of :func:`sim.network.simulate`."""

    rtl_dir: Path
    frames: tuple[bytes, ...]
    output_frame_bytes: int
    stalls: str
    seed: int
    stall_limit: int
    work_dir: Path
    optimise: str = "compile"

    def design(self) -> Design:
        """The Verilog. UserError where it does not name its streams and what they carry."""
        found = read_design(self.rtl_dir.resolve())
        if found.streams is None or not found.streams.payloads:
            raise UserError(
                f"{self.rtl_dir} does not name what its streams carry, as Verilog of older versions does not; "
                "make it again with: mixq generate"
            )
        check_path(self.work_dir.resolve(), "verilator")
        return found

    def request(self) -> verilated.Request:
        """What is sent, and how."""
        return verilated.Request(
            frames=self.frames,
            output_frame_bytes=self.output_frame_bytes,
            output_frames=len(self.frames),
            driver=self.stalls,
            sink=self.stalls,
            seed=self.seed,
            resets=0,
            stall_limit=self.stall_limit,
            tail_cycles=self.stall_limit,
        )


@dataclass(frozen=True)
class Tap:
    """The accepted beats of one stream, in order: ``cycles`` since reset (n,), ``rows`` uint8 (n, bytes of a beat).

    ``shape`` of what is on the stream, that of one pixel where it carries the tensor flat; ``tensor_shape`` (C, H, W).
    """

    label: StreamLabel
    tensor: str
    tensor_shape: tuple[int, int, int]
    shape: StreamShape
    cycles: npt.NDArray[np.uint64]
    rows: npt.NDArray[np.uint8]

    def as_tensor(self, values: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Values of the stream's shape, each where it stands in the tensor."""
        if self.shape.shape == self.tensor_shape:
            return values
        channels, height, width = self.tensor_shape
        return values.reshape(height, width, channels).transpose(2, 0, 1)


@dataclass(frozen=True)
class Recording:
    """What ``frames`` frames were on every stream.

    ``outputs``: bytes of each output frame. ``first_cycles``: of the output frames' first beats. ``hang``: empty unless
    nothing moved any more, with the ``handshakes`` then. ``errors``: broken rules of the buses.
    """

    frames: int
    taps: tuple[Tap, ...]
    outputs: list[bytes]
    first_cycles: list[int]
    errors: list[str]
    hang: str
    handshakes: Handshakes | None


def stream_shapes(streams: Streams, graph: Graph, rtl_dir: Path) -> list[StreamShape]:
    """The shapes of the named streams. UserError where they carry tensors that the graph has not."""
    tensors = {tensor.name: tensor for tensor in graph.tensors}
    shapes = []
    for payload in streams.payloads:
        tensor = tensors.get(payload.tensor)
        if tensor is None or (tensor.format.width, tensor.format.signed) != (payload.width, payload.signed):
            raise UserError(f"{rtl_dir} is of another graph: it has {payload}; make it again with: mixq generate")
        shape = (tensor.elements, 1, 1) if payload.flat else tensor.shape
        shapes.append(StreamShape(*shape, tensor.format, pixels=payload.pixels, lanes=payload.lanes))
    return shapes


def record(case: Case, graph: Graph, *, frames: int) -> Recording:
    """Run until ``frames`` frames are out, and keep as many frames of every stream. Raises as :meth:`Case.design`.

    The run goes on for another frame, or some time where there is none: beats that no output needs come late.
    """
    design = case.design()
    assert design.streams is not None
    shapes = stream_shapes(design.streams, graph, case.rtl_dir)
    model = _build(case, design, payloads=True)
    with tempfile.TemporaryDirectory(prefix="taps-", dir=case.work_dir.resolve()) as name:
        limits = tuple(frames * shape.beats for shape in shapes)
        watch = verilated.Watch(Path(name), tap_beats=limits, stop_frames=frames + 1)
        report = verilated.run(model, case.request(), run_folder=design.rtl_dir, watch=watch)
        taps = tuple(
            _read_tap(Path(name) / str(number), label, graph.tensor(payload.tensor), shape)
            for number, (label, payload, shape) in enumerate(
                zip(design.streams.labels, design.streams.payloads, shapes, strict=True)
            )
        )
    outputs = split(report.output, case.output_frame_bytes)
    return Recording(frames, taps, outputs, report.firsts, report.errors, report.hang, report.streams)


def write_waves(case: Case, part: str, path: Path, *, first: int, last: int, frames: int) -> None:
    """Write the waveforms of one part, the streams and the buses, from cycle ``first`` to ``last``, as a VCD file.

    ``part``: the instance's name, in the accelerator or beside it. The run ends with ``frames`` frames out. A cycle
    lasts :data:`UNITS_OF_CYCLE` units of time.
    """
    path = path.resolve()  # the model runs in the folder of the Verilog
    design = case.design()
    assert design.streams is not None
    inner = ".".join((TOP, *design.streams.path))
    scope = f"{TOP}.{part}" if part in BUSES else f"{inner}.{part}"
    model = _build(case, design, traced_scopes=((TOP, 1), (inner, 1), (scope, 0)))
    part_file = path.with_name(f".{path.name}.part")
    try:
        watch = verilated.Watch(path.parent, waves=(part_file, first, last), stop_frames=frames)
        verilated.run(model, case.request(), run_folder=design.rtl_dir, watch=watch)
        os.replace(part_file, path)
    except OSError as error:
        raise CheckFailed(f"{path} was not written: {error.strerror or error}") from None
    finally:
        part_file.unlink(missing_ok=True)


def _build(
    case: Case, design: Design, *, payloads: bool = False, traced_scopes: tuple[tuple[str, int], ...] = ()
) -> Path:
    case.work_dir.mkdir(parents=True, exist_ok=True)
    return design.compile(
        case.work_dir.resolve(),
        streams=design.streams,
        payloads=payloads,
        traced_scopes=traced_scopes,
        optimise=case.optimise,
    )


def _read_tap(path: Path, label: StreamLabel, tensor: Tensor, shape: StreamShape) -> Tap:
    record = np.dtype([("cycle", "<u8"), ("row", "u1", ((shape.payload_bits + 7) // 8,))])
    found = np.fromfile(path, record)
    return Tap(label, tensor.name, tensor.shape, shape, found["cycle"].copy(), np.ascontiguousarray(found["row"]))
