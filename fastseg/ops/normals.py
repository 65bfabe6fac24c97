"""Op `normals`: depth becomes points and unit surface normals; numpy, cupy or torch, one frame or a batch."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Literal

from fastseg.frames import Camera
from fastseg.ops import arrays
from fastseg.ops.graphs import outside_graphs

Estimator = Literal["plane", "pca", "cross"]
Output = Literal["points", "normals"]
ESTIMATORS = ("plane", "pca", "cross")  # in the order of csrc's `Estimator`
MAX_RADIUS, MAX_STRIDE = 32, 16
RESIDUAL0_M = 0.002
FitTuple = tuple[int, int, int, float, float, float, float]


def fit(
    estimator: Estimator, radius: int, min_valid: float, max_residual: float, edge_tau: float, edge_tau0: float
) -> FitTuple:
    """How normals are estimated, as csrc's `Fit`; ValueError names the argument that is out of range."""
    if estimator not in ESTIMATORS:
        raise ValueError(f"estimator must be one of {', '.join(ESTIMATORS)}; got {estimator!r}")
    if not 1 <= radius <= MAX_RADIUS:
        raise ValueError(f"radius must lie between 1 and {MAX_RADIUS} pixels; got {radius}")
    if not 0 <= min_valid <= 1:
        raise ValueError(f"min_valid must lie between 0 and 1; got {min_valid}")
    if not max_residual > 0 or not edge_tau >= 0 or not edge_tau0 >= 0:
        raise ValueError(
            "max_residual must be above 0 and edge_tau, edge_tau0 at least 0; "
            f"got {max_residual}, {edge_tau} and {edge_tau0}"
        )
    smallest = max(3, math.ceil(min_valid * (2 * radius + 1) ** 2))
    return ESTIMATORS.index(estimator), radius, smallest, max_residual, RESIDUAL0_M, edge_tau, edge_tau0


def checked_depth(depth: arrays.Array, camera: Camera, depth_scale: float) -> tuple[int, int, int]:
    """(N, H, W) of a depth image or batch that fits the camera; TypeError or ValueError when it does not."""
    sizes = arrays.check(
        "depth", depth, ("float32", "uint16"), ("[N]", "H", "W"), {"H": camera.height, "W": camera.width}
    )
    if not (math.isfinite(depth_scale) and depth_scale > 0):
        raise ValueError(f"depth_scale must be metres for one unit of depth, above 0; got {depth_scale}")
    return sizes["N"], sizes["H"], sizes["W"]


def check_counts(stride: int, threads: int) -> None:
    """ValueError when there is no such stride or number of threads."""
    if not 1 <= stride <= MAX_STRIDE:
        raise ValueError(f"stride must lie between 1 and {MAX_STRIDE} pixels; got {stride}")
    if threads < 1:
        raise ValueError(f"threads must be at least 1; got {threads}")


def check_outputs(outputs: Collection[str], known: tuple[str, ...]) -> None:
    """ValueError unless `outputs` names one or more of `known`."""
    if isinstance(outputs, str) or not outputs or not set(outputs) <= set(known):
        raise ValueError(f"outputs must name one or more of {', '.join(known)}; got {outputs!r}")


@outside_graphs
def normals(
    depth: arrays.Array, camera: Camera, *, estimator: Estimator = "plane", radius: int = 5, depth_scale: float = 1.0,
    min_valid: float = 0.25, max_residual: float = math.inf, edge_tau: float = 0.02, edge_tau0: float = 0.01,
    stride: int = 1, threads: int = 1, outputs: Collection[Output] = ("points", "normals"),
) -> tuple[arrays.Array, arrays.Array]:  # fmt: skip
    """Points and normals of depth, each planar float32, NaN where undefined; None for what `outputs` leaves out.

    A point is p = z ((u - cx) / fx, (v - cy) / fy, 1). A normal is unit with n . p < 0, found in a window of
    (2 radius + 1)^2 pixels around a pixel with depth:
    `plane`: least squares of 1/z = a X/Z + b Y/Z + c over the window's valid pixels, n = -(a, b, c) / |(a, b, c)|;
             undefined where the window leaves its plane by an rms dz above max_residual z^2 + 2 mm, as it does across
             a depth edge (max_residual in 1/m; inf keeps every fit).
    `pca`:   smallest eigenvector of the covariance of the points with |dz| < edge_tau z^2 + edge_tau0.
    Both need `min_valid` of the window's pixels, and depth at the pixel itself.
    `cross`: dv x du made unit, du = p(u + radius, v) - p(u - radius, v) and dv alike; all five must have depth.
    depth        (H, W) or (N, H, W) float32 or uint16, in units of `depth_scale` metres; 0, negative, NaN and inf are
                 "no measurement"; numpy, torch or cupy, contiguous, of the camera's size
    stride       normals at every stride-th row and column only: (.., 3, ceil(H / stride), ceil(W / stride))
    threads      frames, or bands of few frames, worked on at once (CPU)
    Returns (points (.., 3, H, W) metres, normals (.., 3, H', W')) in the library and on the device of depth.
    Raises TypeError for another dtype, ValueError for another size, layout or parameter.
    HN-labels paper (section 3.2); the plane fit is the inverse-depth form of Gupta et al.'s window fit.
    """
    window = fit(estimator, radius, min_valid, max_residual, edge_tau, edge_tau0)
    n, height, width = checked_depth(depth, camera, depth_scale)
    check_counts(stride, threads)
    check_outputs(outputs, ("points", "normals"))
    batch, small = tuple(depth.shape[:-2]), (3, -(-height // stride), -(-width // stride))
    points = arrays.empty(depth, (*batch, 3, height, width), "float32") if "points" in outputs else None
    found = arrays.empty(depth, (*batch, *small), "float32") if "normals" in outputs else None
    module = arrays.backend(depth)
    scratch = arrays.scratch(depth, threads, module.normals_scratch(height, width, radius))
    module.normals(
        arrays.describe(depth, (n, height, width)), depth_scale, (camera.fx, camera.fy, camera.cx, camera.cy), window,
        stride, arrays.describe_optional(points, (n, 3, height, width)), arrays.describe_optional(found, (n, *small)),
        arrays.describe(scratch), arrays.stream(depth),
    )  # fmt: skip
    return points, found
