"""A sweep on a Ray cluster of two nodes, one of which dies half way. A program: Ray's threads stay out of pytest.

    python -m tests.nas.sweep_ray_cluster FOLDER

Prints one line of JSON: results, whether the node had claimed a task and died, and how an address without a cluster
is refused.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from pathlib import Path

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"

from ray.cluster_utils import Cluster

from mixq.errors import UserError
from nas.sweep import Task, sweep

TASKS = [
    Task(name=f"task-{value}", function="tests.nas.sweep_functions:square", arguments={"value": value, "seconds": 2.0})
    for value in range(6)
]
NODE = {"num_cpus": 1, "object_store_memory": 80 << 20, "include_dashboard": False}


def claiming_nodes(folder: Path) -> set[str]:
    """The Ray nodes that hold claims of tasks now."""
    nodes = set()
    for path in folder.glob("*/claim.*"):
        try:
            nodes.add(json.loads(path.read_text())["node"])
        except (FileNotFoundError, ValueError):
            continue
    return nodes


def main() -> None:
    folder = Path(sys.argv[1])
    cluster = Cluster(initialize_head=True, connect=False, head_node_args=NODE)
    worker = cluster.add_node(**NODE)
    cluster.wait_for_nodes()
    seen: set[str] = set()

    def stop_worker() -> None:
        while worker.node_id not in seen:
            seen.update(claiming_nodes(folder))
            time.sleep(0.05)
        time.sleep(0.5)  # in the middle of its task
        cluster.remove_node(worker, allow_graceful=False)

    thread = threading.Thread(target=stop_worker, daemon=True)
    thread.start()
    refusal = ""
    try:
        sweep(TASKS[:1], folder=folder, ray="127.0.0.1:1")
    except UserError as error:
        refusal = str(error)
    try:
        results = sweep(TASKS, folder=folder, ray=cluster.address)
        thread.join(timeout=30)
        worker_dead = not thread.is_alive()
    finally:
        cluster.shutdown()
    found = {"results": results, "worker_claimed": worker.node_id in seen, "worker_dead": worker_dead}
    print(json.dumps({**found, "refusal": refusal}))  # noqa: T201


if __name__ == "__main__":
    main()
