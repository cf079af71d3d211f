"""Plans of the networks of ``mixq/networks.py``: ``python -m scripts.network_plans`` makes those that are missing.

Each network is planned on the smaller of two boards that holds it, in four ways: with all choices, without circuits of
the very weights, and held to the packings of two published systems. A plan is a line of
``scripts/data/network_plans.jsonl``, written as soon as it is made. A line that is taken out is made anew; all take
about seven minutes.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from boards import load_board
from mixq.board import Board, Resources
from mixq.errors import CheckFailed
from mixq.graph import Graph
from mixq.plan import Plan, plan

PLANS = Path(__file__).resolve().parent / "data" / "network_plans.jsonl"

SOURCE = "random:1"
"""Of the weights, as given to ``mixq import``."""

BOARDS = ("ultra96-v2", "zcu104")
"""The boards that are tried, the smallest first; other boards that come with the package are not."""

NETWORKS = (
    *("digits_cnn", "ds_cnn", "resnet8", "resnet20", "mobilenetv1_025", "vgg_tiny", "ultranet", "ultranet_ismart"),
    *("ultranet_bypass", "vgg_small", "skynet", "skynetk5"),
)

ALL, STORED, ORIGINAL, FINN = "all", "stored", "original", "finn"
CHOICES = (ALL, STORED, ORIGINAL, FINN)
"""What a plan may choose from: all there is, all but circuits of the very weights, and the two restrictions of
:data:`mixq.plan.restrictions.RESTRICTIONS` that bear these names."""


@dataclass(frozen=True, kw_only=True)
class Planned:
    """The fastest design of a network on a board, as far as the page tells of it.

    choices: one of CHOICES. slowest, limited_by, least_cycles, price_gap: as of :class:`mixq.plan.Plan`.
    without_dsps: names of the layers that multiply without DSPs.
    """

    network: str
    board: str
    choices: str
    clock_mhz: float
    cycles: int
    resources: Resources
    slowest: str
    limited_by: tuple[str, ...]
    least_cycles: int
    price_gap: float
    without_dsps: tuple[str, ...]

    @property
    def fps(self) -> float:
        """Frames per second at the board's assumed clock."""
        return self.clock_mhz * 1e6 / self.cycles

    @classmethod
    def of(cls, network: str, choices: str, made: Plan) -> Planned:
        """What a plan says."""
        return cls(
            network=network,
            board=made.board,
            choices=choices,
            clock_mhz=made.clock_mhz,
            cycles=made.cycles,
            resources=made.resources,
            slowest=made.bottleneck,
            limited_by=made.limited_by,
            least_cycles=made.least_cycles,
            price_gap=made.price_gap,
            without_dsps=tuple(layer.name for layer in made.layers if layer.folding and not layer.folding.dsps),
        )


@dataclass(frozen=True, kw_only=True)
class Lacking:
    """A network that a board does not hold: ``lacking`` has the numbers that do not fit."""

    network: str
    board: str
    choices: str
    lacking: str


Line = Planned | Lacking
Key = tuple[str, str, str]


def boards() -> list[Board]:
    """The boards that are tried, the smallest first."""
    return [load_board(name) for name in BOARDS]


def load(path: Path = PLANS) -> dict[Key, Line]:
    """The lines of the file by network, board and choices."""
    lines = path.read_text().splitlines() if path.is_file() else []
    return {(line.network, line.board, line.choices): line for line in map(parsed, lines)}


def parsed(text: str) -> Line:
    """The line of a text that :func:`written` made."""
    record = json.loads(text)
    if "lacking" in record:
        return Lacking(**record)
    for name in ("limited_by", "without_dsps"):
        record[name] = tuple(record[name])
    return Planned(**{**record, "resources": Resources(**record["resources"])})


def written(line: Line) -> str:
    """A line as text."""
    return json.dumps(asdict(line), separators=(",", ":")) + "\n"


def graph_of(network: str) -> Graph:
    """The graph that ``mixq import random:1 --network`` makes; the widths are the table's own."""
    from mixq.checkpoints import load_source
    from mixq.lowering import lower

    return lower(load_source(SOURCE, network))


def planned(network: str, graph: Graph, board: Board, choices: str) -> Line:
    """Plan a network; what :func:`graph_of` gives is its graph."""
    try:
        restriction = None if choices in (ALL, STORED) else choices
        made = plan(graph, board, packings=restriction, constant_weights=choices != STORED)
    except CheckFailed as failure:
        return Lacking(network=network, board=board.name, choices=choices, lacking=str(failure))
    return Planned.of(network, choices, made)


def missing(known: dict[Key, Line], network: str) -> Iterator[tuple[Board, str]]:
    """Board and choices of the next plans, the last of which may be of a board that ``known`` gets meanwhile."""
    for board in boards():
        if (network, board.name, ALL) not in known:
            yield board, ALL
        if isinstance(known[network, board.name, ALL], Planned):
            for choices in CHOICES[1:]:
                if (network, board.name, choices) not in known:
                    yield board, choices
            return


def main(networks: Sequence[str] = NETWORKS, path: Path = PLANS) -> None:
    """Make what is missing."""
    known = load(path)
    for network in networks:
        graph = None
        for board, choices in missing(known, network):
            began = time.monotonic()
            graph = graph or graph_of(network)
            line = planned(network, graph, board, choices)
            known[network, board.name, choices] = line
            with path.open("a") as file:
                file.write(written(line))
            found = f"{line.cycles:,} cycles" if isinstance(line, Planned) else line.lacking
            sys.stderr.write(f"{network}, {board.name}, {choices}: {found}; {time.monotonic() - began:.0f} s\n")


if __name__ == "__main__":
    main(sys.argv[1:] or NETWORKS)
