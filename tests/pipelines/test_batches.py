"""Work that reads frames one by one and labels them together gives the rows of work that takes them singly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import toy_work
from toy_run import rows

from fastseg.data import shards
from fastseg.frames import FrameError
from pipelines import fan_out
from pipelines.one_shard import BatchWork, Clock


@dataclass(frozen=True)
class InBatches:
    """The toy work, `batch` frames at a time; `together` in an id fails a batch, `short` loses one of its rows."""

    batch: int

    def read(self, frame_id: str, clock: Clock) -> str:
        if "unread" in frame_id:
            raise FrameError("decode", "not a picture", 1.0)
        return frame_id

    def label(self, read: Sequence[str], clock: Clock) -> list[shards.Row | FrameError]:
        if len(read) > 1 and any("together" in frame_id for frame_id in read):
            raise RuntimeError("a batch that cannot be")
        return [self._one(frame_id, clock) for frame_id in read if "short" not in frame_id]

    def _one(self, frame_id: str, clock: Clock) -> shards.Row | FrameError:
        try:
            return toy_work.work(frame_id, clock)
        except FrameError as error:
            return error


def label(work: Any, out: Path, special: tuple[str, ...] = ()) -> None:
    assert fan_out.fan_out(toy_work.plan(20, special), work, out, workers=0) == 0


@pytest.mark.parametrize("batch", [1, 3, 8, 64])
def test_batches_of_any_size_give_the_rows_of_single_frames(tmp_path: Path, batch: int) -> None:
    assert isinstance(InBatches(batch), BatchWork) and not isinstance(toy_work.work, BatchWork)
    label(toy_work.work, tmp_path / "alone", ("frame-004-nofloor",))
    label(InBatches(batch), tmp_path / "batch", ("frame-004-nofloor",))
    for folder in ("labels", "rejected"):
        assert rows(tmp_path / "batch", folder) == rows(tmp_path / "alone", folder)


def test_a_frame_that_spoils_its_batch_costs_its_own_row_at_most(tmp_path: Path) -> None:
    label(InBatches(8), tmp_path, ("frame-002-together", "frame-010-short", "frame-011-unread"))
    found = {row["id"]: (row["reason"], row["detail"]) for row in rows(tmp_path, "rejected")}
    assert found == {
        "frame-010-short": ("error", "a batch of 1 frames came back as 0 rows"),
        "frame-011-unread": ("decode", "not a picture"),
    }
    assert len(rows(tmp_path, "labels")) == 21


@dataclass(frozen=True)
class OnGPU(InBatches):
    """Batches for actors that own a share of a GPU."""

    num_gpus: float


def half_a_row(frame_id: str, clock: Clock) -> shards.Row:
    return {"id": frame_id, "label": b""}
