"""Plans and generates whole networks, each in its own process, twice, as free as can be and held; then the driver.

Times depend on the machine and on what else it does; of a pair, which runs back to back, the ratio says more.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks import driver
from scripts.packing_tables import table

NETWORKS = {"vgg-tiny": "ultra96-v2", "ultranet": "ultra96-v2", "vgg-small": "zcu104"}
HELD = "original"

PAGE = """\
# Benchmarks

Planning and generating with all choices, and of the same integer network held to the densities of the original
system (`--packings {held}`). Weights are random ones of the narrow range.

Made by `python -m benchmarks > docs/benchmarks.md` on {cores} cores of {machine}, Python {python}: each design once,
in a process of its own, the two of a pair back to back. Seconds are of this machine, ratios are those of the pair.

{table}
Peak memory is that of the process at the end of generation, the framework that draws the weights included.
"""


def main() -> None:
    """Measure all, and print the page."""
    rows = [row for network in NETWORKS for row in _pair(network)]
    headings = (
        *("network", "packings", "cycles / frame", "DSP", "planning, s", "ratio"),
        *("generating, s", "ratio", "Verilog, MiB", "peak memory, MiB"),
    )
    sys.stdout.write(
        PAGE.format(
            held=HELD,
            cores=len(os.sched_getaffinity(0)),
            machine=driver.processor(),
            python=platform.python_version(),
            table=table(headings, rows),
        )
        + driver.page()
    )


def _pair(network: str) -> list[tuple[str, ...]]:
    """Both designs of a network; ratios stand with the free one."""
    free, held = (_measured(network, packings) for packings in ("all", HELD))
    ratios = [f"{free[kind] / held[kind]:.1f}" for kind in ("planning", "generating")]
    return [_row(network, "all", free, ratios), _row(network, HELD, held, ["1", "1"])]


def _row(network: str, packings: str, found: Mapping[str, Any], ratios: list[str]) -> tuple[str, ...]:
    return (
        network,
        packings,
        f"{found['cycles']:,}",
        f"{found['dsp']:,}",
        f"{found['planning']:.1f}",
        ratios[0],
        f"{found['generating']:.0f}",
        ratios[1],
        f"{found['verilog']:.1f}",
        f"{found['memory']:,.0f}",
    )


def _measured(network: str, packings: str) -> dict[str, Any]:
    sys.stderr.write(f"{network}, {packings}\n")
    command = [sys.executable, "-m", "benchmarks.generator", network, NETWORKS[network], packings]
    run = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).resolve().parents[1])
    found: dict[str, Any] = json.loads(run.stdout.splitlines()[-1])
    return found


if __name__ == "__main__":
    main()
