"""Makes the checkout's `pipelines` and the toy work importable here and in Ray's workers; a Ray for a whole module."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
for folder in (HERE, HERE.parents[1]):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))


@pytest.fixture(scope="module")
def ray_log(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A Ray of two workers and one GPU (by name: nothing is run on it), shared; the log of the frames tried in it."""
    ray = pytest.importorskip("ray", reason="the Ray pool needs the extra `ray`")
    log = tmp_path_factory.mktemp("ray") / "log"
    log.touch()
    os.environ["TOY_LOG"], os.environ["TOY_FIFO"] = str(log), f"{log}.fifo"
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    environment = {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    from pipelines import ray_session

    ray_session._start(
        {
            "address": "local", "num_cpus": 2, "num_gpus": 1, "include_dashboard": False, "log_to_driver": False,
            "logging_level": "error", "object_store_memory": 100 << 20, "runtime_env": {"env_vars": environment},
        }
    )  # fmt: skip
    yield log
    ray.shutdown()
    del os.environ["TOY_LOG"], os.environ["TOY_FIFO"]


@pytest.fixture
def figures(request: pytest.FixtureRequest) -> Iterator[dict[str, Any]]:
    """What a test found out, printed at its end with its seconds."""
    found: dict[str, Any] = {}
    start = time.monotonic()
    yield found
    text = ", ".join(f"{value} {name}" for name, value in found.items())
    print(f"\n{request.node.name}: {text}, {time.monotonic() - start:.0f} s", file=sys.__stderr__)
