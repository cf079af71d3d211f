"""Writes the unit as one Verilog file: ``python -m examples.matrix_vector.write_verilog matrix_vector.v``."""

from __future__ import annotations

import sys
from pathlib import Path

from amaranth.back import verilog

from examples.matrix_vector.design import MatrixVector
from rtl_gen.dsp import Target


def write(path: Path, *, target: Target = "dsp48e2") -> MatrixVector:
    """Write module ``matrix_vector`` to a file, and return what it was made of."""
    design = MatrixVector(target=target)
    path.write_text(verilog.convert(design, name="matrix_vector", strip_internal_attrs=True))
    return design


if __name__ == "__main__":
    unit = write(Path(sys.argv[1]))
    product = unit.product
    macs = product.terms * product.channels
    print(f"{product.dsps} DSPs, {macs} multiplications a cycle, latency {unit.latency} cycles")
