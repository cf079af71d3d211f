"""Reports in the format of Vivado's text tables, as UG906 shows them, with the figures asked for."""

from __future__ import annotations

HEAD = """\
Copyright 1986-2022 Xilinx, Inc. All Rights Reserved.    Copyright 2022-2023 Advanced Micro Devices, Inc.
------------------------------------------------------------------------------------------------------------
| Tool Version : Vivado v.2023.2 (lin64) Build 4029153 Fri Oct 13 20:13:54 MDT 2023
| Command      : report
| Design       : mixq_top
| Device       : xczu3eg-sbva484-1-i
| Design State : Routed
------------------------------------------------------------------------------------------------------------

"""


def table(names: str, *rows: tuple[str, str]) -> str:
    """One of the tables of ``report_utilization``: the rows' other figures are of no interest."""
    columns = ["Site Type", *names.split()]
    lines = [f"| {columns[0]:<26} | " + " | ".join(f"{name:>10}" for name in columns[1:]) + " |"]
    for name, used in rows:
        figures = {"Used": used, "Util%": "12.34"}
        lines.append(f"| {name:<26} | " + " | ".join(f"{figures.get(c, '99999'):>10}" for c in columns[1:]) + " |")
    bar = "+" + "-" * 28 + ("+" + "-" * 12) * (len(columns) - 1) + "+"
    return "\n".join([bar, lines[0], bar, *lines[1:], bar, ""])


def utilization(*, lut: str, ff: str, dsp: str, bram: str, uram: str | None, seventh: bool = False) -> str:
    """The text of ``report_utilization``; 7-series name their slices otherwise, and lack a column in older versions."""
    block = "Slice" if seventh else "CLB"
    columns = "Used Fixed Available Util%" if seventh else "Used Fixed Prohibited Available Util%"
    logic = table(
        columns,
        (f"{block} LUTs{'*' if seventh else ''}", lut),
        ("  LUT as Logic", "7"),
        ("  LUT as Memory", "1"),
        (f"{block} Registers", ff),
        ("  Register as Flip Flop", "5"),
        ("  Register as Latch", "0"),
    )
    memory = [("Block RAM Tile", bram), ("  RAMB36/FIFO*", "3"), ("  RAMB18", "1")]
    memory += [] if uram is None else [("URAM", uram)]
    arithmetic = table(columns, ("DSPs", dsp), ("  DSP48E2 only", dsp))
    note = "* Warning! The Final LUT count, after physical optimizations and full implementation, is typically lower.\n"
    return (
        f"{HEAD}Utilization Design Information\n\n1. {block} Logic\n------------\n\n{logic}{note}\n"
        f"3. BLOCKRAM\n-----------\n\n{table(columns, *memory)}\n4. ARITHMETIC\n-------------\n\n{arithmetic}"
    )


_NAMES = (
    "WNS(ns)", "TNS(ns)", "TNS Failing Endpoints", "TNS Total Endpoints", "WHS(ns)", "THS(ns)",
    "THS Failing Endpoints", "THS Total Endpoints", "WPWS(ns)", "TPWS(ns)", "TPWS Failing Endpoints",
    "TPWS Total Endpoints",
)  # fmt: skip


def timing(*, wns: str, tns: str, failing: str, whs: str, ths: str = "0.000") -> str:
    """The text of ``report_timing_summary`` up to the table of clocks."""
    values = (wns, tns, failing, "41234", whs, ths, "0", "41234", "0.958", "0.000", "0", "15678")
    widths = [max(len(name), len(value)) for name, value in zip(_NAMES, values, strict=True)]
    rows = [
        "  ".join(text.rjust(width) for text, width in zip(texts, widths, strict=True))
        for texts in (_NAMES, ["-" * len(name) for name in _NAMES], values)
    ]
    summary = "\n".join(f"    {row}  " for row in rows)
    return (
        f"{HEAD}Timing Summary Report\n\n| Design Timing Summary\n| ---------------------\n\n{summary}\n\n\n"
        "| Clock Summary\n| -------------\n\nClock   Waveform(ns)         Period(ns)      Frequency(MHz)\n"
        "-----   ------------         ----------      --------------\n"
        "ap_clk  {0.000 1.666}        3.333           300.030         \n\n"
        "Clock             WNS(ns)      TNS(ns)\n-----             -------      -------\n"
        "ap_clk            9.999        9.999\n"
    )
