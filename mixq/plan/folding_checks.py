"""What is refused where the numbers of a folding do not fit together."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING

from mixq.packing import SoftMultipliers
from mixq.plan.pumping import can_pump

if TYPE_CHECKING:
    from mixq.plan.folding import Folding


def check_folding(folding: Folding) -> None:
    """Refuse a folding whose values do not fit together. Raises ValueError."""
    shape, packing = folding.shape, folding.packing
    if packing.kernel != shape.kernel:
        raise ValueError(f"packing must be for kernel {shape.kernel}, not {packing.kernel!r}")
    most = ceil(shape.out_channels / packing.channels) * packing.channels
    if not 1 <= folding.pe <= most or folding.pe % packing.channels:
        raise ValueError(f"pe must be a multiple of {packing.channels} and at most {most}, not {folding.pe!r}")
    if folding.rows not in (1, shape.kernel):
        raise ValueError(f"rows must be 1 or {shape.kernel}, not {folding.rows!r}")
    if not 1 <= folding.lanes <= shape.in_channels:
        raise ValueError(f"lanes must be from 1 to {shape.in_channels}, not {folding.lanes!r}")
    _check_groups(folding)
    if shape.dilation > 1 and (packing.taps > 1 or isinstance(packing, SoftMultipliers)):
        raise ValueError(f"packing must be of DSPs and hold one tap for dilation {shape.dilation}, not {packing!r}")
    uneven = shape.out_channels % folding.pe or shape.in_channels % folding.lanes
    if uneven and isinstance(packing, SoftMultipliers):
        raise ValueError(f"packing must be of DSPs for channels that do not divide evenly, not {packing!r}")
    if uneven and packing.weight_bits == 1:
        raise ValueError(f"packing must have weights of 0 for channels that do not divide evenly, not {packing!r}")
    if folding.in_pixels not in (1, packing.pixels):
        raise ValueError(f"in_pixels must be 1 or {packing.pixels}, not {folding.in_pixels!r}")
    if folding.out_lanes < 1 or folding.leaving % folding.out_lanes or folding.fold_beats > folding.steps:
        raise ValueError(
            f"out_lanes must divide {folding.leaving} and leave within {folding.steps} cycles, "
            f"not {folding.out_lanes!r}"
        )
    if shape.stride == 2 and packing.pixels > 1 and packing.pixels % 2:
        raise ValueError(f"packing must hold 1 or an even number of pixels for stride 2, not {packing.pixels!r}")
    if folding.depth < 0 or (folding.bounds is None and folding.depth > packing.accumulate_max):
        raise ValueError(f"depth must be from 0 to {packing.accumulate_max}, not {folding.depth!r}")
    if isinstance(packing, SoftMultipliers) and packing.constant and folding.weight_depth > 1:
        raise ValueError(
            f"packing must not be constant where {folding.weight_depth} weights take turns, not {packing!r}"
        )
    if folding.weight_memory not in ("auto", "block", "distributed"):
        raise ValueError(f"weight_memory must be auto, block or distributed, not {folding.weight_memory!r}")
    if folding.bounds is not None and not _bounds_fit(folding):
        raise ValueError(f"bounds must fit the lanes of a single product of known depth, not {folding.bounds!r}")
    if folding.pump not in (1, 2):
        raise ValueError(f"pump must be 1 or 2, not {folding.pump!r}")
    if folding.pump == 2 and (folding.simd % 2 or folding.summed < 2 or not can_pump(packing)):
        raise ValueError(
            "pump must be 1 where input terms at a time are odd, a sum holds one product, or lanes are corrected, "
            f"not {folding.pump!r}"
        )


def _check_groups(folding: Folding) -> None:
    shape, packing = folding.shape, folding.packing
    if shape.groups == 1:
        return
    inputs, outputs, parallel = shape.group_inputs, shape.group_outputs, folding.parallel
    if parallel == 1 and (inputs % folding.lanes or outputs % folding.pe):
        raise ValueError(
            f"lanes and pe must divide the {inputs} and {outputs} channels of a group, or be those of several, "
            f"not {(folding.lanes, folding.pe)!r}"
        )
    if parallel > 1 and (folding.lanes != parallel * inputs or folding.pe != parallel * outputs):
        raise ValueError(
            f"lanes and pe must be multiples of the {inputs} and {outputs} channels of a group by the same number, "
            f"not {(folding.lanes, folding.pe)!r}"
        )
    if outputs % packing.channels:
        raise ValueError(f"packing must have channels that divide the {outputs} of a group, not {packing!r}")


def _bounds_fit(folding: Folding) -> bool:
    packing = folding.packing
    if isinstance(packing, SoftMultipliers) or packing.split or packing.tracked:
        return False
    if folding.depth < 1 or folding.bounds is None:
        return False
    low, high = folding.bounds
    return low <= 0 <= high and packing.product.residues(low, high) is not None
