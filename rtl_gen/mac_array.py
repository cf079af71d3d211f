"""All multipliers of a convolution: operands, weight memories and chains of packed DSPs."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Signal, Value, unsigned
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from mixq.plan.folding import Folding
from rtl_gen.convolution_constants import IntArray, weight_words
from rtl_gen.dsp import Target
from rtl_gen.line_buffer import LINE_BUFFER_LATENCY
from rtl_gen.names import joined_name
from rtl_gen.operands import activation_operand, operand_bits
from rtl_gen.packed_chain import PackedChain
from rtl_gen.pipeline import delayed
from rtl_gen.rom import Rom, merged_images


class MacArray(wiring.Component):
    """``folding.columns`` times ``folding.chains`` chains that share weight addresses, those of a group activations.

    Position i of every chain works i cycles (of a carry-tracked packing, i sums) later than position 0. Its activations
    are delayed once for all columns of a group, and its weights lie in a memory of their own whose address comes as
    much later.

    Parameters: folding; weights (C_out, C_in / groups, K, K), C_in in the order of the stream; name, of the layer, for
    memory files; target.

    Members
    -------
    weight: address of the weights, in the cycle of the line buffer's position. codes: from the line buffer,
    :data:`rtl_gen.line_buffer.LINE_BUFFER_LATENCY` cycles later. go_on, read: in the cycle of the position.
    sums: of each chain as :class:`rtl_gen.packed_chain.PackedChain` gives them, index column * chains + chain, first
    lowest; :attr:`latency` cycles after.
    """

    def __init__(self, folding: Folding, weights: IntArray, *, name: str, target: Target = "dsp48e2") -> None:
        self._folding = folding
        self._target = target
        self._roms = weight_memories(folding, weights, name)
        self._constant = weight_words(folding, weights) if folding.weight_depth == 1 else None
        self._chains = [self._chain() for _ in range(folding.columns * folding.chains)]
        super().__init__(array_signature(folding, sum(len(chain.sums) for chain in self._chains)))

    def _chain(self) -> PackedChain:
        folding = self._folding
        return PackedChain(
            folding.dsp_packing,
            length=folding.cascade,
            accumulate=folding.accumulate,
            bounds=folding.bounds,
            target=self._target,
        )

    @property
    def operand_latency(self) -> int:
        """Cycles from the position to the operands of position 0; adders that join activations take one more."""
        return operand_latency(self._folding)

    @property
    def latency(self) -> int:
        """Cycles from the position to its sums."""
        return self.operand_latency + (self._folding.cascade - 1) * self._folding.skew + self._chains[0].latency

    @property
    def memory_images(self) -> dict[str, str]:
        """Weight files: bare name -> text."""
        return merged_images(self._roms)

    def elaborate(self, platform: object) -> Module:
        """Share out activations and weights among the chains."""
        m = Module()
        folding, packing = self._folding, self._folding.dsp_packing
        activations = self._activations(m)
        weights = self._weights(m)
        go_on = Cat(*self._skewed(m, delayed(m, self.go_on, self.operand_latency, name="go_on"), "go_on"))
        for index, chain in enumerate(self._chains):
            column, number = divmod(index, folding.chains)
            first = folding.group_of(column) * folding.simd + number * folding.cascade
            m.submodules[f"column_{column}_chain_{number}"] = chain
            m.d.comb += [
                chain.activations.eq(Cat(activations[first:][: folding.cascade])),
                chain.weights.eq(Cat(word.word_select(index, packing.stored_bits) for word in weights)),
                chain.go_on.eq(go_on),
                self.sums.word_select(index, len(chain.sums)).eq(chain.sums),
            ]
        return m

    def _skewed(self, m: Module, value: Value, name: str) -> list[Value]:
        """What comes to position 0, for each position of a chain in the cycle of its operands."""
        late = [value]
        for i in range(1, self._folding.cascade):
            late.append(delayed(m, late[-1], self._folding.skew, name=f"{name}_position_{i}"))
        return late

    def _activations(self, m: Module) -> list[Value]:
        """Operand of each input term of each group, delayed by its position in the chain."""
        folding = self._folding
        return [
            delayed(m, operand, folding.term_delay(term % folding.cascade), name=f"operand_{term}")
            for term, operand in enumerate(operands_of(m, folding, self.codes))
        ]

    def _weights(self, m: Module) -> list[Value]:
        """Word of each position in the chain, for all chains, in the cycle of its activations."""
        folding = self._folding
        if self._constant is not None:
            return constant_words(folding, self._constant)
        addresses = self._skewed(m, delayed(m, self.weight, self.operand_latency - 2, name="weight"), "weight")
        words = []
        for i, (rom, address) in enumerate(zip(self._roms, addresses, strict=True)):
            m.submodules[f"weights_{i}"] = rom
            m.d.comb += rom.addr.eq(address)
            words.append(rom.data)
        return words


def array_signature(folding: Folding, sum_bits: int) -> dict[str, Out | In]:
    """Members of the multipliers of a convolution; see :class:`MacArray`. sum_bits: of all chains."""
    packing = folding.dsp_packing
    return {
        "weight": In(range(folding.weight_depth)),
        "codes": In(unsigned(folding.inputs * packing.pixels * packing.act_bits)),
        "go_on": In(1),
        "sums": Out(unsigned(sum_bits)),
    }


def joins_activations(folding: Folding) -> bool:
    """Whether adders join activations, with a register behind them."""
    return any(part.product.joins_activations for part in folding.dsp_packing.parts)


def operand_latency(folding: Folding) -> int:
    """Cycles from a position to the operands of its first terms; adders that join activations take one more."""
    return LINE_BUFFER_LATENCY + int(joins_activations(folding))


def operands_of(m: Module, folding: Folding, codes: Value) -> list[Value]:
    """Operand of each input term from the line buffer's codes, :func:`operand_latency` after the position.

    Those of a group one after another: group * simd + term.
    """
    packing, operands = folding.dsp_packing, []
    for index in range(folding.inputs):
        place = folding.input_term(*divmod(index, folding.simd))
        operand = Signal(operand_bits(packing), name=f"operand_{index}")
        domain = m.d.sync if joins_activations(folding) else m.d.comb
        domain += operand.eq(activation_operand(packing, codes.word_select(place, packing.pixels * packing.act_bits)))
        operands.append(operand)
    return operands


def constant_words(folding: Folding, words: IntArray) -> list[Value]:
    """Weights that never change, as :class:`MacArray` takes them: a word of all chains for each term of a chain."""
    bits = folding.weight_width
    return [Const(_joined(words[:, i :: folding.cascade, 0], folding), bits) for i in range(folding.cascade)]


def weight_memories(folding: Folding, weights: IntArray, name: str) -> list[Rom]:
    """One memory for each term of a chain; none where the weights never change."""
    if folding.weight_depth == 1:
        return []
    words = weight_words(folding, weights)
    return [
        Rom(
            joined_name(name, f"weights_{i}"),
            folding.weight_width,
            folding.weight_depth,
            [_joined(words[:, i :: folding.cascade, address], folding) for address in range(folding.weight_depth)],
            style=folding.weight_style,
            output_register=True,
        )
        for i in range(folding.cascade)
    ]


def _joined(words: IntArray, folding: Folding) -> int:
    """Words (columns, chains) as one, column * chains + chain, first lowest."""
    joined = 0
    for index, word in enumerate(words.reshape(-1).tolist()):
        joined |= word << (index * folding.packing.stored_bits)
    return joined
