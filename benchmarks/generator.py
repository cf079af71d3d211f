"""One network, planned and generated in this process; prints what it took as a line of JSON."""

from __future__ import annotations

import json
import resource
import sys
import tempfile
import time
from pathlib import Path

from boards import load_board
from boards.emit import generate
from mixq.checkpoints import random_model
from mixq.lowering import lower
from mixq.plan import plan


def main(network: str, board: str, packings: str) -> None:
    """Plan within the board, generate into a folder that is thrown away. packings: "all" or a restriction's name."""
    graph = lower(random_model(network, 1, weight_range="narrow"))
    started = time.perf_counter()
    made = plan(graph, load_board(board), packings=None if packings == "all" else packings)
    planned = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as scratch:
        folder = Path(scratch)
        graph.save(folder)
        made.save(folder)
        saved = time.perf_counter()
        generate(folder)
        generated = time.perf_counter()
        size = sum(path.stat().st_size for path in (folder / "rtl").iterdir())
    found = {
        "cycles": made.cycles,
        "dsp": made.resources.dsp,
        "planning": planned - started,
        "generating": generated - saved,
        "verilog": size / 2**20,
        # Of this process and of those that it waited for, in KiB.
        "memory": sum(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        / 1024,
    }
    sys.stdout.write(f"{json.dumps(found)}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
