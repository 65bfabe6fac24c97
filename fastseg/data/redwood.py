"""Redwood and Open3D recordings (Choi, Zhou, Koltun, CVPR 2015): reader `redwood`.

    ROOT/[SCENE/]depth/NAME.png                 uint16 millimetres, 0 = no measurement
    ROOT/[SCENE/]{color,rgb,image}/NAME.jpg     colour of the depth's size, registered to it
    ROOT/[SCENE/]{camera_primesense,intrinsic,camera_intrinsic}.json
                                                optional Open3D pinhole camera: width, height, intrinsic_matrix (nine
                                                numbers, column by column); the published PrimeSense camera otherwise
    ROOT/[SCENE/]trajectory.log                 optional: for each frame a line `i j k`, then four rows of its 4x4
                                                camera-to-world; i counts the sorted depth images from 0

Names of the object scans, `0000012-000000367057`, are a number and a time in microseconds, and colour is not recorded
in step with depth: there a depth image takes the nearest colour image within 0.02 s.
"""

from __future__ import annotations

import bisect
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fastseg.data.checks import (
    Pose,
    check_id,
    check_pose,
    checked_frame,
    checked_ids,
    existing_folder,
    exists,
    found,
    read_color,
    stems,
)
from fastseg.data.images import decode_depth, read_bytes
from fastseg.data.intrinsics import checked_scale, number, pinhole, read_json
from fastseg.data.tum import associate
from fastseg.frames import Camera, Frame, FrameError

PRIMESENSE = Camera(525.0, 525.0, 319.5, 239.5, 480, 640)
COLOR_FOLDERS = ("color", "rgb", "image")
CAMERA_FILES = ("camera_primesense.json", "intrinsic.json", "camera_intrinsic.json")
LOG = "trajectory.log"
COLOR_ENDINGS = (".jpg", ".jpeg", ".png")
DEPTH_ENDING = ".png"
MAX_DIFFERENCE_S = 0.02
RECENT = 4  # recordings whose cameras and poses are kept in memory: thousands of poses each
_STAMPED = re.compile(r"\d+-(\d{12})")


@dataclass(frozen=True)
class Scene:
    """One recording: its folder, its colour folder, the sorted names of its depth, the colour of each, and the rest."""

    folder: Path
    color: Path
    depths: tuple[str, ...]
    color_of: dict[str, str]
    alone: tuple[str, ...]  # colour without depth


class Redwood:
    """A FrameSource over one recording or a folder of them; an id is [SCENE/]NAME of a depth image.

    A colour image without depth is listed too, and rejected as `missing`: no input is dropped. `depth_scale` overrides
    the 0.001 metres a unit.
    """

    def __init__(self, root: Path | str, depth_scale: float | None = None) -> None:
        self.root = existing_folder(root)
        self.depth_scale = checked_scale(0.001 if depth_scale is None else depth_scale, "depth_scale")
        depths = grouped(stems(self.root, self.root, (DEPTH_ENDING,)), ("depth",))
        colors = grouped(stems(self.root, self.root, COLOR_ENDINGS), COLOR_FOLDERS)
        names = dict.fromkeys(name for name, _ in (*depths, *colors))
        self._scenes = {name: self._named(name, depths.get((name, "depth"), []), colors) for name in names}
        self._shared: dict[str, tuple[Camera, dict[int, Pose]]] = {}

    def _named(self, name: str, depths: list[str], colors: dict[tuple[str, str], list[str]]) -> Scene:
        folder = next((folder for folder in COLOR_FOLDERS if (name, folder) in colors), COLOR_FOLDERS[0])
        here = colors.get((name, folder), [])
        color_of = paired(depths, here)
        alone = set(here) - set(color_of.values()) - set(depths)
        place = self.root / name if name else self.root
        return Scene(place, place / folder, tuple(depths), color_of, tuple(alone))

    def ids(self) -> list[str]:
        """The sorted ids of every frame that has depth or colour; ValueError or FrameError `id` as `checked_ids`."""
        scenes = self._scenes.items()
        names = (f"{name}/{stem}".lstrip("/") for name, scene in scenes for stem in (*scene.depths, *scene.alone))
        return checked_ids(names, self.root, "[SCENE/]depth/NAME.png beside [SCENE/]color/NAME.jpg")

    def load(self, frame_id: str) -> Frame:
        """The frame; FrameError `missing`, `decode`, `type`, `size`, `scale`, `too-large` or `intrinsics`."""
        scene, name = self._at(frame_id)
        path = found(scene.folder / "depth" / name, (DEPTH_ENDING,), "depth")
        depth = decode_depth(path)
        color = found(scene.color / scene.color_of.get(name, name), COLOR_ENDINGS, "colour")
        image = read_color(color, (depth.shape[0], depth.shape[1]), path)
        camera, poses = self._about(frame_id.rpartition("/")[0])
        pose = poses.get(bisect.bisect_left(scene.depths, name))
        if pose is not None:
            check_pose(pose, f"{scene.folder / LOG}, the pose of {name}")
        return checked_frame(Frame(frame_id, depth, self.depth_scale, camera, image, pose), str(path))

    def inputs(self, frame_id: str) -> list[str]:
        """The files behind the frame, those that exist."""
        scene, name = self._at(frame_id)
        colors = [scene.color / f"{scene.color_of.get(name, name)}{ending}" for ending in COLOR_ENDINGS]
        shared = [scene.folder / file for file in (LOG, *CAMERA_FILES)]
        paths = [scene.folder / "depth" / f"{name}{DEPTH_ENDING}", *colors, *shared]
        return [str(path) for path in paths if exists(path)]

    def scene(self, frame_id: str) -> str:
        """The recording that the frame is of: its folder below the root, or the root's name."""
        return frame_id.rpartition("/")[0] or self.root.name

    def _at(self, frame_id: str) -> tuple[Scene, str]:
        check_id(frame_id, self.root)
        scene, _, name = frame_id.rpartition("/")
        if scene not in self._scenes:
            raise FrameError("missing", f"{self.root}: expected a recording for {frame_id!r}; there is none")
        return self._scenes[scene], name

    def _about(self, name: str) -> tuple[Camera, dict[int, Pose]]:
        """A recording's camera and the poses of its depth images by number."""
        if name not in self._shared:
            while len(self._shared) >= RECENT:
                del self._shared[next(iter(self._shared))]
            folder = self._scenes[name].folder
            file = next((path for known in CAMERA_FILES if exists(path := folder / known)), None)
            poses = read_log(folder / LOG) if exists(folder / LOG) else {}
            self._shared[name] = (read_camera(file) if file else PRIMESENSE, poses)
        return self._shared[name]


def grouped(names: list[str], folders: tuple[str, ...]) -> dict[tuple[str, str], list[str]]:
    """(recording, folder) -> the sorted names of the files in it, of paths [SCENE/]FOLDER/NAME; others are left out."""
    groups: dict[tuple[str, str], list[str]] = {}
    for path in sorted(names):
        scene, _, folder = path.rpartition("/")[0].rpartition("/")
        if folder in folders:
            groups.setdefault((scene, folder), []).append(path.rpartition("/")[2])
    return groups


def paired(depths: list[str], colors: list[str]) -> dict[str, str]:
    """Depth name -> colour name: the same name, or the nearest in time where every name is stamped with a time."""
    stamps = [[_STAMPED.fullmatch(name) for name in names] for names in (depths, colors)]
    if not depths or not all(match for matches in stamps for match in matches):
        return {name: name for name in set(depths) & set(colors)}
    first, second = ([int(match[1]) / 1e6 for match in matches if match] for matches in stamps)
    return {depths[i]: colors[j] for i, j in associate(first, second, MAX_DIFFERENCE_S).items()}


def read_camera(path: Path) -> Camera:
    """The camera of an Open3D pinhole JSON file; FrameError `intrinsics`, naming it, when it is none."""
    values = read_json(path, "an Open3D pinhole camera: width, height, intrinsic_matrix")
    height, width = int(number(values, "height", path)), int(number(values, "width", path))
    return pinhole(_matrix(values.get("intrinsic_matrix"), path), (height, width), path)


def _matrix(entries: Any, path: Path) -> Pose:
    if not isinstance(entries, list) or len(entries) != 9:
        raise FrameError("intrinsics", f"{path}: expected nine numbers 'intrinsic_matrix', column by column")
    numbers = [number({"intrinsic_matrix": entry}, "intrinsic_matrix", path) for entry in entries]
    return np.array(numbers, np.float64).reshape(3, 3).T


def read_log(path: Path) -> dict[int, Pose]:
    """Frame number -> (4, 4) pose of a trajectory in blocks of five lines; FrameError `decode` naming the block."""
    lines = [line for line in read_bytes(path).decode("utf-8", "replace").split("\n") if line.strip()]
    poses: dict[int, Pose] = {}
    for at in range(0, len(lines), 5):
        try:
            index = int(lines[at].split()[0])
            pose = np.array([row.split() for row in lines[at + 1 : at + 5]], np.float64).reshape(4, 4)
        except ValueError as error:
            wanted = "expected a line `i j k`, then four rows of four numbers"
            raise FrameError("decode", f"{path}: {wanted}; block {at // 5} is none", at // 5) from error
        if index in poses:
            raise FrameError("decode", f"{path}: expected each frame once; block {at // 5} repeats one", at // 5)
        poses[index] = pose
    return poses
