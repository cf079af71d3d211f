"""What the ways of a network whose widths are open are listed for."""

from __future__ import annotations

from dataclasses import dataclass

from mixq.board import Board, Resources
from mixq.networks import NetworkTable
from mixq.packing import WeightRange
from mixq.plan.restrictions import RESTRICTIONS, Restriction


@dataclass(frozen=True, kw_only=True)
class WidthSettings:
    """What a network of ways is built for.

    table: the network. weight_widths, act_widths: those that each weighted layer may have, rising; one of a layer whose
    width is fixed. board, limits: the device, and how much of it may be taken. cycles: the least and the most cycles of
    a frame that will be asked for. residue_bits, packings: as of :class:`mixq.plan.planner.Planner`. weight_range: of
    the network.
    """

    table: NetworkTable
    weight_widths: tuple[tuple[int, ...], ...]
    act_widths: tuple[tuple[int, ...], ...]
    board: Board
    limits: Resources
    cycles: tuple[int, int]
    residue_bits: int = 2
    packings: str | None = None
    weight_range: WeightRange = "narrow"

    def __post_init__(self) -> None:
        layers = len(self.table.weighted_names)
        for name in ("weight_widths", "act_widths"):
            found = getattr(self, name)
            if len(found) != layers or not all(found):
                raise ValueError(f"{name} must have some widths for each of {layers} layers, not {found!r}")
        if not 1 <= self.cycles[0] <= self.cycles[1]:
            raise ValueError(f"cycles must be positive, the least first, not {self.cycles!r}")
        if self.packings is not None and self.packings not in RESTRICTIONS:
            raise ValueError(f"packings must be one of {', '.join(RESTRICTIONS)}, not {self.packings!r}")

    @property
    def restriction(self) -> Restriction | None:
        """The packings that layers are held to."""
        return None if self.packings is None else RESTRICTIONS[self.packings]
