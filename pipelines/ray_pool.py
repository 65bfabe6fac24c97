"""Shard jobs over Ray Core under a bounded window; the frames of a job whose worker dies are tried apart.

Imported only by a run that has workers: it is Ray's room, with ray_session.py and hands.py.
"""

from __future__ import annotations

import sys
import time
from collections import Counter, deque
from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace
from typing import Any

import ray

from pipelines.hands import ActorHands, Answer, Fate, ReadingHands, TaskHands, fate_of
from pipelines.one_shard import AnyWork, OutputError, ShardJob, ShardResult
from pipelines.poison import Group, Isolation, suspects
from pipelines.ray_session import check_alive, ray_session, slots
from pipelines.stop import Stop
from pipelines.work import in_actors

# A shard that keeps losing its worker though none of its frames is in work: something outside kills workers.
MAX_ROUNDS = 20
GRACE_S = 10.0  # for shards in flight after SIGTERM


@dataclass(frozen=True)
class Errand:
    """What a worker is sent to do: a whole shard, or a group of the frames of one that is being taken apart.

    frames   a reference to what a task read of them for the worker
    """

    job: ShardJob
    isolation: Isolation | None = None
    group: Group | None = None
    frames: Any = None


class RayPool:
    """Up to `workers` label workers, as many as CPUs, memory and GPUs allow, of a Ray (see `ray_session`)."""

    def __init__(self, work: AnyWork, workers: int, address: str | None, stop: Stop, worker_mb: int) -> None:
        self._work, self._workers, self._address, self._stop = work, workers, address, stop
        self._worker_mb = worker_mb
        self._again: deque[Errand] = deque()
        self._read: deque[Errand] = deque()  # their frames wait for a worker
        self._running: dict[Any, Errand] = {}
        self._rounds: Counter[int] = Counter()
        self._slots = workers

    def results(self, jobs: Iterator[ShardJob]) -> Generator[ShardResult, None, None]:
        """The result of every job, as they end. OutputError when a worker cannot write."""
        readers = int(getattr(self._work, "readers", 0))
        with ray_session(self._workers, self._address, self._workers * readers):
            self._stop.hold()
            gpus = float(getattr(self._work, "num_gpus", 0))
            self._slots = slots(self._workers, self._worker_mb, gpus)
            self._hands = self._made_hands(gpus, readers)
            try:
                yield from self._loop(jobs)
            finally:
                self._hands.drop(self._running)

    def _made_hands(self, gpus: float, readers: int) -> TaskHands | ActorHands:
        if not in_actors(self._work):
            return TaskHands(self._work)
        return ReadingHands(self._work, gpus, readers) if readers else ActorHands(self._work, gpus)

    def _loop(self, jobs: Iterator[ShardJob]) -> Iterator[ShardResult]:
        end = float("inf")
        while True:
            if not self._stop.asked:
                self._fill(jobs)
            elif end == float("inf"):
                end = time.monotonic() + GRACE_S
                self._hands.drop(self._not_begun())
            if not self._running or time.monotonic() > end:
                self._stop.check()
                return
            ended = ray.wait(list(self._running), timeout=0.5)[0]
            if not ended and self._address is None:
                check_alive()
            for ref in ended:
                result = self._ended(ref, self._running.pop(ref))
                if result is not None:
                    yield result

    def _not_begun(self) -> list[Any]:
        """What is out and on no worker yet."""
        if self._hands.reads:
            return [ref for ref, errand in self._running.items() if errand.frames is None]
        return list(self._running)[self._slots :]

    def _fill(self, jobs: Iterator[ShardJob]) -> None:
        """Keep as many errands out as there is room for: what was lost before what is new."""
        while self._read and sum(each.frames is not None for each in self._running.values()) < self._slots:
            self._send(self._read.popleft())
        while len(self._running) + len(self._read) < self._hands.window * self._slots:
            errand = self._again.popleft() if self._again else next((Errand(job) for job in jobs), None)
            if errand is None:
                return
            self._send(errand)

    def _send(self, errand: Errand) -> None:
        self._running[self._hands.start(errand.job, errand.group, errand.frames)] = errand

    def _ended(self, ref: Any, errand: Errand) -> ShardResult | None:
        fate, answer = fate_of(ref)
        frames = self._hands.ended(ref, fate)
        if frames is not None:
            self._read.append(replace(errand, frames=frames))
            return None
        if fate is Fate.ANSWERED:
            return self._answered(errand, answer)
        if fate is Fate.NO_MEMORY and self._slots > 1:
            self._slots -= 1
            print(f"memory is short: going on with {self._slots} workers", file=sys.stderr)
            fate = Fate.LOST
        if fate is not Fate.LOST:
            among, stuck = suspects(errand.job, errand.group, here=self._address is None)
            if among:
                self._died(errand, among, stuck, "memory" if fate is Fate.NO_MEMORY else "crash")
                return None
        self._lost(errand)
        return None

    def _answered(self, errand: Errand, answer: Answer) -> ShardResult | None:
        if isinstance(answer, OutputError):
            raise answer
        if isinstance(answer, ShardResult):
            return answer
        assert errand.isolation is not None, "only a group of a shard comes back as rows"
        errand.isolation.survived(answer)
        self._next(errand.isolation)
        return None

    def _died(self, errand: Errand, among: Group, stuck: bool, reason: str) -> None:
        isolation = errand.isolation
        if isolation is None:
            isolation = Isolation(errand.job, among, stuck, reason)
        else:
            isolation.died(errand.group, among, stuck)
        self._next(isolation)

    def _lost(self, errand: Errand) -> None:
        """A worker or its node went away, and no frame is to blame."""
        number = errand.job.number
        self._rounds[number] += 1
        if self._rounds[number] > MAX_ROUNDS:
            raise OutputError(f"shard {number} lost its worker {MAX_ROUNDS} times, and no frame of it is to blame")
        if errand.isolation is None or errand.group is None:
            self._again.append(replace(errand, frames=None))
            return
        errand.isolation.again(errand.group)
        self._next(errand.isolation)

    def _next(self, isolation: Isolation) -> None:
        """Send out what is to be tried next; the shard itself when nothing is."""
        while (group := isolation.take()) is not None:
            self._again.append(Errand(isolation.job, isolation, group))
        job = isolation.done()
        if job is not None:
            self._again.append(Errand(job))
