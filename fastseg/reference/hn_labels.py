"""Reference of the op `hn_labels`: the method's steps in plain numpy, in double, one frame at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from fastseg.frames import Camera
from fastseg.reference.normals import normals

Double = npt.NDArray[np.float64]


class Reference(NamedTuple):
    """One frame's label (H, W) uint8, up (3,), floor_m, aligned and valid parts, disagreement in degrees, verdict."""

    label: npt.NDArray[np.uint8]
    up: Double
    floor_m: float
    aligned_fraction: float
    valid_fraction: float
    disagreement_deg: float
    verdict: str


def hn_labels(
    depth: npt.NDArray[np.float32] | npt.NDArray[np.uint16],
    camera: Camera,
    *,
    depth_scale: float = 1.0,
    height_edges: Sequence[float] = (0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0, 2.25),
    n_normal: int = 2,
    prior: Sequence[float] = (0.0, -1.0, 0.0),
    gravity: str = "floor_wall",
    radius: int = 5,
    gravity_radius: int = 10,
    stride: int = 4,
    max_residual: float = 0.003,
    percentile: float = 1.0,
) -> Reference:
    """The HN-label of one frame by the definition (`fastseg.ops.hn_labels` states it)."""
    points, near = normals(depth, camera, radius=radius, depth_scale=depth_scale, max_residual=max_residual)
    _, wide = normals(depth, camera, radius=gravity_radius, depth_scale=depth_scale, max_residual=max_residual)
    sample = wide[:, ::stride, ::stride].reshape(3, -1).astype(np.float64)
    sample = sample[:, np.isfinite(sample[0])]
    valid = np.isfinite(points[2])
    expected = np.asarray(prior, np.float64) / np.linalg.norm(prior)
    axis, settled = manhattan(sample, expected) if sample.shape[1] >= 100 else (expected, False)
    walls = floor_wall(sample, axis) if settled else expected
    apart = float(np.rad2deg(np.arctan2(np.linalg.norm(np.cross(axis, walls)), axis @ walls))) if settled else np.nan
    up = axis if gravity == "manhattan" else walls
    height = np.einsum("c,chw->hw", up, points.astype(np.float64))
    floor = float(np.sort(height[valid])[int(percentile / 100 * (valid.sum() - 1))]) if valid.any() else np.nan
    cosine = np.einsum("c,chw->hw", up, near.astype(np.float64))
    low = valid & (height <= floor)
    known = low & np.isfinite(cosine)
    enough = known.any() and 10 * known.sum() >= low.sum()
    aligned = float((cosine[known] > np.cos(np.deg2rad(30))).mean()) if enough else 0.0
    label = bins(height - floor, cosine, height_edges, n_normal)
    verdict = "accepted" if aligned >= 0.8 else "no-floor"
    if not apart <= 10:
        verdict = "gravity"
    if valid.mean() < 0.1:
        verdict = "no-depth"
    return Reference(label, up, floor, aligned, float(valid.mean()), apart, verdict)


def hn_labels_given(
    depth: npt.NDArray[np.float32] | npt.NDArray[np.uint16],
    camera: Camera,
    up: Double,
    floor_m: float,
    *,
    depth_scale: float = 1.0,
    height_edges: Sequence[float] = (0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0, 2.25),
    n_normal: int = 2,
    radius: int = 5,
    max_residual: float = 0.003,
) -> npt.NDArray[np.uint8]:
    """The (H, W) uint8 label of one frame whose up and floor are known."""
    points, near = normals(depth, camera, radius=radius, depth_scale=depth_scale, max_residual=max_residual)
    unit = np.asarray(up, np.float64) / np.linalg.norm(up)
    height, cosine = (np.einsum("c,chw->hw", unit, a.astype(np.float64)) for a in (points, near))
    return bins(height - floor_m, cosine, height_edges, n_normal)


def bins(height: Double, cosine: Double, height_edges: Sequence[float], n_normal: int) -> npt.NDArray[np.uint8]:
    """normal_bin * n_height + height_bin of every pixel, 255 where height or cosine is NaN."""
    folded = np.rad2deg(np.arccos(np.clip(np.abs(cosine), 0, 1)))
    height_bin = np.digitize(height, height_edges)
    normal_bin = np.digitize(folded, [90 * k / n_normal for k in range(1, n_normal)])
    label = normal_bin * (len(height_edges) + 1) + height_bin
    return np.where(np.isfinite(height) & np.isfinite(cosine), label, 255).astype(np.uint8)


def manhattan(sample: Double, prior: Double, weight: float = 0.3) -> tuple[Double, bool]:
    """Up by the robust Manhattan frame, 1/2 |R N - X|_F^2 + weight |X|_1 over R and X; and whether it settled."""
    y = -prior
    side = np.array([1.0, 0, 0]) if abs(y[0]) < 0.9 else np.array([0, 0, 1.0])
    x = side - (side @ y) * y
    x /= np.linalg.norm(x)
    frame, before = np.stack([x, y, np.cross(x, y)]), np.inf
    for _ in range(100):
        turned = frame @ sample
        sparse = np.sign(turned) * np.maximum(np.abs(turned) - weight, 0)
        objective = 0.5 * np.sum((turned - sparse) ** 2) + weight * np.sum(np.abs(sparse))
        if before - objective < 1e-4 * before and np.isfinite(before):
            axes = np.concatenate([frame, -frame])
            return axes[np.argmax(axes @ prior)], True
        before = objective
        u, _, vt = np.linalg.svd(sparse @ sample.T)
        frame = u @ np.diag([1, 1, np.linalg.det(u @ vt)]) @ vt
    return prior, False


def floor_wall(sample: Double, up: Double) -> Double:
    """Up by floors and walls (Gupta et al.): the smallest eigenvector of sum(wall n n^T) - sum(floor n n^T)."""
    for degrees in [45] * 5 + [15] * 5:
        along = np.abs(up @ sample)
        floor = sample[:, along > np.cos(np.deg2rad(degrees))]
        wall = sample[:, along < np.sin(np.deg2rad(degrees))]
        vector = np.linalg.eigh(wall @ wall.T - floor @ floor.T)[1][:, 0]
        up = vector * np.sign(vector @ up)
    return up
