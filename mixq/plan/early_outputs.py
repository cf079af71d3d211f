"""How much of an output frame may come before all of its input frame has.

Whether an input frame is whole is known with its last beat alone. What comes out before must wait until then, in a FIFO
that has a place for all of it: were there none, the stages would stop, and the last beat would never be taken. A dense
layer or global pooling gives nothing before; behind convolutions all of the output may come but for what the last pixel
reaches.
"""

from __future__ import annotations

from collections.abc import Sequence

from mixq.containers import container_bits
from mixq.graph import Conv, Dense
from mixq.plan.fifos import Needs
from mixq.plan.units import INPUT, Unit
from mixq.streams import StreamShape


def early_pixels(units: Sequence[Unit], input_shape: tuple[int, int, int], giver: int) -> int:
    """Pixels of the output that may come before the last beat of the input's bus, however few codes that beat has.

    giver: place of the unit that gives the output. Where all channels of a pixel are needed at once, and where there is
    one alone, nothing that depends on the last pixel comes without that beat; otherwise any of its channels may.
    """
    channels, height, width = input_shape
    whole = _needs_whole_pixels(units, giver) or channels == 1
    before = height * width - 1 if whole else height * width
    return int((Needs(units, input_shape).least(giver) <= before).sum())


def _needs_whole_pixels(units: Sequence[Unit], giver: int) -> bool:
    """Whether each channel of a unit's output depends on all channels of the pixels of the graph's input."""
    found: list[bool] = []
    for unit in units:
        mixes = isinstance(unit.node, Dense) or (isinstance(unit.node, Conv) and unit.node.groups == 1)
        found.append(mixes or all(place != INPUT and found[place] for place in unit.reads))
    return found[giver]


def early_beats(pixels: int, tensor: StreamShape, bus_bits: int) -> int:
    """Beats of the output's bus that hold nothing but so many first pixels of a frame; all of them for all pixels."""
    containers = bus_bits // container_bits(tensor.format)
    codes = pixels * tensor.channels
    return -(-codes // containers) if pixels == tensor.height * tensor.width else codes // containers
