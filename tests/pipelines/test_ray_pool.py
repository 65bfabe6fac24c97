"""The same run over Ray with two workers: the same rows, and a frame that kills its worker costs only itself."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import toy_work

from fastseg.data import shards
from fastseg.verify import problems
from pipelines import fan_out

pytest.importorskip("ray", reason="the Ray pool needs the extra `ray`")


def rows(out: Path, folder: str) -> list[shards.Row]:
    return [row for path in sorted((out / folder).glob("*.parquet")) for row in shards.read_rows(path)]


def test_a_crashing_frame_costs_its_own_row_and_workers_change_no_byte(tmp_path: Path) -> None:
    special = ("a-nofloor", "frame-010-crash", "frame-012-hang")
    plan = toy_work.plan(30, special)
    # six seconds: a busy machine is slow to bury a worker
    assert fan_out.fan_out(plan, toy_work.work, tmp_path / "ray", workers=2, timeout_s=6.0) == 0
    found = {row["id"]: row["reason"] for row in rows(tmp_path / "ray", "rejected")}
    assert found == {"a-nofloor": "no-floor", "frame-010-crash": "crash", "frame-012-hang": "timeout"}
    assert [row["id"] for row in rows(tmp_path / "ray", "labels")] == [i for i in plan.ids if i not in special]
    assert problems(tmp_path / "ray") == []
    plain = toy_work.plan(30)
    assert fan_out.fan_out(plain, toy_work.work, tmp_path / "inline", workers=0) == 0
    expected = {row["id"]: shards.row_digest(row) for row in rows(tmp_path / "inline", "labels")}
    got = {row["id"]: shards.row_digest(row) for row in rows(tmp_path / "ray", "labels")}
    assert shards.content_hash(got) == shards.content_hash(expected)


def test_the_program_labels_over_ray_what_it_labels_inline(tmp_path: Path) -> None:
    root = tmp_path / "rooms"
    root.mkdir()
    (root / "rooms.json").write_text(json.dumps({"seed": 1, "count": 4, "height": 48, "width": 64}))
    for workers in (0, 2):
        command = [sys.executable, "-m", "pipelines.make_hn_labels", "--reader", "rooms", "--root", str(root)]
        command += ["--out", str(tmp_path / str(workers)), "--workers", str(workers), "--tuning.max_reject", "1"]
        command += ["--tuning.shard_size", "2"]
        subprocess.run(command, check=True, cwd=Path(__file__).parents[2], timeout=120)
        assert problems(tmp_path / str(workers)) == []
    sums = [(tmp_path / folder / "SHA256SUMS").read_bytes() for folder in "02"]
    assert sums[0] == sums[1] and len(sums[0].splitlines()) == 5
