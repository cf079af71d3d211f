"""The layers of a network as rows: what the page's table, its pictures and the summary are made of."""

from __future__ import annotations

from dataclasses import dataclass

from mixq.board import Resources
from mixq.graph import Conv, Dense, Graph, MaxPool, Node, Tensor
from mixq.packing import Packing, SoftMultipliers
from mixq.plan import LayerPlan, Plan
from mixq.report.gather import ReportData
from mixq.report.words import TIMES


@dataclass(frozen=True)
class LayerRow:
    """A stage of the pipeline: a node of the graph, with the requantisation that is built into it.

    sources, target: the tensors that it reads and gives out. macs: multiplications by weights in a frame. cycles,
    estimated: of the plan, None without one. counted: by synthesis, None where it has not run or not found
    the layer. padding: at top, left, bottom, right. bottleneck: whether it is the slowest, or one of several.
    """

    name: str
    op: str
    sources: tuple[Tensor, ...]
    target: Tensor
    macs: int
    weights: int
    kernel: int | None
    stride: int
    padding: tuple[int, int, int, int]
    groups: int
    dilation: int
    weight_bits: int | None
    act_bits: int
    layer: LayerPlan | None
    cycles: int | None
    estimated: Resources | None
    counted: dict[str, float] | None
    fused: str | None
    bottleneck: bool

    @property
    def source(self) -> Tensor:
        """The tensor it reads, the first of several."""
        return self.sources[0]

    @property
    def packing(self) -> Packing | SoftMultipliers | None:
        """How a DSP of the layer, or a few together, hold several multiplications, or what does without DSPs."""
        return None if self.layer is None or self.layer.folding is None else self.layer.folding.packing

    @property
    def packing_name(self) -> str:
        """Short name of the packing, empty for a layer without one."""
        return "" if self.packing is None else packing_name(self.packing)

    @property
    def folding_name(self) -> str:
        """Output channels, input terms and pixels that are multiplied at a time."""
        if self.layer is None or self.layer.folding is None:
            return ""
        folding = self.layer.folding
        return f"{folding.pe} {TIMES} {folding.simd} {TIMES} {folding.packing.pixels}"

    @property
    def density(self) -> float | None:
        """Multiplications that a DSP can do in a cycle; None for a layer without DSPs."""
        folding = None if self.layer is None else self.layer.folding
        return None if folding is None or not folding.dsps else folding.density

    @property
    def pumped(self) -> bool:
        """Whether the DSPs run at twice the clock."""
        return self.layer is not None and self.layer.folding is not None and self.layer.folding.pump > 1

    @property
    def kind(self) -> str:
        """The operation with its kernel, e.g. ``conv 3×3, depthwise, stride 2``."""
        words = self.op.replace("_", "-")
        if self.kernel is not None and self.op != "dense":
            words += f" {self.kernel}{TIMES}{self.kernel}"
        if self.groups > 1:
            words += ", depthwise" if self.groups == self.source.shape[0] else f", {self.groups} groups"
        for name in ("stride", "dilation"):
            number = getattr(self, name)
            words += f", {name} {number}" if number > 1 else ""
        return words


def packing_name(packing: Packing | SoftMultipliers) -> str:
    """Short name of a packing, the same for equal ones: ``w4 a4 k1: 2 px × 1 tap × 3 ch``.

    What is more than one plain DSP is told behind it: a pair or a split operand, tracked carries, and known bits; and
    what is none: look-up tables, or constant weights.

    >>> from mixq.packing import solve
    >>> packing_name(solve(4, 4, kernel=1))
    'w4 a4 k1: 2 px × 1 tap × 3 ch'
    >>> packing_name(solve(8, 8))
    'w8 a8 k3: 2 px × 3 taps × 1 ch, pair'
    >>> packing_name(solve(4, 4, residue_bits=2))
    'w4 a4 k3: 4 px × 3 taps × 1 ch, tracked, 2 known bits'
    """
    taps = "1 tap" if packing.taps == 1 else f"{packing.taps} taps"
    widths = f"w{packing.weight_bits} a{packing.act_bits} k{packing.kernel}"
    told = [f"{widths}: {packing.pixels} px {TIMES} {taps} {TIMES} {packing.channels} ch"]
    if isinstance(packing, SoftMultipliers):
        return ", ".join([*told, "constant" if packing.constant else "LUTs"])
    if packing.split:
        told.append(f"split over {packing.dsps} DSPs")
    elif packing.product.pair:
        told.append("pair")
    if packing.tracked:
        told.append("tracked")
    if packing.residue_bits:
        told.append(f"{packing.residue_bits} known bit{'s' if packing.residue_bits > 1 else ''}")
    return ", ".join(told)


def layer_rows(data: ReportData) -> list[LayerRow]:
    """One row for each stage, in order."""
    graph, plan = data.graph, data.plan
    fused = {} if plan is None else {layer.fused: layer for layer in plan.layers if layer.fused is not None}
    inside = {layer.name for layer in fused.values()}
    rows = []
    for node in graph.nodes:
        if node.name in inside:
            continue
        layer = None if plan is None else plan.layer(node.name)
        tail = fused.get(node.name)
        parts = [part for part in (layer, tail) if part is not None]
        rows.append(
            _row(
                graph,
                node,
                layer=layer,
                cycles=max((part.cycles for part in parts), default=None),
                estimated=sum((part.resources for part in parts), Resources()) if parts else None,
                counted=None if data.counted is None else _counted(data, node.name, tail),
                tail=None if tail is None else graph.node(tail.name),
                bottleneck=plan is not None and any(part.cycles == plan.cycles for part in parts),
            )
        )
    return rows


def _counted(data: ReportData, name: str, tail: LayerPlan | None) -> dict[str, float] | None:
    found = [data.counted[key] for key in (name, tail.name if tail else "") if data.counted and key in data.counted]
    return {key: sum(counts[key] for counts in found) for key in found[0]} if found else None


def _row(
    graph: Graph,
    node: Node,
    *,
    layer: LayerPlan | None,
    cycles: int | None,
    estimated: Resources | None,
    counted: dict[str, float] | None,
    tail: Node | None,
    bottleneck: bool,
) -> LayerRow:
    weighted = isinstance(node, Conv | Dense)
    sources = tuple(graph.tensor(name) for name in node.reads)
    return LayerRow(
        name=node.name,
        op=node.op,
        sources=sources,
        target=graph.tensor((tail or node).output),
        macs=graph.macs(node.name),
        weights=int(node.weights.size) if isinstance(node, Conv | Dense) else 0,
        kernel=node.kernel if isinstance(node, Conv | MaxPool) else None,
        stride=node.stride if isinstance(node, Conv | MaxPool) else 1,
        padding=node.sides if isinstance(node, Conv) else (0, 0, 0, 0),
        groups=node.groups if isinstance(node, Conv) else 1,
        dilation=node.dilation if isinstance(node, Conv) else 1,
        weight_bits=node.weight_format.width if isinstance(node, Conv | Dense) and weighted else None,
        act_bits=sources[0].format.width,
        layer=layer,
        cycles=cycles,
        estimated=estimated,
        counted=counted,
        fused=None if tail is None else tail.name,
        bottleneck=bottleneck,
    )


def achieved(row: LayerRow, plan: Plan) -> float | None:
    """Multiplications per DSP and cycle over a whole frame of the network; None for a layer without DSPs.

    Waiting for the slowest layer, padding of a row to whole groups of pixels and unused taps all count as lost.
    """
    folding = None if row.layer is None else row.layer.folding
    return None if folding is None or not folding.dsps else row.macs / (folding.dsps * plan.cycles)


def other_counts(data: ReportData, rows: list[LayerRow]) -> dict[str, dict[str, float]]:
    """What synthesis counted outside the layers, by name: the shell."""
    known = {row.name for row in rows} | {row.fused for row in rows} | {"total"}
    return {name: dict(counts) for name, counts in (data.counted or {}).items() if name not in known}


def bottleneck_sentence(rows: list[LayerRow], plan: Plan) -> str:
    """Where the frame rate comes from, in one or two sentences."""
    names = [row.name for row in rows if row.cycles == plan.cycles]
    others = [row for row in rows if row.cycles is not None and row.cycles < plan.cycles]
    if not names:
        return f"The AXI4-Streams are slowest, with {plan.cycles:,} cycles a frame; all layers wait for them."
    if len(names) == 1:
        found = f"{names[0]} is the slowest stage, with {plan.cycles:,} cycles a frame; the others wait for it."
    else:
        listed = f"{', '.join(names[:-1])} and {names[-1]}"
        found = f"{listed} are the slowest stages, each with {plan.cycles:,} cycles a frame; the others wait for them."
    if not others:
        return found
    second = max(others, key=lambda row: row.cycles or 0)
    gain = plan.cycles / max(second.cycles or 0, 1)
    return (
        f"{found} Made faster, {'it' if len(names) == 1 else 'all of them together'} would raise the frame rate up to "
        f"{gain:.2f} times, where {second.name} with {second.cycles:,} cycles holds it."
    )
