"""Workers killed by the dozen over Ray (`pytest -m chaos -s` prints the figures that docs/reliability.md keeps)."""

from __future__ import annotations

import os
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import toy_work
from toy_run import digest, killer, rows, run

from fastseg.verify import problems
from pipelines import fan_out

pytest.importorskip("ray", reason="the Ray pool needs the extra `ray`")
pytestmark = [pytest.mark.chaos, pytest.mark.slow, pytest.mark.timeout(1200)]


def test_l1_workers_killed_every_two_seconds(ray_log: Path, tmp_path: Path, figures: dict[str, Any]) -> None:
    until, dead = threading.Event(), list[int]()
    thread = killer(ray_log, 2.0, 25, dead, until)
    plan = toy_work.plan(2000, suffix="-slow")
    assert run(tmp_path, plan, 2) == 0
    until.set()
    thread.join()
    labels, rejected = rows(tmp_path), rows(tmp_path, "rejected")
    figures |= {"kills": len(dead), "rows": len(labels), "rejected": len(rejected)}
    assert len(dead) >= 20
    assert sorted(row["id"] for row in labels) == list(plan.ids) and rejected == []
    assert problems(tmp_path) == []


def test_l4_three_poison_frames_in_a_thousand(ray_log: Path, tmp_path: Path, figures: dict[str, Any]) -> None:
    poison = ("frame-100-segv", "frame-500-crash", "frame-900-abort")
    plan = toy_work.plan(997, poison)
    assert run(tmp_path, plan, 2) == 0
    rejected = {row["id"]: row["reason"] for row in rows(tmp_path, "rejected")}
    attempts = Counter(line.split()[1] for line in ray_log.read_text().splitlines())
    figures |= {"labels": len(rows(tmp_path)), "rejected": len(rejected), "attempts": [attempts[i] for i in poison]}
    assert rejected == dict.fromkeys(poison, "crash") and len(rows(tmp_path)) == 997
    assert all(attempts[i] == 3 for i in poison) and problems(tmp_path) == []


def test_l2_workers_killed_between_write_and_rename(ray_log: Path, tmp_path: Path, figures: dict[str, Any]) -> None:
    """Every worker process dies just before its fifth or sixth rename."""
    plan = toy_work.plan(160)
    assert fan_out.fan_out(plan, toy_work.mortal, tmp_path / "ray", workers=2) == 0
    deaths = len({line.split()[0] for line in ray_log.read_text().splitlines() if line.endswith(" mortal")}) - 2
    assert run(tmp_path / "inline", plan) == 0
    figures |= {"deaths at least": deaths, "rows": len(rows(tmp_path / "ray"))}
    assert deaths >= 5 and digest(tmp_path / "ray") == digest(tmp_path / "inline")
    assert problems(tmp_path / "ray") == [] and not list(tmp_path.rglob(".*.tmp"))


def test_l7_a_pipe_among_a_thousand_frames(ray_log: Path, tmp_path: Path, figures: dict[str, Any]) -> None:
    plan = toy_work.plan(1000, ("frame-500-fifo",))
    os.mkfifo(f"{ray_log}.fifo")
    assert run(tmp_path, plan, 2, timeout_s=10.0) == 0
    rejected = {row["id"]: row["reason"] for row in rows(tmp_path, "rejected")}
    figures |= {"labels": len(rows(tmp_path)), "rejected": rejected}
    assert rejected == {"frame-500-fifo": "timeout"} and len(rows(tmp_path)) == 1000
    assert problems(tmp_path) == []
