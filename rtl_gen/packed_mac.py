"""The packed multiplier on its own: plain codes in, exact sums out, for any Amaranth design."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from mixq.formats import IntFormat
from mixq.packing import Packing
from rtl_gen.checks import checked_int
from rtl_gen.dsp import Target
from rtl_gen.operands import activation_operand, encode_weights, operand_bits
from rtl_gen.packed_chain import PackedChain, check_target
from rtl_gen.pipeline import delayed
from rtl_gen.recentring import Recentring


class PackedMac(wiring.Component):
    """Sums of products of small integers, several in each DSP: ``packing.compute()`` in hardware, exactly.

    In each cycle every one of ``length`` units, one or more DSPs each, multiplies ``packing.pixels`` activations by
    ``packing.taps`` weights of ``packing.channels`` output channels, and all of them add up, for each channel m and
    position e,

        lanes[m][e] = sum over i < length, n + k = e of activations[i][n] * weights[i][m][k],

    over the cycles from ``first`` to ``last``. With ``solve(4, 4, accumulate=9)``, six products of 4 bits lie in one
    DSP like this, two columns a bit (:func:`mixq.drawing.draw_text` draws any packing):

    ::

        activations, 18-bit port
          . . . |   x1  . . . . . . . |   x0
        weights, 27-bit port
          . |   w2  . . . . . . . |   w1  . . . . . . . |   w0
        accumulator, 48 bits
          |              y3             |          y2         |          y1         |          y0

    Here y1 = x0 * w1 + x1 * w0. A lane of 11 bits holds nine such sums, so up to nine products (``accumulate_max``),
    in space and time together, are added before the lanes are read.

    Parameters
    ----------
    packing: arithmetic of each unit, from :func:`mixq.packing.solve`.
    length: units. accumulate: most cycles from ``first`` to ``last``, both included; length * accumulate must not
    exceed ``packing.accumulate_max``.
    target: "dsp48e2" and "dsp48e1" instantiate the primitive, which must be the packing's, "generic" describes the
    same registers in plain Verilog.

    Members
    -------
    activations: codes indexed [i][n], ``act_bits`` each, two's complement where ``packing.act_signed``; in Verilog one
    vector, [0][0] lowest. weights: two's-complement codes indexed [i][m][k], within ``packing.weight_bounds``; of 1
    bit, a 1 is +1 and a 0 is -1.
    valid: there are operands in this cycle; there may be cycles without between those of a sum.
    first, last: with ``valid``, the first and the last operands of a sum. Left open they are 1: every cycle is a sum.
    lanes: sums indexed [m][e], signed, :attr:`lane_format` each. done: with the lanes of a sum, for one cycle.

    What recentring unsigned activations takes from the sums and what lifting the lanes adds to them is put right
    inside: the weights are added up beside the DSPs.

    Latency: :attr:`latency` cycles from the last operands to ``done``. Throughput: operands in every cycle, and
    no gap between sums. A reset drops what is on its way.

    Raises TypeError, ValueError for wrong parameters.

    Example: three taps over two pixels, summed over two input channels, inside another design.

    >>> from amaranth.hdl import Module, Signal
    >>> from mixq.packing import solve
    >>> from rtl_gen import PackedMac
    >>> m = Module()
    >>> m.submodules.mac = mac = PackedMac(solve(4, 4, accumulate=9), length=2, target="generic")
    >>> pixels = [[Signal(4, init=1), Signal(4, init=2)], [Signal(4, init=3), Signal(4, init=4)]]
    >>> weights = [[5, -6, 7], [-1, 0, 1]]
    >>> for i in range(2):
    ...     m.d.comb += [mac.activations[i][n].eq(pixels[i][n]) for n in range(2)]
    ...     m.d.comb += [mac.weights[i][0][k].eq(weights[i][k]) for k in range(3)]
    >>> m.d.comb += mac.valid.eq(1)

    The sums are there ``mac.latency`` cycles later, and are what ``compute`` says.

    >>> from amaranth.sim import Simulator
    >>> async def bench(ctx):
    ...     await ctx.tick().repeat(mac.latency)
    ...     print(ctx.get(mac.done), list(ctx.get(mac.lanes[0])))
    >>> simulator = Simulator(m)
    >>> simulator.add_clock(4e-9)
    >>> simulator.add_testbench(bench)
    >>> simulator.run()
    1 [2, 0, -2, 18]
    >>> mac.packing.compute([[1, 2], [3, 4]], [[[5, -6, 7]], [[-1, 0, 1]]]).tolist()
    [[2, 0, -2, 18]]
    """

    def __init__(self, packing: Packing, *, length: int = 1, accumulate: int = 1, target: Target = "dsp48e2") -> None:
        if not isinstance(packing, Packing):
            raise TypeError(f"packing must be a Packing, not {packing!r}")
        checked_int("length", length, low=1)
        checked_int("accumulate", accumulate, low=1)
        if length * accumulate > packing.accumulate_max:
            raise ValueError(
                f"length * accumulate must be at most {packing.accumulate_max} for this packing, "
                f"not {length * accumulate!r}"
            )
        check_target(packing, target)
        self._packing = packing
        self._length = length
        self._accumulate = accumulate
        # A cascade of carry-tracked DSPs wants sums of one length without gaps: here each is read on its own.
        chains = length if packing.tracked else 1
        self._chains = [
            PackedChain(packing, length=length // chains, accumulate=accumulate, target=target) for _ in range(chains)
        ]
        act = signed(packing.act_bits) if packing.act_signed else unsigned(packing.act_bits)
        weight = unsigned(1) if packing.weight_bits == 1 else signed(packing.weight_bits)
        super().__init__(
            {
                "activations": In(nested(act, length, packing.pixels)),
                "weights": In(nested(weight, length, packing.channels, packing.taps)),
                "valid": In(1),
                "first": In(1, init=1),
                "last": In(1, init=1),
                "lanes": Out(nested(signed(self.lane_format.width), packing.channels, packing.positions)),
                "done": Out(1),
            }
        )

    @property
    def packing(self) -> Packing:
        """Arithmetic of each unit; its ``compute`` is the reference."""
        return self._packing

    @property
    def length(self) -> int:
        """Units in the chain."""
        return self._length

    @property
    def accumulate(self) -> int:
        """Most cycles of a sum."""
        return self._accumulate

    @property
    def lane_format(self) -> IntFormat:
        """Format and exact range of the widest lane: signed, for length * accumulate products."""
        packing = self._packing
        products = [act * weight for act in packing.act_bounds for weight in packing.weight_bounds]
        terms = min(packing.pixels, packing.taps) * self._length * self._accumulate
        return IntFormat.for_range(terms * min(products), terms * max(products), signed=True)

    @property
    def dsps(self) -> int:
        """DSPs in all."""
        return self._length * self._packing.dsps

    @property
    def latency(self) -> int:
        """Cycles from the last operands to the lanes: operands' register, skew of the chain, chain, lanes' register."""
        return 1 + self._skew + self._chains[0].latency + ceil_log2(len(self._chains)) + 1

    @property
    def _skew(self) -> int:
        return 0 if self._packing.tracked else self._length - 1

    def elaborate(self, platform: object) -> Module:
        """Register and skew the operands, build the chains, and correct their sums."""
        m = Module()
        go_on, valid = Signal(), Signal()
        m.d.sync += [go_on.eq(~(self.valid & self.first)), valid.eq(self.valid)]
        acts, words, weights = self._operands(m)
        sums = self._sums(m, acts, words, {"go_on": go_on, "valid": valid})
        corrections = self._corrections(m, weights, go_on, valid)
        m.d.sync += self.done.eq(delayed(m, self.valid & self.last, self.latency - 1, name="done", reset=True))
        positions = self._packing.positions
        for index, (total, correction) in enumerate(zip(sums, corrections, strict=True)):
            m.d.sync += self.lanes[index // positions][index % positions].eq(total + correction)
        return m

    def _operands(self, m: Module) -> tuple[list[Value], list[Value], list[Value]]:
        """Activation operands, weight words and plain weights of each position, registered and skewed."""
        packing = self._packing
        acts, words, weights = [], [], []
        for i in range(self._length):
            act, word = Signal(operand_bits(packing), name=f"act_{i}"), Signal(packing.stored_bits, name=f"word_{i}")
            plain = Signal(len(self.weights[i].as_value()), name=f"weights_{i}")
            m.d.sync += [
                act.eq(activation_operand(packing, self.activations[i].as_value())),
                # Where there are no operands a sum goes on with weights of 0, which leave it as it is.
                word.eq(Mux(self.valid, encode_weights(packing, self.weights[i].as_value()), 0)),
                plain.eq(Mux(self.valid, self.weights[i].as_value(), 0)),
            ]
            skew = i if self._skew else 0
            acts.append(delayed(m, act, skew, name=f"act_{i}"))
            words.append(delayed(m, word, skew, name=f"word_{i}"))
            weights.append(delayed(m, plain, skew, name=f"weights_{i}"))
        return acts, words, weights

    def _sums(self, m: Module, acts: list[Value], words: list[Value], control: dict[str, Signal]) -> list[Value]:
        """Lifted sums of all chains together, channel by channel."""
        parts: list[list[Value]] = []
        size = self._length // len(self._chains)
        for number, chain in enumerate(self._chains):
            m.submodules[f"chain_{number}" if number else "chain"] = chain
            own = slice(number * size, (number + 1) * size)
            m.d.comb += [chain.activations.eq(Cat(*acts[own])), chain.weights.eq(Cat(*words[own]))]
            for name, signal in control.items():
                late = [delayed(m, signal, i, name=f"{name}_{number}") for i in range(size)]
                m.d.comb += getattr(chain, name).eq(Cat(*late))
            ends = [sum(chain.sum_bits[:i]) for i in range(len(chain.sum_bits) + 1)]
            parts.append([chain.sums[a:b] for a, b in pairwise(ends)])
        return [self._added(m, list(terms), index) for index, terms in enumerate(zip(*parts, strict=True))]

    def _added(self, m: Module, terms: list[Value], index: int) -> Value:
        """Sum of the chains' sums, a register behind each level of a tree."""
        level = 0
        while len(terms) > 1:
            pairs = [sum(terms[i + 1 : i + 2], terms[i]) for i in range(0, len(terms), 2)]
            terms = []
            for i, pair in enumerate(pairs):
                register = Signal(pair.shape(), name=f"sum_{index}_{level}_{i}", reset_less=True)
                m.d.sync += register.eq(pair)
                terms.append(register)
            level += 1
        return terms[0]

    def _corrections(self, m: Module, weights: list[Value], go_on: Value, valid: Value) -> list[Value]:
        """What is to be added to each sum, in its cycle."""
        packing, chain = self._packing, self._chains[0]
        lifts = {"lift": -packing.sum_bounds(1)[0]} if packing.tracked else {"constant": chain.lift}
        m.submodules.recentring = part = Recentring(
            packing, length=self._length, accumulate=self._accumulate, skewed=not packing.tracked, **lifts
        )
        m.d.comb += [
            part.weights.eq(Cat(*weights)),
            part.go_on.eq(delayed(m, go_on, self._skew, name="go_on")),
            part.valid.eq(Cat(delayed(m, valid, i if self._skew else 0, name="valid") for i in range(self._length))),
        ]
        late = self.latency - 2 - self._skew - part.latency
        corrections = delayed(m, part.corrections, late, name="corrections")
        count = packing.channels * packing.positions
        return [corrections.word_select(i, part.bits).as_signed() for i in range(count)]


def nested(shape: Any, *lengths: int) -> Any:
    """Array of arrays, outermost length first."""
    for length in reversed(lengths):
        shape = data.ArrayLayout(shape, length)
    return shape
