"""The packed multiplier on its own: plain codes in, exact sums out, for any Amaranth design."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from mixq.formats import IntFormat
from mixq.packing import Lane, Packing
from rtl_gen.checks import checked_int
from rtl_gen.dsp import TARGETS, Target
from rtl_gen.mac_chain import MacChain, activation_operand, operand_bits
from rtl_gen.pipeline import delayed


class PackedMac(wiring.Component):
    """Sums of products of small integers, several in each DSP: ``packing.compute()`` in hardware, exactly.

    In each cycle every one of ``length`` DSPs multiplies ``packing.pixels`` activations by ``packing.taps`` weights of
    ``packing.channels`` output channels, and the chain adds up, for each channel m and position e,

        lanes[m][e] = sum over i < length, n + k = e of activations[i][n] * weights[i][m][k],

    over the cycles from ``first`` to ``last``. With ``solve(4, 4)``, six products of 4 bits lie in one DSP like this,
    two columns a bit (:func:`mixq.drawing.draw_text` draws any packing):

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
    packing: arithmetic of each DSP, from :func:`mixq.packing.solve`.
    length: DSPs in the chain. accumulate: most cycles from ``first`` to ``last``, both included; length * accumulate
    must not exceed ``packing.accumulate_max``.
    target: "dsp48e2" instantiates the primitive, "generic" describes the same registers in plain Verilog.

    Members
    -------
    activations: codes indexed [i][n], ``act_bits`` each, two's complement where ``packing.act_signed``; in Verilog one
    vector, [0][0] lowest. weights: two's-complement codes indexed [i][m][k], within ``packing.weight_bounds``.
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
    >>> m.submodules.mac = mac = PackedMac(solve(4, 4), length=2, target="generic")
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
        if target not in TARGETS:
            raise ValueError(f"target must be one of {', '.join(TARGETS)}, not {target!r}")
        self._packing = packing
        self._length = length
        self._accumulate = accumulate
        self._target = target
        act = signed(packing.act_bits) if packing.act_signed else unsigned(packing.act_bits)
        weights = _nested(signed(packing.weight_bits), length, packing.channels, packing.taps)
        super().__init__(
            {
                "activations": In(_nested(act, length, packing.pixels)),
                "weights": In(weights),
                "valid": In(1),
                "first": In(1, init=1),
                "last": In(1, init=1),
                "lanes": Out(_nested(signed(self.lane_format.width), packing.channels, packing.positions)),
                "done": Out(1),
            }
        )

    @property
    def packing(self) -> Packing:
        """Arithmetic of each DSP; its ``compute`` is the reference."""
        return self._packing

    @property
    def lane_format(self) -> IntFormat:
        """Format and exact range of the widest lane: signed, for length * accumulate products."""
        packing = self._packing
        half = packing.half
        acts = (-half, half - 1) if packing.act_signed else (0, 2 * half - 1)
        products = [act * weight for act in acts for weight in packing.weight_bounds]
        terms = max(lane.terms for lane in packing.lanes) * self._length * self._accumulate
        return IntFormat.for_range(terms * min(products), terms * max(products), signed=True)

    @property
    def latency(self) -> int:
        """Cycles from the last operands to the lanes: operands' register, skew of the chain, DSP, lanes' register."""
        return 1 + (self._length - 1) + MacChain.LATENCY + 1

    def elaborate(self, platform: object) -> Module:
        """Register and skew the operands, chain the DSPs, and correct the lanes."""
        m = Module()
        packing, length = self._packing, self._length
        m.submodules.chain = chain = MacChain(packing, length=length, accumulate=self._accumulate, target=self._target)
        go_on = Signal()
        m.d.sync += go_on.eq(~(self.valid & self.first))
        acts, stored, weights = [], [], []
        for i in range(length):
            act, word = Signal(operand_bits(packing), name=f"act_{i}"), Signal(packing.stored_bits, name=f"word_{i}")
            plain = Signal(len(self.weights[i].as_value()), name=f"weights_{i}")
            m.d.sync += [
                act.eq(activation_operand(packing, self.activations[i].as_value())),
                # Where there are no operands a sum goes on with weights of 0, which leave it as it is.
                word.eq(Mux(self.valid, encode_weights(packing, self.weights[i].as_value()), 0)),
                plain.eq(Mux(self.valid, self.weights[i].as_value(), 0)),
            ]
            acts.append(delayed(m, act, i, name=f"act_{i}"))
            stored.append(delayed(m, word, i, name=f"word_{i}"))
            weights.append(delayed(m, plain, i, name=f"weights_{i}"))
        go_on = delayed(m, go_on, length - 1, name="go_on")
        m.d.comb += [chain.activations.eq(Cat(*acts)), chain.weights.eq(Cat(*stored)), chain.go_on.eq(go_on)]
        m.d.sync += self.done.eq(delayed(m, self.valid & self.last, self.latency - 1, name="done", reset=True))
        sums = self._weight_sums(m, weights, go_on) if packing.recentre else {}
        for lane in packing.lanes:
            correction = self._correction(m, lane, sums)
            field = chain.p[lane.offset : lane.offset + lane.width]
            m.d.sync += self.lanes[lane.channel][lane.position].eq(field + correction)
        return m

    def _weight_sums(self, m: Module, weights: list[Value], go_on: Value) -> dict[tuple[int, int], Value]:
        """Sums of the weights of a channel and tap from ``first`` on; two cycles after the end of the skew."""
        packing = self._packing
        bits = self._packing.weight_bits
        sums = {}
        for channel in range(packing.channels):
            for tap in range(packing.taps):
                # Along the skew, like the products along the cascade.
                total: Value = Const(0, 1)
                for i, plain in enumerate(weights):
                    weight = plain.word_select(channel * packing.taps + tap, bits).as_signed()
                    partial = Signal((weight + total).shape(), name=f"partial_{channel}_{tap}_{i}", reset_less=True)
                    m.d.sync += partial.eq(weight + total)
                    total = partial
                shape = signed(len(total) + (self._accumulate - 1).bit_length())
                held = Signal(shape, name=f"weight_sum_{channel}_{tap}", reset_less=True)
                late = delayed(m, go_on, 1, name=f"go_on_{channel}_{tap}")
                m.d.sync += held.eq(total + Mux(late, held, 0))
                sums[channel, tap] = held
        return sums

    def _correction(self, m: Module, lane: Lane, sums: dict[tuple[int, int], Value]) -> Value:
        """What turns a lane of the accumulator into the exact sum, in the cycle of the accumulator."""
        packing = self._packing
        lift = -packing.lane_lift(lane, self._length * self._accumulate)
        if not sums:
            return Const(lift)
        taps = [tap for tap in range(packing.taps) if 0 <= lane.position - tap < packing.pixels]
        total = sum((sums[lane.channel, tap] for tap in taps[1:]), sums[lane.channel, taps[0]])
        name = f"{lane.channel}_{lane.position}"
        seen = Signal(total.shape(), name=f"seen_{name}", reset_less=True)
        corrected = (seen << (packing.act_bits - 1)) + lift
        correction = Signal(corrected.shape(), name=f"correction_{name}", reset_less=True)
        m.d.sync += [seen.eq(total), correction.eq(corrected)]
        return correction


def encode_weights(packing: Packing, codes: Value) -> Value:
    """Stored word of plain weight codes (channel then tap, first lowest): ``packing.encode_weights`` in logic.

    A field is one less where what lies below it is negative, which the field below shows in its sign.
    """
    parts: list[Value] = []
    borrow: Value = Const(0, 1)
    for _, bits, channel, tap in packing.weight_fields:
        code = codes.word_select(channel * packing.taps + tap, packing.weight_bits).as_signed()
        field = (code - borrow)[:bits]
        borrow = field[-1]
        parts.append(field)
    return Cat(*parts)


def _nested(shape: object, *lengths: int) -> data.ArrayLayout:
    """Array of arrays, outermost length first."""
    for length in reversed(lengths):
        shape = data.ArrayLayout(shape, length)
    return shape
