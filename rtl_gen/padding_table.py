"""What padding contributes to a row, as tables over the output channels."""

from __future__ import annotations

import numpy as np
from amaranth.hdl import Const, Module, Value, unsigned
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from mixq.plan.folding import Folding
from rtl_gen.convolution_constants import ConvolutionConstants
from rtl_gen.names import joined_name
from rtl_gen.rom import Rom


class PaddingTable(wiring.Component):
    """``left`` and ``right`` of :class:`rtl_gen.convolution_constants.ConvolutionConstants` for one fold at a time.

    They follow from the weights. Of several folds they lie in a memory file beside those, of one they are constants.

    Parameters: folding; constants; name, of the layer, for the memory file.

    Members: fold; left: sum_bits for each of folding.pe channels times folding.carried places, right: times pixels,
    index channel * places + place, first lowest; both :attr:`LATENCY` cycles after fold.
    """

    LATENCY = 1
    """Clock cycles from the fold to its constants."""

    def __init__(self, folding: Folding, constants: ConvolutionConstants, *, name: str) -> None:
        bits = self._bits = constants.sum_bits
        # The outputs of surplus channels are dropped: anything will do for them, and 0 takes no memory.
        surplus = ((0, folding.folds * folding.pe - len(constants.left)), (0, 0))
        tables = (np.pad(values, surplus) for values in (constants.left, constants.right))
        self._rows = np.concatenate([table.reshape(folding.folds, -1) for table in tables], axis=1)
        # Most places do not touch padding: only the others take memory.
        self._used = [column for column in range(self._rows.shape[1]) if self._rows[:, column].any()]
        self._rom: Rom | None = None
        if self._used and folding.folds > 1:
            words = [sum(int(row[c]) << (bits * i) for i, c in enumerate(self._used)) for row in self._rows]
            # Most bits are the same in all folds: look-up tables need not hold them, a block RAM would.
            width, style = bits * len(self._used), "distributed"
            self._rom = Rom(joined_name(name, "padding"), width, folding.folds, words, style=style)
        super().__init__(
            {
                "fold": In(range(folding.folds)),
                "left": Out(unsigned(bits * folding.pe * folding.carried)),
                "right": Out(unsigned(bits * folding.pe * folding.packing.pixels)),
            }
        )

    @property
    def memory_images(self) -> dict[str, str]:
        """The memory file: bare name -> text."""
        return {} if self._rom is None else self._rom.memory_images

    def elaborate(self, platform: object) -> Module:
        """Spread a word of the memory over the places."""
        m = Module()
        values: list[Value] = [Const(value, self._bits) for value in self._rows[0].tolist()]
        if self._rom is not None:
            m.submodules.rom = rom = self._rom
            m.d.comb += rom.addr.eq(self.fold)
            for i, column in enumerate(self._used):
                values[column] = rom.data.word_select(i, self._bits)
        places = len(self.left) // self._bits
        for target, part in ((self.left, values[:places]), (self.right, values[places:])):
            m.d.comb += [target.word_select(i, self._bits).eq(value) for i, value in enumerate(part)]
        return m
