"""Who killed a worker: the frames in suspicion are tried apart from their neighbours, none more than three times.

The worker's note usually names one frame, which is then tried alone. Without a note all frames of the shard are
suspects: they are tried in about sqrt(n) groups of sqrt(n), and the frames of a group that dies alone. Either way a
frame is given up at its third death, and a frame that survives keeps the row it made.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import replace

from fastseg.data.shards import Row
from fastseg.frames import FrameError
from pipelines.guard import take_flight
from pipelines.one_shard import ShardJob
from pipelines.rows import rejected_row

ATTEMPTS = 3
FEW = 3  # suspects who are tried alone at once

Group = tuple[str, ...]
SAYS = {
    "crash": "killed its worker in {n} attempts",
    "timeout": "never came back from native code and its worker had to end",
    "memory": "made the machine run out of memory, also alone",
}


def suspects(job: ShardJob, group: Group | None, here: bool) -> tuple[Group, bool]:
    """The frames of a job, or of one of its groups, that were in work when the worker died; whether it was stuck.

    The note is removed: the next worker may die before it begins one. here: workers run on this machine, so without a
    note none of their frames had begun; a note of another machine may be out of reach, and then all are suspects.
    """
    tried = group if group is not None else tuple(i for i in job.ids if i not in job.settled)
    note = take_flight(flight_of(job, group))
    if note is None:
        return () if here else tried, False
    first, count, stuck = note
    named = set(job.ids[first : first + count])
    return tuple(i for i in tried if i in named), stuck


def flight_of(job: ShardJob, group: Group | None) -> str:
    """Where the frames in work are noted: a group of a shard has a note of its own."""
    return f"{job.flight}.{job.ids.index(group[0])}.tmp" if group and job.flight else job.flight


class Isolation:
    """The search for the killers among the suspects of one shard. `take` gives a group to try next."""

    def __init__(self, job: ShardJob, among: Group, stuck: bool = False, reason: str = "crash") -> None:
        self.job = job
        self._reason = reason
        self._deaths: Counter[str] = Counter()
        self._settled: dict[str, Row] = dict(job.settled)
        self._queue: deque[Group] = deque()
        self._out = 0
        self.died(None, among, stuck)

    def take(self) -> Group | None:
        """A group of frames to try now, or None when all are settled or out."""
        if not self._queue:
            return None
        self._out += 1
        return self._queue.popleft()

    def survived(self, rows: Iterable[Row]) -> None:
        """A group came back: its frames keep the rows they made."""
        self._out -= 1
        self._settled |= {row["id"]: row for row in rows}

    def again(self, group: Group) -> None:
        """A group was lost without any of its frames to blame."""
        self._out -= 1
        self._queue.append(group)

    def died(self, group: Group | None, among: Group, stuck: bool = False) -> None:
        """A worker died over a group (None: the shard), with the frames `among` in work."""
        self._out -= group is not None
        self._deaths.update(among)
        if len(among) == 1 and (stuck or self._deaths[among[0]] >= ATTEMPTS):
            self._give_up(among[0], "timeout" if stuck else self._reason)
        elif len(among) <= FEW or group is not None:
            self._queue.extend((frame_id,) for frame_id in among)
        else:
            size = math.isqrt(len(among) - 1) + 1
            self._queue.extend(among[i : i + size] for i in range(0, len(among), size))

    def _give_up(self, frame_id: str, reason: str) -> None:
        detail = f"frame {frame_id!r} {SAYS[reason].format(n=ATTEMPTS)}"
        self._settled[frame_id] = rejected_row(frame_id, FrameError(reason, detail))

    def done(self) -> ShardJob | None:
        """The job with what was found out, once nothing is left to try."""
        return None if self._queue or self._out else replace(self.job, settled=self._settled)
