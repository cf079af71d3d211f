"""Layers and other stages whose counts :mod:`scripts.fit_costs` takes: a seeded draw of what planners choose from."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from math import sqrt
from typing import Any

import numpy as np
import numpy.typing as npt
from amaranth.hdl import Module
from amaranth.lib import wiring

from boards.axis import AxisTop
from mixq.folding import requantise_shift
from mixq.formats import IntFormat
from mixq.packing import Packing, candidates, default_weight_range
from mixq.plan.folding import Folding
from mixq.plan.layer_shape import LayerShape
from mixq.plan.options import divisors
from mixq.plan.values import folding_of
from mixq.plan.weight_order import deepened
from mixq.streams import StreamShape
from rtl_gen.converters import converter
from rtl_gen.convolution import Convolution, Scaling
from rtl_gen.interfaces import stage_signature
from rtl_gen.max_pool import MaxPoolStage
from rtl_gen.requantise import RequantiseStage, RequantiseValues, ThresholdValues
from rtl_gen.space_to_depth import SpaceToDepthStage
from rtl_gen.sum_pool import SumPoolStage
from rtl_gen.upsample import UpsampleStage

IntArray = npt.NDArray[np.int64]

DSPS = (3, 64)
"""Fewest and most DSPs of a layer that is drawn."""

_MOST_SUM_BITS = 2400
_MOST_CODES = 16
_MOST_WEIGHTS = 300_000


@dataclass(frozen=True)
class Sample:
    """One stage to count.

    kind: "convolution" or the kind of another stage. seed: of its weights and constants. spec: its sizes, as plain
    values that a file holds.
    """

    name: str
    kind: str
    seed: int
    spec: dict[str, Any]

    @property
    def folding(self) -> Folding:
        """Of a convolution."""
        return folding_of(self.spec["folding"])

    def stage(self) -> Any:
        """The hardware."""
        return _STAGES[self.kind](self)


def convolutions(seed: int, count: int, prefix: str) -> Iterator[Sample]:
    """So many layers, drawn one by one; a kind of packing after the other."""
    for number in range(count):
        rng = np.random.default_rng([seed, number])
        folding = None
        while folding is None:
            folding = _folding(rng, _KINDS[number % len(_KINDS)])
        own = int(rng.integers(1 << 31))
        out_bits = int(rng.choice([1, 2, 3, 4, 4, 5, 6, 8]))
        method = str(rng.choice(["threshold", "multiply"] if out_bits <= 4 else ["multiply"]))
        if rng.random() < 0.15:
            folding = deepened(folding, layer_weights(folding, own))
        values = plain(asdict(folding))
        # None is double-pumped: what that takes is counted, not fitted (mixq.plan.pump_features).
        del values["pump"]
        # What is not drawn is not told.
        for name in ("groups", "dilation"):
            del values["shape"][name]
        spec = {"folding": values, "out_bits": out_bits, "method": method}
        yield Sample(f"{prefix}_{number}", "convolution", own, spec)


def other_stages(seed: int, count: int, prefix: str) -> Iterator[Sample]:
    """So many stages of each other kind."""
    for index, (kind, draw) in enumerate(_DRAWS.items()):
        for number in range(count):
            rng = np.random.default_rng([seed, 1000 + index, number])
            spec = None
            while spec is None:
                spec = draw(rng)
            yield Sample(f"{prefix}_{kind}_{number}", kind, int(rng.integers(1 << 31)), spec)


def plain(value: Any) -> Any:
    """The same with lists for tuples, as a file has it."""
    return json.loads(json.dumps(value))


# -- layers ------------------------------------------------------------------------------------------

# What a packing is, in turn: tracked ones and pairs, residues and splits would be rare otherwise.
_KINDS = (
    *("plain", "residues", "tracked", "plain", "pair", "split"),
    *("plain", "residues", "tracked", "any", "pair", "dense"),
)


def kind_of(packing: Packing) -> str:
    """What a packing is: "split", "tracked", "pair", "residues" or "plain"."""
    if packing.split:
        return "split"
    if packing.tracked:
        return "tracked"
    if packing.product.pair:
        return "pair"
    return "residues" if packing.residue_bits else "plain"


def _folding(rng: np.random.Generator, kind: str) -> Folding | None:
    shape = _shape(rng, dense=kind == "dense")
    weight_bits, act_bits = (int(rng.choice([1, 2, 2, 3, 3, 4, 4, 5, 6, 8])) for _ in range(2))
    found = [
        packing
        for packing in candidates(
            weight_bits,
            act_bits,
            shape.kernel,
            0 if kind in ("plain", "dense") else int(rng.integers(1, 3)),
            weight_range=default_weight_range(weight_bits) if rng.random() < 0.7 else "full",
            act_signed=rng.random() < 0.1,
            pixels=1 if shape.width == 1 else None,
        )
        if kind in ("any", "dense", kind_of(packing)) and packing.pixels <= shape.width
    ]
    if not found:
        return None
    packing = found[rng.integers(len(found))]
    pe = int(rng.choice(divisors(shape.out_channels)))
    rows, lanes = int(rng.choice([1, shape.kernel])), int(rng.choice(divisors(shape.in_channels)))
    try:
        folding = Folding(shape, packing, pe, rows, lanes, int(rng.choice([1, packing.pixels])), pe)
    except ValueError:
        return None
    fewest = [d for d in divisors(pe) if pe // d <= folding.steps]
    out_lanes = fewest[0] if rng.random() < 0.85 else int(rng.choice(fewest))
    bits = folding.pe * folding.positions * 16
    low, high = DSPS
    if not low <= folding.dsps <= high or bits > _MOST_SUM_BITS or folding.steps > 1024:
        return None
    if folding.out_pixels * out_lanes > _MOST_CODES:
        return None
    return Folding(shape, packing, pe, rows, lanes, folding.in_pixels, out_lanes)


def _shape(rng: np.random.Generator, *, dense: bool) -> LayerShape:
    while True:
        sizes = [1, 3, 8, 12, 16, 24, 32, 48, 64, 96, 128], [10, 16, 24, 32, 48, 64, 96]
        channels = int(rng.choice(sizes[0])), int(rng.choice(sizes[1]))
        if dense:
            return LayerShape(int(rng.choice([32, 64, 128, 256, 512])), channels[1], 1, 1)
        kernel = int(rng.choice([1, 3, 3, 3, 3, 5]))
        size = int(rng.choice([4, 7, 8, 12, 14, 16, 20, 28, 32, 40, 56, 80]))
        stride = int(rng.choice([1, 1, 1, 1, 2])) if kernel > 1 else 1
        padding = kernel // 2 if rng.random() < 0.8 else 0
        if channels[0] * channels[1] * kernel**2 <= _MOST_WEIGHTS and size >= kernel:
            return LayerShape(*channels, size, size, kernel, stride, padding)


def layer_weights(folding: Folding, seed: int) -> IntArray:
    """Weights (C_out, C_in, K, K) as training leaves them: normal, cut off at the ends of the range."""
    rng = np.random.default_rng(seed)
    shape, (low, high) = folding.shape, folding.packing.weight_bounds
    size = shape.weight_shape
    if folding.packing.weight_bits == 1:
        return 2 * rng.integers(0, 2, size) - 1
    found = np.rint(rng.normal(0, (high - low) / rng.uniform(3, 6), size)).astype(np.int64)
    return np.clip(found, low, high)


def layer_scaling(folding: Folding, seed: int, out_bits: int, method: str) -> Scaling:
    """Multipliers and biases that spread the sums over the codes of the output."""
    rng = np.random.default_rng([seed, 1])
    packing, shape = folding.packing, folding.shape
    shift = requantise_shift(packing.weight_bits, packing.act_bits)
    terms = shape.group_inputs * shape.kernel**2
    spread = sqrt(terms) * max(1, 2 ** (packing.weight_bits - 1) / 2.5) * 2 ** (packing.act_bits - 1)
    scale = 2.0 ** (shift + out_bits) / (4 * spread)
    multiplier = np.rint(scale * rng.uniform(0.6, 1.6, shape.out_channels)).astype(np.int64)
    if rng.random() < 0.15:
        multiplier *= rng.choice([-1, 1], shape.out_channels)
    bias = np.rint(rng.normal(0, 2.0 ** (shift + out_bits - 2), shape.out_channels)).astype(np.int64)
    return Scaling(tuple(multiplier.tolist()), tuple(bias.tolist()), shift, IntFormat(out_bits, False), method)


def _convolution(sample: Sample) -> Convolution:
    folding, spec = sample.folding, sample.spec
    scaling = layer_scaling(folding, sample.seed, spec["out_bits"], spec["method"])
    return Convolution(folding, layer_weights(folding, sample.seed), scaling, name="layer")


# -- other stages ------------------------------------------------------------------------------------


def _beats(rng: np.random.Generator, pixels: int = 1, most: int = 256) -> dict[str, Any] | None:
    """A stream of a small tensor, as plain values."""
    channels, size = int(rng.choice([1, 3, 8, 16, 24, 32, 64, 128])), int(rng.choice([4, 7, 8, 12, 16, 20, 28, 32, 56]))
    bits, lanes = int(rng.integers(1, 9)), int(rng.choice(divisors(channels)))
    if pixels * lanes * bits > most or pixels > size:
        return None
    return {"channels": channels, "size": size, "bits": bits, "pixels": pixels, "lanes": lanes}


def stream_of(spec: dict[str, Any]) -> StreamShape:
    """The stream of :func:`_beats`."""
    form = IntFormat(spec["bits"], spec.get("signed", False))
    sizes = spec["channels"], spec["size"], spec["size"]
    return StreamShape(*sizes, form, pixels=spec["pixels"], lanes=spec["lanes"])


def ends_of(spec: dict[str, Any]) -> tuple[StreamShape, StreamShape]:
    """Before and after a converter."""
    before = stream_of(spec)
    return before, before.with_beat(pixels=spec["to_pixels"], lanes=spec["to_lanes"])


def _pool(rng: np.random.Generator) -> dict[str, Any] | None:
    beats, kernel = _beats(rng, most=128), int(rng.choice([2, 2, 3]))
    return beats and {**beats, "kernel": kernel, "stride": int(rng.choice([kernel, 2]))}


def _pixels(rng: np.random.Generator) -> dict[str, Any] | None:
    pixels = int(rng.choice([2, 3, 4, 5, 6, 8]))
    before, after = (1, pixels) if rng.random() < 0.5 else (pixels, 1)
    beats = _beats(rng, pixels)
    return beats and {**beats, "pixels": before, "to_pixels": after, "to_lanes": beats["lanes"]}


def _channels(rng: np.random.Generator) -> dict[str, Any] | None:
    beats = _beats(rng, int(rng.choice([1, 1, 2, 4])))
    if beats is None or beats["lanes"] == 1:
        return None
    fewer = int(rng.choice(divisors(beats["lanes"])[:-1]))
    lanes = (fewer, beats["lanes"]) if rng.random() < 0.5 else (beats["lanes"], fewer)
    return {**beats, "lanes": lanes[0], "to_pixels": beats["pixels"], "to_lanes": lanes[1]}


def _alone(rng: np.random.Generator) -> dict[str, Any] | None:
    beats = _beats(rng, most=32)
    out_bits = int(rng.integers(1, 7))
    return beats and {**beats, "bits": 8, "out_bits": out_bits, "method": str(rng.choice(["multiply", "threshold"]))}


def _parallel(rng: np.random.Generator) -> dict[str, Any]:
    """Requantisation of all channels at a time, each by constants of its own."""
    channels, bits, out_bits = int(rng.choice([8, 10, 16, 24, 32])), int(rng.integers(8, 15)), int(rng.integers(1, 5))
    beats = {"channels": channels, "size": 8, "bits": bits, "pixels": 1, "lanes": channels, "signed": True}
    return {**beats, "out_bits": out_bits, "method": str(rng.choice(["multiply", "threshold", "threshold"]))}


def _buses(rng: np.random.Generator) -> dict[str, Any] | None:
    beats, other = _beats(rng, most=64), _beats(rng, most=64)
    if beats is None or other is None:
        return None
    buses = [int(rng.choice([8, 16, 32, 64, 128])) for _ in range(2)]
    return {"input": beats, "output": other, "input_bus_bits": buses[0], "output_bus_bits": buses[1]}


def _sums(rng: np.random.Generator) -> dict[str, Any] | None:
    """Windows of 2 or 3, or as large as the image."""
    beats = _beats(rng, most=64)
    kernel = int(rng.choice([2, 3, 0]))
    return beats and {**beats, "kernel": kernel or beats["size"]}


def _blocks(rng: np.random.Generator) -> dict[str, Any] | None:
    beats, block = _beats(rng, most=128), int(rng.choice([2, 2, 4]))
    return beats and {**beats, "size": -(-(beats["size"] + 1) // block) * block, "block": block}


def _larger(rng: np.random.Generator) -> dict[str, Any] | None:
    beats = _beats(rng, most=128)
    return beats and {**beats, "factor": int(rng.choice([2, 2, 3, 4]))}


def _stairs(rng: np.random.Generator) -> dict[str, Any] | None:
    """Explicit thresholds; spread: of the channels' first codes."""
    beats = _beats(rng, most=32)
    count = int(rng.choice([1, 3, 7, 7, 12, 15]))
    sizes = {"bits": int(rng.integers(4, 13)), "count": count, "spread": int(rng.choice([0, 0, 40]))}
    return beats and {**beats, **sizes, "falls": bool(rng.random() < 0.3)}


_DRAWS: dict[str, Callable[[np.random.Generator], dict[str, Any] | None]] = {
    "max_pool": _pool,
    "pixels": _pixels,
    "channels": _channels,
    "requantise": _alone,
    "shell": _buses,
    "parallel": _parallel,
    "sum_pool": _sums,
    "space_to_depth": _blocks,
    "upsample": _larger,
    "stairs": _stairs,
}


def requantise_values(sample: Sample) -> RequantiseValues:
    """Constants of a requantisation on its own."""
    spec, rng = sample.spec, np.random.default_rng(sample.seed)
    scale = 2 ** (16 + spec["out_bits"] - spec["bits"])
    multiplier = np.rint(scale * rng.uniform(0.6, 1.6, spec["channels"])).astype(np.int64)
    bias = np.rint(rng.normal(0, 2.0 ** (14 + spec["out_bits"]), spec["channels"])).astype(np.int64)
    forms = IntFormat(spec["bits"], spec.get("signed", False)), IntFormat(spec["out_bits"], False)
    return RequantiseValues(tuple(multiplier.tolist()), tuple(bias.tolist()), 16, *forms)


def threshold_values(sample: Sample) -> ThresholdValues:
    """Explicit thresholds on their own, spread over the range of the input."""
    spec, rng = sample.spec, np.random.default_rng(sample.seed)
    source = IntFormat(spec["bits"], False)
    bounds = np.sort(rng.integers(0, source.high + 1, (spec["channels"], spec["count"])), axis=1)
    step = rng.choice([-1, 1] if spec["falls"] else [1], spec["channels"])
    first = np.where(step < 0, spec["count"], 0) + rng.integers(0, spec["spread"] + 1, spec["channels"])
    target = IntFormat((spec["count"] + spec["spread"]).bit_length(), False)
    rows = tuple(map(tuple, bounds.tolist()))
    return ThresholdValues(rows, tuple(first.tolist()), tuple(step.tolist()), source, target)


class _Through(wiring.Component):
    """Stands for an accelerator between two streams, as fast as they are: nothing of it is counted."""

    def __init__(self, input_shape: StreamShape, output_shape: StreamShape) -> None:
        self.input_shape = input_shape
        self.output_shape = output_shape
        self.cycles_per_frame = max(input_shape.beats, output_shape.beats)
        # The usual case: nothing comes before the input's last pixel.
        self.early_pixels = 0
        super().__init__(stage_signature(input_shape.payload_bits, output_shape.payload_bits))

    def elaborate(self, platform: object) -> Module:
        """Join the streams; codes beyond the narrower one repeat."""
        m = Module()
        payload = self.i.payload.replicate(-(-len(self.o.payload) // len(self.i.payload)))
        m.d.comb += [self.o.payload.eq(payload), self.o.valid.eq(self.i.valid), self.i.ready.eq(self.o.ready)]
        return m


def _shell(sample: Sample) -> AxisTop:
    spec = sample.spec
    inner = _Through(stream_of(spec["input"]), stream_of(spec["output"]))
    return AxisTop(inner, input_bus_bits=spec["input_bus_bits"], output_bus_bits=spec["output_bus_bits"])


def _requantise(sample: Sample) -> RequantiseStage:
    spec = sample.spec
    return RequantiseStage(requantise_values(sample), stream_of(spec), name="layer", method=spec["method"])


def _stairs_stage(sample: Sample) -> RequantiseStage:
    return RequantiseStage(threshold_values(sample), stream_of(sample.spec), name="layer", method="threshold")


_STAGES: dict[str, Any] = {
    "convolution": _convolution,
    "max_pool": lambda s: MaxPoolStage(stream_of(s.spec), kernel=s.spec["kernel"], stride=s.spec["stride"]),
    "pixels": lambda s: converter(*ends_of(s.spec)),
    "channels": lambda s: converter(*ends_of(s.spec)),
    "requantise": _requantise,
    "parallel": _requantise,
    "shell": _shell,
    "sum_pool": lambda s: SumPoolStage(stream_of(s.spec), kernel=(s.spec["kernel"],) * 2),
    "space_to_depth": lambda s: SpaceToDepthStage(stream_of(s.spec), block=s.spec["block"]),
    "upsample": lambda s: UpsampleStage(stream_of(s.spec), factor=s.spec["factor"]),
    "stairs": _stairs_stage,
}
