"""The two cameras of NYU Depth v2's Kinect: disparity to metres, lens distortion, registration, gravity.

The numbers are the calibration that the data set's authors publish with their toolbox (camera_params.m, made with
RGBDemo). With M the published 3x3 numbers by rows and t = (2.503 cm, -0.029 cm, 0.066 cm) the published translation,
the toolbox maps a point of the depth camera to -M^T p + t, then divides by z: the same pixel as

    p_colour = M^T p_depth - t

has, which puts the colour camera 2.5 cm to the right of the depth camera, where it is. Ours differs from the toolbox in
four ways. Pixels are counted from 0 (the toolbox's meshgrid counts from 1 on both sides: 0.1 pixel apart). A depth
pixel is sent along its own undistorted ray: the toolbox interpolates disparities first, which invents surfaces at depth
edges. The depth kept is the colour camera's z, not the depth camera's (millimetres apart). What lies beyond 10 m is no
measurement; the toolbox sets it to 10 m.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numba import njit

from fastseg.data.nyuv2 import HEIGHT, LEFT, TOP, WIDTH
from fastseg.frames import Camera

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Color = npt.NDArray[np.uint8]
Lens = tuple[float, float, float, float, float]

COLOR = Camera(518.85790117450188, 519.46961112127485, 325.58244941119034, 253.73616633400465, 480, 640)
DEPTH = Camera(582.62448167737955, 582.69103270988637, 313.04475870804731, 238.44389626620386, 480, 640)
# k1, k2, p1, p2, k3 of Brown's model
COLOR_LENS: Lens = (
    2.0796615318809061e-01, -5.8613825163911781e-01, 7.2231363135888329e-04, 1.0479627195765181e-03,
    4.9856986684705107e-01,
)  # fmt: skip
DEPTH_LENS: Lens = (
    -9.9897236553084481e-02, 3.9065324602765344e-01, 1.9290592870229277e-03, -1.9422022475975055e-03,
    -5.1031725053400578e-01,
)  # fmt: skip
TURN: Float64 = np.array([
    [9.9997798940829263e-01, 5.0518419386157446e-03, 4.3011152014118693e-03],
    [-5.0359919480810989e-03, 9.9998051861143999e-01, -3.6879781309514218e-03],
    [-4.3196624923060242e-03, 3.6662365748484798e-03, 9.9998394948385538e-01],
]).T  # fmt: skip
# The toolbox names these t_x, t_z, t_y and stacks them in this order: x, y, z.
SHIFT: Float64 = np.array([2.5031875059141302e-02, -2.9342312935846411e-04, 6.6238747008330102e-04])
DISPARITY_SCALE, DISPARITY_OFFSET = 351.3, 1092.5
NO_DISPARITY = 2047
MAX_DEPTH_M = 10.0


def depth_of_disparity() -> Float32:
    """Metres of each raw Kinect disparity 0 to 2047, float32 (2048,), 0 where there is no measurement.

    z = 351.3 / (1092.5 - raw); none for raw = 2047 (nothing seen), z <= 0 or z > 10 m, and none for raw = 0, which no
    Kinect sends (32 cm, nearer than it sees) but a disk that lost a file's end does. That leaves raw 1 to 1057.
    """
    raw = np.arange(NO_DISPARITY + 1)
    with np.errstate(divide="ignore"):
        z = DISPARITY_SCALE / (DISPARITY_OFFSET - raw)
    return np.where((z > 0) & (z <= MAX_DEPTH_M) & (raw != NO_DISPARITY) & (raw > 0), z, 0).astype(np.float32)


def distorted(x: Float64, y: Float64, lens: Lens) -> tuple[Float64, Float64]:
    """Where the lens moves the ray (x, y, 1): Brown's model (Bouguet's toolbox, OpenCV), arrays of any shape.

    x' = x g + 2 p1 x y + p2 (r2 + 2 x^2), y' = y g + p1 (r2 + 2 y^2) + 2 p2 x y, g = 1 + k1 r2 + k2 r2^2 + k3 r2^3.
    """
    k1, k2, p1, p2, k3 = lens
    r2 = x * x + y * y
    gain = 1 + r2 * (k1 + r2 * (k2 + r2 * k3))
    return x * gain + 2 * p1 * x * y + p2 * (r2 + 2 * x * x), y * gain + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y


def undistorted(x: Float64, y: Float64, lens: Lens) -> tuple[Float64, Float64]:
    """The rays that `distorted` sends to (x, y): 20 fixed-point steps, exact to 1e-9 in both images."""
    at_x, at_y = x, y
    for _ in range(20):
        moved_x, moved_y = distorted(at_x, at_y, lens)
        at_x, at_y = at_x + x - moved_x, at_y + y - moved_y
    return at_x, at_y


def pixel_rays(camera: Camera) -> tuple[Float64, Float64]:
    """(x, y) of the rays (x, y, 1) through the pixel centres, each float64 (H, W)."""
    u, v = np.meshgrid(np.arange(camera.width, dtype=np.float64), np.arange(camera.height, dtype=np.float64))
    return (u - camera.cx) / camera.fx, (v - camera.cy) / camera.fy


@dataclass(frozen=True)
class Rig:
    """What is computed once in a process; `camera` is the colour camera of the undistorted image, cropped or whole.

    metres  (2048,) float32: depth of each disparity
    rays    (480, 640, 3) float32: TURN times each depth pixel's undistorted ray
    start   (H, W) int32: index of the upper left of the four recorded colour pixels around an undistorted one
    part    (H, W, 2) int32: how far it lies from there to the right and down, in 1/256 pixel
    """

    camera: Camera
    metres: Float32
    rays: Float32
    start: npt.NDArray[np.int32]
    part: npt.NDArray[np.int32]

    def registered(self, raw: npt.NDArray[np.uint16]) -> Float32:
        """The colour camera's depth (H, W) float32 metres of disparities (480, 640) 0 to 2047; 0: no measurement.

        Each depth pixel marks the colour pixel it falls into; where several do, the nearest surface stays.
        """
        k = self.camera
        out = np.zeros((k.height, k.width), np.float32)
        _register(
            raw, self.metres, self.rays, SHIFT.astype(np.float32), np.array([k.fx, k.fy, k.cx, k.cy], np.float32), out
        )
        return out

    def straightened(self, color: Color) -> Color:
        """The undistorted colour (H, W, 3) of the recorded (480, 640, 3) uint8, bilinear."""
        out = np.empty((self.camera.height, self.camera.width, 3), np.uint8)
        _straighten(color.reshape(-1), self.start, self.part, 3 * color.shape[1], out)
        return out


@functools.lru_cache(maxsize=2)
def rig(crop: bool) -> Rig:
    """The rig for the whole colour image, or for its window of 560x425 pixels at row 45, column 41."""
    camera = COLOR.cropped(TOP, LEFT, HEIGHT, WIDTH) if crop else COLOR
    x, y = undistorted(*pixel_rays(DEPTH), DEPTH_LENS)
    rays = np.stack([x, y, np.ones_like(x)], 2) @ TURN.T
    start, part = _sources(camera)
    return Rig(camera, depth_of_disparity(), rays.astype(np.float32), start, part)


def up_of(counts: Float64) -> Float64:
    """The unit vector against gravity in the camera frame of an accelerometer reading (3,) in any unit.

    The chip reports the force that holds it up, along x left, y up, z forward as the camera looks (a level camera reads
    (0, 819, 0) counts): up = (-x, -y, z) / |(x, y, z)|. That is the frame of Microsoft's Kinect SDK (right-handed, z
    where the sensor points, level gravity (0, -1, 0)); MRPT's reader of the same counts has (forward, left, up)
    gravity = (-z, -x, -y), which agrees. The two cameras are turned by 0.4 degrees at most, the chip by up to 3.
    """
    return np.asarray(np.array([-1.0, -1.0, 1.0]) * counts / np.linalg.norm(counts), np.float64)


def _sources(camera: Camera) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    x, y = distorted(*pixel_rays(camera), COLOR_LENS)
    at = np.stack([x * COLOR.fx + COLOR.cx, y * COLOR.fy + COLOR.cy], 2)
    steps = np.rint(256 * np.clip(at, 0, (COLOR.width - 1, COLOR.height - 1))).astype(np.int32)
    corner = np.minimum(steps >> 8, np.array([COLOR.width - 2, COLOR.height - 2], np.int32))
    start = 3 * (corner[..., 1] * COLOR.width + corner[..., 0])
    return np.ascontiguousarray(start, np.int32), np.ascontiguousarray(steps - 256 * corner, np.int32)


@njit(cache=True, nogil=True, error_model="numpy")
def _register(raw: npt.NDArray[np.uint16], metres: Float32, rays: Float32, shift: Float32, k: Float32,
              out: Float32) -> None:  # fmt: skip
    height, width = out.shape
    half = np.float32(0.5)
    for v in range(raw.shape[0]):
        for u in range(raw.shape[1]):
            far = metres[raw[v, u]]
            z = far * rays[v, u, 2] - shift[2]
            if far > 0 and z > 0:
                column = np.floor(k[0] * (far * rays[v, u, 0] - shift[0]) / z + k[2] + half)
                row = np.floor(k[1] * (far * rays[v, u, 1] - shift[1]) / z + k[3] + half)
                if 0 <= column < width and 0 <= row < height:
                    i, j = int(row), int(column)
                    if out[i, j] == 0 or z < out[i, j]:
                        out[i, j] = z


@njit(cache=True, nogil=True)
def _straighten(color: Color, start: npt.NDArray[np.int32], part: npt.NDArray[np.int32], row: int,
                out: Color) -> None:  # fmt: skip
    for v in range(out.shape[0]):
        for u in range(out.shape[1]):
            at, right, down = start[v, u], part[v, u, 0], part[v, u, 1]
            for c in range(3):
                above = color[at + c] * (256 - right) + color[at + 3 + c] * right
                below = color[at + row + c] * (256 - right) + color[at + row + 3 + c] * right
                out[v, u, c] = (above * (256 - down) + below * down + 32768) >> 16
