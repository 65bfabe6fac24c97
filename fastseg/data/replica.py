"""Replica scenes (Straub et al., 2019) as rendered for vMAP, half size: reader and labelled set `replica`.

ROOT/rgb/NNNN.jpg              600x340 colour
ROOT/depth/NNNN.png            uint16 millimetres, 0 = no measurement
ROOT/class/NNNN.png            uint8 class id of classes.tsv, 0 = unlabelled
ROOT/classes.tsv               a header line, then `class_id name` separated by a tab
ROOT/poses_estimated.txt       optional: frame k's 4x4 camera-to-world in row k, 16 numbers
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fastseg.data.checks import (
    check_id,
    check_pose,
    checked_frame,
    checked_ids,
    existing_folder,
    exists,
    found,
    inside,
    is_folder,
    read_color,
    stems,
)
from fastseg.data.folder import read_lines
from fastseg.data.images import Color, decode_depth
from fastseg.data.intrinsics import checked_scale
from fastseg.data.labelled import ClassMap, LabelledRecording, check_split, labelled_pair
from fastseg.frames import Camera, Frame, FrameError

CAMERA = Camera(300.0, 300.0, 299.75, 169.75, 340, 600)
COLOR_ENDINGS = (".jpg", ".png")


class Replica:
    """A FrameSource over one rendered scene; an id is the frame's number, such as `0007`."""

    def __init__(self, root: Path | str, depth_scale: float | None = None) -> None:
        self.root = existing_folder(root)
        self.depth_scale = checked_scale(0.001 if depth_scale is None else depth_scale, "depth_scale")
        self._poses = self.root / "poses_estimated.txt"
        self._rows = read_lines(inside(self._poses, self.root), "16 numbers a frame") if exists(self._poses) else []

    def ids(self) -> list[str]:
        """The sorted ids of every frame that has depth or colour; ValueError or FrameError `id` as `checked_ids`."""
        folders = [folder for name in ("depth", "rgb") if is_folder(folder := self.root / name)]
        names = {name for folder in folders for name in stems(folder, self.root, COLOR_ENDINGS)}
        return checked_ids(names, self.root, "depth/NNNN.png")

    def load(self, frame_id: str) -> Frame:
        """The frame; FrameError `missing`, `decode`, `type`, `size`, `scale` or `too-large` when it cannot be used."""
        check_id(frame_id, self.root)
        path = self.root / "depth" / f"{frame_id}.png"
        depth = decode_depth(path)
        color = found(self.root / "rgb" / frame_id, COLOR_ENDINGS, "colour")
        image = read_color(color, (depth.shape[0], depth.shape[1]), path)
        pose = self._pose(frame_id) if self._rows else None
        return checked_frame(Frame(frame_id, depth, self.depth_scale, CAMERA, image, pose), str(path))

    def inputs(self, frame_id: str) -> list[str]:
        """The files behind the frame, those that exist."""
        check_id(frame_id, self.root)
        colors = [self.root / "rgb" / f"{frame_id}{ending}" for ending in COLOR_ENDINGS]
        paths = [self.root / "depth" / f"{frame_id}.png", *colors, self._poses]
        return [str(path) for path in paths if exists(path)]

    def _pose(self, frame_id: str) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
        try:
            pose = np.array(self._rows[int(frame_id)].split(), np.float64).reshape(4, 4)
        except (ValueError, IndexError) as error:
            raise FrameError("decode", f"{self._poses}: expected 16 numbers in row {frame_id}") from error
        return check_pose(pose, f"{self._poses}, row {frame_id}")


class ReplicaLabels(LabelledRecording):
    """LabelledFrames over one rendered scene: class c of classes.tsv is label c - 1, unlabelled 255; split `all`."""

    def __init__(self, root: Path | str, split: str = "all") -> None:
        check_split(split, ("all",), "replica")
        self.root = existing_folder(root)
        classes = read_classes(self.root / "classes.tsv")
        self._map = ClassMap.from_one(len(classes))
        names = stems(existing_folder(self.root / "class"), self.root, (".png",))
        super().__init__(checked_ids(names, self.root, "class/NNNN.png"), classes)

    def pair(self, name: str) -> tuple[Color, Color]:
        color = found(self.root / "rgb" / name, COLOR_ENDINGS, "colour")
        return labelled_pair(color, self.root / "class" / f"{name}.png", name, self._map)

    def source(self) -> Replica:
        return Replica(self.root)


def read_classes(path: Path) -> list[str]:
    """Names of the classes 1, 2, ... of a `class_id name` table whose ids run from 0 (unlabelled) without gaps."""
    rows = [line.split("\t") for line in read_lines(path, "a header and lines `class_id<TAB>name`")[1:]]
    if any(len(row) < 2 for row in rows) or [row[0] for row in rows] != [str(i) for i in range(len(rows))]:
        raise ValueError(f"{path}: expected lines `class_id<TAB>name` with class_id 0, 1, 2, ...")
    return [row[1] for row in rows[1:]]
