"""Op `hn_labels`: depth images become height/normal labels with the gravity and floor they rest on."""

from __future__ import annotations

import functools
import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from fastseg.frames import Camera
from fastseg.ops import arrays
from fastseg.ops.graphs import outside_graphs
from fastseg.ops.normals import Estimator, check_counts, check_outputs, checked_depth, fit

Gravity = Literal["manhattan", "floor_wall"]
Output = Literal["label", "points", "normals"]
LABEL_ALONE: tuple[Output, ...] = ("label",)
IGNORE = 255
VERDICTS = ("accepted", "no-depth", "gravity", "no-floor")
FIGURES = ("floor_m", "aligned_fraction", "valid_fraction", "disagreement_deg")


@dataclass(frozen=True)
class HNLabels:
    """What `hn_labels` found in N frames; arrays in the library and on the device of the depth.

    points     (N, 3, H, W) float32 metres, NaN without depth; None unless asked for
    normals    (N, 3, H, W) float32 unit, of the label's own window, NaN where undefined; None unless asked for
    label      (N, H, W) uint8, None when not asked for: normal_bin * n_height + height_bin, 255 = ignore
    up         (N, 3) float32, unit, against gravity, camera frame
    figures    (N, 4) float32, the columns named by FIGURES; up . p = floor_m on the floor, metres
    verdict    (N,) int32, index into VERDICTS; anything but 0 is a rejected frame whose label must not be used
    histogram  (N, n_normal * n_height) int32, pixels of each label
    """

    points: arrays.Array | None
    normals: arrays.Array | None
    label: arrays.Array
    up: arrays.Array
    figures: arrays.Array
    verdict: arrays.Array
    histogram: arrays.Array


def uniform_edges(n_height: int, max_height_m: float) -> tuple[float, ...]:
    """The n_height - 1 inner edges of equal height bins over [0, max_height_m]; the last bin is open upward."""
    return tuple(max_height_m * k / n_height for k in range(1, n_height))


def normal_edges_deg(n_normal: int) -> tuple[float, ...]:
    """The n_normal - 1 inner edges of equal bins of the folded angle min(t, 180 - t) in [0, 90] degrees."""
    return tuple(90.0 * k / n_normal for k in range(1, n_normal))


@outside_graphs
def hn_labels(
    depth: arrays.Array, camera: Camera, *, depth_scale: float = 1.0,
    height_edges: Sequence[float] = uniform_edges(10, 2.5), n_normal: int = 2,
    prior: npt.NDArray[np.float64] | None = None, estimator: Estimator = "plane", gravity: Gravity = "floor_wall",
    radius: int = 5, gravity_radius: int = 10, stride: int = 4, max_residual: float = 0.003, percentile: float = 1.0,
    min_valid: float = 0.1, min_aligned: float = 0.8, aligned_deg: float = 30.0, max_disagreement_deg: float = 10.0,
    threads: int = 1, outputs: Collection[Output] = LABEL_ALONE,
) -> HNLabels:  # fmt: skip
    """Height/normal labels of one depth image or a batch, with up, floor and the figures to judge them by.

    Gravity comes from normals (`ops.normals`, radius `gravity_radius`, every stride-th pixel), twice. `manhattan`
    minimises 1/2 |R N - X|_F^2 + 0.3 |X|_1 over rotations R and X from the prior on, until it falls by less than 1e-4;
    up is the axis nearest the prior. `floor_wall` goes on from there: up = the smallest eigenvector of
    sum(wall n n^T) - sum(floor n n^T), five times with a cone of 45 degrees, five with 15. The floor is the
    `percentile`-th of the heights up . p (exact order statistic). With normals of radius `radius`: height = up . p -
    floor_m, t = acos(n . up); a bin is the number of edges at or below the height, or below min(t, 180 - t).

    depth    (H, W) or (N, H, W) float32 or uint16 in units of `depth_scale` metres, of the camera's size
    prior    (3,) or (N, 3) where up is expected, camera frame; (0, -1, 0) when None
    outputs  which images to write; what is left out is None and costs nothing, the statistics are always made
    Returns HNLabels (one image is a batch of one). Verdicts: `no-depth` less than `min_valid` of the pixels have depth;
    `gravity` too few normals, no convergence, or the two differ by more than `max_disagreement_deg`; `no-floor` of the
    points at or below the floor that have a normal, less than `min_aligned` look up (within `aligned_deg`).
    Raises TypeError or ValueError for arguments it does not take. HN-labels paper, section 3.2.
    """
    shape = checked_depth(depth, camera, depth_scale)
    priors = _priors(prior, shape[0])
    rules = _rules(gravity, max_disagreement_deg, percentile, min_valid, min_aligned, aligned_deg)
    windows = [fit(estimator, r, 0.25, max_residual, 0.02, 0.01) for r in (radius, gravity_radius)]
    bins = _bins(tuple(height_edges), n_normal)
    return _call("hn_labels", depth, shape, camera, depth_scale, windows, stride, rules, priors, bins, threads, outputs)


@outside_graphs
def hn_labels_given(
    depth: arrays.Array, camera: Camera, up: npt.NDArray[Any], floor_m: npt.NDArray[Any] | float, *,
    depth_scale: float = 1.0, height_edges: Sequence[float] = uniform_edges(10, 2.5), n_normal: int = 2,
    estimator: Estimator = "plane", radius: int = 5, max_residual: float = 0.003, min_valid: float = 0.1,
    aligned_deg: float = 30.0, threads: int = 1, outputs: Collection[Output] = LABEL_ALONE,
) -> HNLabels:  # fmt: skip
    """Height/normal labels by an up and a floor that are known, of a depth image or a batch (`hn_labels` has the rest).

    With normals of radius `radius`: height = up . p - floor_m, t = acos(n . up), and the bins of `hn_labels`.

    depth    (H, W) or (N, H, W) float32 or uint16 in units of `depth_scale` metres, of the camera's size
    up       (3,) or (N, 3) against gravity, camera frame; floor_m a number or (N,), up . p = floor_m on the floor
    outputs  which images to write; what is left out is None and costs nothing, the statistics are always made
    Returns HNLabels with up (unit) and floor as given, the parts of the pixels with depth and of the points at or below
    the floor that look up as measured, and NaN for the disagreement of estimators that did not run. Verdicts:
    `no-depth` less than `min_valid` of the pixels have depth; accepted otherwise, whatever is in view.
    Raises TypeError or ValueError for arguments it does not take.
    """
    shape = checked_depth(depth, camera, depth_scale)
    n, floors = shape[0], np.asarray(floor_m, np.float64)
    if floors.shape not in ((), (n,)) or not np.all(np.isfinite(floors)):
        raise ValueError(f"floor_m must be a finite number or ({n},) of them; got {floor_m!r}")
    planes = np.empty((n, 4))
    planes[:, :3], planes[:, 3] = _priors(np.asarray(up, np.float64), n, "up"), floors
    rules = _rules("floor_wall", 10.0, 1.0, min_valid, 0.0, aligned_deg)
    windows = [fit(estimator, radius, 0.25, max_residual, 0.02, 0.01)] * 2
    bins = _bins(tuple(height_edges), n_normal)
    return _call(
        "hn_labels_given", depth, shape, camera, depth_scale, windows, 4, rules, planes, bins, threads, outputs
    )


def _call(
    name: str, depth: arrays.Array, shape: tuple[int, int, int], camera: Camera, depth_scale: float,
    windows: Sequence[Any], stride: int, rules: tuple[Any, ...], priors: npt.NDArray[np.float64],
    bins: tuple[npt.NDArray[np.float32], ...], threads: int, outputs: Collection[Output],
) -> HNLabels:  # fmt: skip
    """What the kernel `name` of the depth's backend makes of checked arguments."""
    check_counts(stride, threads)
    check_outputs(outputs, ("label", "points", "normals"))
    out = _outputs(depth, shape, (len(bins[0]) + 1) * (len(bins[1]) + 1), outputs)
    module, scratch = _scratch(depth, shape, max(window[1] for window in windows), stride, threads)
    inputs: tuple[npt.NDArray[Any], ...] = (priors, *bins)
    small = [arrays.moved(depth, a) for a in inputs]
    getattr(module, name)(
        arrays.describe(depth, shape), depth_scale, (camera.fx, camera.fy, camera.cx, camera.cy),
        *windows, stride, rules, *(arrays.describe(a) for a in small),
        {name: arrays.describe_optional(a) for name, a in out.items()}, arrays.describe(scratch), arrays.stream(depth),
    )  # fmt: skip
    return HNLabels(**out)


def _scratch(depth: arrays.Array, shape: tuple[int, int, int], radius: int, stride: int, threads: int) -> Any:
    """The kernels and their working memory: a part for each thread on the CPU, for each frame in the CUDA kernels."""
    module = arrays.backend(depth)
    workers = min(threads, shape[0]) if module.backend_name == "cpu" else shape[0]
    size = module.hn_labels_scratch(*shape[1:], radius, stride)
    return module, arrays.scratch(depth, max(workers, 1), size)


@functools.lru_cache(maxsize=64)
def _bins(height_edges: tuple[float, ...], n_normal: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """The inner edges of the heights, metres, and of the normals, cosines; not to be written to."""
    edges = np.asarray(height_edges, np.float32).reshape(-1)
    if not np.all(np.isfinite(edges)) or not np.all(np.diff(edges) > 0):
        raise ValueError(f"height_edges must be finite and ascending, in metres; got {height_edges}")
    if n_normal < 1 or n_normal * (len(edges) + 1) > IGNORE:
        raise ValueError(
            f"n_normal must be at least 1 and n_normal * n_height at most {IGNORE}; got {n_normal} and {len(edges) + 1}"
        )
    return edges, np.cos(np.deg2rad(normal_edges_deg(n_normal))).astype(np.float32)


def _rules(
    gravity: Gravity, max_disagreement_deg: float, percentile: float, min_valid: float, min_aligned: float,
    aligned_deg: float,
) -> tuple[Any, ...]:  # fmt: skip
    if gravity not in ("manhattan", "floor_wall"):
        raise ValueError(f"gravity must be 'manhattan' or 'floor_wall'; got {gravity!r}")
    if not 0 <= percentile <= 100:
        raise ValueError(f"percentile must lie between 0 and 100; got {percentile}")
    if not (0 <= min_valid <= 1 and 0 <= min_aligned <= 1 and 0 < aligned_deg < 90 and max_disagreement_deg > 0):
        raise ValueError(
            "min_valid and min_aligned must lie in [0, 1], aligned_deg in (0, 90), max_disagreement_deg above 0; got "
            f"{min_valid}, {min_aligned}, {aligned_deg}, {max_disagreement_deg}"
        )
    cosine = math.cos(math.radians(aligned_deg))
    return (
        int(gravity == "floor_wall"), 0.3, 1e-4, 100, 100, max_disagreement_deg, percentile, min_valid, min_aligned,
        cosine,
    )  # fmt: skip


def _priors(prior: npt.NDArray[np.float64] | None, n: int, name: str = "prior") -> npt.NDArray[np.float64]:
    """(N, 3) unit priors; ValueError for another shape or a zero or non-finite vector."""
    if prior is None:
        return _upright(n)
    given = np.asarray(prior, np.float64)
    if given.shape not in ((3,), (n, 3)):
        raise ValueError(f"{name} must be (3,) or ({n}, 3); got {given.shape}")
    length = np.linalg.norm(given, axis=-1, keepdims=True)
    if not np.all(np.isfinite(given)) or not np.all(length > 0):
        raise ValueError(f"{name} must be finite and not zero")
    return np.ascontiguousarray(np.broadcast_to(given / length, (n, 3)))


@functools.lru_cache(maxsize=64)
def _upright(n: int) -> npt.NDArray[np.float64]:
    """(N, 3): up where a camera is held level; not to be written to."""
    return np.tile(np.array((0.0, -1.0, 0.0)), (n, 1))


def _outputs(
    depth: arrays.Array, shape: tuple[int, int, int], bins: int, outputs: Collection[Output]
) -> dict[str, arrays.Array | None]:
    """Uninitialised arrays for what is wanted, None for the rest; the statistics are always wanted."""
    n, height, width = shape
    images = {
        "points": ((n, 3, height, width), "float32"), "normals": ((n, 3, height, width), "float32"),
        "label": (shape, "uint8"),
    }  # fmt: skip
    small = {
        "up": ((n, 3), "float32"), "figures": ((n, 4), "float32"), "verdict": ((n,), "int32"),
        "histogram": ((n, bins), "int32"),
    }  # fmt: skip
    found: dict[str, arrays.Array | None] = {
        name: arrays.empty(depth, *form) if name in outputs else None for name, form in images.items()
    }
    return found | {name: arrays.empty(depth, *form) for name, form in small.items()}
