"""Up and floor that the frames of a scene agree on: where one frame shows no floor, its neighbours know where it lies.

Each frame says what it found alone (`Estimates`). With poses, `by_poses` turns every up and every floor into the world
and lets the frames vote, near ones more than far ones, outliers dropped; each frame gets the plane voted for it back in
its own camera, or the reason why it must be judged alone. Without poses: `fastseg.labels.standing`.

This goes beyond the HN-labels paper. The vote for up is the median on the sphere (Weiszfeld's iteration, Fletcher et
al., CVPR 2008), then the mean of those near it; for the floor it is the fullest band of heights, then its median.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from fastseg.frames import Frame
from fastseg.labels.hn import HNConfig

Double = npt.NDArray[np.float64]
REASONS = {
    "": "voted",
    "pose": "the frame has no usable pose",
    "votes": "too few frames with gravity and a floor in view to vote",
    "up": "the frames around it do not agree on up, or their poses do not",
    "floor": "the frames around it do not agree on the floor, or their poses do not",
    "apart": "its own gravity contradicts the vote, or its pose is wrong",
    "below": "its lowest points lie far below the voted floor, or its pose is wrong",
}


@dataclass(frozen=True)
class ConsensusConfig:
    """How frames vote; lengths in metres, angles in degrees.

    window         a frame's vote counts half for one that is so many frames away; 0: for all of the scene alike. Poses
                   that drift want a short window, exact ones a long
    fewest         of frames that must vote
    max_spread_deg the weighted median angle between the votes for up and their outcome is at most this
    near_m         votes for a floor so far from another support it; half of them must lie so near to the outcome
    max_apart_deg  a frame's own gravity departs from the outcome by at most this
    max_below_m    a frame's own lowest points (its floor, found alone) lie at most so far below the outcome
    max_below      at most this part of the points of a frame that is rescued lie farther than that below it
    """

    window: float = 16.0
    fewest: int = 3
    max_spread_deg: float = 3.0
    near_m: float = 0.05
    max_apart_deg: float = 6.0
    max_below_m: float = 0.3
    max_below: float = 0.05

    def __post_init__(self) -> None:
        lengths = (self.max_spread_deg, self.near_m, self.max_apart_deg, self.max_below_m, self.max_below)
        if not (0 <= self.window < np.inf and self.fewest >= 1 and all(0 < x < np.inf for x in lengths)):
            raise ValueError(
                "a consensus takes a window of 0 or more frames, 1 vote at least, and finite limits above 0; "
                f"got {self}"
            )


@dataclass(frozen=True)
class Estimates:
    """What each of N frames of one scene found alone, in the order in which they were taken.

    up      (N, 3) unit, camera frame; floor_m (N,) metres, up . p = floor_m on the floor
    weight  (N,) of the vote for up: 0 where gravity was not found
    floor   (N,) of the vote for the floor: 0 where none is in view
    pose    (N, 4, 4) camera-to-world, NaN where there is none
    """

    up: Double
    floor_m: Double
    weight: Double
    floor: Double
    pose: Double


@dataclass(frozen=True)
class Planes:
    """The up and floor that each of N frames is given, camera frame; NaN where `reason` is not empty.

    up (N, 3) unit, floor_m (N,) metres; up_spread_deg and floor_spread_m (N,) the weighted median departures of the
    votes from their outcome; votes (N,) frames that voted on the floor; reason: keys of REASONS, "" for a voted plane
    """

    up: Double
    floor_m: Double
    up_spread_deg: Double
    floor_spread_m: Double
    votes: npt.NDArray[np.int32]
    reason: tuple[str, ...]


@dataclass(frozen=True)
class Vote:
    """A plane in the world, up . x = height on it, how far the votes depart from it, and their number."""

    up: Double
    height: float
    up_spread_deg: float
    floor_spread_m: float
    votes: int
    reason: str = ""


def alone(up: Double, figures: Double, pose: Double, hn: HNConfig) -> Estimates:
    """The estimates of N frames from what `estimate_frame` found: up (N, 3), figures (N, 4), poses (N, 4, 4).

    Where the two estimators of gravity agree the frame votes for up, and where it is accepted alone for the floor, with
    the part of its lowest points that look up.
    """
    floor_m, aligned, _, disagreement = figures.astype(np.float64).T
    settled = disagreement <= hn.max_disagreement_deg
    seen = settled & (aligned >= hn.min_aligned)
    return Estimates(up.astype(np.float64), floor_m, settled.astype(np.float64), np.where(seen, aligned, 0.0), pose)


def unit(vectors: Double) -> Double:
    """The vectors over their lengths, along the last axis."""
    return np.asarray(vectors / np.linalg.norm(vectors, axis=-1, keepdims=True), np.float64)


def degrees_between(a: Double, b: Double) -> Double:
    """Degrees between unit vectors along the last axis; atan2 of the chord, so that small angles keep their digits."""
    apart, along = np.linalg.norm(a - b, axis=-1), np.linalg.norm(a + b, axis=-1)
    return np.asarray(np.rad2deg(2 * np.arctan2(apart, along)), np.float64)


def weighted_median(values: Double, weights: Double) -> float:
    """The least value that half of the weight lies at or below."""
    order = np.argsort(values, kind="stable")
    total = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(total, total[-1] / 2)])


def up_vote(ups: Double, weights: Double) -> tuple[Double, float]:
    """The up (3,) that unit vectors (K, 3) vote for, and the weighted median of their angles to it, degrees.

    The median on the sphere, argmin of sum w_k angle(u, u_k), then the mean of the votes within three times the
    weighted median angle (half a degree at least) of it.
    """
    up = unit(weights @ ups)
    for _ in range(20):
        before = up
        up = unit((weights / np.maximum(degrees_between(ups, up), 0.01)) @ ups)
        if degrees_between(up, before) < 1e-3:
            break
    angles = degrees_between(ups, up)
    kept = angles <= max(3 * weighted_median(angles, weights), 0.5)
    up = unit(weights[kept] @ ups[kept])
    return up, weighted_median(degrees_between(ups, up), weights)


def floor_vote(heights: Double, weights: Double, near_m: float) -> tuple[float, float, float]:
    """The height that heights (K,) vote for, the weighted median departure from it, and the part of the weight near it.

    The vote with most weight within `near_m`, the lowest of equals, then the weighted median within twice that of it.
    """
    order = np.argsort(heights, kind="stable")
    h, total = heights[order], np.concatenate([[0.0], np.cumsum(weights[order])])
    support = total[np.searchsorted(h, h + near_m, "right")] - total[np.searchsorted(h, h - near_m, "left")]
    fullest = h[np.argmax(support > support.max() * (1 - 1e-9))]
    kept = np.abs(heights - fullest) <= 2 * near_m
    height = weighted_median(heights[kept], weights[kept])
    away = np.abs(heights - height)
    return height, weighted_median(away, weights), float(weights[away <= near_m].sum() / weights.sum())


def by_poses(estimates: Estimates, config: ConsensusConfig) -> Planes:
    """The planes that the frames of one scene vote for, every pose a camera-to-world one in the same world.

    With R_i, t_i frame i's pose: its vote for up is R_i up_i, for the floor the point t_i + floor_m_i R_i up_i. Frame
    i's outcome weighs the vote of frame j by 1 / (1 + ((i - j) / window)^2) times j's own weight.
    """
    posed = usable(estimates.pose)
    own = replace(estimates, weight=np.where(posed, estimates.weight, 0), floor=np.where(posed, estimates.floor, 0))
    rotation, place = np.where(posed[:, None, None], own.pose, np.eye(4))[:, :3, :3], own.pose[:, :3, 3]
    ups = unit(np.einsum("nij,nj->ni", rotation, own.up))
    scene = Voters(ups, place + own.floor_m[:, None] * ups, own.weight, own.floor)
    whole = vote_at(0, scene, config) if config.window == 0 else None  # one vote, the same for all
    found = [(whole or vote_at(i, scene, config)) if posed[i] else _silent("pose") for i in range(len(posed))]
    up = np.einsum("nij,ni->nj", rotation, np.stack([v.up for v in found]) if found else np.empty((0, 3)))
    floor = np.array([v.height - v.up @ place[i] for i, v in enumerate(found)], np.float64)
    reason = [v.reason or _contradiction(own, i, up[i], floor[i], config) for i, v in enumerate(found)]
    kept = np.array([not r for r in reason], bool)
    return Planes(
        np.where(kept[:, None], up, np.nan),
        np.where(kept, floor, np.nan),
        np.array([v.up_spread_deg for v in found], np.float64),
        np.array([v.floor_spread_m for v in found], np.float64),
        np.array([v.votes for v in found], np.int32),
        tuple(reason),
    )


@dataclass(frozen=True)
class Voters:
    """The frames of a scene in the world: ups (N, 3), points on their floors (N, 3), weights of both votes (N,)."""

    up: Double
    foot: Double
    weight: Double
    floor: Double


def vote_at(i: int, scene: Voters, config: ConsensusConfig) -> Vote:
    """The plane that the frames of a scene vote for at frame i."""
    some, weight = _around(i, scene.weight, config)
    seen, floor = _around(i, scene.floor, config)
    if min(len(some), len(seen)) < config.fewest:
        return replace(_silent("votes"), votes=len(seen))
    up, up_spread = up_vote(scene.up[some], weight)
    height, floor_spread, share = floor_vote(scene.foot[seen] @ up, floor, config.near_m)
    reason = "up" if up_spread > config.max_spread_deg else "floor" if share < 0.5 else ""
    return Vote(up, height, up_spread, floor_spread, len(seen), reason)


def _around(i: int, weights: Double, config: ConsensusConfig) -> tuple[npt.NDArray[np.intp], Double]:
    """The frames that vote at frame i, those within four windows or else the nearest eight, and their weights."""
    voters = np.flatnonzero(weights > 0)
    if config.window == 0 or len(voters) <= 8:
        away = np.abs(voters - i) if config.window else np.zeros(len(voters))
        return voters, np.asarray(weights[voters] / (1 + (away / (config.window or 1)) ** 2), np.float64)
    away = np.abs(voters - i)
    kept = away <= max(4 * config.window, np.partition(away, 7)[7])
    voters, away = voters[kept], away[kept]
    return voters, np.asarray(weights[voters] / (1 + (away / config.window) ** 2), np.float64)


def _silent(reason: str) -> Vote:
    return Vote(np.full(3, np.nan), np.nan, np.nan, np.nan, 0, reason)


def _contradiction(own: Estimates, i: int, up: Double, floor_m: float, config: ConsensusConfig) -> str:
    """What in frame i itself speaks against the plane voted for it: a key of REASONS, "" for nothing."""
    if own.weight[i] == 0:
        return ""
    if bool(degrees_between(unit(own.up[i]), up) > config.max_apart_deg):
        return "apart"
    return "below" if own.floor_m[i] < floor_m - config.max_below_m else ""


def part_below(frame: Frame, up: Double, floor_m: float, by_m: float) -> float:
    """The part of the measured points (every eighth row and column) that lie more than `by_m` metres below a floor."""
    v, u = np.mgrid[: frame.camera.height : 8, : frame.camera.width : 8]
    z, k = frame.depth[::8, ::8].astype(np.float64) * frame.depth_scale, frame.camera
    known = np.isfinite(z) & (z > 0)
    points = np.stack([(u - k.cx) / k.fx * z, (v - k.cy) / k.fy * z, z])[:, known]
    return float((up @ points < floor_m - by_m).mean()) if known.any() else 0.0


def usable(pose: Double) -> npt.NDArray[np.bool_]:
    """(N,) whether each (4, 4) is a finite rigid pose: a rotation to within 1 %."""
    finite = np.asarray(np.isfinite(pose).all((1, 2)), bool)
    r = np.where(finite[:, None, None], pose, np.eye(4))[:, :3, :3]
    rigid = np.abs(np.einsum("nij,nkj->nik", r, r) - np.eye(3)).max((1, 2)) < 0.01
    return np.asarray(finite & rigid & (np.linalg.det(r) > 0), bool)
