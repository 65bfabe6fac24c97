"""The worker's half of a run: label one range of ids into one shard. Imports no Ray; any process may call it."""

from __future__ import annotations

import errno
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from fastseg.data.places import place
from fastseg.data.shard_check import check_shard
from fastseg.data.shards import REJECTED_SCHEMA, Row, ShardWriter, label_schema
from pipelines.guard import Flight, Guard
from pipelines.retry import persistently
from pipelines.rows import rows_of
from pipelines.work import AnyWork, BatchWork, Clock, Work

__all__ = [
    "AnyWork", "BatchWork", "BrokenRunError", "Clock", "OutputError", "ShardJob", "ShardResult", "Work", "label_shard",
]  # fmt: skip


class OutputError(Exception):
    """The output folder cannot be written: one sentence naming the path."""


class BrokenRunError(OSError):
    """Something failed that nobody foresaw; complete shards stay. An OSError: programs say it in one sentence."""

    def __init__(self, error: BaseException) -> None:
        line = (str(error).strip().splitlines() or [""])[0]
        super().__init__(f"the run broke off: {type(error).__name__}: {line}; --debug shows where")
        self.errno = errno.EIO


@dataclass(frozen=True)
class ShardJob:
    """One shard to make.

    number, ids   the shard's number and its sorted ids
    out           the run's folder
    metadata      goes into the shard's footer
    timeout_s     seconds for a frame
    own_process   a worker may end itself when a frame hangs beyond the alarm's reach; the driver may not
    memory_mb     MiB that a frame may add to its process; None: no limit
    flight        where to note the frames in work (a local path), or nothing
    settled       rows of frames that were tried alone after a worker died: labels, or rejections
    """

    number: int
    ids: tuple[str, ...]
    out: str
    metadata: dict[str, Any]
    timeout_s: float
    own_process: bool = False
    memory_mb: int | None = None
    flight: str = ""
    settled: dict[str, Row] = field(default_factory=dict)

    def name(self, folder: str) -> str:
        """The shard's file in `labels` or `rejected`, below the run's folder."""
        return f"{folder}/shard-{self.number:05}.parquet"

    def path(self, folder: str) -> Path:
        return place(self.out) / self.name(folder)


@dataclass(frozen=True)
class ShardResult:
    """What became of a shard: labelled rows, rejections by reason, seconds by stage; `found` when it was there.

    digests   SHA-256 (hex) of the shard's files, by their names below the run's folder
    retries   reads and writes that were tried again
    """

    number: int
    labels: int
    rejected: dict[str, int]
    seconds: dict[str, float]
    found: bool = False
    damaged: bool = False
    digests: dict[str, str] = field(default_factory=dict)
    retries: int = 0


def rows_of_job(
    job: ShardJob, ids: tuple[str, ...], work: AnyWork, clock: Clock, flight: Flight
) -> tuple[Iterator[Row], Guard]:
    """The rows of some of a job's frames as they are made, and the guard they are made under."""
    guard = Guard(job.timeout_s, job.memory_mb, job.own_process, flight)
    place = {frame_id: i for i, frame_id in enumerate(job.ids)}
    return rows_of(ids, place, job.settled, work, clock, guard), guard


def label_shard(job: ShardJob, work: AnyWork) -> ShardResult:
    """Make one shard: rejected rows first, then labels, so the label file's presence says that both are there.

    A shard that is complete already is left as it is. A write that fails for a moment is tried again, with the whole
    shard. OutputError when the place cannot be written.
    """
    try:
        with closing(Flight(job.flight)) as flight:
            again = Counter[str]()
            make = partial(_existing_or_made, job, work, flight)
            result = persistently(make, str(job.number), lambda: again.update(["writes"]))
        return replace(result, retries=result.retries + again["writes"])
    except OSError as error:
        text = error.strerror or str(error)
        raise OutputError(f"cannot write {error.filename or job.path('labels')}: {text}") from error


def _existing_or_made(job: ShardJob, work: AnyWork, flight: Flight) -> ShardResult:
    found, damaged = _existing(job)
    return found or _made(job, work, flight, damaged)


def _made(job: ShardJob, work: AnyWork, flight: Flight, damaged: bool) -> ShardResult:
    clock = Clock()
    rejected: list[Row] = []
    count = 0
    rows, guard = rows_of_job(job, job.ids, work, clock, flight)
    with ShardWriter(job.path("labels"), job.metadata, label_schema(job.metadata)) as labels:
        for row in rows:
            if "reason" in row:
                rejected.append(row)
                continue
            count += 1
            with clock("write"):
                labels.add(row)
        with clock("write"):
            digests = {job.name("rejected"): _write_rejected(job, rejected)}
            labels.commit()
    digests[job.name("labels")] = labels.sha256
    reasons = dict(Counter(row["reason"] for row in rejected))
    seconds = {stage: float(s) for stage, s in clock.seconds.items()}
    return ShardResult(job.number, count, reasons, seconds, False, damaged, digests, guard.retries)


def _write_rejected(job: ShardJob, rows: list[Row]) -> str:
    """Write the rejected rows; the SHA-256 (hex) of their file."""
    with ShardWriter(job.path("rejected"), job.metadata, REJECTED_SCHEMA) as writer:
        for row in rows:
            writer.add(row)
        writer.commit()
    return writer.sha256


def _existing(job: ShardJob) -> tuple[ShardResult | None, bool]:
    """The result of a shard that is complete on disk, or None; and whether a damaged one lies there."""
    if not job.path("labels").exists():
        return None, False
    labels = check_shard(job.path("labels"), label_schema(job.metadata))
    rejected = check_shard(job.path("rejected"), REJECTED_SCHEMA)
    whole = not labels.problems and not rejected.problems
    ours = all(r.metadata.get("fingerprint") == job.metadata["fingerprint"] for r in (labels, rejected))
    if whole and ours and sorted(labels.ids + rejected.ids) == list(job.ids):
        digests = {job.name("labels"): labels.sha256, job.name("rejected"): rejected.sha256}
        return ShardResult(job.number, len(labels.ids), rejected.reasons, {}, True, False, digests), False
    return None, True
