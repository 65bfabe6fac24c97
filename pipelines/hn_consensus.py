"""Labels by a consensus of frames (`--consensus poses | sequence`): two runs under the ledger, a reduction between.

    OUT/estimates/          the first run: what each frame found alone, a row each (`EstimateFrame`)
    OUT/consensus.parquet   the up and floor voted for each frame, or why it is judged alone (`reduce_scenes`)
    OUT/                    the second run: the labels by these planes; the file's SHA-256 is part of its fingerprint

Every step is a function of the frames and the settings alone, so the output is too, whatever is killed and tried again.
"""

from __future__ import annotations

import hashlib
import sys
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from fastseg.data.sample import scene_of
from fastseg.data.shards import Row, replace_file
from fastseg.frames import FrameError, FrameSource
from fastseg.labels.consensus import REASONS, ConsensusConfig, part_below
from fastseg.labels.hn import estimate_frame, label_given
from fastseg.labels.standing import coarse_depth
from pipelines import ledger
from pipelines.fan_out import DONE, FAILED, fan_out
from pipelines.hn_planes import FIGURES, Consensus, encoded, kept, planes_at, reduce_scenes, summary, table_of
from pipelines.hn_work import LabelFrame, opened, row_of
from pipelines.one_shard import Clock
from pipelines.retry import persistently

NAME, ESTIMATES = "consensus.parquet", "estimates"
LOOKED_AT = 8  # frames that are asked for a pose before the run


@dataclass(frozen=True)
class EstimateFrame:
    """The work of the first run: id -> a row of `shards.SCHEMA` with the figures that the frame finds alone.

    Its label is one ignored pixel, and its `image` the numbers that a vote needs besides: the pose (16 float64, row by
    row, NaN without one) and the coarse depth (48).
    """

    alone: LabelFrame

    def __call__(self, frame_id: str, clock: Clock) -> Row:
        with clock("read"):
            frame = opened(self.alone.at).load(frame_id)
        with clock("estimate"):
            up, figures = estimate_frame(frame, self.alone.hn)
            pose = np.full((4, 4), np.nan) if frame.pose is None else np.asarray(frame.pose, np.float64)
            numbers = np.concatenate([pose.ravel(), coarse_depth(frame)]).astype("<f8")
        bins = [0] * (self.alone.hn.n_height * self.alone.hn.n_normal)
        row: Row = {"id": frame_id, "image": numbers.tobytes(), "label": b"\xff", "height": 1, "width": 1, "bins": bins}
        return row | dict(zip(FIGURES, (up.tolist(), *figures.tolist()), strict=True))


@dataclass(frozen=True)
class LabelByPlane:
    """The work of the second run: id -> label row, by the plane voted for the frame, alone where there is none.

    The row's aligned_fraction and disagreement_deg are those that the frame found alone: a rescued frame is known by an
    aligned part or a disagreement that would have rejected it.
    """

    alone: LabelFrame
    settings: ConsensusConfig
    planes: str
    sha256: str

    def __post_init__(self) -> None:
        planes_at(self.planes, self.sha256)  # a worker without them fails as a whole, and rejects no frame for it

    def __reduce__(self) -> tuple[type[LabelByPlane], tuple[Any, ...]]:
        return LabelByPlane, (self.alone, self.settings, self.planes, self.sha256)

    def __call__(self, frame_id: str, clock: Clock) -> Row:
        plane = planes_at(self.planes, self.sha256).of(frame_id)
        if plane is None:
            return self.alone(frame_id, clock)
        if plane["reason"]:
            return self._judged_alone(frame_id, str(plane["reason"]), clock)
        with clock("read"):
            frame = opened(self.alone.at).load(frame_id)
        up, floor_m = np.array(plane["up"]), plane["floor_m"]
        with clock("label"):  # where its own gravity is missing, so is the check that the reduction makes
            below = part_below(frame, up, floor_m, self.settings.max_below_m)
        if not plane["accepted_alone"] and below > self.settings.max_below:
            return self._judged_alone(frame_id, "below", clock)
        with clock("label"):
            made = label_given(frame, self.alone.hn, up, floor_m)
            own = {name: plane[name] for name in ("aligned_fraction", "disagreement_deg")}
            return row_of(frame, replace(made, **own))

    def _judged_alone(self, frame_id: str, reason: str, clock: Clock) -> Row:
        try:
            return self.alone(frame_id, clock)
        except FrameError as error:
            told = f"{error.detail}; no plane by consensus: {REASONS[reason]}"
            raise FrameError(error.reason, told, error.value) from error


def label_by_consensus(
    mode: Consensus, window: float, plan: ledger.Plan, work: LabelFrame, out: Path, **options: Any
) -> int:
    """The exit code of both runs; `plan`, `work`, `out` and `options` as `fan_out` takes them.

    Frames of one scene vote (`FrameSource.scene`, else the id's folder), each weighed by its distance in frames over
    `window`. Raises ValueError when the mode is `poses` and there are none.
    """
    settings = ConsensusConfig(window=window)
    source = opened(work.at)
    if mode == "poses":
        check_poses(source, plan.ids)
    facts = {"consensus": mode} | {f"consensus.{name}": value for name, value in asdict(settings).items()}
    plan = replace(plan, config=plan.config | facts)
    first = replace(plan, config=plan.config | {"pass": ESTIMATES})
    ledger.check_same_run(out, _with_planes(plan, ((ledger.read_run(out) or {}).get("parts") or {}).get("config", {})))
    print(f"consensus: what each frame finds alone, into {out / ESTIMATES}", file=sys.stderr)
    code = fan_out(first, EstimateFrame(work), out / ESTIMATES, **options | {"max_reject": 1.0})
    if code != DONE:
        return code
    content = kept(out / NAME, first.fingerprint())
    if content is None:
        scene = getattr(source, "scene", scene_of)
        content = encoded(reduce_scenes(out / ESTIMATES, mode, settings, work.hn, scene), first.fingerprint())
        try:
            persistently(partial(replace_file, out / NAME, content), NAME)
        except OSError as error:
            print(f"cannot write {out / NAME}: {error.strerror or error}", file=sys.stderr)
            return FAILED
    sha256 = hashlib.sha256(content).hexdigest()
    told = summary(table_of(content))
    none = ", ".join(f"{count} {reason}" for reason, count in told["alone"].items()) or "none"
    print(
        f"consensus: {told['rescued']} frames get a floor that they do not see; judged alone: {none}", file=sys.stderr
    )
    options["about"] = (options.get("about") or {}) | {"consensus": told}
    second = _with_planes(plan, {"consensus.sha256": sha256})
    return fan_out(second, LabelByPlane(work, settings, str(out / NAME), sha256), out, **options)


def _with_planes(plan: ledger.Plan, found: dict[str, Any]) -> ledger.Plan:
    return replace(plan, config=plan.config | {"consensus.sha256": found.get("consensus.sha256")})


def check_poses(source: FrameSource, ids: tuple[str, ...]) -> None:
    """None; ValueError when the first frame that can be read, of a few, has no pose."""
    for frame_id in ids[:LOOKED_AT]:
        try:
            frame = source.load(frame_id)
        except FrameError:
            continue
        if frame.pose is None:
            raise ValueError(
                f"--consensus poses needs a camera-to-world pose with every frame, and {frame_id!r} has none; "
                "give the data set's poses, or --consensus sequence for a camera that stands"
            )
        return
