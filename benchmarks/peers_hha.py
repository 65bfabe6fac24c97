"""A cost model of the public HHA implementations (Gupta et al. 2014, and its Python ports), ending in our label.

Written here from the paper's formulas and the published programs' order of work; no line of theirs is in it. Kept as
they do it: double precision everywhere; nine products of every pixel summed over a dense (2R+1)^2 window, twice (R = 3
for the angle, R = 10 for gravity); a 3x3 adjugate per pixel; gravity by 5 + 5 iterations over every pixel's normal;
points and normals rotated into the gravity frame; height over the lowest point and the angle to gravity.
`dense_sums` is `scipy.signal.convolve2d`, as the best-known Python port sums; `opencv_sums` is `filter2D`, as some
forks do, and faster. Changed: the floor is the 1st percentile (theirs the 0th), the angle is vectorised (the port loops
over pixels in Python) and the answer is our label, so that answers compare; the 8-bit coding is kept for its cost.
What is timed is therefore the algorithm and not their program, which is slower.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from benchmarks.peers import Array, metres, rays
from benchmarks.peers_label import Double, PeerLabel, bins, floor_wall, gate
from fastseg.frames import Camera, Frame, FrameError

CENTIMETRES = 100.0
Sums = Callable[[Double, int], Double]
WORLD_UP = np.array([0.0, -1.0, 0.0])
RADIUS_ANGLE, RADIUS_GRAVITY = 3, 10


def dense_sums(product: Double, radius: int) -> Double:
    """(H, W) summed over the dense square window by direct convolution, zero beyond the border."""
    from scipy.signal import convolve2d

    side = 2 * radius + 1
    return np.asarray(convolve2d(product, np.ones((side, side)), mode="same"), np.float64)


def opencv_sums(product: Double, radius: int) -> Double:
    """The same sums by OpenCV's `filter2D`, which leaves direct convolution for a DFT above 11x11."""
    import cv2

    side = 2 * radius + 1
    return np.asarray(cv2.filter2D(product, -1, np.ones((side, side)), borderType=cv2.BORDER_CONSTANT), np.float64)


def plane_normals(depth: Double, ray: Double, radius: int, sums: Sums) -> Double:
    """(H, W, 3): least squares of x n_x + y n_y + n_z = 1/z over the window, made unit, facing the camera; NaN unknown.

    A is symmetric; its inverse is its adjugate over its determinant, and only the direction matters.
    """
    valid = depth > 0
    x, y = ray[..., 0] * valid, ray[..., 1] * valid
    q = np.divide(1.0, depth, out=np.zeros_like(depth), where=valid)
    one = valid.astype(np.float64)
    products = (x * x, x * y, x, y * y, y, one, x * q, y * q, q)
    a, b, c, d, e, f, p, r, s = (sums(product, radius) for product in products)
    minors = (d * f - e * e, c * e - b * f, b * e - c * d, a * f - c * c, b * c - a * e, a * d - b * b)
    determinant = a * minors[0] + b * minors[1] + c * minors[2]
    normal = np.stack(
        [
            minors[0] * p + minors[1] * r + minors[2] * s,
            minors[1] * p + minors[3] * r + minors[4] * s,
            minors[2] * p + minors[4] * r + minors[5] * s,
        ],
        -1,
    )
    length = np.sqrt((normal * normal).sum(-1))
    known = valid & (determinant > 0) & (length > 0)
    normal = normal / np.where(known, length, np.nan)[..., None]
    return np.asarray(np.where((normal * ray).sum(-1, keepdims=True) > 0, -normal, normal), np.float64)


def rotation_to(up: Double) -> Double:
    """The smallest rotation that takes `up` to WORLD_UP (Rodrigues' formula)."""
    axis = np.cross(up, WORLD_UP)
    sine, cosine = float(np.linalg.norm(axis)), float(up @ WORLD_UP)
    if sine < 1e-12:
        return np.eye(3)
    x, y, z = axis / sine
    k = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.asarray(np.eye(3) + sine * k + (1 - cosine) * k @ k, np.float64)


def hha(depth: Array, camera: Camera, sums: Sums = dense_sums) -> tuple[Double, Double, Double, Double]:
    """HHA image (H, W, 3), height above the lowest 1 % (H, W) metres, cosine to up (H, W), up (3,)."""
    z = depth.astype(np.float64) * CENTIMETRES
    ray = rays(camera).astype(np.float64)
    points = ray * np.where(z > 0, z, np.nan)[..., None]
    fine = plane_normals(z / CENTIMETRES, ray, RADIUS_ANGLE, sums)
    coarse = plane_normals(z / CENTIMETRES, ray, RADIUS_GRAVITY, sums).reshape(-1, 3)
    up = floor_wall(coarse[np.isfinite(coarse[:, 0])].T, WORLD_UP)
    rotation = rotation_to(up)
    turned, level = fine @ rotation.T, points @ rotation.T
    height = -level[..., 1]
    height = height - np.percentile(height[z > 0], 1, method="lower")
    cosine = turned @ WORLD_UP
    angle = np.rad2deg(np.arccos(np.clip(cosine, -1, 1)))
    disparity = 31000.0 / np.where(z > 0, z, np.nan)
    coded = np.clip(np.nan_to_num(np.stack([disparity, height, angle + 128 - 90], -1)), 0, 255)
    return coded, height / CENTIMETRES, cosine, up


def label_frame(frame: Frame, sums: Sums = dense_sums) -> PeerLabel:
    """The label through HHA's channels; raises FrameError(no-depth | no-floor) as the spec's gate does."""
    depth = metres(frame)
    valid = depth > 0
    if valid.mean() < 0.05:
        raise FrameError("no-depth", f"only {valid.mean():.1%} of the pixels have depth", float(valid.mean()))
    _, height, cosine, up = hha(depth, frame.camera, sums)
    along = cosine.astype(np.float32)
    aligned = gate(valid & (height <= 0), along)
    label = bins(height.astype(np.float32), along, valid & np.isfinite(along))
    lowest = (rays(frame.camera)[valid] @ up) * depth[valid] - height[valid]
    return PeerLabel(label, up.astype(np.float32), float(np.median(lowest)), aligned)
