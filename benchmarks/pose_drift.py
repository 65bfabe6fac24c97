"""How far the poses of a data set disagree with its own depth: `python -m benchmarks.pose_drift --reader R --root D`.

The scores of `label_quality` turn every frame's up into the world by its pose, so an error of the poses counts as an
error of the labels. This program measures that error without any label: the points of frame i are carried into frame
i + gap by the given poses and then aligned to it (point to plane, Gauss-Newton, points within `reach_m`). The rotation
and the shift that the alignment adds, and the mean distance to the plane before and after, are the figures.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.peers import metres, rays
from benchmarks.timing import one_thread, write_result
from fastseg.cli import run
from fastseg.data.sources import Reader, open_source
from fastseg.frames import Frame
from fastseg.ops.normals import normals

Double = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Config:
    """Which poses to check."""

    reader: Reader
    root: Path
    gap: int = 8  # frames between the two of a pair
    every: int = 4  # a pair begins at every n-th frame
    reach_m: float = 0.15  # a point and the surface it meets lie no farther apart
    out: Path | None = None


def matches(points: Double, target: Frame, surface: Double, depth: Double, reach_m: float) -> tuple[Double, Double]:
    """Rows (p x n, n) and distances n . (q - p) of the points that fall on a measured surface of the target."""
    k = target.camera
    u = np.round(k.fx * points[0] / points[2] + k.cx).astype(int)
    v = np.round(k.fy * points[1] / points[2] + k.cy).astype(int)
    inside = (u >= 0) & (u < k.width) & (v >= 0) & (v < k.height) & (points[2] > 0.1)
    u, v, points = u[inside], v[inside], points[:, inside]
    n, z = surface[:, v, u], depth[v, u]
    kept = np.isfinite(n[0]) & (z > 0) & (np.abs(z - points[2]) < reach_m)
    n, points = n[:, kept], points[:, kept]
    met = rays(k)[v[kept], u[kept]].T * z[kept]
    return np.concatenate([np.cross(points.T, n.T), n.T], axis=1), np.sum((met - points) * n, axis=0)


def turned(points: Double, twist: Double) -> Double:
    """The points after a small rotation (first three, radians) and shift (last three)."""
    angle = float(np.linalg.norm(twist[:3]))
    if angle == 0:
        return points + twist[3:, None]
    axis = twist[:3] / angle
    cross = np.cross(axis, points.T).T
    along = axis[:, None] * (axis @ points)
    moved = points * np.cos(angle) + cross * np.sin(angle) + along * (1 - np.cos(angle)) + twist[3:, None]
    return np.asarray(moved, np.float64)


def drift(source: Frame, target: Frame, reach_m: float) -> dict[str, float]:
    """Degrees and metres that alignment adds to the given relative pose; mean distances before and after."""
    if source.pose is None or target.pose is None:
        raise ValueError(f"frames {source.id} and {target.id} need poses")
    _, found = normals(target.depth, target.camera, depth_scale=target.depth_scale, radius=10, max_residual=0.003)
    surface, depth = found.astype(np.float64), metres(target).astype(np.float64)
    z = metres(source).astype(np.float64)
    seen = np.zeros(z.shape, bool)
    seen[::3, ::3] = z[::3, ::3] > 0
    relative = np.linalg.inv(target.pose) @ source.pose
    start = relative[:3, :3] @ (rays(source.camera)[seen].T * z[seen]) + relative[:3, 3:]
    points, before = start, float("nan")
    for step in range(12):
        rows, distance = matches(points, target, surface, depth, reach_m)
        if len(distance) < 2000:
            return {}
        before = float(np.abs(distance).mean()) if step == 0 else before
        weight = 1 / (1 + (distance / 0.01) ** 2)  # far matches are other surfaces more often than drift
        twist = np.linalg.solve((rows.T * weight) @ rows, (rows.T * weight) @ distance)
        points = turned(points, np.asarray(twist, np.float64))
    after = float(np.abs(matches(points, target, surface, depth, reach_m)[1]).mean())
    u, _, vt = np.linalg.svd((points - points.mean(1, keepdims=True)) @ (start - start.mean(1, keepdims=True)).T)
    rotation = u @ np.diag([1, 1, np.linalg.det(u @ vt)]) @ vt
    angle = np.rad2deg(np.arccos(np.clip((np.trace(rotation) - 1) / 2, -1, 1)))
    shift = np.linalg.norm((points - start).mean(1))
    return {"rotation_deg": float(angle), "shift_m": float(shift), "before_m": before, "after_m": after}


def main(config: Config) -> int:
    """0 after printing the figures."""
    source = open_source(config.reader, config.root)
    ids = source.ids()
    pairs: dict[str, dict[str, float]] = {}
    for first in range(0, len(ids) - config.gap, config.every):
        found = drift(source.load(ids[first]), source.load(ids[first + config.gap]), config.reach_m)
        if found:
            pairs[f"{ids[first]} -> {ids[first + config.gap]}"] = found
    if not pairs:
        raise ValueError(f"{config.root}: no pair of frames {config.gap} apart sees enough of the same surface")
    table = {key: np.array([p[key] for p in pairs.values()]) for key in next(iter(pairs.values()))}
    result: dict[str, Any] = {
        "gap": config.gap,
        "pairs": len(pairs),
        "worst": max(pairs, key=lambda p: pairs[p]["rotation_deg"]),
    }
    for key, values in table.items():
        result[key] = {
            "median": float(np.median(values)),
            "p95": float(np.quantile(values, 0.95)),
            "max": float(values.max()),
        }
        print(
            f"{key:13} median {np.median(values):.4f}   95 % {np.quantile(values, 0.95):.4f}   max {values.max():.4f}"
        )
    print(f"over {len(pairs)} pairs {config.gap} frames apart; most turned: {result['worst']}")
    if config.out is not None:
        print(f"written to {write_result(config.out.stem, result, config.out.parent)}")
    return 0


if __name__ == "__main__":
    one_thread()
    raise SystemExit(run(Config, main))
