"""The worker's half of a run: label one range of ids into one shard. Imports no Ray; any process may call it."""

from __future__ import annotations

import faulthandler
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fastseg.data.shard_check import check_shard
from fastseg.data.shards import REJECTED_SCHEMA, Row, ShardWriter
from fastseg.frames import FrameError


class OutputError(Exception):
    """The output folder cannot be written: one sentence naming the path."""


class FrameTimeoutError(BaseException):
    """Raised inside a frame by its alarm; a BaseException, so that no reader's `except Exception` swallows it."""


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


@dataclass(frozen=True)
class ShardJob:
    """One shard to make: its number, its sorted ids, what its metadata says, and ids known to kill a worker."""

    number: int
    ids: tuple[str, ...]
    out: str
    metadata: dict[str, Any]
    timeout_s: float
    own_process: bool = False  # a worker may end itself when a frame hangs beyond the alarm; the driver may not
    poison: dict[str, tuple[str, str]] = field(default_factory=dict)  # id -> (reason, detail)

    def path(self, folder: str) -> Path:
        return Path(self.out) / folder / f"shard-{self.number:05}.parquet"


@dataclass(frozen=True)
class ShardResult:
    """What became of a shard: labelled rows, rejections by reason, seconds by stage; `found` when it was there."""

    number: int
    labels: int
    rejected: dict[str, int]
    seconds: dict[str, float]
    found: bool = False
    damaged: bool = False


def attempt(frame_id: str, work: Work, clock: Clock, timeout_s: float, own_process: bool) -> Row:
    """The label row of a frame, or its rejected row; only a dying process leaves without an answer."""
    try:
        with _deadline(timeout_s, own_process):
            row = work(frame_id, clock)
        if row["id"] != frame_id:
            raise FrameError("id", f"frame {frame_id!r} came back as {row['id']!r}")
        return row
    except FrameError as error:
        return _rejected(frame_id, error.reason, error.detail, error.value)
    except FrameTimeoutError:
        return _rejected(frame_id, "timeout", f"frame {frame_id!r} took longer than {timeout_s:g} s", timeout_s)
    except Exception as error:  # a surprise in one frame must not end a run over the others
        lines = str(error).splitlines() or [""]
        return _rejected(frame_id, "error", f"{type(error).__name__}: {lines[0]}")


def label_shard(job: ShardJob, work: Work) -> ShardResult:
    """Make one shard: rejected rows first, then labels, so the label file's presence says that both are there.

    A shard that is complete already is left as it is. OutputError when the folder cannot be written.
    """
    found, damaged = _existing(job)
    if found is not None:
        return found
    clock = Clock()
    rejected: list[Row] = []
    try:
        with ShardWriter(job.path("labels"), job.metadata) as labels:
            count = 0
            for frame_id in job.ids:
                row = _row(job, frame_id, work, clock)
                if "reason" in row:
                    rejected.append(row)
                    continue
                count += 1
                with clock("write"):
                    labels.add(row)
            with clock("write"):
                _write_rejected(job, rejected)
                labels.commit()
    except OSError as error:
        raise OutputError(f"cannot write {job.path('labels')}: {error.strerror or error}") from error
    reasons = dict(Counter(row["reason"] for row in rejected))
    return ShardResult(job.number, count, reasons, dict(clock.seconds), damaged=damaged)


def _row(job: ShardJob, frame_id: str, work: Work, clock: Clock) -> Row:
    if frame_id in job.poison:
        return _rejected(frame_id, *job.poison[frame_id])
    return attempt(frame_id, work, clock, job.timeout_s, job.own_process)


def _rejected(frame_id: str, reason: str, detail: str, value: float = float("nan")) -> Row:
    return {"id": frame_id, "reason": reason, "detail": detail, "value": float(value)}


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


@contextmanager
def _deadline(seconds: float, own_process: bool) -> Iterator[None]:
    """Raise FrameTimeoutError in the block after `seconds`; a worker stuck in native code ends itself at twice that.

    The clock starts with the frame, not with the task, so a slow neighbour costs nobody their time.
    """
    if threading.current_thread() is not threading.main_thread():  # only the main thread can take an alarm
        yield
        return
    before = signal.signal(signal.SIGALRM, _alarm)
    if own_process:
        faulthandler.dump_traceback_later(2 * seconds, exit=True, file=_nowhere())
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        if own_process:
            faulthandler.cancel_dump_traceback_later()
        signal.signal(signal.SIGALRM, before)


def _alarm(number: int, frame: object) -> None:
    raise FrameTimeoutError


_NOWHERE: list[int] = []


def _nowhere() -> int:
    """A file descriptor that swallows text, opened once in a process."""
    if not _NOWHERE:
        _NOWHERE.append(os.open(os.devnull, os.O_WRONLY))
    return _NOWHERE[0]
