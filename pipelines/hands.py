"""Ray's tasks and actors as hands of the pool: what a worker is asked to do, and what became of it."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from contextlib import closing, suppress
from typing import Any

import ray

from fastseg.data.shards import Row
from pipelines.guard import Flight
from pipelines.one_shard import (
    AnyWork,
    BatchWork,
    BrokenRunError,
    Clock,
    OutputError,
    ShardJob,
    ShardResult,
    label_shard,
    rows_of_job,
)
from pipelines.poison import Group, flight_of
from pipelines.read_ahead import Already, Reader, ReadFrames, read_ahead

Answer = ShardResult | OutputError | list[Row]


class Fate(enum.Enum):
    """ANSWERED; DIED: its process ended; LOST: its node did, or it was cancelled; NO_MEMORY: Ray ended it."""

    ANSWERED, DIED, LOST, NO_MEMORY = range(4)


def do(job: ShardJob, group: Group | None, work: AnyWork) -> Answer:
    """The result of a shard, or the rows of a group of its frames.

    A full disk comes back as a value, since an exception would carry the whole traceback.
    """
    if group is not None:
        with closing(Flight(flight_of(job, group))) as flight:
            return list(rows_of_job(job, group, work, Clock(), flight)[0])
    try:
        return label_shard(job, work)
    except OutputError as error:
        return error


def fate_of(ref: Any) -> tuple[Fate, Any]:
    """What became of a task, and its answer. BrokenRunError for a bug in the task itself."""
    gone = (
        ray.exceptions.NodeDiedError, ray.exceptions.TaskCancelledError, ray.exceptions.ObjectLostError,
        ray.exceptions.LocalRayletDiedError, ray.exceptions.ActorUnavailableError,
    )  # fmt: skip
    try:
        return Fate.ANSWERED, ray.get(ref)
    except ray.exceptions.RayTaskError as error:
        raise BrokenRunError(error.cause or error) from error
    except ray.exceptions.OutOfMemoryError:
        return Fate.NO_MEMORY, None
    except gone:
        return Fate.LOST, None
    except ray.exceptions.RayError:
        return Fate.DIED, None


class TaskHands:
    """Stateless Ray tasks: any worker process takes the next one."""

    window = 2  # tasks out for each slot: the next one waits where it will run
    reads = False  # whether a first start is of a reading

    def __init__(self, work: AnyWork) -> None:
        self._task = ray.remote(num_cpus=1, max_retries=0)(do)
        self._work = work

    def start(self, job: ShardJob, group: Group | None, frames: Any = None) -> Any:
        return self._task.remote(job, group, self._work)

    def ended(self, ref: Any, fate: Fate) -> Any:
        """None: nothing is to be tidied up."""
        return None

    def drop(self, refs: Iterable[Any]) -> None:
        """Give up tasks that have not ended."""
        for ref in refs:
            with suppress(ray.exceptions.RayError):
                ray.cancel(ref)


class _Labeller:
    """An actor: its process, and what the work keeps in it, lives as long as the run."""

    def __init__(self, work: AnyWork) -> None:
        self._work = work

    def problem(self) -> str | None:
        """Why the work cannot be done here: the answer of the work's own `problem`, when it has one."""
        found: str | None = getattr(self._work, "problem", lambda: None)()
        return found

    def reader(self) -> Reader:
        """What the work's frames are read with elsewhere."""
        found: Reader = self._work.reader()  # type: ignore[union-attr]
        return found

    def do(self, job: ShardJob, group: Group | None, read: ReadFrames | None) -> Answer:
        if read is None:
            return do(job, group, self._work)
        assert isinstance(self._work, BatchWork), "only a batch work reads frames apart"
        answer = do(job, group, Already(self._work, read.frames))
        return read.of(answer) if isinstance(answer, ShardResult) else answer


class ActorHands:
    """Ray actors that own `num_gpus` of a GPU each: one for each slot, a new one for one that died.

    ValueError before the first shard when the first of them cannot do the work. `first` is that one.
    """

    window = 1
    reads = False

    def __init__(self, work: AnyWork, num_gpus: float) -> None:
        self._actor: Any = ray.remote(num_cpus=1, num_gpus=num_gpus, max_restarts=0, max_task_retries=0)(_Labeller)
        self._work = work
        self._idle: list[Any] = []
        self._busy: dict[Any, Any] = {}
        first = self._actor.remote(work)
        problem = ray.get(first.problem.remote())
        if problem:
            raise ValueError(problem)
        self.first = first
        self._idle.append(first)

    def start(self, job: ShardJob, group: Group | None, frames: Any = None) -> Any:
        """A reference to the answer; `frames` is one to the ReadFrames of the errand, or nothing was read ahead."""
        actor: Any = self._idle.pop() if self._idle else self._actor.remote(self._work)
        ref = actor.do.remote(job, group, frames)
        self._busy[ref] = actor
        return ref

    def ended(self, ref: Any, fate: Fate) -> Any:
        """None. An actor that answered takes the next shard; one that did not is gone, by itself or given up."""
        actor = self._busy.pop(ref, None)
        if fate is Fate.ANSWERED:
            self._idle.append(actor)
        elif actor is not None:
            ray.kill(actor)
        return None

    def drop(self, refs: Iterable[Any]) -> None:
        """Give up actors that have not answered."""
        for ref in list(refs):
            ray.kill(self._busy.pop(ref))


class ReadingHands(ActorHands):
    """Actors whose frames are read by tasks, up to `readers` shards for each actor ahead of it.

    A task asks Ray for no CPU of its own: on a cluster whose CPUs all belong to actors it would wait for ever.
    """

    reads = True

    def __init__(self, work: AnyWork, num_gpus: float, readers: int) -> None:
        super().__init__(work, num_gpus)
        self.window = 1 + readers
        options: dict[str, Any] = {"num_cpus": 0, "max_retries": 0, "num_returns": 2, "scheduling_strategy": "SPREAD"}
        self._read: Any = ray.remote(**options)(read_ahead)
        self._reader = ray.get(self.first.reader.remote())
        self._reading: dict[Any, Any] = {}

    def start(self, job: ShardJob, group: Group | None, frames: Any = None) -> Any:
        """A reference to the end of the reading; with its `frames`, to the answer."""
        if frames is not None:
            return super().start(job, group, frames)
        ref, read = self._read.remote(job, group, self._reader)
        self._reading[ref] = read
        return ref

    def ended(self, ref: Any, fate: Fate) -> Any:
        """A reference to the frames that were read, with which the errand is to be started again; None after that."""
        if ref not in self._reading:
            return super().ended(ref, fate)
        frames = self._reading.pop(ref)
        return frames if fate is Fate.ANSWERED else None

    def drop(self, refs: Iterable[Any]) -> None:
        """Give up what has not ended."""
        for ref in list(refs):
            if ref in self._reading:
                with suppress(ray.exceptions.RayError):
                    ray.cancel(ref)
            else:
                super().drop([ref])
