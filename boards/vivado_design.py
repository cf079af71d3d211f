"""What a Vivado project for a generated build is made of, as a value: checked before anything is written."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from math import lcm

from boards.axis import TOP
from boards.emit import LISTING, RTL
from boards.ip_interfaces import CONTROL, FAST_CLOCK, INPUT, OUTPUT, Interface, interfaces
from boards.manifest import BuildManifest
from mixq.board import REPORT_KEYS, Board, VivadoBoard
from mixq.build_folder import BuildFolder
from mixq.errors import CheckFailed, UserError
from mixq.files import read_text
from mixq.plan import Plan
from rtl_gen.verilog_ports import Port, module_ports

#: Bits of a stream that AXI DMA takes, narrowest to widest (AMD PG021).
_DMA_BITS = tuple(1 << power for power in range(3, 11))
#: Widest stream that AXI4-Stream width converters count through, in bytes (AMD PG085).
_CONVERTER_BYTES = 512


@dataclass(frozen=True)
class StreamPath:
    """Between a bus of the accelerator and the DMA: widths in bits.

    bus: of the accelerator. stream: of the DMA's side; another width has a converter between. memory: of the DMA's
    port to memory, at least the stream's; 0 where there is none.
    """

    bus: int
    stream: int
    memory: int

    @property
    def converted(self) -> bool:
        """Whether a width converter stands between."""
        return self.bus != self.stream


@dataclass(frozen=True)
class VivadoDesign:
    """A build on a board.

    network: the graph's name. planned_for: the plan's board. clock_mhz: of ``ap_clk``. sources, images: Verilog files
    and memory images, names in ``rtl/``. ports, interfaces: of the top level. taken, given: the streams in and out.
    target: which DSPs the Verilog is made of. digest: of the Verilog.
    """

    network: str
    board: Board
    vivado: VivadoBoard
    planned_for: str
    clock_mhz: float
    sources: tuple[str, ...]
    images: tuple[str, ...]
    ports: Mapping[str, Port]
    interfaces: tuple[Interface, ...]
    taken: StreamPath
    given: StreamPath
    target: str
    digest: str

    @property
    def fast_clock(self) -> bool:
        """Whether there is a second clock of twice the frequency."""
        return FAST_CLOCK in self.ports

    @property
    def control(self) -> bool:
        """Whether the accelerator has registers on AXI4-Lite."""
        return any(interface.name == CONTROL for interface in self.interfaces)


def vivado_design(folder: BuildFolder, board: Board) -> VivadoDesign:
    """Return the project of a generated build for a board, which may be another than the one planned for.

    Raises: UserError where a file is missing or out of date, the board's file says nothing of Vivado, the Verilog is
    for another kind of DSP, or a bus is of a width that no DMA or converter takes; CheckFailed, with the numbers, where
    the plan does not fit the board.
    """
    if board.vivado is None:
        raise UserError(f"the board {board.name} has no key 'vivado' in its file; docs/boards.md says what it holds")
    folder.check_rtl()
    graph, plan, manifest = folder.load_graph(), folder.load_plan(), BuildManifest.load(folder.path)
    stale = manifest.changed(folder.path)
    if stale:
        raise UserError(
            f"{folder} has changed since the Verilog was generated ({stale[0]}); run mixq generate {folder}"
        )
    _check_device(manifest.target, plan, board, folder)
    _check_resources(plan, board)
    sources = tuple(read_text(folder.rtl / LISTING).splitlines())
    images = tuple(
        name for name in (path.partition(f"{RTL}/")[2] for path in manifest.outputs) if name.endswith(".mem")
    )
    ports = module_ports(read_text(folder.rtl / f"{TOP}.v", max_bytes=1 << 30), TOP)
    digest = hashlib.sha256("".join(f"{name}{manifest.outputs[name]}" for name in sorted(manifest.outputs)).encode())
    return VivadoDesign(
        network=graph.name,
        board=board,
        vivado=board.vivado,
        planned_for=plan.board,
        clock_mhz=plan.clock_mhz,
        sources=sources,
        images=images,
        ports=ports,
        interfaces=interfaces(ports),
        taken=stream_path(INPUT, ports[f"{INPUT}_tdata"].width, board.vivado),
        given=stream_path(OUTPUT, ports[f"{OUTPUT}_tdata"].width, board.vivado),
        target=manifest.target,
        digest=digest.hexdigest(),
    )


def stream_path(name: str, bus: int, vivado: VivadoBoard) -> StreamPath:
    """Return how the bus ``name`` of ``bus`` bits is joined to the board's DMA.

    AXI DMA takes streams of a power of two from 8 to 1024 bits, up to the width of its port to memory, which grows
    with them; other widths are converted to the next one. The DMA for PCI Express has streams of its own width.

    Raises: UserError where the widths have no converter: their least common multiple is more than 512 bytes.

    >>> stream_path("s_axis_0", 24, VivadoBoard("zynq-7000", "a:b:part0:1", 64))
    StreamPath(bus=24, stream=32, memory=64)
    """
    if vivado.ps == "none":
        stream, memory = vivado.dma_bits, 0
    else:
        stream = next((bits for bits in _DMA_BITS if bits >= bus), _DMA_BITS[-1])
        memory = max(vivado.dma_bits, stream)
    if bus % 8 or (bus != stream and lcm(bus, stream) > 8 * _CONVERTER_BYTES):
        raise UserError(
            f"{name} of {bus} bits cannot be joined to a DMA stream of {stream} bits: width converters count to "
            f"{_CONVERTER_BYTES} bytes; plan again for a bus of a power of two"
        )
    return StreamPath(bus, stream, memory)


def _check_device(target: str, plan: Plan, board: Board, folder: BuildFolder) -> None:
    """UserError where the Verilog instantiates DSPs that the board's device does not have."""
    if plan.resources.dsp and target not in ("generic", board.device):
        raise UserError(
            f"the Verilog in {folder} is made of {target.upper()}, but {board.name} ({board.part}) has "
            f"{board.device.upper()}; plan again with: mixq plan {folder} --board {board.name}"
        )


def _check_resources(plan: Plan, board: Board) -> None:
    """CheckFailed where the plan takes more than the board has."""
    over = plan.resources.excess(board.resources)
    lacking = ", ".join(
        f"{REPORT_KEYS[name]} {getattr(plan.resources, name):g} of {getattr(board.resources, name):g} "
        f"({amount:g} too many)"
        for name, amount in over.items()
    )
    if lacking:
        raise CheckFailed(f"the plan, made for {plan.board}, does not fit {board.name}: {lacking}")
