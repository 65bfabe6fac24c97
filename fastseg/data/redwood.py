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
    found,
    read_color,
    stems,
)
from fastseg.data.folder import read_lines
from fastseg.data.images import decode_depth
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
_STAMPED = re.compile(r"\d+-(\d{12})")


@dataclass(frozen=True)
class Scene:
    """One recording: its folder, camera, colour folder, poses by depth name, and colour names by depth name."""

    folder: Path
    camera: Camera
    camera_file: Path | None
    color: Path
    poses: dict[str, Pose]
    color_of: dict[str, str]
    names: tuple[str, ...]


class Redwood:
    """A FrameSource over one recording or a folder of them; an id is [SCENE/]NAME of a depth image.

    A colour image without depth is listed too, and rejected as `missing`: no input is dropped. `depth_scale` overrides
    the 0.001 metres a unit.
    """

    def __init__(self, root: Path, depth_scale: float | None = None) -> None:
        self.root = existing_folder(root)
        self.depth_scale = checked_scale(0.001 if depth_scale is None else depth_scale, "depth_scale")
        self._single = (self.root / "depth").is_dir()
        folders = [self.root] if self._single else [p for p in self.root.iterdir() if (p / "depth").is_dir()]
        self._scenes = {folder.name: read_scene(folder, self.root) for folder in sorted(folders)}

    def ids(self) -> list[str]:
        """The sorted ids of every frame that has depth or colour; ValueError or FrameError `id` as `checked_ids`."""
        names = (self._id(scene, name) for scene in self._scenes.values() for name in scene.names)
        return checked_ids(names, self.root, "[SCENE/]depth/NAME.png beside [SCENE/]color/NAME.jpg")

    def load(self, frame_id: str) -> Frame:
        """The frame; FrameError `missing`, `decode`, `type`, `size`, `scale` or `too-large` when it cannot be used."""
        scene, name = self._at(frame_id)
        path = found(scene.folder / "depth" / name, (DEPTH_ENDING,), "depth")
        depth = decode_depth(path)
        color = found(scene.color / scene.color_of.get(name, name), COLOR_ENDINGS, "colour")
        image = read_color(color, (depth.shape[0], depth.shape[1]), path)
        pose = scene.poses.get(name)
        if pose is not None:
            check_pose(pose, f"{scene.folder / LOG}, the pose of {name}")
        return checked_frame(Frame(frame_id, depth, self.depth_scale, scene.camera, image, pose), str(path))

    def inputs(self, frame_id: str) -> list[str]:
        """The files behind the frame, those that exist."""
        scene, name = self._at(frame_id)
        colors = [scene.color / f"{scene.color_of.get(name, name)}{ending}" for ending in COLOR_ENDINGS]
        shared = [scene.folder / LOG, *([scene.camera_file] if scene.camera_file else [])]
        paths = [scene.folder / "depth" / f"{name}{DEPTH_ENDING}", *colors, *shared]
        return [str(path) for path in paths if path.exists()]

    def scene(self, frame_id: str) -> str:
        """The recording that the frame is of: its folder below the root, or the root's name."""
        return self._at(frame_id)[0].folder.name

    def _id(self, scene: Scene, name: str) -> str:
        return name if self._single else f"{scene.folder.name}/{name}"

    def _at(self, frame_id: str) -> tuple[Scene, str]:
        check_id(frame_id, self.root)
        folder, name = (self.root.name, frame_id) if self._single else frame_id.partition("/")[::2]
        if folder not in self._scenes or not name:
            raise FrameError("missing", f"{self.root}: expected a recording for {frame_id!r}; there is none")
        return self._scenes[folder], name


def read_scene(folder: Path, root: Path) -> Scene:
    """What the frames of one recording share; FileNotFoundError, ValueError or FrameError with one sentence."""
    color = next((path for name in COLOR_FOLDERS if (path := folder / name).is_dir()), None)
    if color is None:
        raise FileNotFoundError(f"{folder}: expected a colour folder ({', '.join(COLOR_FOLDERS)}); there is none")
    depths = sorted(stems(folder / "depth", root, (DEPTH_ENDING,)))
    colors = sorted(stems(color, root, COLOR_ENDINGS))
    color_of = paired(depths, colors)
    used, known = set(color_of.values()), set(depths)
    alone = [name for name in colors if name not in used and name not in known]
    camera_file = next((path for name in CAMERA_FILES if (path := folder / name).exists()), None)
    camera = read_camera(camera_file) if camera_file else PRIMESENSE
    log = read_log(folder / LOG) if (folder / LOG).exists() else {}
    poses = {name: log[k] for k, name in enumerate(depths) if k in log}
    return Scene(folder, camera, camera_file, color, poses, color_of, (*depths, *alone))


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
    """Frame number -> (4, 4) pose of a trajectory in blocks of five lines; ValueError naming the line that is none."""
    lines = read_lines(path, "blocks of `i j k` and four rows of a pose")
    poses: dict[int, Pose] = {}
    for at in range(0, len(lines), 5):
        try:
            index = int(lines[at].split()[0])
            pose = np.array([row.split() for row in lines[at + 1 : at + 5]], np.float64).reshape(4, 4)
        except ValueError as error:
            wanted = "expected a line `i j k`, then four rows of four numbers"
            raise ValueError(f"{path}: {wanted}; block {at // 5} begins with {lines[at]!r}") from error
        if index in poses:
            raise ValueError(f"{path}: expected each frame once; block {at // 5} repeats frame {index}")
        poses[index] = pose
    return poses
