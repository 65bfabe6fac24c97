"""The row that becomes of each frame: its label, or why it has none. Nothing a frame does gets past its guard."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from fastseg.data.shards import Row
from fastseg.frames import FrameError
from pipelines.guard import Guard
from pipelines.work import AnyWork, BatchWork, Clock, Work


def rows_of(
    ids: Sequence[str], place: Mapping[str, int], settled: Mapping[str, Row], work: AnyWork, clock: Clock, guard: Guard
) -> Iterator[Row]:
    """One row for each of `ids`, in order: of the label schema, or of the rejected one when it has a `reason`.

    place: the number of each frame in its shard, for the note. settled: rows that are known already.
    """
    if not isinstance(work, BatchWork):
        for frame_id in ids:
            yield settled.get(frame_id) or _alone(frame_id, place[frame_id], work, clock, guard)
        return
    for start in range(0, len(ids), work.batch):
        batch = ids[start : start + work.batch]
        rows = {**settled, **_batch([i for i in batch if i not in settled], place, work, clock, guard)}
        yield from (rows[frame_id] for frame_id in batch)


def _alone(frame_id: str, place: int, work: Work, clock: Clock, guard: Guard) -> Row:
    try:
        return _checked(frame_id, guard.run([frame_id], place, partial(work, frame_id, clock)))
    except FrameError as error:
        return rejected_row(frame_id, error)


def _batch(ids: list[str], place: Mapping[str, int], work: BatchWork, clock: Clock, guard: Guard) -> dict[str, Row]:
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
    ids: list[str], place: Mapping[str, int], read: dict[str, Any], work: BatchWork, clock: Clock, guard: Guard
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
