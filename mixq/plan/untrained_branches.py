"""The graph of a network with branches before it is trained, step by step as :mod:`mixq.lowering` makes a trained one.

Values that a quantiser has yet to read are integers that are added, or maxima, blocks and concatenations of such:
the quantiser's requantisation moves before the latter, an addition becomes an `Add` before it, a mean a `SumPool`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from mixq.folding import FRACTION_BITS
from mixq.formats import IntFormat
from mixq.graph import (
    Add,
    Concat,
    Conv,
    Dense,
    Graph,
    MaxPool,
    Node,
    Requantise,
    SpaceToDepth,
    SumPool,
    Tensor,
    Upsample,
    accumulator_format,
)
from mixq.graph.names import legal_name
from mixq.network_steps import ModuleStep, module_steps
from mixq.network_table import (
    ConvSpec,
    DenseSpec,
    LayerSpec,
    MeanSpec,
    NetworkTable,
    PoolSpec,
    ReorgSpec,
    UpsampleSpec,
)
from mixq.packing import WeightRange
from mixq.plan.untrained_values import (
    PIXEL_BITS,
    SEED,
    IntArray,
    affine,
    code_tensor,
    random_weights,
    spread_of_sums,
    truncation,
    weight_format,
    weight_shape,
)


@dataclass(frozen=True)
class Codes:
    """Codes of a quantiser."""

    tensor: str


@dataclass(frozen=True)
class Term:
    """Integers of a sum. spread: their standard deviation, of each channel. bits: what they add to the shift.

    window: of a mean, the `SumPool` that the integers wait for: its name, rows and columns.
    """

    tensor: str
    spread: Any
    bits: int
    seed: tuple[int, ...]
    window: tuple[str, int, int] | None = None


@dataclass(frozen=True)
class Terms:
    """A sum that no quantiser has read. path: of the step that adds."""

    path: str
    terms: tuple[Term, ...]


@dataclass(frozen=True)
class Moved:
    """What moves values that no quantiser has read."""

    step: ModuleStep
    parts: tuple[Terms | Moved, ...]


Value = Codes | Terms | Moved


def branched_graph(
    table: NetworkTable, weight_bits: tuple[int, ...], act_bits: tuple[int, ...], weight_range: WeightRange
) -> Graph:
    """The graph of any table with a width of weights and of the input for every weighted layer.

    Its nodes, their names and what they read are those of the trained network; a weighted layer's weights follow from
    its place, its width and the width that it gives out.
    """
    return _Growing(table, weight_bits, act_bits, weight_range).graph()


def shared_graph(table: NetworkTable, bits: int) -> tuple[Graph, dict[str, tuple[int | None, ...]]]:
    """The graph where all widths are ``bits``, and whose quantisers made each tensor of codes.

    Quantisers are told by the number of the weighted layer that they stand in front of, None for a mean's. Those that
    read the same value share their codes here, which other widths take apart.
    """
    layers = len(table.weighted_names)
    growing = _Growing(table, (bits,) * layers, (bits,) * layers, "narrow")
    graph = growing.graph()
    return graph, {name: tuple(readers) for name, readers in growing.readers.items()}


def layer_node(
    table: NetworkTable, number: int, bits: int, codes: IntFormat, weight_range: WeightRange
) -> tuple[type[Any], dict[str, Any]]:
    """Kind and fields of the node of a weighted layer, by its number, with ``bits`` for weights."""
    index = table.weighted_places[number]
    spec = table.layers[index]
    assert isinstance(spec, ConvSpec | DenseSpec)
    format = weight_format(bits, weight_range)
    weights = random_weights(weight_shape(spec, table.input_shapes()[index]), format, number)
    random = np.random.default_rng((SEED, number, bits, codes.width, 0))
    last = index + 1 == len(table.layers) and not spec.batch_norm
    bias = random.integers(-64, 64, len(weights)) if last and spec.bias else None
    found: dict[str, Any] = {"weights": weights, "weight_format": format, "bias": bias}
    if isinstance(spec, DenseSpec):
        return Dense, found
    found |= {"stride": spec.stride, "padding": spec.sides, "groups": spec.groups, "dilation": spec.dilation}
    return Conv, found


def layer_term(tensor: str, number: int, bits: int, codes: IntFormat, weights: IntArray) -> Term:
    """The sums of a weighted layer with these weights of ``bits``."""
    return Term(tensor, spread_of_sums(weights, codes), bits + codes.width, (number, bits, codes.width))


def code_term(tensor: str, channels: int, codes: IntFormat) -> Term:
    """Codes that are added as they are."""
    return Term(tensor, np.full(channels, codes.high / 3), codes.width, (0,))


def sum_shift(bits: int, terms: int) -> int:
    """Shift of the requantisation of so many terms, of which the widest adds ``bits`` to it."""
    return FRACTION_BITS + bits - 1 + (terms - 1).bit_length()


def term_constants(term: Term, terms: int, out_bits: int, shift: int) -> tuple[IntArray, IntArray]:
    """Multipliers and biases of one of several terms, which takes its share of the spread."""
    random = np.random.default_rng((SEED, *term.seed, out_bits))
    return affine(term.spread * terms**0.5, out_bits, shift, random)


class _Growing:
    """The graph while it grows; ``values``: what every step gives."""

    def __init__(
        self,
        table: NetworkTable,
        weight_bits: tuple[int, ...],
        act_bits: tuple[int, ...],
        weight_range: WeightRange,
    ) -> None:
        self.table, self.weight_bits, self.act_bits, self.weight_range = table, weight_bits, act_bits, weight_range
        self.steps = module_steps(table)
        self.sources = table.input_shapes()
        pixels = code_tensor("pixels", table.input_shape, PIXEL_BITS)
        self.tensors: dict[str, Tensor] = {pixels.name: pixels}
        self.nodes: list[Node] = []
        self.values: dict[str, Value] = {}
        self.readers: dict[str, dict[int | None, None]] = {}

    def graph(self) -> Graph:
        for step in self.steps:
            self.values[step.name] = self.value(step)
        last = self.values[self.steps[-1].name]
        output = last.tensor if isinstance(last, Codes) else self.nodes[-1].output
        return Graph(
            name=legal_name(self.table.name),
            tensors=tuple(self.tensors.values()),
            nodes=tuple(self.nodes),
            input="pixels",
            output=output,
            metadata={"network": self.table.name, "origin": "untrained"},
        )

    def value(self, step: ModuleStep) -> Value:
        """What the step gives, its nodes appended where it gives integers."""
        if step.kind == "image":
            return self.truncated()
        reads = [self.values[name] for name in step.reads]
        first = reads[0]
        match step.kind:
            case "conv" | "dense":
                assert isinstance(first, Codes)
                return self.weighted(step, first)
            case "norm" | "flatten" | "pad":
                return first
            case "quantizer":
                bits = self.act_bits[step.reader] if step.reader is not None else self.mean_bits(step)
                assert not isinstance(first, Codes)
                return Codes(self.quantised(first, step, bits))
            case "mean":
                assert isinstance(first, Codes)
                return self.mean(step, first)
            case "add":
                return Terms(step.name, tuple(term for read in reads for term in self.added_terms(read)))
        codes = [read.tensor for read in reads if isinstance(read, Codes)]
        if len(codes) == len(reads):
            moved = self.moved(step, codes)
            self.readers[moved] = dict(self.readers[codes[0]])
            return Codes(moved)
        return Moved(step, tuple(read for read in reads if not isinstance(read, Codes)))

    def mean_bits(self, step: ModuleStep) -> int:
        spec = self.table.layers[step.layer]
        assert isinstance(spec, MeanSpec)
        return spec.bits

    def truncated(self) -> Codes:
        bits, channels = self.act_bits[0], self.table.input_shape[0]
        codes = "pixels"
        if bits < PIXEL_BITS:
            format = IntFormat(bits, False)
            codes = self.append(Requantise, "input", ("pixels",), format, **truncation(channels, bits))
        self.readers[codes] = {0: None}
        return Codes(codes)

    def weighted(self, step: ModuleStep, source: Codes) -> Terms:
        """The `Conv` or `Dense` node of a weighted layer."""
        number = self.table.weighted_places.index(step.layer)
        bits, codes = self.weight_bits[number], self.tensors[source.tensor].format
        kind, options = layer_node(self.table, number, bits, codes, self.weight_range)
        weights = options["weights"]
        sums = self.append(
            kind, step.name, (source.tensor,), accumulator_format(weights, codes, options["bias"]), **options
        )
        return Terms(step.name, (layer_term(sums, number, bits, codes, weights),))

    def mean(self, step: ModuleStep, source: Codes) -> Terms:
        """The sums over the image of codes."""
        (term,) = self.added_terms(source)
        rows, columns = self.sources[step.layer][1:]
        count = rows * columns
        bits = term.bits + (count - 1).bit_length()
        own = Term(source.tensor, term.spread * count, bits, term.seed, (step.name, rows, columns))
        return Terms(step.name, (own,))

    def added_terms(self, value: Value) -> tuple[Term, ...]:
        """What a value adds to a sum; codes add themselves."""
        if isinstance(value, Terms):
            return value.terms
        assert isinstance(value, Codes)
        tensor = self.tensors[value.tensor]
        return (code_term(value.tensor, tensor.shape[0], tensor.format),)

    def quantised(self, value: Terms | Moved, step: ModuleStep, bits: int) -> str:
        """The tensor of a quantiser's codes."""
        if isinstance(value, Moved):
            found = self.moved(value.step, [self.quantised(part, step, bits) for part in value.parts])
        else:
            found = self.requantised(value, step, bits)
        self.readers.setdefault(found, {})[step.reader] = None
        return found

    def requantised(self, value: Terms, step: ModuleStep, bits: int) -> str:
        """The tensor of the codes of a sum."""
        terms = value.terms
        shift = sum_shift(max(term.bits for term in terms), len(terms))
        factors = [term_constants(term, len(terms), bits, shift) for term in terms]
        sources = [self.summed(term) for term in terms]
        multiplier, bias = factors[0]
        source = sources[0]
        if len(sources) > 1:
            rows = np.stack([own for own, _ in factors])
            format = Add("sum", tuple(sources), "t", multipliers=rows).sum_format(
                [self.tensors[name].format for name in sources]
            )
            source = self.append(Add, value.path, tuple(sources), format, multipliers=rows)
            multiplier = np.ones(rows.shape[1], dtype=np.int64)
        own: Mapping[str, Any] = {"multiplier": multiplier, "bias": bias, "shift": shift}
        return self.append(Requantise, step.name, (source,), IntFormat(bits, False), **own)

    def summed(self, term: Term) -> str:
        if term.window is None:
            return term.tensor
        name, *kernel = term.window
        format = self.tensors[term.tensor].format
        sums = SumPool("s", term.tensor, "t", kernel=(kernel[0], kernel[1])).sum_format(format)
        return self.append(SumPool, name, (term.tensor,), sums, kernel=(kernel[0], kernel[1]))

    def moved(self, step: ModuleStep, sources: list[str]) -> str:
        """The node of a step that moves codes, or takes maxima of them."""
        format, spec = self.tensors[sources[0]].format, self.table.layers[step.layer]
        kind, options = _moving(spec)
        return self.append(kind, step.name, tuple(sources), format, **options)

    def append(
        self, kind: type[Any], path: str, sources: tuple[str, ...], format: IntFormat, **options: IntArray | Any
    ) -> str:
        """Append a node, unless there is one that does the same; returns the name of its output."""
        name = legal_name(path, ["input"] * (path != "input") + [node.name for node in self.nodes])
        output = legal_name(f"{name}_out", self.tensors)
        read: Any = sources if kind in (Add, Concat) else sources[0]
        node = kind(name, read, output, **options)
        for other in self.nodes:
            alike = type(other) is kind and other.reads == sources and _same(node, other)
            if alike and self.tensors[other.output].format == format:
                return other.output
        shape = node.shape_from([self.tensors[source].shape for source in sources])
        self.nodes.append(node)
        self.tensors[output] = Tensor(output, shape, format, 1.0)
        return output


def _moving(spec: LayerSpec) -> tuple[type[Any], dict[str, Any]]:
    match spec:
        case PoolSpec():
            return MaxPool, {"kernel": spec.kernel, "stride": spec.stride}
        case ReorgSpec():
            return SpaceToDepth, {"block": spec.block}
        case UpsampleSpec():
            return Upsample, {"factor": spec.factor}
    return Concat, {}


def _same(one: Node, other: Node) -> bool:
    """Whether two nodes of a kind do the same, whatever their names."""
    own = [entry.name for entry in fields(one) if entry.name not in ("name", "input", "inputs", "output")]
    return all(np.array_equal(getattr(one, key), getattr(other, key)) for key in own)
