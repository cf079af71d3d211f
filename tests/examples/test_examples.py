"""The examples do what their pages say: their benches pass, and their Verilog is of the size named there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from examples.fir_filter.design import FirFilter
from examples.matrix_vector.design import MatrixVector
from examples.simulate import EXAMPLES, simulate
from mixq.errors import CheckFailed
from rtl_gen.dsp import Target

# Tests of the bench; multiplications a cycle, written out; DSPs; latency.
FIGURES = {
    "fir_filter": (3, 2 * 7, 4, 9),
    "matrix_vector": (3, 8 * 8, 16, 11),
}


@pytest.mark.cocotb
@pytest.mark.parametrize("simulator", ["icarus", pytest.param("verilator", marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", EXAMPLES)
def test_its_bench_passes(name: str, simulator: str, tmp_path: Path) -> None:
    assert simulate(name, simulator=simulator, folder=tmp_path) == FIGURES[name][0]


@pytest.mark.slow
@pytest.mark.cocotb
@pytest.mark.parametrize("name", EXAMPLES)
def test_its_bench_passes_without_the_primitive(name: str, tmp_path: Path) -> None:
    assert simulate(name, simulator="icarus", folder=tmp_path, target="generic") == FIGURES[name][0]


@pytest.mark.parametrize("name", EXAMPLES)
def test_its_script_writes_one_verilog_file(name: str, tmp_path: Path, root: Path) -> None:
    _, multiplications, dsps, latency = FIGURES[name]
    script = [sys.executable, "-m", f"examples.{name}.write_verilog", str(tmp_path / "design.v")]
    done = subprocess.run(script, capture_output=True, text=True, cwd=root, check=True)
    assert done.stdout == f"{dsps} DSPs, {multiplications} multiplications a cycle, latency {latency} cycles\n"
    assert [path.name for path in tmp_path.iterdir()] == ["design.v"]
    text = (tmp_path / "design.v").read_text()
    assert len(re.findall(r"^ +DSP48E2\b", text, flags=re.MULTILINE)) == dsps
    assert len(re.findall(rf"^module {name}\(", text, flags=re.MULTILINE)) == 1
    page = (root / "examples" / name / "README.md").read_text()
    assert f"{dsps} DSPs" in page
    assert f"{multiplications} multiplications in every cycle" in page
    assert f"{multiplications / dsps:.3g} for each DSP" in page
    assert f"{latency} cycles" in page


@pytest.mark.cocotb
def test_a_wrong_result_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def inverted(*, target: Target) -> FirFilter:
        return FirFilter((-1, 0, 9, 16, 9, 0, 1), target=target)

    # The bench, in the simulator's own Python, expects what it did before.
    monkeypatch.setattr("examples.fir_filter.write_verilog.FirFilter", inverted)
    with pytest.raises(CheckFailed, match=r"^fir_filter fails in icarus:\n") as error:
        simulate("fir_filter", simulator="icarus", folder=tmp_path)
    assert "filters_samples_without_gaps" in str(error.value)


def test_a_matrix_that_blocks_do_not_fill_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^columns must be a multiple of terms, not 65$"):
        MatrixVector(columns=65)
