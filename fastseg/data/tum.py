"""TUM RGB-D recordings (Sturm et al., IROS 2012): reader `tum`.

    ROOT/rgb.txt  ROOT/depth.txt   lines `time path`, times in seconds; # begins a comment
    ROOT/groundtruth.txt           optional lines `time tx ty tz qx qy qz qw`, camera-to-world
    ROOT/intrinsics.json           optional; see fastseg.data.intrinsics

Depth is uint16, 5000 units a metre. A depth image takes the nearest colour image and pose within 0.02 s.
"""

from __future__ import annotations

import bisect
from pathlib import Path
from typing import Literal

import numpy as np

from fastseg.data.checks import (
    Pose,
    check_id,
    check_pose,
    checked_frame,
    checked_ids,
    existing_folder,
    exists,
    inside,
    read_color,
)
from fastseg.data.folder import read_lines
from fastseg.data.images import decode_depth
from fastseg.data.intrinsics import checked_scale, read_intrinsics
from fastseg.data.places import place
from fastseg.frames import Camera, Frame, FrameError

CameraName = Literal["ros", "freiburg1", "freiburg2", "freiburg3"]
CAMERAS: dict[CameraName, Camera] = {
    "ros": Camera(525.0, 525.0, 319.5, 239.5, 480, 640),
    "freiburg1": Camera(517.3, 516.5, 318.6, 255.3, 480, 640),
    "freiburg2": Camera(520.9, 521.0, 325.1, 249.7, 480, 640),
    "freiburg3": Camera(535.4, 539.2, 320.1, 247.6, 480, 640),
}
MAX_DIFFERENCE_S = 0.02


class Tum:
    """A FrameSource over one TUM RGB-D recording; an id is the listed depth path without its ending.

    Every depth image is a frame, and so is every colour image that found no depth; these are rejected as `missing` with
    the nearest time difference. The camera is the published one that `camera` names, else `intrinsics`, else
    ROOT/intrinsics.json, else `ros`.
    """

    def __init__(
        self,
        root: Path | str,
        depth_scale: float | None = None,
        intrinsics: Path | str | None = None,
        camera: CameraName | None = None,
        max_difference_s: float = MAX_DIFFERENCE_S,
    ) -> None:
        self.root = existing_folder(root)
        if camera is not None and intrinsics is not None:
            raise ValueError(f"give the camera {camera} or the intrinsics {intrinsics}, not both")
        about = place(intrinsics) if intrinsics else self.root / "intrinsics.json"
        stated = read_intrinsics(about) if camera is None and (intrinsics or exists(about)) else None
        self.camera = stated.camera if stated else CAMERAS[camera or "ros"]
        if depth_scale is None:
            depth_scale = stated.depth_scale if stated and stated.depth_scale else 1 / 5000
        self.depth_scale = checked_scale(depth_scale, "depth_scale")
        self.max_difference_s = max_difference_s
        self._lists = [path for name in ("depth", "rgb", "groundtruth") if exists(path := self.root / f"{name}.txt")]
        self._lists += [about] if stated else []
        self._associate()

    def _associate(self) -> None:
        depths, colors = read_list(self._list("depth")), read_list(self._list("rgb"))
        pairs = associate([d[0] for d in depths], [c[0] for c in colors], self.max_difference_s)
        self._color_times = sorted(time for time, _ in colors)
        self._depth_times = sorted(time for time, _ in depths)
        self._color_of = {depths[i][1]: colors[j][1] for i, j in pairs.items()}
        used = set(pairs.values())
        self._time_of = {path: time for time, path in depths}
        self._alone = {path: time for j, (time, path) in enumerate(colors) if j not in used}
        self._poses = read_poses(self._list("groundtruth"))
        self._pose_times = list(self._poses)
        self._path_of = {_stem(path): path for path in (*self._alone, *self._time_of)}
        listed = [_stem(path) for _, path in depths] + [_stem(path) for path in self._alone]
        self._ids = checked_ids(listed, self.root, "lines `time path` in depth.txt")

    def ids(self) -> list[str]:
        """The sorted ids: every listed depth image, and every colour image without depth."""
        return list(self._ids)

    def load(self, frame_id: str) -> Frame:
        """The frame; FrameError `missing` (its value the nearest time difference in seconds), `decode`, `type`, ..."""
        listed = self._path(frame_id)
        path = self._inside(listed)
        if listed not in self._time_of:
            raise self._unmatched(path, self._alone[listed], self._depth_times, "depth")
        color = self._color_of.get(listed)
        if color is None:
            raise self._unmatched(path, self._time_of[listed], self._color_times, "colour")
        depth = decode_depth(path)
        image = read_color(self._inside(color), (depth.shape[0], depth.shape[1]), path)
        pose = self._pose(self._time_of[listed])
        return checked_frame(Frame(frame_id, depth, self.depth_scale, self.camera, image, pose), str(path))

    def inputs(self, frame_id: str) -> list[str]:
        """The files behind the frame, those that exist; the three lists among them."""
        listed = self._path(frame_id)
        names = [listed, *([self._color_of[listed]] if listed in self._color_of else [])]
        return [str(path) for path in (*map(self._inside, names), *self._lists) if exists(path)]

    def _path(self, frame_id: str) -> str:
        if frame_id not in self._path_of:
            raise FrameError("missing", f"{self.root}: expected a frame {frame_id!r} in depth.txt; there is none")
        return self._path_of[frame_id]

    def _list(self, name: str) -> Path:
        return inside(self.root / f"{name}.txt", self.root)

    def _inside(self, listed: str) -> Path:
        check_id(listed, self.root)
        return inside(self.root / listed, self.root)

    def _unmatched(self, path: Path, time: float, times: list[float], what: str) -> FrameError:
        gap = abs(nearest(times, time) - time)
        wanted = f"expected {what} within {self.max_difference_s:g} s, not taken by another image"
        return FrameError("missing", f"{path}: {wanted}; the nearest is {gap:.4f} s away", gap)

    def _pose(self, time: float) -> Pose | None:
        if not self._poses:
            return None
        stamp = nearest(self._pose_times, time)
        if abs(stamp - time) > self.max_difference_s:
            return None
        return check_pose(pose_matrix(self._poses[stamp]), f"{self.root / 'groundtruth.txt'}, time {stamp:.6f}")


def read_list(path: Path) -> list[tuple[float, str]]:
    """(time, path) of each line of a TUM list; ValueError naming the line that is none."""
    entries = []
    for line in read_lines(path, "lines `time path`"):
        if not line.startswith("#"):
            time, _, name = line.partition(" ")
            entries.append((_seconds(time, path, line), name.strip()))
    return entries


def read_poses(path: Path) -> dict[float, tuple[float, ...]]:
    """Time -> (tx, ty, tz, qx, qy, qz, qw), sorted by time; empty when there is no such file."""
    poses: dict[float, tuple[float, ...]] = {}
    for line in read_lines(path, "lines `time tx ty tz qx qy qz qw`") if exists(path) else ():
        if not line.startswith("#"):
            fields = line.split()
            if len(fields) != 8:
                raise ValueError(f"{path}: expected lines `time tx ty tz qx qy qz qw`; got {line!r}")
            try:
                poses[_seconds(fields[0], path, line)] = tuple(float(value) for value in fields[1:])
            except ValueError as error:
                raise ValueError(f"{path}: expected lines of 8 numbers; got {line!r}") from error
    return dict(sorted(poses.items()))


def associate(first: list[float], second: list[float], max_difference: float) -> dict[int, int]:
    """Index in `first` -> index in `second`: pairs taken in order of time difference, each time used once."""
    order = sorted(range(len(second)), key=second.__getitem__)
    times = [second[j] for j in order]
    close: list[tuple[float, int, int]] = []
    for i, time in enumerate(first):
        low, high = (bisect.bisect(times, time - max_difference - 1e-9), bisect.bisect(times, time + max_difference))
        close += [(gap, i, order[k]) for k in range(low, high) if (gap := abs(times[k] - time)) <= max_difference]
    pairs: dict[int, int] = {}
    used: set[int] = set()
    for _, i, j in sorted(close):
        if i not in pairs and j not in used:
            pairs[i] = j
            used.add(j)
    return pairs


def nearest(times: list[float], time: float) -> float:
    """The entry of the sorted `times` nearest to `time`; inf when there is none."""
    at = bisect.bisect(times, time)
    return min(times[max(0, at - 1) : at + 1], key=lambda t: abs(t - time), default=float("inf"))


def pose_matrix(values: tuple[float, ...]) -> Pose:
    """The (4, 4) pose of (tx, ty, tz, qx, qy, qz, qw); NaN when the quaternion's length is not 1 within 1 %."""
    x, y, z, w = quaternion = np.array(values[3:], np.float64)
    length = float(quaternion @ quaternion)
    pose = np.eye(4)
    pose[:3, 3] = values[:3]
    if not abs(length - 1) < 0.02:
        return np.full((4, 4), np.nan)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    pose[:3, :3] += 2 / length * (w * cross + cross @ cross)
    return pose


def _stem(path: str) -> str:
    return path.rsplit(".", 1)[0]


def _seconds(field: str, path: Path, line: str) -> float:
    try:
        time = float(field)
    except ValueError:
        time = float("nan")
    if not np.isfinite(time):
        raise ValueError(f"{path}: expected a line to begin with a time in seconds; got {line!r}")
    return time
