"""`--device cuda`: what is said where there is no GPU, and the same run by workers that only pretend to have one."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray
import toy_work
from toy_gpu import Pretended

from fastseg.labels.hn import HNConfig
from fastseg.ops import arrays
from pipelines import fan_out
from pipelines.hn_gpu import gpu_problem, gpu_work
from pipelines.hn_work import SourceAt
from pipelines.one_shard import BatchWork

AT = SourceAt("folder", Path("somewhere"), None, None, None, None)
Depth = np.ndarray[Any, Any]


def missing(host: Depth) -> Depth:
    raise ModuleNotFoundError("No module named 'cupy'")


def no_device(host: Depth) -> Depth:
    raise RuntimeError("cudaErrorNoDevice: no CUDA-capable device is detected\nand more")


def test_each_thing_that_a_gpu_worker_lacks_is_named_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    assert gpu_problem(missing) == "--device cuda needs cupy (No module named 'cupy'): install fastseg[gpu]"
    found = gpu_problem(no_device)
    assert found is not None and "finds no GPU" in found and "no CUDA-capable device is detected)" in found
    assert gpu_problem(np.asarray) is None
    monkeypatch.setattr(arrays, "CPU_MODULE", "fastseg._absent")
    found = gpu_problem(np.asarray)
    assert found is not None and "fastseg._absent is not built" in found


@pytest.mark.parametrize(
    ("share", "batch", "named"), [(0.0, 64, "gpus_per_worker"), (1.5, 64, "gpus_per_worker"), (1.0, 0, "batch")]
)
def test_a_share_or_a_batch_that_cannot_be_is_refused(share: float, batch: int, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        gpu_work(AT, HNConfig(), batch, share)


def test_the_work_of_a_gpu_is_a_batch_work_that_owns_its_share() -> None:
    work = gpu_work(AT, HNConfig(), 8, 0.25)
    assert isinstance(work, BatchWork) and work.batch == 8 and work.num_gpus == 0.25 and work.put is arrays.on_gpu


@pytest.fixture
def pretended_gpu() -> Iterator[None]:
    """A Ray of two workers that believes in one GPU."""
    paths = {"env_vars": {"PYTHONPATH": os.pathsep.join(folder for folder in sys.path if folder)}}
    ray.init(address="local", num_cpus=2, num_gpus=1, include_dashboard=False, runtime_env=paths, log_to_driver=False)
    yield
    ray.shutdown()


@pytest.mark.slow
def test_a_worker_without_a_gpu_ends_the_run_with_its_sentence_before_the_first_shard(
    pretended_gpu: None, tmp_path: Path
) -> None:
    plan, out = toy_work.plan(20), tmp_path / "out"
    with pytest.raises(ValueError, match="this node has no CUDA"):
        fan_out.fan_out(plan, Pretended(AT, HNConfig(), np.asarray, 8, 0.5, "this node has no CUDA"), out, workers=2)
    assert not list((out / "labels").glob("*.parquet"))
    assert fan_out.fan_out(plan, Pretended(AT, HNConfig(), np.asarray, 8, 0.5), out, workers=2) == 0
    assert len(list((out / "labels").glob("*.parquet"))) == sum(1 for _ in plan.ranges())
