"""Frames read by tasks of their own, ahead of the actor that labels them: a GPU does not wait for a decoder."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol

from fastseg.data.shards import Row
from fastseg.frames import FrameError
from pipelines.guard import Flight, Guard
from pipelines.one_shard import ShardJob, ShardResult
from pipelines.poison import Group, flight_of
from pipelines.work import BatchWork, Clock


class Reader(Protocol):
    """What reads a frame of a `BatchWork`, without what labels it."""

    def read(self, frame_id: str, clock: Clock) -> Any: ...


@dataclass(frozen=True)
class ReadFrames:
    """By its id, what `label` takes of each frame, or the FrameError that rejects it; seconds by stage."""

    frames: Mapping[str, Any]
    seconds: Mapping[str, float]

    def of(self, result: ShardResult) -> ShardResult:
        """The result of the shard with the seconds of its reading."""
        return replace(result, seconds=dict(Counter(result.seconds) + Counter(self.seconds)))


def read_ahead(job: ShardJob, group: Group | None, reader: Reader) -> tuple[None, ReadFrames]:
    """(None, the frames of a shard, or of a group of them): the first is there to be waited for.

    Each is read under its guard and noted, as where it is labelled. None of a shard that is there already is read: who
    would label it sees whether it is whole, and reads what is missing.
    """
    clock, found = Clock(), dict[str, Any]()
    if group is None and job.path("labels").exists():
        return None, ReadFrames({}, {})
    place = {frame_id: i for i, frame_id in enumerate(job.ids)}
    with closing(Flight(flight_of(job, group))) as flight:
        guard = Guard(job.timeout_s, job.memory_mb, job.own_process, flight)
        for frame_id in group if group is not None else job.ids:
            if frame_id in job.settled:
                continue
            try:
                found[frame_id] = guard.run([frame_id], place[frame_id], partial(reader.read, frame_id, clock))
            except FrameError as error:
                found[frame_id] = error
    return None, ReadFrames(found, {stage: float(seconds) for stage, seconds in clock.seconds.items()})


@dataclass(frozen=True)
class Already:
    """A `BatchWork` of which frames were read before."""

    work: BatchWork
    frames: Mapping[str, Any]

    @property
    def batch(self) -> int:
        return self.work.batch

    def read(self, frame_id: str, clock: Clock) -> Any:
        """What was read; FrameError as it was; read now where it is missing."""
        if frame_id not in self.frames:
            return self.work.read(frame_id, clock)
        if isinstance(found := self.frames[frame_id], FrameError):
            raise found
        return found

    def label(self, read: Sequence[Any], clock: Clock) -> list[Row | FrameError]:
        return self.work.label(read, clock)
