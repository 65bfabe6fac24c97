"""What a pipeline does with frames: work that takes them singly, or reads them singly and labels them in batches."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol, runtime_checkable

from fastseg.data.shards import Row
from fastseg.frames import FrameError


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
    process between shards and own that share of a GPU. `keeps_state: bool` asks for such actors without a GPU.
    With `readers: int` above 0, tasks beside each actor read up to so many shards ahead of it (`pipelines.read_ahead`),
    by what its `reader()`, asked in an actor, gives: an object with `read` alone, light enough to be sent about.
    """

    @property
    def batch(self) -> int: ...

    def read(self, frame_id: str, clock: Clock) -> Any: ...

    def label(self, read: Sequence[Any], clock: Clock) -> list[Row | FrameError]: ...


AnyWork = Work | BatchWork


def in_actors(work: AnyWork) -> bool:
    """Whether the work keeps state in its process, and is done by actors."""
    return bool(getattr(work, "num_gpus", 0) or getattr(work, "keeps_state", False))
