"""KITTI's raw recordings as video and stereo (Geiger et al., IJRR 2013): clips `kitti-raw`.

    ROOT/DATE/DRIVE/image_02/data/N.png, image_03/data    the rectified colour pair; image_00, image_01 the grey one
    ROOT/DATE/DRIVE/image_02/timestamps.txt               optional: `2011-09-26 13:02:25.964389445`, one a frame
    ROOT/DATE/calib_cam_to_cam.txt                        P_rect_00 to P_rect_03, S_rect_00, ..., R_rect_00
    ROOT/DATE/DRIVE/oxts/data/N.txt                       optional, for poses: latitude, longitude, altitude, ...
    ROOT/DATE/calib_imu_to_velo.txt, calib_velo_to_cam.txt    then needed too

ROOT may be one DATE. The calibration may lie in DRIVE, too. Poses are those of the GPS and inertial unit, good to some
centimetres from frame to frame; their world is that of the drive's first frame, metres, z up.
"""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np

from fastseg.data.checks import MAX_SKEW, Pose, check_size, exists, inside
from fastseg.data.clip_plan import ClipPlan
from fastseg.data.folder import read_lines
from fastseg.data.images import read_bytes
from fastseg.data.kitti import CALIBRATION, projection, read_calibration
from fastseg.data.kitti_clips import Cameras, KittiPairs
from fastseg.frames import Camera, FrameError

EARTH_M = 6378137.0  # WGS 84, equator
STAMP = re.compile(r"(\d{4}-\d\d-\d\d)[ T](\d\d):(\d\d):(\d\d(?:\.\d+)?)")


class KittiRaw(KittiPairs):
    """A Clips over raw drives; an id is such as `2011_09_26/2011_09_26_drive_0001_sync/image_02/data/0000000005`."""

    layout = "DATE/DRIVE/image_02/data/N.png and DATE/calib_cam_to_cam.txt (image_00 for grey)"

    def __init__(self, root: Path | str, plan: ClipPlan | None = None, cameras: Cameras = "colour") -> None:
        self._calibrations: dict[Path, dict[str, list[float]]] = {}
        super().__init__(root, plan or ClipPlan(), cameras)

    def is_ours(self, match: re.Match[str]) -> bool:
        return match["data"] is not None and len(match["camera"]) == 2

    def projection(self, drive: str, camera: int) -> tuple[Pose, Path]:
        path = self._calibration(drive, CALIBRATION)
        return projection(self._values(path), f"{camera:02d}", path), path

    def camera(self, name: str, size: tuple[int, int]) -> Camera:
        match = re.search(r"image_(\d\d)/data/", name)
        drive = name[: match.start()] if match else name
        path = self._calibration(drive, CALIBRATION)
        stated = self._values(path).get(f"S_rect_{match[1] if match else ''}", [])
        if len(stated) == 2 and np.isfinite(stated).all():
            check_size(size, (round(stated[1]), round(stated[0])), str(self.root / name), f"camera in {path}")
        return super().camera(name, size)

    def times(self, drive: str, camera: str) -> list[float] | None:
        path = inside(self.root / drive / f"image_{camera}" / "timestamps.txt", self.root)
        return read_stamps(path) if exists(path) else None

    def first_pose(self, drive: str, number: int) -> Pose | None:
        path = inside(self.root / drive / "oxts" / "data" / f"{number:010d}.txt", self.root)
        if not exists(path):
            return None
        first = self.root / drive / "oxts" / "data" / f"{0:010d}.txt"
        origin = read_unit(first if exists(first) else path)
        pose = unit_pose(read_unit(path), origin)
        return pose @ np.linalg.inv(self._camera_from_unit(drive))

    def _camera_from_unit(self, drive: str) -> Pose:
        """`T_cam_unit` (4, 4): from the inertial unit through the laser scanner to the rectified camera 0."""
        rectified = np.eye(4)
        path = self._calibration(drive, CALIBRATION)
        rectified[:3, :3] = _rotation(self._values(path).get("R_rect_00", []), path, "R_rect_00")
        parts = [rectified]
        for name in ("calib_velo_to_cam.txt", "calib_imu_to_velo.txt"):
            path = self._calibration(drive, name)
            values, part = self._values(path), np.eye(4)
            part[:3, :3] = _rotation(values.get("R", []), path, "R")
            place = values.get("T", [])
            if len(place) != 3 or not np.isfinite(place).all():
                raise FrameError("intrinsics", f"{path}: expected T, three finite numbers; got {len(place)}")
            part[:3, 3] = place
            parts.append(part)
        return parts[0] @ parts[1] @ parts[2]

    def _values(self, path: Path) -> dict[str, list[float]]:
        if path not in self._calibrations:
            self._calibrations[path] = read_calibration(path)
        return self._calibrations[path]

    def _calibration(self, drive: str, name: str) -> Path:
        own = self.root / drive
        for path in (own / name, own.parent / name, self.root / name):
            if path.is_relative_to(self.root) and exists(path):
                return inside(path, self.root)
        raise FrameError("missing", f"{own.parent / name}: expected the drive's calibration; there is none")


def read_unit(path: Path) -> list[float]:
    """Latitude, longitude (degrees), altitude (m), roll, pitch, yaw (radians) of an oxts file; FrameError `decode`."""
    try:
        values = [float(field) for field in read_bytes(path, 2**16).split()[:6]]
    except ValueError:
        values = []
    if len(values) < 6 or not np.isfinite(values).all() or not abs(values[0]) < 89:
        raise FrameError("decode", f"{path}: expected latitude, longitude, altitude, roll, pitch and yaw")
    return values


def unit_pose(unit: list[float], origin: list[float]) -> Pose:
    """`T_world_unit` (4, 4): R_z(yaw) R_y(pitch) R_x(roll) at a Mercator place, x east, y north, z up, from `origin`.

    x = s r longitude, y = s r ln tan(pi / 4 + latitude / 2), s = cos(latitude of the origin), r the earth's radius.
    """
    scale = math.cos(math.radians(origin[0])) * EARTH_M

    def place(values: list[float]) -> Pose:
        north = math.log(math.tan(math.pi / 4 + math.radians(values[0]) / 2))
        return np.array([scale * math.radians(values[1]), scale * north, values[2]], np.float64)

    (cr, sr), (cp, sp), (cy, sy) = ((math.cos(angle), math.sin(angle)) for angle in unit[3:6])
    pose = np.eye(4)
    pose[:3, :3] = np.array([[cy, -sy, 0], [sy, cy, 0], [0, 0, 1]]) @ np.array(
        [[cp, 0, sp], [0, 1, 0], [-sp, 0, cp]]
    ) @ np.array([[1, 0, 0], [0, cr, -sr], [0, sr, cr]])  # fmt: skip
    pose[:3, 3] = place(unit) - place(origin)
    return pose


def read_stamps(path: Path) -> list[float]:
    """Seconds since midnight before the first frame, of a file of `YYYY-MM-DD HH:MM:SS.NNN`, one a frame."""
    times: list[float] = []
    first = None
    for k, line in enumerate(read_lines(path, "a date and a time a frame")):
        match = STAMP.fullmatch(line)
        if match is None:
            raise ValueError(f"{path}: expected YYYY-MM-DD HH:MM:SS.NNN in line {k + 1}; got {line[:40]!r}")
        day = np.datetime64(match[1])
        first = day if first is None else first
        days = float((day - first) / np.timedelta64(1, "D"))
        times.append(86400 * days + 3600 * int(match[2]) + 60 * int(match[3]) + float(match[4]))
    return times


def _rotation(numbers: list[float], path: Path, key: str) -> Pose:
    matrix = np.array(numbers, np.float64).reshape(3, 3) if len(numbers) == 9 else np.full((3, 3), np.nan)
    if (
        not np.isfinite(matrix).all()
        or np.abs(matrix).max() > 2
        or np.abs(matrix.T @ matrix - np.eye(3)).max() > MAX_SKEW
    ):
        raise FrameError("intrinsics", f"{path}: expected {key}, a rotation of nine numbers; got {len(numbers)}")
    return matrix
