"""Frames read by tasks ahead of the actor that labels them: the same rows, and what dies while reading costs itself."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import toy_work
from test_batches import OnGPU
from test_make_pssl_labels import CLASSES, config, digests, encoded, folder, models, noise
from toy_run import digest, rows, run

from fastseg.frames import FrameError
from fastseg.verify import problems
from pipelines import fan_out, make_pssl_labels
from pipelines.one_shard import Clock, ShardJob, label_shard
from pipelines.pssl_work import LabelPictures
from pipelines.read_ahead import Already, read_ahead

__all__ = ["models"]  # the fixture


@dataclass(frozen=True)
class Reads:
    """Reads a frame by its id: `unread` cannot be, `deadly` ends the process. Notes who read what beside TOY_LOG."""

    def read(self, frame_id: str, clock: Clock) -> str:
        if toy_work.LOG in os.environ:
            with open(f"{os.environ[toy_work.LOG]}.read", "a") as log:
                log.write(f"{os.getpid()} {frame_id}\n")
        if "deadly" in frame_id:
            os._exit(9)
        if "unread" in frame_id:
            raise FrameError("decode", "not a picture", 1.0)
        with clock("read"):
            return frame_id


@dataclass(frozen=True)
class ReadApart(OnGPU):
    """Batches for actors, whose frames are read by tasks."""

    readers: int

    def reader(self) -> Reads:
        return Reads()

    def read(self, frame_id: str, clock: Clock) -> str:
        return self.reader().read(frame_id, clock)


def job(out: Path, *ids: str) -> ShardJob:
    for name in ("labels", "rejected"):
        (out / name).mkdir(parents=True, exist_ok=True)
    return ShardJob(0, ids, str(out), {"fingerprint": "1", "hn": toy_work.HN}, 5.0)


def test_what_was_read_is_labelled_and_what_could_not_be_is_rejected(tmp_path: Path) -> None:
    one, work = job(tmp_path, "a", "b-unread", "c", "d"), ReadApart(2, 0.5, 1)
    _, read = read_ahead(
        replace(one, settled={"d": {"id": "d", "reason": "crash", "detail": "", "value": 0.0}}), None, Reads()
    )
    assert dict(read.frames, **{"b-unread": ""}) == {"a": "a", "b-unread": "", "c": "c"}
    assert isinstance(read.frames["b-unread"], FrameError) and read.seconds["read"] > 0
    result = read.of(label_shard(one, Already(work, read.frames)))
    assert (result.labels, result.rejected) == (3, {"decode": 1}) and result.seconds["read"] >= read.seconds["read"]
    assert [row["id"] for row in rows(tmp_path)] == ["a", "c", "d"]  # the last was read where it was labelled
    assert read_ahead(one, None, Reads())[1].frames == {}, "the shard is there"
    assert list(read_ahead(one, ("c",), Reads())[1].frames) == ["c"]


@pytest.mark.slow
@pytest.mark.timeout(900)  # Ray alone may take minutes to start on a busy machine
def test_frames_read_by_tasks_are_those_that_an_actor_reads(ray_log: Path, tmp_path: Path) -> None:
    ray_log.write_text("")
    faults = {"frame-003-deadly": "crash", "frame-009-unread": "decode", "frame-010-segv": "crash"}
    plan = toy_work.plan(60, tuple(faults))
    assert fan_out.fan_out(plan, ReadApart(4, 0.5, 2), tmp_path / "ahead", workers=2) == 0
    assert {row["id"]: row["reason"] for row in rows(tmp_path / "ahead", "rejected")} == faults
    assert problems(tmp_path / "ahead") == []
    read = [line.split() for line in Path(f"{ray_log}.read").read_text().splitlines()]
    labelled = [line.split() for line in ray_log.read_text().splitlines()]
    assert not {line[0] for line in read} & {line[0] for line in labelled}, "no actor reads"
    assert Counter(line[1] for line in read)["frame-003-deadly"] == 3
    assert run(tmp_path / "inline", toy_work.plan(60)) == 0
    assert digest(tmp_path / "ahead") == digest(tmp_path / "inline")


@dataclass(frozen=True)
class OnPretendedGPU(LabelPictures):
    """The real work as a GPU's workers do it, on the processor."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "num_gpus", 0.5)
        object.__setattr__(self, "readers", 2)


@pytest.mark.slow
@pytest.mark.timeout(900)  # Ray alone may take minutes to start on a busy machine
def test_pictures_decoded_by_tasks_get_the_same_labels(
    ray_log: Path, models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {f"{CLASSES[i % 3]}/{i}.jpg": encoded(noise(i)) for i in range(9)} | {"cat/x.jpg": b"no picture"}
    one = config(folder(tmp_path / "in", files), models, tmp_path / "one")
    assert make_pssl_labels.main(one) == 0
    monkeypatch.setattr(make_pssl_labels, "LabelPictures", OnPretendedGPU)
    two = replace(one, out=str(tmp_path / "two"), workers=2, tuning=replace(one.tuning, worker_mb=500))
    assert make_pssl_labels.main(two) == 0 and problems(tmp_path / "two") == []
    assert digests(tmp_path / "one") == digests(tmp_path / "two") and len(rows(tmp_path / "two", "rejected")) == 1
