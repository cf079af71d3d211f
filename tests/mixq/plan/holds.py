"""What planners are held to in tests of hardware."""

from __future__ import annotations

from mixq.graph import Conv, Dense, Graph
from mixq.plan.folding_file import Hold


def on_dsps(graph: Graph) -> dict[str, Hold]:
    """Every layer built of DSPs: networks as small as those of tests would else do without."""
    return {node.name: Hold(node.name, {"resType": "dsp"}) for node in graph.nodes if isinstance(node, Conv | Dense)}
