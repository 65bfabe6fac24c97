"""PSSL labels by classifiers that do not fit a worker together: stage after stage, each adds the next ones' maps.

Stage k is a run of its own on the ledger, in OUT/stages/k. A row of it is the sum of the normalised maps of the first
classifiers, a function of the picture, of stage k - 1's row and of its own classifiers alone: what a kill loses is made
again, nothing is added twice, and the order of the sums is that of the list. The last stage ranks the mean; it is the
run in OUT itself. Once it is complete the folder `stages` may be removed.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from fastseg.classifiers import ClassifierAt
from fastseg.data.places import place
from fastseg.data.shard_reader import read_columns
from fastseg.data.shards import REJECTED_SCHEMA, HNShards, Row
from fastseg.frames import FrameError
from pipelines import ledger
from pipelines.pssl_work import LabelPictures, Read, ReadPictures
from pipelines.work import Clock

STAGES = "stages"


class Earlier:
    """The rows and rejections of the stage before, found by id; OSError when they are another run's than `made_of`."""

    def __init__(self, folder: str, made_of: str) -> None:
        out = place(folder)
        paths = sorted((out / "rejected").glob("*.parquet"))
        rows = [row for path in paths for row in read_columns(path, REJECTED_SCHEMA.names).to_pylist()]
        self._rejected = {row["id"]: (row["reason"], row["detail"], row["value"]) for row in rows}
        self._shards = HNShards(out)
        if self._shards.metadata.get("fingerprint") != made_of:
            raise OSError(f"{out} is not the stage that this run began with; the same command makes it again")
        self._ids = self._shards.ids()

    def of(self, picture_id: str) -> Row:
        """The row of a picture; its FrameError when it was rejected, OSError when the stage does not know it."""
        if picture_id in self._rejected:
            raise FrameError(*self._rejected[picture_id])
        at = bisect_left(self._ids, picture_id)
        if at == len(self._ids) or self._ids[at] != picture_id:
            raise OSError(f"the stage before holds no row of {picture_id!r}; the same command makes it again")
        return self._shards.row(at)


@lru_cache(maxsize=1)
def earlier(folder: str, made_of: str) -> Earlier:
    """The stage before, opened once in each process."""
    return Earlier(folder, made_of)


@dataclass(frozen=True)
class ReadAfter(ReadPictures):
    """Reads pictures that the stage before did not reject; `before` and `made_of` as in `LabelStage`."""

    before: str = ""
    made_of: str = ""

    def read(self, picture_id: str, clock: Clock) -> Read:
        """The picture; the FrameError of the stage before."""
        if self.before:
            earlier(self.before, self.made_of).of(picture_id)
        return super().read(picture_id, clock)


@dataclass(frozen=True)
class LabelStage(LabelPictures):
    """The work of one stage.

    before    the folder of the stage before; empty for the first
    made_of   the fingerprint of that stage
    last      whether the mean is ranked now
    """

    before: str = ""
    made_of: str = ""
    last: bool = False

    def reader(self) -> ReadAfter:
        """What reads the pictures that are left."""
        return ReadAfter(**vars(super().reader()), before=self.before, made_of=self.made_of)

    def label(self, read: Sequence[Read], clock: Clock) -> list[Row | FrameError]:
        """The partial sum of each picture, or the label when these are the last classifiers."""
        with clock("label"):
            pixels = np.stack([each.pixels for each in read])
            found = self.ensemble().sums(pixels, [each.number for each in read], [each.id for each in read])
            return [
                one if isinstance(one, FrameError) else self._added(own, one)
                for own, one in zip(read, found, strict=True)
            ]

    def _added(self, read: Read, found: Any) -> Row | FrameError:
        from fastseg.labels.pssl import PSSLSum

        if self.before:
            row = earlier(self.before, self.made_of).of(read.id)
            total = np.frombuffer(row["total"], np.float32).reshape(row["height"], row["width"])
            found = PSSLSum(total, row["models"], row["probability"], row["right"]) + found
        if self.last:
            try:
                return self.row(read, found.label(read.id, self.pssl.samples))
            except FrameError as error:
                return error
        height, width = found.total.shape
        figures = {"models": found.models, "probability": found.probability, "right": found.right}
        size = {"height": height, "width": width}
        return {"id": read.id, "class": read.number, "total": found.total.tobytes()} | size | figures


def in_stages(
    work: LabelPictures, plan: ledger.Plan, out: Path, at_once: int, run: Callable[..., int], max_reject: float
) -> int:
    """The exit code of labelling with at most `at_once` classifiers in a worker; see `pipelines.fan_out.fan_out`.

    run   takes a plan, a work, a folder and max_reject: `fan_out` with the rest of its arguments
    """
    groups = [work.models[i : i + at_once] for i in range(0, len(work.models), at_once)]
    plans, works = _stages(work, plan, out, groups)
    final = ledger.read_run(out)
    if not (final and final["finished"] and final["fingerprint"] == plans[-1].fingerprint()):
        for number, (one, does) in enumerate(zip(plans[:-1], works[:-1], strict=True)):
            code = run(one, does, out / STAGES / str(number), max_reject=1.0)
            if code:
                return code
    return run(plans[-1], works[-1], out, max_reject=max_reject)


def _stages(
    work: LabelPictures, plan: ledger.Plan, out: Path, groups: Sequence[tuple[ClassifierAt, ...]]
) -> tuple[list[ledger.Plan], list[LabelStage]]:
    """The plan and the work of each stage: a stage's fingerprint holds that of the one before."""
    plans: list[ledger.Plan] = []
    works: list[LabelStage] = []
    for number, group in enumerate(groups):
        last = number == len(groups) - 1
        made_of = plans[-1].fingerprint() if plans else ""
        config = plan.config | {
            "stage": number,
            "stages": [[m.name for m in each] for each in groups],
            "made_of": made_of,
        }
        metadata = plan.metadata if last else {"pssl_sum": plan.metadata["pssl"]}
        plans.append(replace(plan, config=config, metadata=metadata))
        before = str(out / STAGES / str(number - 1)) if number else ""
        works.append(LabelStage(**(vars(work) | {"models": group}), before=before, made_of=made_of, last=last))
    return plans, works
