"""Labels by a consensus of frames (`--consensus poses | sequence`): two runs under the ledger, a reduction between.

    OUT/estimates/          the first run: what each frame found alone, a row each (`EstimateFrame`)
    OUT/consensus.parquet   the up and floor voted for each frame, or why it is judged alone (`reduce_scenes`)
    OUT/                    the second run: the labels by these planes; the file's SHA-256 is part of its fingerprint

Every step is a function of the frames and the settings alone, so the output is too, whatever is killed and tried again.
"""

from __future__ import annotations

import hashlib
import io
import sys
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fastseg.data.places import place
from fastseg.data.sample import scene_of
from fastseg.data.shards import Row, read_rows, replace_file
from fastseg.frames import FrameError, FrameSource
from fastseg.labels.consensus import REASONS, ConsensusConfig, Double, Estimates, Planes, alone, by_poses, part_below
from fastseg.labels.hn import HNConfig, estimate_frame, label_given
from fastseg.labels.standing import coarse_depth, while_still
from pipelines import ledger
from pipelines.fan_out import DONE, fan_out
from pipelines.hn_work import LabelFrame, opened, row_of
from pipelines.one_shard import Clock

Consensus = Literal["none", "poses", "sequence"]
NAME, ESTIMATES, MADE_OF = "consensus.parquet", "estimates", b"fastseg.consensus"
LOOKED_AT = 8  # frames that are asked for a pose before the run
FIGURES = ("up", "floor_m", "aligned_fraction", "valid_fraction", "disagreement_deg")


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


@dataclass(frozen=True)
class PlaneTable:
    """The rows of OUT/consensus.parquet, found by id."""

    ids: list[str]
    table: pa.Table

    def of(self, frame_id: str) -> dict[str, Any] | None:
        """The row of a frame, None for one that has no estimate."""
        at = bisect_left(self.ids, frame_id)
        if at == len(self.ids) or self.ids[at] != frame_id:
            return None
        row: dict[str, Any] = self.table.slice(at, 1).to_pylist()[0]
        return row


@lru_cache(maxsize=1)
def planes_at(path: str, sha256: str) -> PlaneTable:
    """The planes in the file at `path`, read once in each process; OSError when they are not those of the run."""
    content = place(path).read_bytes()
    if hashlib.sha256(content).hexdigest() != sha256:
        raise OSError(f"{path} is not the file that this run began with; the same command again makes it anew")
    table = pq.read_table(pa.BufferReader(content))
    return PlaneTable(table["id"].to_pylist(), table)


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
    content = _kept(out / NAME, first.fingerprint())
    if content is None:
        scene = getattr(source, "scene", scene_of)
        content = _encoded(reduce_scenes(out / ESTIMATES, mode, settings, work.hn, scene), first.fingerprint())
        replace_file(out / NAME, content)
    sha256 = hashlib.sha256(content).hexdigest()
    told = _summary(pq.read_table(pa.BufferReader(content)))
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


def reduce_scenes(
    estimates: Path, mode: Consensus, settings: ConsensusConfig, hn: HNConfig, scene: Callable[[str], str]
) -> pa.Table:
    """One row for each estimated frame, sorted by id: its scene, its plane or the reason for none, how well it stands.

    Columns: id, scene, up (3) and floor_m (camera frame, metres), up_spread_deg and floor_spread_m (the confidence:
    weighted median departures of the votes), votes, reason (a key of `REASONS`), accepted_alone, and what the frame
    found alone of aligned_fraction and disagreement_deg.
    """
    ids, up, figures, numbers = _read(estimates)
    own = alone(up, figures, numbers[:, :16].reshape(-1, 4, 4), hn)
    scenes = np.array([scene(frame_id) for frame_id in ids])
    planes: dict[str, Any] = {
        "up": np.full((len(ids), 3), np.nan), "floor_m": np.full(len(ids), np.nan),
        "up_spread_deg": np.full(len(ids), np.nan), "floor_spread_m": np.full(len(ids), np.nan),
        "votes": np.zeros(len(ids), np.int32), "reason": np.full(len(ids), "", object),
    }  # fmt: skip
    for name in np.unique(scenes):
        of = np.flatnonzero(scenes == name)
        part = Estimates(**{key: value[of] for key, value in vars(own).items()})
        found: Planes = by_poses(part, settings) if mode == "poses" else while_still(part, numbers[of, 16:], settings)
        for key, column in planes.items():
            column[of] = getattr(found, key)
    up_column = pa.FixedSizeListArray.from_arrays(pa.array(planes.pop("up").ravel()), 3)
    columns = {"id": ids, "scene": scenes, "up": up_column} | planes
    columns |= {"accepted_alone": own.floor > 0, "aligned_fraction": figures[:, 1], "disagreement_deg": figures[:, 3]}
    return pa.table(columns)


def _read(estimates: Path) -> tuple[list[str], Double, Double, Double]:
    """Ids, ups (N, 3), figures (N, 4) and numbers (N, 64) of the rows of the first run, sorted by id."""
    names = ["id", "image", *FIGURES]
    rows = [row for path in sorted((estimates / "labels").glob("*.parquet")) for row in read_rows(path, names)]
    if not rows:
        raise ValueError(f"{estimates}: no frame could be read and measured, so there is nothing to agree on")
    rows.sort(key=lambda row: str(row["id"]))
    numbers = np.stack([np.frombuffer(row["image"], "<f8") for row in rows])
    figures = np.array([[row[name] for name in FIGURES[1:]] for row in rows], np.float64)
    return [row["id"] for row in rows], np.array([row["up"] for row in rows], np.float64), figures, numbers


def _encoded(table: pa.Table, made_of: str) -> bytes:
    buffer = io.BytesIO()
    described = table.replace_schema_metadata({MADE_OF: made_of.encode()})
    pq.write_table(described, buffer, compression="zstd", write_page_checksum=True)
    return buffer.getvalue()


def _kept(path: Path, made_of: str) -> bytes | None:
    """The content of an earlier reduction of the same estimates, None when there is none that can be read."""
    try:
        content = path.read_bytes()
        schema = pq.read_table(pa.BufferReader(content), page_checksum_verification=True).schema
    except (OSError, ValueError, pa.ArrowException):
        return None
    return content if (schema.metadata or {}).get(MADE_OF) == made_of.encode() else None


def _summary(table: pa.Table) -> dict[str, Any]:
    """How many frames have a plane that alone have none, and how many are judged alone, by reason."""
    reasons, accepted = table["reason"].to_pylist(), table["accepted_alone"].to_pylist()
    rescued = sum(not r and not a for r, a in zip(reasons, accepted, strict=True))
    return {"rescued": rescued, "alone": dict(sorted(Counter(r for r in reasons if r).items()))}
