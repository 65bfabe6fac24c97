"""The best label assembled from today's parts: OpenCV FALS normals, floor/wall gravity and the rest in plain numpy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from benchmarks.peers import Array, NormalsOf, metres, opencv_normals, oriented, rays
from fastseg.frames import Camera, Frame, FrameError

Double = npt.NDArray[np.float64]
ROUNDS = ((45.0, 5), (15.0, 5))  # degrees, iterations (Gupta et al. 2013)
MIN_VALID = 0.05  # of the pixels must have depth


@dataclass(frozen=True)
class PeerLabel:
    """A peer's answer, with the fields of `fastseg.labels.hn.HNLabel` that the scoring reads."""

    label: npt.NDArray[np.uint8]
    up: Array
    floor_m: float
    aligned_fraction: float


LabelOf = Callable[[Frame], PeerLabel]


def floor_wall(normals: Double, prior: Double, rounds: tuple[tuple[float, int], ...] = ROUNDS) -> Double:
    """Up (3,) from unit normals (3, N): smallest eigenvector of sum(wall n n^T) - sum(floor n n^T), sign of the prior.

    floor = normals within the round's angle of +-up, wall = normals within it of the plane orthogonal to up.
    """
    up = prior / np.linalg.norm(prior)
    for degrees, iterations in rounds:
        near, across = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
        for _ in range(iterations):
            along = np.abs(up @ normals)
            floor, wall = normals[:, along > near], normals[:, along < across]
            vector = np.linalg.eigh(wall @ wall.T - floor @ floor.T)[1][:, 0]
            up = vector if vector @ up > 0 else -vector
    return np.asarray(up, np.float64)


def bins(height: Array, cosine: Array, defined: npt.NDArray[np.bool_], n_height: int = 10) -> npt.NDArray[np.uint8]:
    """The HN label with 2 normal bins cut at 45 degrees and uniform height bins over [0, 2.5] m; 255 undefined."""
    steps = np.clip(np.nan_to_num(height) / np.float32(2.5 / n_height), 0, n_height - 1).astype(np.uint8)
    perpendicular = np.abs(cosine) < np.sqrt(0.5)
    label = steps + np.uint8(n_height) * perpendicular.astype(np.uint8)
    return np.where(defined, label, np.uint8(255))


def gate(low: npt.NDArray[np.bool_], cosine: Array) -> float:
    """The share of the points at or below the floor's percentile whose normal is within 30 degrees of up."""
    share = float((cosine[low] > np.cos(np.deg2rad(30))).mean())
    if share < 0.5:
        raise FrameError("no-floor", f"only {share:.0%} of the lowest points face up; at least half must", share)
    return share


Prepared = tuple[NormalsOf, Array]


@lru_cache(maxsize=4)
def _prepared(camera: Camera) -> Prepared:
    return opencv_normals(camera, "FALS", 7), rays(camera)


def labeller() -> LabelOf:
    """`label_frame` with preparations of its own, for a thread among several: OpenCV's object must not be shared."""
    own: dict[Camera, Prepared] = {}

    def call(frame: Frame) -> PeerLabel:
        if frame.camera not in own:
            own[frame.camera] = (opencv_normals(frame.camera, "FALS", 7), rays(frame.camera))
        return label_frame(frame, own[frame.camera])

    return call


def label_frame(frame: Frame, prepared: Prepared | None = None) -> PeerLabel:
    """The peer's label of a frame; raises FrameError(no-depth | no-floor) as the spec's gate does."""
    normals_of, ray = prepared or _prepared(frame.camera)
    depth = metres(frame)
    valid = depth > 0
    if valid.mean() < MIN_VALID:
        raise FrameError("no-depth", f"only {valid.mean():.1%} of the pixels have depth", float(valid.mean()))
    normals = oriented(normals_of(depth), ray)
    sample = normals[::4, ::4].reshape(-1, 3).astype(np.float64)
    prior = np.array([0.0, -1.0, 0.0]) if frame.up_prior is None else frame.up_prior
    up = floor_wall(sample[np.isfinite(sample[:, 0])].T, prior).astype(np.float32)
    height = (ray @ up) * depth
    floor = np.percentile(height[valid], 1, method="lower")
    cosine = normals @ up
    aligned = gate(valid & (height <= floor), cosine)
    defined = valid & np.isfinite(cosine)
    return PeerLabel(bins(height - floor, cosine, defined), up, float(floor), aligned)
