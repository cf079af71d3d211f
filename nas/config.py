"""What a search is asked for."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

from mixq.board import Board, Resources
from mixq.packing import RESIDUE_BITS, WeightRange
from mixq.quantizer_kinds import SEARCHED_KINDS, QuantizerKind, check_quantizer
from nas.space import ALL_WIDTHS

Method = Literal["budget", "edmips"]
DensityName = Literal["original", "mixq"]


@dataclass(frozen=True, kw_only=True)
class Hardware:
    """What the network is to be built on.

    Parameters:
        board: whose clock and device count. limits: what of it may be taken. residue_bits: low bits of lanes that
            packings may know from look-up tables, 0, 1 or 2. clock_mhz: by default the board's.
        packings: as of `mixq.plan.planner.Planner`.
    """

    board: Board
    limits: Resources
    residue_bits: int = 2
    clock_mhz: float | None = None
    packings: str | None = None

    def __post_init__(self) -> None:
        if self.residue_bits not in RESIDUE_BITS:
            raise ValueError(f"residue_bits must be 0, 1 or 2, not {self.residue_bits!r}")

    @property
    def clock(self) -> float:
        """Megahertz."""
        return self.board.clock_mhz if self.clock_mhz is None else self.clock_mhz

    def fps(self, cycles: float) -> float:
        """Frames per second at so many cycles of a frame."""
        return self.clock * 1e6 / cycles


@dataclass(frozen=True, kw_only=True)
class SearchConfig:
    """How widths are searched.

    Parameters:
        method: "budget" for widths of the least loss within numbers of cycles; "edmips" for the published system's.
        weight_widths, act_widths: that layers may have, ascending.
        shared: one weight tensor for all widths of a layer, or one for each.
        quantizer, weight_range: of the supernet, and of the network that is trained with the widths.
        budgets: of "budget", cycles of a frame. With none, those of `tolerance` are taken.
        tolerance: without budgets, the fastest widths are taken whose predicted loss is within so much of the least.
        samples: validation images that sensitivities are measured on, at most.
        refinements: how often they are measured anew around the widths that were found.
        points: of the front of predicted loss against cycles; at least 2, but with budgets any number, 0 for none.
        decay_c, decay_t: of "edmips", weights of its complexity terms. density: "original" for the published table of
            multiplications per DSP, "mixq" for the packings that there are.

    Raises:
        TypeError, ValueError: a wrong value.
    """

    method: Method = "budget"
    weight_widths: tuple[int, ...] = ALL_WIDTHS
    act_widths: tuple[int, ...] = ALL_WIDTHS
    shared: bool = True
    quantizer: QuantizerKind = "lsq"
    weight_range: WeightRange = "narrow"
    budgets: tuple[int, ...] = ()
    tolerance: float = 0.05
    samples: int = 1000
    refinements: int = 2
    points: int = 8
    decay_c: float = 3e-5
    decay_t: float = 0.0
    density: DensityName = "original"

    def __post_init__(self) -> None:
        if check_quantizer("quantizer", self.quantizer) not in SEARCHED_KINDS:
            known = " or ".join(SEARCHED_KINDS)
            raise ValueError(f"quantizer must be {known} where widths are searched, not {self.quantizer!r}")
        for name, choices in (("method", get_args(Method)), ("density", get_args(DensityName))):
            if getattr(self, name) not in choices:
                raise ValueError(f"{name} must be {' or '.join(choices)}, not {getattr(self, name)!r}")
        for name, least in (("samples", 2), ("refinements", 0), ("points", 0 if self.budgets else 2)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int):
                raise TypeError(f"{name} must be an integer, not {value!r}")
            if value < least:
                raise ValueError(f"{name} must be at least {least}, not {value!r}")
        for name in ("tolerance", "decay_c", "decay_t"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise TypeError(f"{name} must be a number, not {value!r}")
            if not (math.isfinite(value) and value >= 0):
                raise ValueError(f"{name} must be finite and not negative, not {value!r}")
        if any(isinstance(cycles, bool) or not isinstance(cycles, int) or cycles < 1 for cycles in self.budgets):
            raise ValueError(f"budgets must be positive numbers of cycles, not {self.budgets!r}")
