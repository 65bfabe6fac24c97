"""A run whose output is a store: the same rows as on a disk, resumed, refused and locked alike."""

from __future__ import annotations

import json
import os
import platform
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, cast

import pytest
import toy_work

from fastseg.data import shards
from fastseg.data.places import place
from pipelines import fan_out, ledger, lock

SPECIAL = ("frame-004-nofloor",)


@pytest.fixture(scope="module")
def s3_server() -> Iterator[str]:
    """The address of an S3 server of this test's own, in a process of its own."""
    pytest.importorskip("moto", reason="the S3 server of these tests is moto's")
    pytest.importorskip("s3fs", reason="s3:// needs the extra `s3`")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(300):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.kill()
        server.wait()


@pytest.fixture(params=["memory", "s3"])
def out(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty place in a store."""
    if request.param == "memory":
        return place(f"memory://{uuid.uuid4().hex}/out")
    address = request.getfixturevalue("s3_server")
    for name, value in {"ENDPOINT_URL": address, "ACCESS_KEY_ID": "x", "SECRET_ACCESS_KEY": "x"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    bucket = place(f"s3://{uuid.uuid4().hex}")
    cast(Any, bucket).fs.mkdir(bucket.name or cast(Any, bucket).path)
    return bucket / "corpus" / "out"


def run(out: Path, **options: Any) -> int:
    return fan_out.fan_out(toy_work.plan(20, SPECIAL, **options), toy_work.work, out, workers=0)


def files(out: Path) -> dict[str, bytes]:
    found = {folder: ledger.fresh(out / folder).iterdir() for folder in ledger.FOLDERS}
    return {f"{folder}/{path.name}": path.read_bytes() for folder, paths in found.items() for path in paths}


def test_a_store_holds_the_bytes_of_a_disk(out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(out) == 0 and run(tmp_path) == 0
    assert files(out) == files(tmp_path) and len(files(out)) == 6
    for name in ("SHA256SUMS", "manifest.parquet"):
        assert (out / name).read_bytes() == (tmp_path / name).read_bytes()
    assert sorted(path.name for path in ledger.fresh(out).iterdir()) == sorted(p.name for p in tmp_path.iterdir())
    assert run(out) == 0
    assert "nothing to do" in capsys.readouterr().err
    assert run(out, estimator="pca") == 2
    assert "estimator was None and is now 'pca'" in capsys.readouterr().err


def test_a_damaged_object_is_found_and_made_again(out: Path) -> None:
    assert run(out) == 0
    before = files(out)
    shard = out / "labels" / "shard-00001.parquet"
    shards.put_whole(shard, before["labels/shard-00001.parquet"][:-9])
    (out / "rejected" / "shard-00002.parquet").unlink()
    assert run(out) == 0
    assert files(out) == before


def test_a_second_driver_of_a_store_is_refused(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with lock.locked(out):
        assert run(out) == 2
    assert f"pid {os.getpid()}, host {platform.node()}" in capsys.readouterr().err
    assert run(out) == 0
    assert not (out / lock.LOCK).exists()


def test_a_dead_drivers_lock_is_taken_over_and_a_silent_ones_too(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "BEAT_S", 0.05)
    me = lock._me()
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    dead = replace(me, pid=gone.pid)
    silent = replace(me, host="elsewhere", beat=time.time() - lock.STALE_S - 1)
    for holder in (dead, silent):
        shards.put_whole(out / lock.LOCK, json.dumps(asdict(holder)).encode())
        with lock.locked(out) as still_held:
            still_held()
    shards.put_whole(out / lock.LOCK, json.dumps(asdict(replace(me, host="elsewhere"))).encode())
    assert run(out) == 2


def test_a_driver_with_a_slow_clock_is_alive_while_it_shows_life(
    out: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    slow = replace(lock._me(), host="elsewhere", beat=time.time() - lock.STALE_S - 100)
    shards.put_whole(out / lock.LOCK, json.dumps(asdict(slow)).encode())
    beat = json.dumps(asdict(replace(slow, beat=slow.beat + 10))).encode()
    monkeypatch.setattr(time, "sleep", lambda seconds: shards.put_whole(out / lock.LOCK, beat))
    assert run(out) == 2
    assert "another driver is at work" in capsys.readouterr().err


def test_a_driver_whose_lock_was_taken_over_stops(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "BEAT_S", 0.05)
    with lock.locked(out) as still_held:
        first = lock._read(out / lock.LOCK)
        time.sleep(0.5)
        beaten = lock._read(out / lock.LOCK)
        assert first is not None and beaten is not None and beaten.beat > first.beat
        thief = json.dumps(asdict(replace(lock._me(), host="thief"))).encode()

        def robbed() -> None:
            for _ in range(50):  # a beat between the thief's look and its write puts ours back: it tries again
                shards.put_whole(out / lock.LOCK, thief)
                time.sleep(0.2)
                still_held()

        with pytest.raises(ledger.RefusedError, match="host thief"):
            robbed()
    assert (out / lock.LOCK).exists()  # the other's


def test_a_store_that_fails_for_a_moment_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    out = place(f"memory://{uuid.uuid4().hex}/out")
    fs = cast(Any, out).fs
    put, failures = type(fs).pipe_file, iter([ConnectionResetError(), TimeoutError(), None])

    def flaky(self: Any, path: str, *args: Any, **options: Any) -> None:
        if "labels" in path and (error := next(failures, None)):
            raise error
        put(self, path, *args, **options)

    monkeypatch.setattr(type(fs), "pipe_file", flaky)
    assert run(out) == 0
    assert len(files(out)) == 6


def test_a_store_that_cannot_be_written_is_named(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    out = place(f"memory://{uuid.uuid4().hex}/out")

    def forbidden(*args: Any, **options: Any) -> None:
        raise PermissionError("no")

    monkeypatch.setattr(type(cast(Any, out).fs), "pipe_file", forbidden)
    assert run(out) == 1
    assert f"cannot write {out / lock.LOCK}: Permission denied" in capsys.readouterr().err
