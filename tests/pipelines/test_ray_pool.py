"""The same run over Ray with two workers: the same rows, and what kills a worker costs only itself."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import test_batches
import toy_work
from toy_run import digest, driver, killer, rows, run

from fastseg.verify import problems
from pipelines import fan_out
from pipelines.hands import Fate

pytest.importorskip("ray", reason="the Ray pool needs the extra `ray`")


def test_frames_that_kill_their_worker_cost_their_own_rows_and_three_attempts(ray_log: Path, tmp_path: Path) -> None:
    faults = {"a-nofloor": "no-floor", "frame-011-segv": "crash", "frame-012-hang": "timeout"}
    faults |= {"frame-013-stuck": "timeout", "frame-014-fat": "memory"}
    plan = toy_work.plan(30, tuple(faults))
    assert run(tmp_path / "ray", plan, 2, timeout_s=2.0) == 0
    assert {row["id"]: row["reason"] for row in rows(tmp_path / "ray", "rejected")} == faults
    assert [row["id"] for row in rows(tmp_path / "ray", "labels")] == [i for i in plan.ids if i not in faults]
    assert problems(tmp_path / "ray") == []
    assert not list((tmp_path / "ray").rglob(".*.tmp"))
    attempts = Counter(line.split()[1] for line in ray_log.read_text().splitlines())
    assert attempts["frame-011-segv"] == 3
    assert run(tmp_path / "inline", toy_work.plan(30)) == 0
    assert digest(tmp_path / "ray") == digest(tmp_path / "inline")


def test_workers_killed_from_outside_cost_no_frame(ray_log: Path, tmp_path: Path) -> None:
    until, dead = threading.Event(), list[int]()
    thread = killer(ray_log, 0.7, 3, dead, until)
    assert run(tmp_path, toy_work.plan(120, suffix="-slow"), 2) == 0
    until.set()
    thread.join()
    assert len(dead) >= 2
    assert len(rows(tmp_path, "labels")) == 120 and rows(tmp_path, "rejected") == []
    assert problems(tmp_path) == []


def test_batches_run_in_actors_that_share_a_gpu_and_a_dead_one_is_replaced(ray_log: Path, tmp_path: Path) -> None:
    plan = toy_work.plan(30, ("frame-010-segv", "frame-017-nofloor"))
    assert fan_out.fan_out(plan, test_batches.OnGPU(4, 0.5), tmp_path / "gpu", workers=2) == 0
    found = {row["id"]: row["reason"] for row in rows(tmp_path / "gpu", "rejected")}
    assert found == {"frame-010-segv": "crash", "frame-017-nofloor": "no-floor"}
    assert run(tmp_path / "inline", toy_work.plan(30)) == 0
    assert digest(tmp_path / "gpu") == digest(tmp_path / "inline")
    with pytest.raises(ValueError, match="each worker needs 2 of a GPU; Ray finds 1 GPUs here"):
        fan_out.fan_out(plan, test_batches.OnGPU(4, 2.0), tmp_path / "none", workers=2)


def test_no_more_workers_run_than_there_is_memory_for(
    ray_log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path, toy_work.plan(9), 2, worker_mb=10**6) == 0
    assert "1 of 2 workers: no memory for more" in capsys.readouterr().err
    assert len(rows(tmp_path, "labels")) == 9


def test_a_worker_that_ray_ends_for_memory_is_no_frames_fault_unless_alone(
    ray_log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from pipelines import ray_pool

    seen = Counter[str]()
    real = ray_pool.fate_of

    def short_of_memory(ref: Any) -> tuple[Fate, Any]:
        seen["all"] += 1
        fate, answer = real(ref)
        return (Fate.NO_MEMORY, None) if seen["all"] == 1 else (fate, answer)

    monkeypatch.setattr(ray_pool, "fate_of", short_of_memory)
    assert run(tmp_path, toy_work.plan(20), 2) == 0
    assert "memory is short: going on with 1 workers" in capsys.readouterr().err
    assert len(rows(tmp_path, "labels")) == 20 and rows(tmp_path, "rejected") == []


def test_a_bug_in_a_worker_is_one_sentence(ray_log: Path, tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"^the run broke off: KeyError: [^\n]*; --debug shows where$"):
        fan_out.fan_out(toy_work.plan(9), test_batches.half_a_row, tmp_path, workers=2)


@pytest.mark.slow
def test_a_driver_told_to_stop_lets_shards_in_flight_finish_and_resumes(tmp_path: Path) -> None:
    process = driver(tmp_path, 0, 2, 200, stderr=subprocess.PIPE)
    while not list(tmp_path.glob("labels/*.parquet")):
        assert process.poll() is None
        time.sleep(0.05)
    process.terminate()
    _, said = process.communicate(timeout=60)
    assert process.returncode == 143 and "stopped by SIGTERM" in said and "Traceback" not in said
    done = {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("labels/shard*.parquet")}
    assert 0 < len(done) < 25 and not list(tmp_path.rglob(".*.tmp")) and not (tmp_path / ".lock").exists()
    assert run(tmp_path, toy_work.plan(200, suffix="-slow")) == 0
    assert problems(tmp_path) == []
    after = {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("labels/shard*.parquet")}
    assert len(after) == 25 and all(after[name] == when for name, when in done.items())


@pytest.mark.slow
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


def test_a_cluster_that_does_not_answer_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipelines import ray_session

    monkeypatch.setattr(ray_session, "find_spec", lambda name: None)
    monkeypatch.setattr(ray_session.ray, "is_initialized", lambda: False)
    with pytest.raises(ValueError, match=r"ray://head:10001 needs Ray's client: install ray\[client\]"):
        run(tmp_path, toy_work.plan(9), 2, address="ray://head:10001")


def test_a_ray_that_is_slow_to_start_is_started_again(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    from pipelines import ray_session

    slow = iter([Exception("The current node timed out during startup."), Exception("another bug\nof Ray"), None])

    def init(**options: Any) -> None:
        if error := next(slow):
            raise error

    monkeypatch.setattr(ray_session.ray, "init", init)
    monkeypatch.setattr(ray_session.ray, "shutdown", lambda: None)
    with pytest.raises(ray_session.NoRayError, match=r"^Ray did not start on this machine \(another bug\); [^\n]*$"):
        ray_session._start({})
    assert capsys.readouterr().err == "Ray was slow to start; trying again\n"


def _never(**options: Any) -> None:
    raise Exception("The current node timed out during startup. This could happen because ...")


@pytest.mark.parametrize("program", ["make_hn_labels", "train_on_ray"])
def test_a_ray_that_never_starts_is_one_sentence_and_exit_code_1(
    program: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from pipelines import make_hn_labels, ray_session, train_on_ray

    (tmp_path / "rooms.json").write_text(json.dumps({"seed": 1, "count": 2, "height": 48, "width": 64}))
    monkeypatch.setattr(ray_session.ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray_session.ray, "init", _never)
    monkeypatch.setattr(ray_session.ray, "shutdown", lambda: None)
    label = ["--reader", "rooms", "--root", str(tmp_path), "--out", str(tmp_path / "out"), "--workers", "1"]
    train = ["segment", "--data", "rooms", "--root", str(tmp_path), "--out", str(tmp_path / "out"), "--workers", "1"]
    cli, words = (make_hn_labels.cli, label) if program == "make_hn_labels" else (train_on_ray.cli, train)
    assert cli(words) == 1
    said = capsys.readouterr().err.splitlines()
    assert "Ray did not start on this machine (The current node timed out during startup" in said[-1]
    assert said[:-1] == ["Ray was slow to start; trying again"] * 4


def test_a_ray_of_ours_keeps_no_record_of_tasks_that_grows_with_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    from pipelines import ray_session

    asked: list[dict[str, Any]] = []
    monkeypatch.setattr(ray_session.ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray_session.ray, "init", lambda **options: asked.append(options))
    monkeypatch.setattr(ray_session.ray, "shutdown", lambda: None)
    with ray_session.ray_session(1, None):
        assert asked[0]["_system_config"] == {"task_events_report_interval_ms": 0}  # +5 MB a 1,000 tasks otherwise
    with ray_session.ray_session(1, "auto"):
        assert "_system_config" not in asked[1]  # another's cluster
