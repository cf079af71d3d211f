"""Logic depth of a path between registers, and the bound that generated hardware keeps.

A path goes from the output of a register to the input of one. Registers are flip-flops, DSPs, block RAMs and shift
registers; a read of LUT RAM is logic from its address, of one level. Three numbers say how deep a path is:

- ``levels``: look-up tables in a row. Multiplexers MUXF7 to MUXF9 belong to the level of the tables in front of them,
  and their select input is one of such a level. An inverter in front of a look-up table is taken into it.
- ``chains``: carry chains. A carry block whose CI is another's CO goes on with the other's chain.
- ``bits``: of the longest of these chains, from the bit at which the path enters it to the one at which it leaves.

The look-up table that drives an input S or DI of a carry block belongs to the chain and counts as no level: it stands
in the chain's slice, where each bit has one with two outputs for the two. (Yosys compares up to three bits at a
position, for which a device takes two positions.) What is left are levels in front of that table and behind the chain.
From S to the output O of the same bit no carry is passed: there is a gate behind the look-up table, which belongs to
its level as a multiplexer does.

The bound: four levels; or one chain of up to 48 bits and one level. Between the two a chain counts as a level, for its
own look-up tables, and every 22 of its bits beyond four as one more: within four bits, a block, its gates are like the
multiplexers MUXF7 to MUXF9. The bound is meant for 300 MHz on the slowest speed grade of UltraScale+: an assumption
about placement and wiring, which a netlist does not know.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mixq.files import write_json

LUT_LEVELS = 4
"""Most levels of a path without a carry chain."""

CARRY_BITS = 48
"""Most bits of the one carry chain of a path."""

BLOCK_BITS = 4
"""Bits of a carry block: a chain that needs no more counts as its own look-up tables alone."""

BITS_PER_LEVEL = 22
"""Bits of a chain beyond these that count as much as a level."""

CLOCK_MHZ = 300
"""The clock that the bound is meant for."""


@dataclass(frozen=True)
class Depth:
    """``levels``, ``chains`` and ``bits`` of a path, as the module says."""

    levels: int = 0
    chains: int = 0
    bits: int = 0

    @property
    def within(self) -> bool:
        """Whether the bound holds.

        >>> Depth(4).within, Depth(5).within, Depth(1, 1, 48).within, Depth(3, 1, 4).within
        (True, False, True, True)
        >>> Depth(0, 1, 49).within, Depth(2, 1, 27).within, Depth(3, 1, 5).within, Depth(0, 2, 8).within
        (False, False, False, False)
        """
        return self.chains <= 1 and self.bits <= CARRY_BITS and self._weight <= BITS_PER_LEVEL * LUT_LEVELS

    @property
    def order(self) -> tuple[bool, int]:
        """Sorts depths, the worst last: those beyond the bound, then by levels, a chain as one and its bits as more.

        The two ways to exhaust the bound are equally bad.

        >>> Depth(4).order == Depth(1, 1, 48).order
        True
        """
        return not self.within, self._weight

    @property
    def _weight(self) -> int:
        """In bits of a long chain."""
        return BITS_PER_LEVEL * (self.levels + self.chains) + max(0, self.bits - BLOCK_BITS)

    def then(self, after: Depth) -> Depth:
        """Depth of a path that goes on with another one."""
        return Depth(self.levels + after.levels, self.chains + after.chains, max(self.bits, after.bits))

    def __str__(self) -> str:
        if not self.chains:
            return f"{self.levels} LUT"
        return f"{self.levels} LUT + {'carry' if self.chains == 1 else f'{self.chains} carries'} of {self.bits} bits"


@dataclass(frozen=True)
class LogicPath:
    """A path: how deep it is, and the signals or pins at which it starts and ends."""

    depth: Depth
    start: str
    end: str

    def report(self) -> dict[str, Any]:
        """The path under the names of the report file."""
        return {
            "lut_levels": self.depth.levels,
            "carry_chains": self.depth.chains,
            "carry_bits": self.depth.bits,
            "within": self.depth.within,
            "from": self.start,
            "to": self.end,
        }

    @classmethod
    def of(cls, entry: Mapping[str, Any]) -> LogicPath:
        """The path that :meth:`report` has written. Raises KeyError, TypeError for another entry."""
        numbers = (int(entry[key]) for key in ("lut_levels", "carry_chains", "carry_bits"))
        return cls(Depth(*numbers), str(entry["from"]), str(entry["to"]))


NO_PATH = LogicPath(Depth(), "", "")


def worst(paths: Iterable[LogicPath]) -> LogicPath:
    """The deepest path, :data:`NO_PATH` of none; among equals the first by name."""
    return min(paths, key=lambda path: (_reversed(path.depth.order), path.start, path.end), default=NO_PATH)


def _reversed(order: tuple[bool, int]) -> tuple[bool, int]:
    return not order[0], -order[1]


@dataclass(frozen=True)
class LayerDepth:
    """The deepest paths of a layer.

    ``registers``: that end in its registers, wherever they start. ``from_input``: from its ports to its registers;
    ``to_output``: from its registers to its ports; ``through``: from port to port. The last three are parts of paths,
    which go on in the neighbouring layers; ``registers`` of these includes the whole.
    """

    registers: LogicPath
    from_input: LogicPath = field(default=NO_PATH)
    to_output: LogicPath = field(default=NO_PATH)
    through: LogicPath = field(default=NO_PATH)

    def __add__(self, other: LayerDepth) -> LayerDepth:
        """Of two stages that are one layer."""
        return LayerDepth(
            *(worst((getattr(self, key), getattr(other, key))) for key in _KINDS),
        )

    def report(self) -> dict[str, Any]:
        """The paths under the names of the report file: ``registers`` at the top, the others below their names."""
        return {
            **self.registers.report(),
            **{key: getattr(self, key).report() for key in _KINDS[1:]},
        }

    @classmethod
    def of(cls, entry: Mapping[str, Any]) -> LayerDepth:
        """The depths that :meth:`report` has written."""
        return cls(LogicPath.of(entry), *(LogicPath.of(entry[key]) for key in _KINDS[1:]))


_KINDS = ("registers", "from_input", "to_output", "through")


def depth_report(layers: Mapping[str, LayerDepth]) -> dict[str, Any]:
    """What ``report/logic_depth.json`` holds: the bound, the depths of each layer, and the deepest of all."""
    return {
        "bound": {
            "lut_levels": LUT_LEVELS,
            "carry_bits": CARRY_BITS,
            "block_bits": BLOCK_BITS,
            "bits_per_level": BITS_PER_LEVEL,
            "clock_mhz": CLOCK_MHZ,
        },
        "layers": {name: layer.report() for name, layer in layers.items()},
        "worst": worst(layer.registers for layer in layers.values()).report(),
    }


def write_depths(build_dir: str | os.PathLike[str], layers: Mapping[str, LayerDepth]) -> Path:
    """Write ``report/logic_depth.json`` in a build folder, and return its path."""
    path = Path(build_dir) / "report" / "logic_depth.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, depth_report(layers))
    return path
