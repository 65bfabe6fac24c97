"""What may happen to a run inline: kills, damage, a full disk, a second driver. It ends as if nothing had."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import toy_work
from toy_run import driver, rows, run, snapshot

from fastseg.data import shards
from fastseg.data.shard_check import check_shard
from fastseg.verify import problems
from pipelines import fan_out, guard
from pipelines.lock import locked
from pipelines.one_shard import Clock


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("clean")
    assert run(out) == 0
    return out


# Renames of a run: manifest, run.json, then rejected and labels of three shards, SHA256SUMS, run.json.
@pytest.mark.parametrize("rename", [2, 3, 4, 6, 8, 9, 10])
def test_a_kill_before_any_rename_loses_nothing(tmp_path: Path, clean: Path, rename: int) -> None:
    assert driver(tmp_path, rename, 0, 20).wait() == -signal.SIGKILL
    assert list(tmp_path.rglob(".*.tmp"))
    assert run(tmp_path) == 0
    assert rows(tmp_path) == rows(clean) and problems(tmp_path) == []
    assert not list(tmp_path.rglob(".*.tmp"))
    assert (tmp_path / "SHA256SUMS").read_bytes() == (clean / "SHA256SUMS").read_bytes()


def damaged(content: bytes, damage: str) -> bytes:
    """A file's bytes after an accident."""
    kind, _, figure = damage.partition(" ")
    if kind == "truncated":
        return content[: len(content) * int(figure) // 100]
    if kind == "footer":
        return content[:-30] + bytes(22) + content[-8:]
    at = len(content) * int(figure) // 100
    return content[:at] + bytes([content[at] ^ 8]) + content[at + 1 :]


DAMAGES = ["truncated 0", "truncated 1", "truncated 50", "truncated 99", "flipped 1", "flipped 33", "flipped 95"]


@pytest.mark.parametrize("folder", ["labels", "rejected"])
@pytest.mark.parametrize("damage", [*DAMAGES, "footer", "missing"])
def test_a_damaged_shard_is_found_and_made_again(
    tmp_path: Path, clean: Path, damage: str, folder: str, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(clean, tmp_path, dirs_exist_ok=True)
    path = tmp_path / folder / "shard-00001.parquet"
    content = path.read_bytes()
    path.unlink()
    if damage != "missing":
        path.write_bytes(damaged(content, damage))
    (tmp_path / "labels" / ".shard-00002.parquet.elsewhere.1.tmp").write_bytes(b"stale")
    others = snapshot(tmp_path / "labels").items()
    assert problems(tmp_path) != []
    assert run(tmp_path) == 0
    made_for_want = folder == "labels" and damage == "missing"
    assert ("1 damaged shards were made again" in capsys.readouterr().err) != made_for_want
    assert rows(tmp_path) == rows(clean) and problems(tmp_path) == []
    after = snapshot(tmp_path / "labels")
    assert all(after[name] == found for name, found in others if "00001" not in name and "tmp" not in name)
    assert not list(tmp_path.rglob(".*.tmp"))


def test_a_stop_signal_ends_cleanly_and_the_run_resumes(
    tmp_path: Path, clean: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(frame_id: str, clock: Clock) -> shards.Row:
        if frame_id == "frame-012":
            signal.raise_signal(signal.SIGTERM)
        return toy_work.work(frame_id, clock)

    assert fan_out.fan_out(toy_work.plan(), interrupted, tmp_path, workers=0) == 143
    assert "stopped by SIGTERM; 1 of 3 shards are complete" in capsys.readouterr().err
    assert not list(tmp_path.rglob(".*.tmp")) and not (tmp_path / ".lock").exists()
    assert run(tmp_path) == 0 and rows(tmp_path) == rows(clean)


def test_a_second_driver_is_refused_and_a_dead_ones_lock_taken_over(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with locked(tmp_path):
        assert run(tmp_path) == 2
    assert f"pid {os.getpid()}" in capsys.readouterr().err
    (tmp_path / ".lock").write_text(f"pid 1, host {os.uname().nodename}, boot x\n")
    assert run(tmp_path) == 0
    (tmp_path / ".lock").write_text("pid 1, host elsewhere, boot x\n")
    assert run(tmp_path) == 2
    assert "another machine" in capsys.readouterr().err


def test_a_second_process_on_one_output_is_refused(tmp_path: Path, clean: Path) -> None:
    first = driver(tmp_path, 0, 0, 60)
    while not (tmp_path / "run.json").exists():
        assert first.poll() is None
        time.sleep(0.02)
    try:
        assert run(tmp_path, toy_work.plan(60)) == 2
    finally:
        first.kill()
        first.wait()
    assert run(tmp_path, toy_work.plan(60, suffix="-slow")) == 0
    assert problems(tmp_path) == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("a small file system needs the right to mount a tmpfs")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.chaos)])
def test_a_full_disk_is_named_and_the_run_resumes(
    small_disk: Path, workers: int, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = toy_work.plan(160, suffix="-big")  # 16 MB in 20 shards
    assert run(small_disk / "out", plan, workers) == 1
    said = capsys.readouterr().err
    assert f"cannot write {small_disk / 'out' / 'labels'}" in said and "No space left" in said
    before = {name: v for name, v in snapshot(small_disk / "out" / "labels").items() if not name.endswith(".tmp")}
    assert 5 < len(before) < 20 and (workers > 0 or not list(small_disk.rglob(".*.tmp")))
    assert all(check_shard(Path(name)).problems == [] for name in before)
    subprocess.run(["mount", "-o", "remount,size=64m", str(small_disk)], check=True)
    assert run(small_disk / "out", plan, workers) == 0
    after = snapshot(small_disk / "out" / "labels")
    assert problems(small_disk / "out") == [] and all(after[name] == found for name, found in before.items())


def test_an_output_that_cannot_be_written_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert run(tmp_path / "file") == 1
    assert f"cannot write {tmp_path / 'file'}" in capsys.readouterr().err
    (tmp_path / "labels" / f".shard-00000.parquet.{os.uname().nodename}.{os.getpid()}.tmp").mkdir(parents=True)
    assert run(tmp_path) == 1
    assert "cannot write" in (message := capsys.readouterr().err) and "Traceback" not in message


def test_an_alarm_at_the_last_moment_leaves_no_watchdog_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    def rings(which: int, seconds: float) -> None:
        if seconds == 0:  # just before the alarm is stopped
            raise guard.FrameTimeoutError

    stopped: list[bool] = []
    before = signal.getsignal(signal.SIGALRM)
    with monkeypatch.context() as patched:
        patched.setattr(guard.signal, "setitimer", rings)
        patched.setattr(guard.faulthandler, "dump_traceback_later", lambda *args, **options: None)
        patched.setattr(guard.faulthandler, "cancel_dump_traceback_later", lambda: stopped.append(True))
        with pytest.raises(guard.FrameTimeoutError), guard.deadline(1.0, own_process=True):
            pass
    assert stopped and signal.getsignal(signal.SIGALRM) == before
