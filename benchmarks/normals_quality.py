"""Angular error of normals against exact ones, on smooth surfaces and near depth edges of procedural rooms.

Exact regions, from the exact picture:
depth edge   two 4-neighbours p, p' with max(|n . (p' - p)|, |n' . (p' - p)|) > 2 cm: a jump, not a slope
crease       two 4-neighbours whose exact normals differ by more than 10 degrees
near edges   pixels within 5 pixels (Chebyshev) of a depth edge
smooth       pixels within 5 pixels of neither a depth edge nor a crease
Errors are taken where the estimator gives a normal, and `defined` states the share of the region's pixels with sensor
depth where it does. A normal's sign counts.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.peers import Array, rays
from fastseg.data.rooms import RoomFrame

Mask = npt.NDArray[np.bool_]
REACH = 5


@dataclass(frozen=True)
class Regions:
    """Where errors are counted, each (H, W) bool."""

    smooth: Mask
    near_edges: Mask


def grown(mask: Mask, reach: int = REACH) -> Mask:
    """The pixels within `reach` pixels (Chebyshev) of the mask."""
    import cv2

    square = np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)
    return np.asarray(cv2.dilate(mask.astype(np.uint8), square) > 0)


def _both(pairs: Mask, axis: int) -> Mask:
    """Marks both pixels of neighbouring pairs along an axis."""
    first = np.concatenate([pairs, np.zeros_like(np.take(pairs, [0], axis))], axis)
    return np.asarray(first | np.roll(first, 1, axis), np.bool_)


def regions(points: Array, normals: Array) -> Regions:
    """The regions of an exact picture: points and unit normals, (H, W, 3) each."""
    edge, crease = np.zeros(points.shape[:2], np.bool_), np.zeros(points.shape[:2], np.bool_)
    for axis in (0, 1):
        step = np.diff(points, axis=axis)
        ahead = np.take(normals, np.arange(1, points.shape[axis]), axis)
        here = np.take(normals, np.arange(points.shape[axis] - 1), axis)
        off = np.maximum(np.abs((step * here).sum(-1)), np.abs((step * ahead).sum(-1)))
        edge |= _both(off > 0.02, axis)
        crease |= _both((here * ahead).sum(-1) < np.cos(np.deg2rad(10)), axis)
    return Regions(smooth=~grown(edge | crease), near_edges=grown(edge))


def exact(room: RoomFrame) -> tuple[Array, Array]:
    """Exact points and normals (H, W, 3) of a room's picture."""
    return rays(room.camera) * room.depth[..., None], np.moveaxis(room.normals, 0, -1)


def error_deg(found: Array, truth: Array) -> Array:
    """Degrees between normals (H, W, 3), NaN where either is undefined; by the chord, so small angles keep digits."""
    chord = np.linalg.norm(found - truth, axis=-1) / 2
    return np.asarray(np.rad2deg(2 * np.arcsin(np.minimum(chord, 1))), np.float32)


@dataclass
class ErrorTally:
    """Errors of one estimator, pooled over frames."""

    errors: dict[str, list[Array]] = field(default_factory=lambda: {"smooth": [], "near_edges": []})
    pixels: dict[str, int] = field(default_factory=lambda: {"smooth": 0, "near_edges": 0})
    frames: int = 0

    def add(self, found: Array, truth: Array, where: Regions, measured: Mask) -> None:
        """Counts one frame: normals (H, W, 3) found and true, the regions, and where the sensor gave depth."""
        degrees = error_deg(found, truth)
        self.frames += 1
        for name in self.errors:
            inside = getattr(where, name) & measured
            values = degrees[inside]
            self.errors[name].append(values[np.isfinite(values)])
            self.pixels[name] += int(inside.sum())

    def summary(self) -> dict[str, Any]:
        """For each region: median, mean and 95 % of the error in degrees, share of pixels with a normal; frames."""
        out: dict[str, Any] = {"frames": self.frames}
        for name, parts in self.errors.items():
            values = np.concatenate(parts) if parts else np.zeros(0, np.float32)
            if values.size == 0:
                out[name] = {"defined": 0.0}
                continue
            out[name] = {
                "median": float(np.median(values)),
                "mean": float(values.mean(dtype=np.float64)),
                "p95": float(np.percentile(values, 95)),
                "defined": values.size / self.pixels[name],
            }
        return out
