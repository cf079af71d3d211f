"""Reference of the DSP48E2 slice for its simulation model: one object per slice, stepped clock by clock.

It works on Python integers of any size and looks the functions of INMODE, OPMODE and ALUMODE up in tables, as AMD's
user guide UG579 lists them, where the Verilog decodes them bit by bit. Of the DSP48E1 (UG479) it is the reference too:
a slice with the same functions of a narrower pre-adder, without W and RND.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import ClassVar

#: Inputs that a stimulus sets, with their widths. CLK, CARRYCASCIN and MULTSIGNIN are not among them.
INPUTS: dict[str, int] = {
    **{"A": 30, "ACIN": 30, "ALUMODE": 4, "B": 18, "BCIN": 18, "C": 48, "CARRYIN": 1, "CARRYINSEL": 3},
    **{"D": 27, "INMODE": 5, "OPMODE": 9, "PCIN": 48},
    **{"CEA1": 1, "CEA2": 1, "CEAD": 1, "CEALUMODE": 1, "CEB1": 1, "CEB2": 1, "CEC": 1, "CECARRYIN": 1},
    **{"CECTRL": 1, "CED": 1, "CEINMODE": 1, "CEM": 1, "CEP": 1},
    **{"RSTA": 1, "RSTALLCARRYIN": 1, "RSTALUMODE": 1, "RSTB": 1, "RSTC": 1, "RSTCTRL": 1, "RSTD": 1},
    **{"RSTINMODE": 1, "RSTM": 1, "RSTP": 1},
}
CLOCK_ENABLES = tuple(name for name in INPUTS if name.startswith("CE"))
RESETS = tuple(name for name in INPUTS if name.startswith("RST"))

#: Outputs that are compared, with their widths.
OUTPUTS: dict[str, int] = {"P": 48, "PCOUT": 48, "ACOUT": 30, "BCOUT": 18}

Pins = dict[str, int]


@dataclass(frozen=True)
class Attributes:
    """Attributes of one slice; the defaults are the primitive's, names in lower case."""

    areg: int = 1
    acascreg: int = 1
    breg: int = 1
    bcascreg: int = 1
    creg: int = 1
    dreg: int = 1
    adreg: int = 1
    mreg: int = 1
    preg: int = 1
    inmodereg: int = 1
    opmodereg: int = 1
    alumodereg: int = 1
    carryinreg: int = 1
    carryinselreg: int = 1
    amultsel: str = "A"
    a_input: str = "DIRECT"
    b_input: str = "DIRECT"
    use_mult: str = "MULTIPLY"
    rnd: int = 0

    def parameters(self) -> dict[str, str]:
        """Verilog parameter names and literals of an instance with these attributes."""
        values: dict[str, str] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            values[field.name.upper()] = f'"{value}"' if isinstance(value, str) else str(value)
        values["RND"] = f"48'h{self.rnd:012x}"
        return values


def signed(value: int, width: int) -> int:
    """The two's complement value of the low ``width`` bits."""
    value &= (1 << width) - 1
    return value - (1 << width) if value >> (width - 1) else value


#: UG579, INMODE[3:1] with AMULTSEL = "AD", PREADDINSEL = "A": what the pre-adder gives.
_PRE_ADDER: dict[int, Callable[[int, int], int]] = {
    0b000: lambda a, d: a,
    0b001: lambda a, d: 0,
    0b010: lambda a, d: d + a,
    0b011: lambda a, d: d,
    0b100: lambda a, d: -a,
    0b101: lambda a, d: 0,
    0b110: lambda a, d: d - a,
    0b111: lambda a, d: d,
}

#: UG579, ALUMODE: the arithmetic functions of Z, S = W + X + Y and CIN.
_ALU: dict[int, Callable[[int, int, int], int]] = {
    0b0000: lambda z, s, cin: z + s + cin,
    0b0011: lambda z, s, cin: z - (s + cin),
    0b0001: lambda z, s, cin: -z + (s + cin) - 1,
    0b0010: lambda z, s, cin: -(z + s + cin) - 1,
}


class Dsp48e2:
    """One slice: :meth:`outputs` before a clock edge, then :meth:`clock` for the edge.

    Registers start at 0, as after configuration. A reset is synchronous and wins over the clock enable.
    """

    #: Width of the pre-adder, its operands and the multiplicand.
    PRE_ADDER_BITS: ClassVar[int] = 27

    def __init__(self, attributes: Attributes) -> None:
        self.attributes = attributes
        self.registers: dict[str, int] = dict.fromkeys(
            ("A1", "A2", "B1", "B2", "C", "D", "AD", "M", "P", "INMODE", "OPMODE", "ALUMODE"), 0
        )
        self.registers["CARRYIN"] = 0

    def _input_path(self, port: str, pins: Pins) -> tuple[int, int, int, int]:
        """Of A or B: the value at the port, after the last register, at the multiplier, on the cascade."""
        count = getattr(self.attributes, f"{port.lower()}reg")
        cascaded = getattr(self.attributes, f"{port.lower()}_input") == "CASCADE"
        stages = [pins[f"{port}CIN"] if cascaded else pins[port]]
        stages += [self.registers[f"{port}2"]] if count == 1 else []
        stages += [self.registers[f"{port}1"], self.registers[f"{port}2"]] if count == 2 else []
        first_tap = self._control("INMODE", pins) >> (0 if port == "A" else 4) & 1
        if first_tap and count != 2:
            raise ValueError(f"the first register of {port} is not there")
        cascade = stages[getattr(self.attributes, f"{port.lower()}cascreg")]
        return stages[0], stages[-1], stages[1] if first_tap else stages[-1], cascade

    def _control(self, name: str, pins: Pins) -> int:
        return self.registers[name] if getattr(self.attributes, f"{name.lower()}reg") else pins[name]

    def _pre_adder(self, pins: Pins) -> int:
        """The output of the pre-adder, before its register."""
        bits = self.PRE_ADDER_BITS
        a = signed(self._input_path("A", pins)[2], bits)
        d = signed(self.registers["D"] if self.attributes.dreg else pins["D"], bits)
        return signed(_PRE_ADDER[self._control("INMODE", pins) >> 1 & 0b111](a, d), bits)

    def _product(self, pins: Pins) -> int:
        """The product before its register."""
        if self.attributes.amultsel == "AD":
            multiplicand = self.registers["AD"] if self.attributes.adreg else self._pre_adder(pins)
        else:
            gated = self._control("INMODE", pins) >> 1 & 1
            multiplicand = 0 if gated else signed(self._input_path("A", pins)[2], self.PRE_ADDER_BITS)
        return multiplicand * signed(self._input_path("B", pins)[2], 18)

    def _sum(self, pins: Pins) -> int:
        """The 48-bit output of the adder, before its register: the multiplexer tables of UG579."""
        registers, attributes = self.registers, self.attributes
        opmode = self._control("OPMODE", pins)
        p = signed(registers["P"], 48)
        pcin = signed(pins["PCIN"], 48)
        c = registers["C"] if attributes.creg else pins["C"]
        product = registers["M"] if attributes.mreg else self._product(pins)
        concatenated = self._input_path("A", pins)[1] << 18 | self._input_path("B", pins)[1]
        # M is the sum of two partial products: X and Y select it together, and it is counted once.
        x_and_y = {0b0101: product}
        x_and_y |= {
            y << 2 | x: y_value + x_value
            for y, y_value in {0b00: 0, 0b10: (1 << 48) - 1, 0b11: c}.items()
            for x, x_value in {0b00: 0, 0b10: p, 0b11: concatenated}.items()
        }
        z = {0b000: 0, 0b001: pcin, 0b010: p, 0b011: c, 0b101: pcin // 2**17, 0b110: p // 2**17}
        w = {0b00: 0, 0b01: p, 0b10: attributes.rnd, 0b11: c}
        alu = _ALU[self._control("ALUMODE", pins)]
        total = alu(z[opmode >> 4 & 0b111], w[opmode >> 7] + x_and_y[opmode & 0b1111], self._carry(pins))
        return total % (1 << 48)

    def _carry(self, pins: Pins) -> int:
        return self.registers["CARRYIN"] if self.attributes.carryinreg else pins["CARRYIN"]

    def outputs(self, pins: Pins) -> Pins:
        """The outputs, with these inputs, before the next clock edge."""
        p = self.registers["P"] if self.attributes.preg else self._sum(pins)
        return {
            "P": p,
            "PCOUT": p,
            "ACOUT": self._input_path("A", pins)[3],
            "BCOUT": self._input_path("B", pins)[3],
        }

    def clock(self, pins: Pins) -> None:
        """One rising edge of the clock with these inputs."""
        a_port, b_port = self._input_path("A", pins)[0], self._input_path("B", pins)[0]
        old = dict(self.registers)
        loads = {  # register: (its next value, clock enable, reset)
            "A1": (a_port, "CEA1", "RSTA"),
            "A2": (old["A1"] if self.attributes.areg == 2 else a_port, "CEA2", "RSTA"),
            "B1": (b_port, "CEB1", "RSTB"),
            "B2": (old["B1"] if self.attributes.breg == 2 else b_port, "CEB2", "RSTB"),
            "C": (pins["C"], "CEC", "RSTC"),
            "D": (pins["D"], "CED", "RSTD"),
            "AD": (self._pre_adder(pins), "CEAD", "RSTD"),
            "M": (self._product(pins), "CEM", "RSTM"),
            "P": (self._sum(pins), "CEP", "RSTP"),
            "INMODE": (pins["INMODE"], "CEINMODE", "RSTINMODE"),
            "OPMODE": (pins["OPMODE"], "CECTRL", "RSTCTRL"),
            "ALUMODE": (pins["ALUMODE"], "CEALUMODE", "RSTALUMODE"),
            "CARRYIN": (pins["CARRYIN"], "CECARRYIN", "RSTALLCARRYIN"),
        }
        for name, (value, enable, reset) in loads.items():
            if pins[reset]:
                self.registers[name] = 0
            elif pins[enable]:
                self.registers[name] = value


class Dsp48e1(Dsp48e2):
    """The older slice, given the same pins: two bits of OPMODE must be 0, two bits of D do not count."""

    PRE_ADDER_BITS: ClassVar[int] = 25


def simulate_chain(
    stages: tuple[Attributes, ...], stimulus: list[list[Pins]], slice_type: type[Dsp48e2] = Dsp48e2
) -> list[list[Pins]]:
    """Outputs of each slice in each cycle, before that cycle's clock edge.

    Args:
        stages: the slices, first of the chain first.
        stimulus: for each cycle, the inputs of each slice. PCIN, ACIN and BCIN of all but the first slice are
            what their neighbour's PCOUT, ACOUT and BCOUT give.
        slice_type: which kind of slice.
    """
    slices = [slice_type(attributes) for attributes in stages]
    trace: list[list[Pins]] = []
    for cycle in stimulus:
        row: list[Pins] = []
        driven: list[Pins] = []
        for slice_, own in zip(slices, cycle, strict=True):
            pins = dict(own)
            if row:
                pins |= {"PCIN": row[-1]["PCOUT"], "ACIN": row[-1]["ACOUT"], "BCIN": row[-1]["BCOUT"]}
            driven.append(pins)
            row.append(slice_.outputs(pins))
        for slice_, pins in zip(slices, driven, strict=True):
            slice_.clock(pins)
        trace.append(row)
    return trace
