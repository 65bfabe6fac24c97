"""A cluster of two nodes, each with processes of its own, on one machine: one dies in the middle, no row is lost."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import toy_work

from fastseg.data import shards
from fastseg.verify import problems
from pipelines import fan_out

pytest.importorskip("ray", reason="the Ray pool needs the extra `ray`")


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    """Two nodes of one CPU; their workers find the toy work, the pipeline is shipped to them."""
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
    monkeypatch.setenv(toy_work.LOG, str(tmp_path / "log"))
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("RAY_health_check_period_ms", "500")  # a dead node is seen in seconds
    monkeypatch.setenv("RAY_health_check_failure_threshold", "4")
    node = {"num_cpus": 1, "object_store_memory": 80 << 20, "include_dashboard": False}
    made = Cluster(initialize_head=True, head_node_args=node)
    made.second = made.add_node(num_cpus=1, object_store_memory=80 << 20)
    made.wait_for_nodes()
    yield made
    made.shutdown()


@pytest.mark.slow
def test_a_node_that_dies_in_the_middle_costs_no_frame(cluster: Any, tmp_path: Path) -> None:
    seen: list[int] = []

    def kill() -> None:
        """End the second node once it has made a shard: its raylet, and with it its workers."""
        while len(list(tmp_path.glob("out/labels/shard*"))) < 4:
            time.sleep(0.1)
        seen.append(len(list(tmp_path.glob("out/labels/shard*"))))
        cluster.remove_node(cluster.second, allow_graceful=False)

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    plan = toy_work.plan(240, suffix="-slow")
    assert fan_out.fan_out(plan, toy_work.work, tmp_path / "out", workers=2, address=cluster.address) == 0
    killer.join()
    assert seen and 4 <= seen[0] < 28, "the node must die in the middle of the run"
    paths = sorted((tmp_path / "out" / "labels").glob("*.parquet"))
    assert [row["id"] for path in paths for row in shards.read_rows(path, ["id"])] == list(plan.ids)
    parents = {line.split()[2] for line in (tmp_path / "log").read_text().splitlines()}
    assert len(parents - {"1"}) == 2, "workers of both nodes must have taken part"  # 1: of a dead node
    assert problems(tmp_path / "out") == []
