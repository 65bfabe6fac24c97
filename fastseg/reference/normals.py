"""Reference of the op `normals`: depth -> points and normals, one pixel and one window at a time, in double."""

from __future__ import annotations

from typing import Literal

import numba
import numpy as np
import numpy.typing as npt

from fastseg.frames import Camera

Float = npt.NDArray[np.float32]
Double = npt.NDArray[np.float64]
RESIDUAL0_M = 0.002


def normals(
    depth: npt.NDArray[np.float32] | npt.NDArray[np.uint16],
    camera: Camera,
    *,
    estimator: Literal["plane", "pca", "cross"] = "plane",
    radius: int = 5,
    depth_scale: float = 1.0,
    min_valid: float = 0.25,
    max_residual: float = np.inf,
    edge_tau: float = 0.02,
    edge_tau0: float = 0.01,
) -> tuple[Float, Float]:
    """Points and normals, each (3, H, W) float32, of one depth image (H, W); the definition `fastseg.ops` follows."""
    metres = depth.astype(np.float32) * np.float32(depth_scale)
    metres = np.where(np.isfinite(metres) & (metres > 0), metres, np.float32(0))
    z, rays = metres.astype(np.float64), _rays(camera)
    points: Double = np.where(z > 0, rays * z, np.nan)
    smallest = max(3, int(np.ceil(min_valid * (2 * radius + 1) ** 2)))
    if estimator == "plane":
        found = _plane(z, rays[0], rays[1], radius, smallest, max_residual)
    elif estimator == "cross":
        found = _cross(points, radius)
    else:
        found = _pca(z, points, radius, smallest, edge_tau, edge_tau0)
    return points.astype(np.float32), found.astype(np.float32)


def _rays(camera: Camera) -> Double:
    """(3, H, W): the ray (X/Z, Y/Z, 1) of every pixel."""
    v, u = np.mgrid[0 : camera.height, 0 : camera.width].astype(np.float64)
    return np.stack([(u - camera.cx) / camera.fx, (v - camera.cy) / camera.fy, np.ones_like(u)])


def _cross(points: Double, radius: int) -> Double:
    """dv x du made unit, from the points `radius` columns and rows to either side; all five must be measured."""
    far = np.pad(points, ((0, 0), (radius, radius), (radius, radius)), constant_values=np.nan)
    middle = slice(radius, -radius)
    du = far[:, middle, 2 * radius :] - far[:, middle, : -2 * radius]
    dv = far[:, 2 * radius :, middle] - far[:, : -2 * radius, middle]
    normal = np.cross(dv, du, axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        unit = normal / np.linalg.norm(normal, axis=0)
    return np.where(np.isfinite(points[2]) & np.isfinite(unit[0]), unit, np.nan)


@numba.njit(cache=True)
def _plane(depth: Double, x: Double, y: Double, radius: int, smallest: int, max_residual: float) -> Double:
    """Least squares of 1/Z = a X/Z + b Y/Z + c over the window; the normal is -(a, b, c) made unit."""
    height, width = depth.shape
    out = np.full((3, height, width), np.nan)
    for v in range(height):
        for u in range(width):
            if depth[v, u] <= 0:
                continue
            m = np.zeros((3, 3))
            r = np.zeros(3)
            sdd = 0.0
            count = 0
            for j in range(max(0, v - radius), min(height, v + radius + 1)):
                for i in range(max(0, u - radius), min(width, u + radius + 1)):
                    if depth[j, i] <= 0:
                        continue
                    row = np.array([x[j, i] - x[v, u], y[j, i] - y[v, u], 1.0])
                    d = 1 / depth[j, i] - 1 / depth[v, u]  # about the centre, so the residual keeps its digits
                    m += np.outer(row, row)
                    r += row * d
                    sdd += d * d
                    count += 1
            if count < smallest or np.linalg.det(m) <= 1e-9 * m[0, 0] * m[1, 1] * m[2, 2]:
                continue
            a, b, c = np.linalg.solve(m, r)
            residual = np.sqrt(max(0.0, sdd - a * r[0] - b * r[1] - c * r[2]) / count)
            fitted = c + 1 / depth[v, u]  # 1 / z of the plane at the pixel
            if fitted <= 0 or residual > max_residual + RESIDUAL0_M * fitted**2:
                continue
            n = np.array([a, b, fitted - a * x[v, u] - b * y[v, u]])
            out[:, v, u] = -n / np.sqrt(np.sum(n * n))
    return out


@numba.njit(cache=True)
def _pca(depth: Double, points: Double, radius: int, smallest: int, tau: float, tau0: float) -> Double:
    """Smallest eigenvector of the covariance of the window's points with |dz| < tau z^2 + tau0."""
    _, height, width = points.shape
    out = np.full((3, height, width), np.nan)
    for v in range(height):
        for u in range(width):
            z = depth[v, u]
            if z <= 0:
                continue
            centre = points[:, v, u].copy()
            mean = np.zeros(3)
            second = np.zeros((3, 3))
            count = 0
            for j in range(max(0, v - radius), min(height, v + radius + 1)):
                for i in range(max(0, u - radius), min(width, u + radius + 1)):
                    if depth[j, i] <= 0 or abs(depth[j, i] - z) >= tau * z * z + tau0:
                        continue
                    p = points[:, j, i] - centre
                    mean += p
                    second += np.outer(p, p)
                    count += 1
            if count < smallest:
                continue
            mean /= count
            values, vectors = np.linalg.eigh(second / count - np.outer(mean, mean))
            if values[1] <= 1e-12 * values[2]:
                continue
            n = vectors[:, 0]
            out[:, v, u] = -n if np.sum(n * centre) > 0 else n
    return out
