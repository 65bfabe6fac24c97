"""The worker's half of a run: label one range of ids into one shard. Imports no Ray; any process may call it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from fastseg.data.shard_check import check_shard
from fastseg.data.shards import REJECTED_SCHEMA, Row, ShardWriter
from fastseg.frames import FrameError
from pipelines.guard import Flight, Guard


class OutputError(Exception):
    """The output folder cannot be written: one sentence naming the path."""


class Clock:
    """Seconds spent in each stage: `with clock("read"): ...` adds to `clock.seconds["read"]`."""

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] += time.perf_counter() - start  # type: ignore[assignment]


# The row of one frame id, or a FrameError when the frame is rejected.
Work = Callable[[str, Clock], Row]


@runtime_checkable
class BatchWork(Protocol):
    """The work of frames that are read one by one and labelled together, `batch` at a time.

    read(frame_id, clock)   what `label` takes of one frame; FrameError when the frame is rejected
    label(read, clock)      one label row or FrameError for each of `read`, in order

    A work of either kind may have `num_gpus: float`: its shards then run in Ray actors, which keep the state of their
    process between shards and own that share of a GPU.
    """

    @property
    def batch(self) -> int: ...

    def read(self, frame_id: str, clock: Clock) -> Any: ...

    def label(self, read: Sequence[Any], clock: Clock) -> list[Row | FrameError]: ...


AnyWork = Work | BatchWork


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

    def path(self, folder: str) -> Path:
        return Path(self.out) / folder / f"shard-{self.number:05}.parquet"


@dataclass(frozen=True)
class ShardResult:
    """What became of a shard: labelled rows, rejections by reason, seconds by stage; `found` when it was there.

    digests   SHA-256 (hex) of the shard's files by folder
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


def rows_of(job: ShardJob, ids: Sequence[str], work: AnyWork, clock: Clock, guard: Guard) -> Iterator[Row]:
    """One row for each of `ids`, in order: of the label schema, or of the rejected one when it has a `reason`."""
    place = {frame_id: i for i, frame_id in enumerate(job.ids)}
    if not isinstance(work, BatchWork):
        for frame_id in ids:
            settled = job.settled.get(frame_id)
            yield settled or _alone(frame_id, place[frame_id], work, clock, guard)
        return
    for start in range(0, len(ids), work.batch):
        batch = ids[start : start + work.batch]
        rows = job.settled | _batch([i for i in batch if i not in job.settled], place, work, clock, guard)
        yield from (rows[frame_id] for frame_id in batch)


def _alone(frame_id: str, place: int, work: Work, clock: Clock, guard: Guard) -> Row:
    try:
        return _checked(frame_id, guard.run([frame_id], place, partial(work, frame_id, clock)))
    except FrameError as error:
        return rejected_row(frame_id, error)


def _batch(ids: list[str], place: dict[str, int], work: BatchWork, clock: Clock, guard: Guard) -> dict[str, Row]:
    """The row of each id: all read one by one, then labelled at once; one by one when that fails."""
    rows: dict[str, Row] = {}
    read: dict[str, Any] = {}
    for frame_id in ids:
        try:
            read[frame_id] = guard.run([frame_id], place[frame_id], partial(work.read, frame_id, clock))
        except FrameError as error:
            rows[frame_id] = rejected_row(frame_id, error)
    if not read:
        return rows
    try:
        return rows | _labelled(list(read), place, read, work, clock, guard)
    except FrameError:  # of the batch as a whole: whose fault it is shows when each is alone
        for frame_id in read:
            try:
                rows |= _labelled([frame_id], place, read, work, clock, guard)
            except FrameError as error:
                rows[frame_id] = rejected_row(frame_id, error)
    return rows


def _labelled(
    ids: list[str], place: dict[str, int], read: dict[str, Any], work: BatchWork, clock: Clock, guard: Guard
) -> dict[str, Row]:
    outcomes = guard.run(ids, place[ids[0]], partial(work.label, [read[i] for i in ids], clock))
    if len(outcomes) != len(ids):
        raise FrameError("error", f"a batch of {len(ids)} frames came back as {len(outcomes)} rows")
    rows = {}
    for frame_id, outcome in zip(ids, outcomes, strict=True):
        try:
            rows[frame_id] = _checked(frame_id, outcome)
        except FrameError as error:
            rows[frame_id] = rejected_row(frame_id, error)
    return rows


def _checked(frame_id: str, outcome: Row | FrameError) -> Row:
    if isinstance(outcome, FrameError):
        raise outcome
    if outcome["id"] != frame_id:
        raise FrameError("id", f"frame {frame_id!r} came back as {outcome['id']!r}")
    return outcome


def rejected_row(frame_id: str, error: FrameError) -> Row:
    """The row of a frame that has no label."""
    return {"id": frame_id, "reason": error.reason, "detail": error.detail, "value": float(error.value)}


def guard_of(job: ShardJob, flight: Flight) -> Guard:
    return Guard(job.timeout_s, job.memory_mb, job.own_process, flight)


def label_shard(job: ShardJob, work: AnyWork) -> ShardResult:
    """Make one shard: rejected rows first, then labels, so the label file's presence says that both are there.

    A shard that is complete already is left as it is. OutputError when the folder cannot be written.
    """
    found, damaged = _existing(job)
    if found is not None:
        return found
    try:
        with closing(Flight(job.flight)) as flight:
            return _made(job, work, guard_of(job, flight), damaged)
    except OSError as error:
        raise OutputError(f"cannot write {job.path('labels')}: {error.strerror or error}") from error


def _made(job: ShardJob, work: AnyWork, guard: Guard, damaged: bool) -> ShardResult:
    clock = Clock()
    rejected: list[Row] = []
    count = 0
    with ShardWriter(job.path("labels"), job.metadata) as labels:
        for row in rows_of(job, job.ids, work, clock, guard):
            if "reason" in row:
                rejected.append(row)
                continue
            count += 1
            with clock("write"):
                labels.add(row)
        with clock("write"):
            _write_rejected(job, rejected)
            labels.commit()
    reasons = dict(Counter(row["reason"] for row in rejected))
    return ShardResult(job.number, count, reasons, dict(clock.seconds), damaged=damaged, retries=guard.retries)


def _write_rejected(job: ShardJob, rows: list[Row]) -> None:
    with ShardWriter(job.path("rejected"), job.metadata, REJECTED_SCHEMA) as writer:
        for row in rows:
            writer.add(row)
        writer.commit()


def _existing(job: ShardJob) -> tuple[ShardResult | None, bool]:
    """The result of a shard that is complete on disk, or None; and whether a damaged one lies there."""
    if not job.path("labels").exists():
        return None, False
    labels = check_shard(job.path("labels"))
    rejected = check_shard(job.path("rejected"), REJECTED_SCHEMA)
    whole = not labels.problems and not rejected.problems
    ours = all(r.metadata.get("fingerprint") == job.metadata["fingerprint"] for r in (labels, rejected))
    if whole and ours and sorted(labels.ids + rejected.ids) == list(job.ids):
        return ShardResult(job.number, len(labels.ids), rejected.reasons, {}, found=True), False
    return None, True
