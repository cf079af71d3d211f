"""A network's table as the modules that it becomes: which there are, what each reads, where values are quantised.

Every weighted layer has a quantiser of its own in front; of the first it is the image's. It is called after the layer
whose output it reads, ``conv1_act``, or where that one has another already, after its own: ``conv3_in``. A mean reads
codes, too: ``mean1_in``. An addition adds codes where a weighted layer reads the same: those of the first one's
quantiser.
"""

from __future__ import annotations

from dataclasses import dataclass

from mixq.network_table import (
    IMAGE,
    AddSpec,
    ConcatSpec,
    ConvSpec,
    DenseSpec,
    LayerSpec,
    MeanSpec,
    NetworkTable,
    PoolSpec,
    ReorgSpec,
    UpsampleSpec,
)

IMAGE_STEP = "image"

_KINDS: dict[type[LayerSpec], str] = {
    PoolSpec: "pool",
    MeanSpec: "mean",
    ReorgSpec: "reorg",
    ConcatSpec: "concat",
    AddSpec: "add",
    UpsampleSpec: "upsample",
}


@dataclass(frozen=True, kw_only=True)
class ModuleStep:
    """One module: its name, its kind, the names of the modules that it reads, and the layer that it belongs to.

    kind: "image", "conv", "dense", "norm", "quantizer", "flatten", "pad", "pool", "mean", "reorg", "concat", "add" or
    "upsample". layer: place in the table. reader: of quantisers, the place among the weighted layers of the one in
    front of which it stands; None in front of a mean.
    """

    name: str
    kind: str
    reads: tuple[str, ...]
    layer: int
    reader: int | None = None


def module_steps(table: NetworkTable) -> tuple[ModuleStep, ...]:
    """The modules of a table, in order; the image's quantiser first, which reads nothing of the others."""
    return tuple(_Steps(table).steps)


def input_names(table: NetworkTable) -> tuple[str, ...]:
    """Names of the modules that quantise the inputs of the weighted layers, in their order."""
    found = {step.reader: step.name for step in module_steps(table) if step.kind in ("quantizer", "image")}
    return tuple(found[number] for number in range(len(table.weighted_names)))


class _Steps:
    """The steps while they grow. ``real``: the module whose output is that of a layer, before it is quantised."""

    def __init__(self, table: NetworkTable) -> None:
        self.table = table
        self.steps: list[ModuleStep] = [ModuleStep(name=IMAGE_STEP, kind="image", reads=(), layer=IMAGE, reader=0)]
        self.real: dict[int, str] = {IMAGE: IMAGE_STEP}
        self.codes: dict[int, str] = {IMAGE: IMAGE_STEP}
        self.flat: set[str] = set()
        self.weighted = 0
        for index, layer in enumerate(table.layers):
            self.layer(index, layer)

    def layer(self, index: int, layer: LayerSpec) -> None:
        name, read = self.table.layer_names[index], self.table.inputs[index]
        if isinstance(layer, ConvSpec | DenseSpec):
            source = self.quantised(read[0], index)
            if isinstance(layer, DenseSpec) and source not in self.flat:
                source = self.append("flatten", "flatten", (source,), index)
            if isinstance(layer, ConvSpec) and len(set(layer.sides)) > 1:
                source = self.append(f"{name}_pad", "pad", (source,), index)
            own = self.append(name, "conv" if isinstance(layer, ConvSpec) else "dense", (source,), index)
            if layer.batch_norm:
                own = self.append(f"{name}_norm", "norm", (own,), index)
            self.real[index] = own
            self.weighted += 1
            if isinstance(layer, DenseSpec):
                self.flat.add(own)
            return
        if isinstance(layer, MeanSpec):
            source = self.append(f"{name}_in", "quantizer", (self.real[read[0]],), index)
            self.real[index] = self.append(name, "mean", (source,), index)
            return
        sources = [
            self.codes.get(place, self.real[place]) if isinstance(layer, AddSpec) else self.real[place]
            for place in read
        ]
        self.real[index] = self.append(name, _KINDS[type(layer)], tuple(sources), index)

    def quantised(self, place: int, index: int) -> str:
        """The quantiser in front of the weighted layer at ``index``, which reads the layer at ``place``."""
        if place == IMAGE:
            return IMAGE_STEP
        taken = {step.name for step in self.steps}
        name = f"{self.table.layer_names[self._origin(place)]}_act"
        if name in taken:
            name = f"{self.table.layer_names[index]}_in"
        source = self.real[place]
        self.append(name, "quantizer", (source,), index, reader=self.weighted)
        if source in self.flat:
            self.flat.add(name)
        self.codes.setdefault(place, name)
        return name

    def _origin(self, place: int) -> int:
        """The layer that a quantiser is called after: that before max-pooling."""
        while isinstance(self.table.layers[place], PoolSpec) and self.table.inputs[place][0] != IMAGE:
            place = self.table.inputs[place][0]
        return place

    def append(self, name: str, kind: str, reads: tuple[str, ...], layer: int, reader: int | None = None) -> str:
        base, count = name, 1
        taken = {step.name for step in self.steps}
        while name in taken:
            count += 1
            name = f"{base}{count}"
        self.steps.append(ModuleStep(name=name, kind=kind, reads=reads, layer=layer, reader=reader))
        if kind == "flatten":
            self.flat.add(name)
        return name
