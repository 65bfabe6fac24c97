"""Kills by the dozen, over Ray and inline (`pytest -m chaos -s` prints the figures that docs/reliability.md keeps)."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import toy_work
from toy_run import digest, driver, killer, rows, run

from fastseg.verify import problems
from pipelines import fan_out

pytest.importorskip("ray", reason="the Ray pool needs the extra `ray`")
pytestmark = [pytest.mark.chaos, pytest.mark.slow, pytest.mark.timeout(1200)]


@pytest.fixture(autouse=True)
def figures(request: pytest.FixtureRequest) -> Iterator[dict[str, Any]]:
    """What a test found out, printed at its end with its seconds."""
    found: dict[str, Any] = {}
    start = time.monotonic()
    yield found
    text = ", ".join(f"{value} {name}" for name, value in found.items())
    print(f"\n{request.node.name}: {text}, {time.monotonic() - start:.0f} s", file=sys.__stderr__)


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
    pids = tree(process.pid) if whole_tree else [process.pid]
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pids.remove(pid)
    process.wait()
    return len(pids)


def test_l1_workers_killed_every_two_seconds(ray_log: Path, tmp_path: Path, figures: dict[str, Any]) -> None:
    until, dead = threading.Event(), list[int]()
    thread = killer(ray_log, 2.0, 1000, dead, until)
    plan = toy_work.plan(2000, suffix="-slow")
    assert run(tmp_path, plan, 2) == 0
    until.set()
    thread.join()
    labels, rejected = rows(tmp_path), rows(tmp_path, "rejected")
    figures |= {"kills": len(dead), "rows": len(labels), "rejected": len(rejected)}
    assert len(dead) >= 20
    assert sorted(row["id"] for row in labels) == list(plan.ids) and rejected == []
    assert problems(tmp_path) == []


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


def test_l4_three_poison_frames_in_a_thousand(ray_log: Path, tmp_path: Path, figures: dict[str, Any]) -> None:
    poison = ("frame-100-segv", "frame-500-crash", "frame-900-abort")
    plan = toy_work.plan(997, poison)
    assert run(tmp_path, plan, 2) == 0
    rejected = {row["id"]: row["reason"] for row in rows(tmp_path, "rejected")}
    attempts = Counter(line.split()[1] for line in ray_log.read_text().splitlines())
    figures |= {"labels": len(rows(tmp_path)), "rejected": len(rejected), "attempts": [attempts[i] for i in poison]}
    assert rejected == dict.fromkeys(poison, "crash") and len(rows(tmp_path)) == 997
    assert all(attempts[i] == 3 for i in poison) and problems(tmp_path) == []


def test_l6_single_flipped_bytes_are_all_found(tmp_path: Path, figures: dict[str, Any]) -> None:
    assert run(tmp_path, toy_work.plan(24, ("frame-004-nofloor",))) == 0
    before = {path: path.read_bytes() for path in sorted(tmp_path.glob("*/shard*"))}
    chance = random.Random(0)
    found = 0
    for _ in range(200):
        path = chance.choice(list(before))
        at, bit = chance.randrange(len(before[path])), 1 << chance.randrange(8)
        path.write_bytes(before[path][:at] + bytes([before[path][at] ^ bit]) + before[path][at + 1 :])
        found += problems(tmp_path) != []
        assert run(tmp_path, toy_work.plan(24, ("frame-004-nofloor",))) == 0
        assert {p: p.read_bytes() for p in before} == before
        figures |= {"flips found and made good": found}
    assert found == 200


def test_l7_a_pipe_among_a_thousand_frames(tmp_path: Path, figures: dict[str, Any], monkeypatch: Any) -> None:
    os.mkfifo(tmp_path / "image.png")
    monkeypatch.setenv("TOY_FIFO", str(tmp_path / "image.png"))
    assert run(tmp_path / "out", toy_work.plan(1000, ("frame-500-fifo",)), 2, timeout_s=3.0) == 0
    rejected = {row["id"]: row["reason"] for row in rows(tmp_path / "out", "rejected")}
    figures |= {"labels": len(rows(tmp_path / "out")), "rejected": rejected}
    assert rejected == {"frame-500-fifo": "timeout"} and len(rows(tmp_path / "out")) == 1000


def test_l10_workers_and_order_change_no_byte(tmp_path: Path, figures: dict[str, Any], monkeypatch: Any) -> None:
    special = ("frame-003-nofloor", "frame-040-segv", "frame-041-bug")
    plan = toy_work.plan(80, special)
    in_order = fan_out._jobs
    sums = []
    for workers, shuffled in ((1, False), (2, False), (4, False), (2, True)):
        out = tmp_path / f"{workers}-{shuffled}"

        def jobs(*args: Any, shuffled: bool = shuffled) -> Iterator[Any]:
            made = list(in_order(*args))
            if shuffled:
                random.Random(3).shuffle(made)
            return iter(made)

        monkeypatch.setattr(fan_out, "_jobs", jobs)
        assert run(out, plan, workers) == 0
        sums.append((out / "SHA256SUMS").read_bytes())
        figures |= {"runs": len(sums), "different outputs": len(set(sums))}
    assert len(set(sums)) == 1
