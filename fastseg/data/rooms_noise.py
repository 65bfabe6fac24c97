"""What a first-generation Kinect would measure of an exact depth map.

Noise is made in disparity, as in the sensor: d = f b / z, smooth over the matching window, rounded to 1/8 pixel.
Its size follows Nguyen, Izadi and Lovell, "Modeling Kinect sensor noise for improved 3D reconstruction and tracking"
(3DIMPVT 2012): sigma_z = 0.0012 + 0.0019 (z - 0.4)^2 + 0.0001 / sqrt(z) * t^2 / (pi/2 - t)^2, t = angle of incidence.
Holes: outside of the range, at grazing angles, in the projector's shadow beside near objects, at the far side
of depth edges, and in blobs where little light returns.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

from fastseg.data.rooms_materials import ROOM_CLASSES
from fastseg.data.rooms_render import KINECT_FOCAL, RoomFrame
from fastseg.frames import Camera

BASELINE_M = 0.075  # from the infra-red camera to the projector
DISPARITY_STEP = 0.125  # pixels: one step is z^2 * 2.85 mm
WINDOW = 2  # pixels at 640 columns: radius of each of the two box filters that make the noise smooth
LATERAL_PX = 0.45  # pixels at 640 columns: spread of the ray a pixel really measures, which frays edges
NEAR_M, FAR_M = 0.5, 6.5
GRAZING_DEG = 78.0  # beyond this angle of incidence, give or take 3 degrees, nothing returns
EDGE_PX = 2.0  # pixels of disparity: where the matching window straddles such a step, its far side is often lost
EDGE_RADIUS = 3  # pixels at 640 columns: half of the matching window
EDGE_LOSS = 0.5  # deviations: such pixels are lost where the blob noise falls below it (69 %)
SPECKLE = 0.002  # share of blob holes on a surface that returns well

Float32 = npt.NDArray[np.float32]


@njit(cache=True, nogil=True, error_model="numpy")
def _box(source: Float32, radius: int) -> Float32:
    """Sums over windows of (2 radius + 1)^2; a border of `radius` falls away on each side."""
    height, width = source.shape[0] - 2 * radius, source.shape[1] - 2 * radius
    out, column = np.zeros((height, width), np.float32), np.zeros(source.shape[1], np.float32)
    for v in range(2 * radius):
        column += source[v]
    for v in range(height):
        column += source[v + 2 * radius]
        for shift in range(2 * radius + 1):
            out[v] += column[shift : shift + width]
        column -= source[v]
    return out


def _field(rng: np.random.Generator, height: int, width: int, radius: int) -> Float32:
    """Smooth noise of mean 0 and deviation 1: uniform noise through two box filters in each direction."""
    m = 2 * radius + 1
    field = rng.random((height + 4 * radius, width + 4 * radius), np.float32) - np.float32(0.5)
    for _ in range(2):
        field = _box(field, radius)
    deviation = np.sqrt(1 / 12) * (2 * m * m + 1) / (3 * m**3) * m**4
    return field / np.float32(deviation)


@njit(cache=True, nogil=True, error_model="numpy")
def _incidence(normals: Float32, k: npt.NDArray[np.float64], v: int, u: int) -> float:
    x, y = (u - k[2]) / k[0], (v - k[3]) / k[1]
    dot = normals[0, v, u] * x + normals[1, v, u] * y + normals[2, v, u]
    return float(np.arccos(min(abs(dot) / np.sqrt(x * x + y * y + 1), 1.0)))


@njit(cache=True, nogil=True, error_model="numpy")
def _measure(z: float, angle: float, noise: float) -> float:
    """The depth read for a surface at z: disparity with noise, rounded; the rounding's variance is part of sigma."""
    reach = KINECT_FOCAL * BASELINE_M
    slant = angle * angle / (np.pi / 2 - min(angle, 1.5)) ** 2
    sigma = (0.0012 + 0.0019 * (z - 0.4) ** 2 + 0.0001 / np.sqrt(z) * slant) * reach / (z * z)
    sigma = np.sqrt(max(sigma * sigma - DISPARITY_STEP**2 / 12, 0.0))
    disparity = np.floor((reach / z + sigma * noise) / DISPARITY_STEP + 0.5) * DISPARITY_STEP
    return reach / disparity if disparity > 0 else 0.0


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _beside(depth: Float32, v: int, u: int, reach: float, radius: int) -> bool:
    """Whether something EDGE_PX nearer in disparity stands within the matching window, up, down, left or right."""
    height, width = depth.shape
    limit = reach / (reach / depth[v, u] + EDGE_PX)  # metres: nearer than this is an edge
    return bool(
        0 < depth[max(v - radius, 0), u] < limit
        or 0 < depth[min(v + radius, height - 1), u] < limit
        or 0 < depth[v, max(u - radius, 0)] < limit
        or 0 < depth[v, min(u + radius, width - 1)] < limit
    )


@njit(cache=True, nogil=True, error_model="numpy")
def _sense(depth: Float32, normals: Float32, weak: Float32, k: npt.NDArray[np.float64], fields: Float32, lateral: float,
           out: npt.NDArray[np.uint16]) -> None:  # fmt: skip
    height, width = depth.shape
    limit, reach = np.deg2rad(GRAZING_DEG), k[0] * BASELINE_M
    radius = max(1, int(k[0] / KINECT_FOCAL * EDGE_RADIUS + 0.5))
    for v in range(height):
        edge = 1e9  # the projector's column that is lit farthest so far: what falls short of it lies in shadow
        for u in range(width - 1, -1, -1):  # the projector stands on the camera's right: shadows fall to the left
            out[v, u] = 0
            exact = depth[v, u]
            if not (0 < exact < np.inf):
                continue
            column = u - reach / exact
            shadow = column > edge + 0.5
            edge = min(edge, column)
            row = min(max(int(v + lateral * fields[1, v, u] + 0.5), 0), height - 1)
            place = min(max(int(u + lateral * fields[2, v, u] + 0.5), 0), width - 1)
            z = depth[row, place]
            if shadow or not (0 < z < np.inf) or fields[3, v, u] < weak[v, u]:
                continue
            if fields[3, v, u] < EDGE_LOSS and _beside(depth, row, place, KINECT_FOCAL * BASELINE_M, radius):
                continue
            angle = _incidence(normals, k, row, place)
            if angle > limit + 0.05 * fields[3, row, place]:
                continue
            z = _measure(z, angle, fields[0, v, u])
            if NEAR_M < z < FAR_M + 0.3 * fields[3, v, u]:
                out[v, u] = np.uint16(1000 * z + 0.5)


def _cross_normals(depth: Float32, camera: Camera) -> Float32:
    """(3, H, W) normals by central differences of the points, for depth maps that come without."""
    u, v = np.meshgrid(np.arange(camera.width), np.arange(camera.height))
    known = np.where((depth > 0) & np.isfinite(depth), depth, 0)
    points = np.stack([(u - camera.cx) / camera.fx, (v - camera.cy) / camera.fy, np.ones_like(u)]) * known
    n = np.cross(np.gradient(points, axis=2), np.gradient(points, axis=1), axis=0)
    return np.asarray(n / np.maximum(np.linalg.norm(n, axis=0), 1e-12), np.float32)


def kinect_noise(
    depth: Float32, camera: Camera, seed: int, normals: Float32 | None = None, returned: Float32 | None = None
) -> npt.NDArray[np.uint16]:
    """Depth in millimetres, uint16 (H, W), 0 where the sensor sees nothing.

    depth (H, W) float32 metres; normals (3, H, W) of the same surfaces (by differences when None); returned (H, W)
    float32 in [0, 1]: how well each surface sends light back (1 when None), see `returned_light`.
    Raises ValueError when depth has not the camera's size.
    """
    if depth.shape != (camera.height, camera.width):
        raise ValueError(f"depth must be {camera.height}x{camera.width} as its camera; got shape {depth.shape}")
    depth = np.ascontiguousarray(depth, np.float32)
    normals = _cross_normals(depth, camera) if normals is None else normals
    good = np.ones_like(depth) if returned is None else returned
    rng, scale = np.random.default_rng([seed, 3]), camera.width / 640
    small, large = max(1, round(WINDOW * scale)), max(1, round(3 * WINDOW * scale))
    fields = np.stack([_field(rng, camera.height, camera.width, radius) for radius in (small, small, small, large)])
    weak = _threshold(np.asarray(good, np.float32))
    k = np.array([camera.fx, camera.fy, camera.cx, camera.cy], np.float64)
    out = np.empty(depth.shape, np.uint16)
    _sense(depth, normals, weak, k, fields, LATERAL_PX * scale, out)
    return out


def _threshold(good: Float32) -> Float32:
    """The value below which a normal variable falls with probability SPECKLE (good = 1) up to 0.7 (good = 0)."""
    share = SPECKLE + (0.7 - SPECKLE) * (1 - np.clip(good, 0, 1)) ** 2
    odds = np.log(share / (1 - share))
    return np.asarray(odds / 1.702, np.float32)  # the logistic curve's match to the normal one


def returned_light(frame: RoomFrame) -> Float32:
    """How well each surface sends infra-red light back, (H, W) float32 in [0, 1]: dark colours and panes do not."""
    red, green, blue = (frame.color[..., c] for c in range(3))
    bright = np.maximum(np.maximum(red, green), blue)
    good = np.minimum(0.4 + 1.8 / 255 * np.arange(256, dtype=np.float32), 1.0)[bright]
    share = np.ones(256, np.float32)
    share[[ROOM_CLASSES.index("window"), ROOM_CLASSES.index("lamp")]] = 0.25, 0.6
    return np.asarray(good * share[frame.label], np.float32)
