"""Writes the filter as one Verilog file: ``python -m examples.fir_filter.write_verilog fir_filter.v``."""

from __future__ import annotations

import sys
from pathlib import Path

from amaranth.back import verilog

from examples.fir_filter.design import FirFilter
from rtl_gen.dsp import Target


def write(path: Path, *, target: Target = "dsp48e2") -> FirFilter:
    """Write module ``fir_filter`` to a file, and return what it was made of."""
    design = FirFilter(target=target)
    path.write_text(verilog.convert(design, name="fir_filter", strip_internal_attrs=True))
    return design


if __name__ == "__main__":
    row = write(Path(sys.argv[1])).row
    macs = row.packing.pixels * row.packing.kernel
    print(f"{row.dsps} DSPs, {macs} multiplications a cycle, latency {row.latency} cycles")
