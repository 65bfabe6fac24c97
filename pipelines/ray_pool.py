"""Shard jobs over Ray Core tasks under a bounded window; a job whose worker dies is taken apart frame by frame.

The only module that imports Ray.
"""

from __future__ import annotations

import os
import sys
import time
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import ray

from pipelines.one_shard import Clock, OutputError, ShardJob, ShardResult, Work, attempt, label_shard
from pipelines.stop import Stop

# A shard that keeps losing its worker though each of its frames runs alone: something outside kills workers.
MAX_ROUNDS = 20
PROBES = 2  # tries of a frame alone after its shard died with it: three attempts in all


def _shard_task(job: ShardJob, work: Work) -> ShardResult | OutputError:
    """The shard's result; a full disk comes back as a value, since an exception would carry the whole traceback."""
    try:
        return label_shard(job, work)
    except OutputError as error:
        return error


def _probe_task(frame_id: str, work: Work, timeout_s: float) -> bool:
    """True when a frame leaves its worker alive, whatever it answers; its row is thrown away."""
    attempt(frame_id, work, Clock(), timeout_s, own_process=True)
    return True


class RayPool:
    """`workers` label workers of a Ray started here, or of the cluster at `address`.

    On a cluster, this checkout's `pipelines` is shipped to the workers by Ray; `fastseg` must be installed on every
    node, and input and output lie on a file system that all nodes see.
    """

    def __init__(self, work: Work, workers: int, address: str | None, stop: Stop) -> None:
        self._work, self._workers, self._address, self._stop = work, workers, address, stop

    def _ended(self, running: Iterable[Any]) -> list[Any]:
        """The tasks that ended within a moment, maybe none; StoppedError when a signal came meanwhile."""
        ended: list[Any] = ray.wait(list(running), timeout=0.5)[0]
        self._stop.check()
        return ended

    def results(self, jobs: Iterator[ShardJob]) -> Generator[ShardResult, None, None]:
        """The result of every job, as they end. OutputError when a worker cannot write."""
        with self._ray():
            shard_task = ray.remote(num_cpus=1, max_retries=0)(_shard_task)
            rounds: dict[int, int] = {}
            again: deque[ShardJob] = deque()
            running: dict[Any, ShardJob] = {}
            while True:
                room = 2 * self._workers - len(running)
                waiting = [again.popleft() for _ in range(min(room, len(again)))]
                for job in [*waiting, *islice(jobs, room - len(waiting))]:
                    running[shard_task.remote(job, self._work)] = job
                if not running:
                    return
                for ref in self._ended(running):
                    job = running.pop(ref)
                    result = self._result(ref)
                    if result is not None:
                        yield result
                        continue
                    rounds[job.number] = rounds.get(job.number, 0) + 1
                    if rounds[job.number] > MAX_ROUNDS:
                        raise OutputError(
                            f"shard {job.number} lost its worker {MAX_ROUNDS} times, yet no frame alone does"
                        )
                    again.append(self._without_poison(job))

    def _result(self, ref: Any) -> ShardResult | None:
        """The answer of a task, or None when its worker died."""
        try:
            answer: ShardResult | OutputError = ray.get(ref)
        except ray.exceptions.RayTaskError:
            raise
        except ray.exceptions.RayError:
            return None
        if isinstance(answer, OutputError):
            raise answer
        return answer

    def _without_poison(self, job: ShardJob) -> ShardJob:
        """The job with every frame marked that kills a worker by itself."""
        probe = ray.remote(num_cpus=1, max_retries=0)(_probe_task)
        deaths: dict[str, int] = {}
        poison = dict(job.poison)
        queue = deque(frame_id for frame_id in job.ids if frame_id not in poison)
        running: dict[Any, tuple[str, float]] = {}
        while queue or running:
            while queue and len(running) < self._workers:
                frame_id = queue.popleft()
                running[probe.remote(frame_id, self._work, job.timeout_s)] = (frame_id, time.monotonic())
            for ref in self._ended(running):
                frame_id, start = running.pop(ref)
                if self._survived(ref):
                    continue
                deaths[frame_id] = deaths.get(frame_id, 0) + 1
                if deaths[frame_id] < PROBES:
                    queue.appendleft(frame_id)
                    continue
                # A worker stuck in native code ends itself at twice the time-out; faster deaths are crashes.
                stuck = time.monotonic() - start >= 2 * job.timeout_s
                reason, what = ("timeout", "never came back") if stuck else ("crash", "killed its worker")
                poison[frame_id] = (reason, f"frame {frame_id!r} {what} in {PROBES + 1} attempts")
        return replace(job, poison=poison)

    def _survived(self, ref: Any) -> bool:
        try:
            return bool(ray.get(ref))
        except ray.exceptions.RayTaskError:
            raise
        except ray.exceptions.RayError:
            return False

    @contextmanager
    def _ray(self) -> Iterator[None]:
        """A running Ray, quiet and without dashboard or usage reports."""
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        environment: dict[str, Any] = {"env_vars": {"OMP_NUM_THREADS": "1"}}
        options: dict[str, Any] = {"log_to_driver": False, "logging_level": "error", "runtime_env": environment}
        if self._address:
            environment["py_modules"] = [str(Path(__file__).parent)]
            options["address"] = self._address
        else:
            # Local workers find what this driver finds: Ray itself hands on the script's folder alone.
            environment["env_vars"]["PYTHONPATH"] = os.pathsep.join(folder for folder in sys.path if folder)
            options |= {"num_cpus": self._workers, "include_dashboard": False, "object_store_memory": 100 << 20}
            options["address"] = "local"
        ray.init(**options)
        self._stop.hold()
        try:
            yield
        finally:
            ray.shutdown()
