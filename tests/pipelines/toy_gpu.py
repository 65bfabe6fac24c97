"""Work for workers that only pretend to have a GPU. Apart from the tests: Ray's workers must import it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import toy_work

from fastseg.data.shards import Row
from fastseg.frames import FrameError
from pipelines.hn_gpu import LabelOnGpu
from pipelines.one_shard import Clock


@dataclass(frozen=True)
class Pretended(LabelOnGpu):
    """Toy rows in batches; `why` is what the worker lacks."""

    why: str | None = None

    def problem(self) -> str | None:
        return self.why

    def read(self, frame_id: str, clock: Clock) -> Any:
        return frame_id

    def label(self, read: Sequence[Any], clock: Clock) -> list[Row | FrameError]:
        return [toy_work.work(frame_id, clock) for frame_id in read]
