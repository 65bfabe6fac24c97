"""Drivers and their whole trees killed, 25 times and more; the same command ends what they began."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import toy_work
from toy_run import digest, driver, run

from fastseg.verify import problems

pytest.importorskip("ray", reason="the Ray pool needs the extra `ray`")
pytestmark = [pytest.mark.chaos, pytest.mark.slow, pytest.mark.timeout(1200)]


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output of a run of 40 slow frames that nothing disturbed."""
    out = tmp_path_factory.mktemp("clean")
    assert run(out, toy_work.plan(40, suffix="-slow")) == 0
    return out


def tree(root: int) -> list[int]:
    """The process and all below it, the root first."""
    parents: dict[int, list[int]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it ended meanwhile
        parents.setdefault(int(fields[1]), []).append(int(folder.name))
    found = [root]
    for pid in found:
        found += parents.get(pid, [])
    return found


def kill(process: subprocess.Popen[str], whole_tree: bool) -> int:
    """End the driver, or it and all below it; the number of processes."""
    killed = 0
    for pid in tree(process.pid) if whole_tree else [process.pid]:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
            killed += 1
    process.wait()
    return killed


def test_l2_drivers_killed_at_random_times(tmp_path: Path, clean: Path, figures: dict[str, Any]) -> None:
    same = 0
    for i in range(25):
        out = tmp_path / str(i)
        process = driver(out, 0, 0, 40, stderr=subprocess.DEVNULL)
        while not (out / "run.json").exists():
            time.sleep(0.01)
        time.sleep(random.Random(i).uniform(0, 2))
        kill(process, whole_tree=False)
        assert run(out, toy_work.plan(40, suffix="-slow")) == 0
        assert problems(out) == [] and not list(out.rglob(".*.tmp"))
        same += digest(out) == digest(clean)
        figures |= {"kills": i + 1, "times the clean run's hash": same}
    assert same == 25


def test_l2_drivers_killed_before_every_rename(tmp_path: Path, figures: dict[str, Any]) -> None:
    """Manifest, run.json, then rejected and labels of five shards, SHA256SUMS, run.json: 14 renames."""
    for rename in range(1, 15):
        out = tmp_path / str(rename)
        assert driver(out, rename, 0, 40).wait() == -signal.SIGKILL
        assert list(out.rglob(".*.tmp"))
        assert run(out, toy_work.plan(40)) == 0
        assert problems(out) == [] and not list(out.rglob(".*.tmp"))
        figures |= {"renames": rename}
    assert driver(tmp_path / "15", 15, 0, 40).wait() == 0, "there is no fifteenth rename"
    sums = {(tmp_path / str(rename) / "SHA256SUMS").read_bytes() for rename in range(1, 16)}
    assert len(sums) == 1


@pytest.mark.parametrize("whole_tree", [False, True])
def test_l3_ray_drivers_and_their_trees_killed(
    tmp_path: Path, clean: Path, figures: dict[str, Any], whole_tree: bool
) -> None:
    processes = 0
    for i in range(5):
        out = tmp_path / str(i)
        process = driver(out, 0, 2, 40, stderr=subprocess.DEVNULL)
        while not list(out.glob("labels/.shard*")):
            assert process.poll() is None
            time.sleep(0.01)
        time.sleep(random.Random(i).uniform(0, 1))
        processes += kill(process, whole_tree)
        assert run(out, toy_work.plan(40, suffix="-slow")) == 0
        assert digest(out) == digest(clean) and problems(out) == [] and not list(out.rglob(".*.tmp"))
        figures |= {"kills": i + 1, "processes": processes, "times the clean run's hash": i + 1}
