"""Coloured point clouds as binary little-endian PLY files (Turk, "The PLY polygon file format", 1994)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

_VERTEX = np.dtype([("xyz", "<f4", 3), ("rgb", "u1", 3)])


def moved(points: npt.NDArray[np.floating], pose: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Points (N, 3) in the world: `R p + t` of the camera-to-world pose (4, 4)."""
    matrix = np.asarray(pose, np.float64)
    return np.asarray(points, np.float64) @ matrix[:3, :3].T + matrix[:3, 3]


def ply_bytes(points: npt.NDArray[np.floating], colours: npt.NDArray[np.uint8]) -> bytes:
    """A PLY file's bytes with the points and their colours; points that are not finite are left out.

    points (N, 3) in metres, colours (N, 3) uint8 RGB.
    Raises ValueError when the shapes do not fit or no point is finite.
    """
    if points.ndim != 2 or points.shape[1] != 3 or colours.shape != points.shape:
        raise ValueError(f"points and colours must both be (N, 3); got {points.shape} and {colours.shape}")
    if colours.dtype != np.uint8:
        raise ValueError(f"colours must be uint8; got {colours.dtype}")
    finite = np.isfinite(points).all(axis=1)
    if not finite.any():
        raise ValueError("a point cloud needs at least one finite point; got none")
    vertices = np.empty(int(finite.sum()), _VERTEX)
    vertices["xyz"], vertices["rgb"] = points[finite], colours[finite]
    return _header(len(vertices)) + vertices.tobytes()


def _header(count: int) -> bytes:
    lines = ["ply", "format binary_little_endian 1.0", f"element vertex {count}"]
    lines += [f"property float {axis}" for axis in "xyz"]
    lines += [f"property uchar {name}" for name in ("red", "green", "blue")]
    return ("\n".join([*lines, "end_header"]) + "\n").encode("ascii")
