"""KITTI as video and stereo (Geiger et al., CVPR 2012, IJRR 2013): clips `kitti-odometry`, and what `kitti-raw` shares.

    ROOT/sequences/NN/image_2/N.png, image_3/N.png    the colour pair; image_0, image_1 the grey one
    ROOT/sequences/NN/calib.txt                       P0: to P3: (3x4); rows without names are P0, P1, ...
    ROOT/sequences/NN/times.txt                       optional: seconds, one a frame
    ROOT/poses/NN.txt                                 optional: frame k's 3x4 T_world_cam of camera 0 in row k

ROOT may be one sequence too, with its poses in poses.txt.

P = K [I | t] of each rectified camera, so that X_camera = X_0 + t: the poses of each camera and of the pair follow.
A recording ends where a frame's number or (times) a frame is missing; both cameras of the pair give targets.
"""

from __future__ import annotations

import re
from abc import abstractmethod
from pathlib import Path
from typing import Literal

import numpy as np

from fastseg.data.checks import Pose, check_pose, existing_folder, exists, found, inside, stems
from fastseg.data.clip_plan import ClipPlan, runs, shifted
from fastseg.data.clips import RecordedClips
from fastseg.data.folder import read_lines
from fastseg.data.images import MAX_PICTURE_BYTES, Color, decode_color, read_bytes
from fastseg.data.intrinsics import pinhole
from fastseg.data.places import holding
from fastseg.frames import Camera, FrameError

Cameras = Literal["colour", "grey"]
PAIRS: dict[Cameras, tuple[int, int]] = {"colour": (2, 3), "grey": (0, 1)}
ENDINGS = (".png", ".jpg")
PICTURE = re.compile(r"(?P<drive>(?:.+/)?)image_(?P<camera>0?[0-3])(?P<data>/data)?/(?P<number>\d{1,10})", re.DOTALL)


class KittiPairs(RecordedClips):
    """A Clips over rectified pairs of KITTI; an id is the picture's path without its ending.

    cameras: colour (2 and 3) or grey (0 and 1). What a form of KITTI has of its own: projections, times and poses.
    """

    layout: str

    def __init__(self, root: Path | str, plan: ClipPlan, cameras: Cameras) -> None:
        self.root = existing_folder(root)
        if cameras not in PAIRS:
            raise ValueError(f"cameras must be colour or grey; got {cameras!r}")
        self._pair = PAIRS[cameras]
        drives: dict[tuple[str, str], dict[int, str]] = {}
        for name in stems(self.root, self.root, ENDINGS):
            match = PICTURE.fullmatch(name)
            if match and int(match["camera"]) in self._pair and self.is_ours(match):
                drives.setdefault((match["drive"], match["camera"]), {})[int(match["number"])] = name
        if not drives:
            wanted = f"expected pictures of KITTI, {self.layout}"
            raise ValueError(f"{self.root}: {wanted}; {holding(self.root)}")
        names = {name for frames in drives.values() for name in frames.values()}
        recordings = [
            recording for (drive, camera), frames in sorted(drives.items())
            for recording in self._runs(drive, camera, frames)
        ]  # fmt: skip
        super().__init__(self.root, recordings, plan, {name for name in names if self._twin(name) in names})

    @abstractmethod
    def is_ours(self, match: re.Match[str]) -> bool:
        """Whether a path is that of a picture in this form of KITTI."""

    @abstractmethod
    def projection(self, drive: str, camera: int) -> tuple[Pose, Path]:
        """P (3, 4) of a rectified camera, and the file that it is from; FrameError `missing` or `intrinsics`."""

    @abstractmethod
    def times(self, drive: str, camera: str) -> list[float] | None:
        """Seconds of frame 0, 1, ... of a drive, None where they are not there."""

    @abstractmethod
    def first_pose(self, drive: str, number: int) -> Pose | None:
        """`T_world_cam` (4, 4) of the rectified camera 0, None where it is not known."""

    def picture(self, name: str) -> Color:
        path = found(self.root / name, ENDINGS, "picture")
        return decode_color(read_bytes(path, MAX_PICTURE_BYTES), str(path))

    def camera(self, name: str, size: tuple[int, int]) -> Camera:
        match = _matched(name)
        matrix, path = self.projection(match["drive"], int(match["camera"]))
        return pinhole(matrix, size, path)

    def pose(self, name: str) -> Pose | None:
        match = _matched(name)
        pose = self.first_pose(match["drive"], int(match["number"]))
        return None if pose is None else pose @ shifted(*-self._place(name))

    def other(self, name: str) -> Pose:
        here, there = self._place(name), self._place(self._twin(name))
        across = there - here
        right = across[0] < 0  # the other camera stands to the right: points move to the left
        first = int(_matched(name)["camera"]) == self._pair[0]
        if right != first or not 0.01 < abs(across[0]) < 10:
            _, path = self.projection(_matched(name)["drive"], self._pair[1])
            wanted = f"expected camera {self._pair[1]} 0.01 to 10 m to the right of camera {self._pair[0]}"
            raise FrameError("intrinsics", f"{path}: {wanted}; got {abs(across[0]) * (1 if right == first else -1):g}")
        return shifted(*across)

    def other_picture(self, name: str) -> Color:
        return self.picture(self._twin(name))

    def _place(self, name: str) -> Pose:
        """t (3,) metres of X_camera = X_0 + t: K^-1 P[:, 3]."""
        match = _matched(name)
        matrix, path = self.projection(match["drive"], int(match["camera"]))
        if not (matrix[0, 0] > 0 and matrix[1, 1] > 0):
            raise FrameError("intrinsics", f"{path}: expected positive focal lengths; got {matrix[:3, :3].tolist()}")
        return np.linalg.solve(matrix[:, :3], matrix[:, 3]).astype(np.float64)

    def _twin(self, name: str) -> str:
        match = _matched(name)
        other = sum(self._pair) - int(match["camera"])
        start, end = match.span("camera")
        return f"{name[:start]}{other:0{end - start}d}{name[end:]}"

    def _runs(self, drive: str, camera: str, frames: dict[int, str]) -> list[list[str]]:
        numbers, times = sorted(frames), self.times(drive, camera)
        if times is not None and len(times) <= numbers[-1]:
            folder = self.root / drive
            raise ValueError(f"{folder}: expected a time for each frame to {numbers[-1]}; there are {len(times)}")
        return runs([frames[n] for n in numbers], numbers, times and [times[n] for n in numbers])


class KittiOdometry(KittiPairs):
    """A Clips over KITTI odometry; an id is such as `sequences/00/image_2/000005`, or `image_2/000005`."""

    layout = "sequences/NN/image_2/N.png or image_2/N.png, and calib.txt (image_0 for grey)"

    def __init__(self, root: Path | str, plan: ClipPlan | None = None, cameras: Cameras = "colour") -> None:
        self._projections: dict[str, dict[str, Pose]] = {}
        self._rows: dict[str, tuple[Path, list[str]] | None] = {}
        super().__init__(root, plan or ClipPlan(), cameras)

    def is_ours(self, match: re.Match[str]) -> bool:
        return match["data"] is None and len(match["camera"]) == 1

    def projection(self, drive: str, camera: int) -> tuple[Pose, Path]:
        path = inside(self.root / drive / "calib.txt", self.root)
        if drive not in self._projections:
            self._projections[drive] = read_projections(path)
        known = self._projections[drive]
        if f"P{camera}" not in known:
            wanted = f"expected P{camera}, twelve finite numbers"
            raise FrameError("intrinsics", f"{path}: {wanted}; it has {', '.join(known) or 'none'}")
        return known[f"P{camera}"], path

    def times(self, drive: str, camera: str) -> list[float] | None:
        path = inside(self.root / drive / "times.txt", self.root)
        return read_times(path) if exists(path) else None

    def first_pose(self, drive: str, number: int) -> Pose | None:
        if drive not in self._rows:
            paths = (self.root / drive / "poses.txt", self.root / "poses" / f"{Path(drive).name}.txt")
            path = next((inside(path, self.root) for path in paths if exists(path)), None)
            self._rows[drive] = (path, read_lines(path, "12 numbers a frame")) if path is not None else None
        known = self._rows[drive]
        return known and row_pose(known[1], number, known[0])


def read_projections(path: Path) -> dict[str, Pose]:
    """P0, P1, ... (3, 4) of a calib.txt: lines `NAME: 12 numbers`, or `12 numbers` for P0, P1, ... in order.

    Raises FrameError `missing` or `intrinsics`, naming the file.
    """
    lines = [line for line in read_bytes(path, 2**16).decode("utf-8", "replace").split("\n") if line.strip()]
    found: dict[str, Pose] = {}
    for k, line in enumerate(lines):
        name, named, rest = line.rpartition(":")
        try:
            numbers = np.array(rest.split(), np.float64)
        except ValueError as error:
            raise FrameError("intrinsics", f"{path}: expected numbers in line {k + 1} ({error})") from error
        if numbers.size == 12 and np.isfinite(numbers).all():
            found[name.strip() if named else f"P{k}"] = numbers.reshape(3, 4)
    return found


def read_times(path: Path) -> list[float]:
    """The seconds in a file of one number a line; ValueError naming the file and the line."""
    times: list[float] = []
    for k, line in enumerate(read_lines(path, "seconds, one number a frame")):
        try:
            times.append(float(line))
        except ValueError as error:
            raise ValueError(f"{path}: expected seconds in line {k + 1}; got {line[:40]!r}") from error
    return times


def row_pose(rows: list[str], number: int, path: Path) -> Pose:
    """The pose (4, 4) in row `number` of 12 numbers a row (the first three rows of a pose), or 16."""
    try:
        values = np.array(rows[number].split(), np.float64).reshape(-1, 4)
        pose = np.vstack([values, np.eye(4)[len(values) :]]).reshape(4, 4)
    except (ValueError, IndexError) as error:
        wanted = f"expected 12 numbers, a 3x4 camera-to-world pose, in row {number} (the first is 0)"
        raise FrameError("decode", f"{path}: {wanted}; it has {len(rows)} rows") from error
    return check_pose(pose, f"{path}, row {number}")


def _matched(name: str) -> re.Match[str]:
    match = PICTURE.fullmatch(name)
    if match is None:
        raise FrameError("id", f"{name!r} is not the path of a picture of KITTI")
    return match
