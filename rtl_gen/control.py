"""Control bits that travel beside the data through a convolution's free-running pipeline."""

from __future__ import annotations

from amaranth.lib import data

from mixq.plan.folding import Folding


class Control(data.StructLayout):
    """What each part of the pipeline is to do with the data of one cycle.

    go_on: add to the sum in the DSPs rather than start a new one. read: the sum is complete, read its lanes; load: they
    start the sums of a block; tap_pass: the pass over the taps that they belong to. update: the block is complete, add
    it to the row; start: it is the first of its row. emit: a group of outputs is complete; flush: it is the last of the
    row before. fold: the group of output channels.
    """

    def __init__(self, folding: Folding) -> None:
        super().__init__(
            {
                "go_on": 1,
                "read": 1,
                "load": 1,
                "tap_pass": range(folding.packing.passes),
                "update": 1,
                "start": 1,
                "emit": 1,
                "flush": 1,
                "fold": range(folding.folds),
            }
        )
