"""Recordings as libfreenect's `record` writes them, made of procedural rooms: what nyuv2_raw's tests read."""

from __future__ import annotations

import functools
import struct
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fastseg.data import nyuv2_raw_camera as kinect
from fastseg.data.rooms import RoomFrame, make_room, render, room_view
from fastseg.data.rooms_cast import cast
from fastseg.frames import Camera

Raw = npt.NDArray[np.uint16]
Color = npt.NDArray[np.uint8]
ROOM_SEED, VIEW = 7, 0
NAME = "1294886362.665769-3143255701"


def pgm(raw: Raw, order: str = "<") -> bytes:
    return b"P5 640 480 65535\n" + raw.astype(f"{order}u2").tobytes()


def ppm(color: Color) -> bytes:
    return b"P6 640 480 255\n" + color.tobytes()


def dump(up: npt.NDArray[np.float64], g: float = 1.0) -> bytes:
    """What a camera at rest records: x left, y up, z forward, 819 counts a g; tilt and status of no matter."""
    x, y, z = np.rint(819 * g * up * (-1, -1, 1)).astype(int)
    return struct.pack("<hhhbBi", x, y, z, -12, 0, 4)


@functools.lru_cache(maxsize=8)
def seen(room_seed: int = ROOM_SEED, view: int = VIEW) -> tuple[Raw, Color, RoomFrame]:
    """(disparities, colour) as the two distorted cameras record a room, and the colour camera's exact picture."""
    room = make_room(room_seed)
    pose = room_view(room, view)
    between = np.eye(4)
    between[:3, :3], between[:3, 3] = kinect.TURN, -kinect.SHIFT
    exact = render(room, kinect.COLOR, pose)
    return _disparities(room_seed, pose @ between), _distorted_color(room_seed, pose), exact


def _wide(camera: Camera) -> Camera:
    """Twice the resolution and a margin: holds every ray of the distorted image."""
    margin, scale = 60, 2
    k, height, width = camera, scale * (480 + 2 * margin), scale * (640 + 2 * margin)
    return Camera(scale * k.fx, scale * k.fy, scale * (k.cx + margin), scale * (k.cy + margin), height, width)


def _places(camera: Camera, lens: kinect.Lens) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], Camera]:
    """Columns and rows of the wide picture where the distorted camera's pixels look."""
    wide = _wide(camera)
    x, y = kinect.undistorted(*kinect.pixel_rays(camera), lens)
    return x * wide.fx + wide.cx, y * wide.fy + wide.cy, wide


def _disparities(room_seed: int, pose: npt.NDArray[np.float64]) -> Raw:
    """Exact to the rounding on planes, where 1/z is linear in the pixel; the nearest ray's beside edges."""
    room = make_room(room_seed)
    u, v, wide = _places(kinect.DEPTH, kinect.DEPTH_LENS)
    k = np.array([wide.fx, wide.fy, wide.cx, wide.cy])
    inverse, code = cast(room.size, room.kind, room.shape, pose[:3, :3], pose[:3, 3].copy(), k, wide.height, wide.width)
    column, row = np.floor(u).astype(int), np.floor(v).astype(int)
    corners = [(row + i, column + j) for i in (0, 1) for j in (0, 1)]
    one_face = np.all([code[corner] == code[row, column] for corner in corners], axis=0)
    between = _bilinear(inverse, u, v)
    near = inverse[np.rint(v).astype(int), np.rint(u).astype(int)]
    raw = np.rint(1092.5 - 351.3 * np.where(one_face, between, near))
    return np.where((raw >= 400) & (raw <= 1057), raw, 2047).astype(np.uint16)


def _distorted_color(room_seed: int, pose: npt.NDArray[np.float64]) -> Color:
    u, v, wide = _places(kinect.COLOR, kinect.COLOR_LENS)
    color = render(make_room(room_seed), wide, pose).color.astype(np.float64)
    return np.rint(_bilinear(color, u[..., None], v[..., None])).astype(np.uint8)


def _bilinear(
    image: npt.NDArray[np.float64], u: npt.NDArray[np.float64], v: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    column, row = np.floor(u).astype(int), np.floor(v).astype(int)
    right, down = u - column, v - row
    flat = (row[..., 0], column[..., 0]) if image.ndim == 3 else (row, column)
    a, b = image[flat], image[flat[0], flat[1] + 1]
    c, d = image[flat[0] + 1, flat[1]], image[flat[0] + 1, flat[1] + 1]
    return np.asarray((a * (1 - right) + b * right) * (1 - down) + (c * (1 - right) + d * right) * down)


def record(folder: Path, name: str = NAME, room_seed: int = ROOM_SEED, view: int = VIEW) -> RoomFrame:
    """The exact picture of the frame written into `folder`: its d-, r- and a- file, and their lines in INDEX.txt."""
    raw, color, exact = seen(room_seed, view)
    folder.mkdir(parents=True, exist_ok=True)
    files = {f"d-{name}.pgm": pgm(raw), f"r-{name}.ppm": ppm(color), f"a-{name}.dump": dump(exact.up)}
    for file, data in files.items():
        (folder / file).write_bytes(data)
    with (folder / "INDEX.txt").open("a") as index:
        index.write("".join(f"{file}\n" for file in files))
    return exact
