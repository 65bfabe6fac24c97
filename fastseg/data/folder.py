"""The plain layout anyone can make: `folder` for frames, and the same with `labels/` for segmentation.

ROOT/color/**/NAME.{jpg,jpeg,png,webp}    colour, 8 bits a channel, registered to the depth and of its size;
                                          {ppm,bmp,tif,tiff,npy} are encoded once, as PNG
ROOT/depth/**/NAME.{png,pgm,npy,tif,tiff} uint16 (any unit, see depth_scale) or float32
ROOT/intrinsics.json                      fx fy cx cy width height depth_scale; see fastseg.data.intrinsics
ROOT/poses/**/NAME.txt                    optional: 4x4 camera-to-world, metres
ROOT/labels/**/NAME.png                   optional: class indices, 255 = ignore
ROOT/classes.txt                          with labels: one class name a line, the first is class 0
ROOT/SPLIT.txt                            with labels, optional: the ids of a split, one a line
"""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np

from fastseg.data.checks import (
    check_id,
    checked_frame,
    checked_ids,
    existing_folder,
    exists,
    found,
    inside,
    is_folder,
    read_color,
    read_pose,
    stems,
)
from fastseg.data.images import UNCOMPRESSED, Color, decode_depth
from fastseg.data.intrinsics import checked_scale, read_intrinsics
from fastseg.data.labelled import ClassMap, LabelledRecording, labelled_pair
from fastseg.data.places import holding, place, read_at_most, walk_files
from fastseg.frames import Frame, FrameError

COLOR_ENDINGS = (".jpg", ".jpeg", ".png", ".webp")
FRAME_ENDINGS = (*COLOR_ENDINGS, *UNCOMPRESSED)
DEPTH_ENDINGS = (".png", ".pgm", ".npy", ".tif", ".tiff")
MAX_LIST_BYTES = 2**26


class Folder:
    """A FrameSource over the plain layout; an id is the path below `depth/` without its ending.

    A colour file without depth, or depth without colour, is listed and rejected as `missing`: no input is dropped.
    `depth_scale` overrides the one in `intrinsics.json`; uint16 depth needs one of them, float32 defaults to metres.
    """

    def __init__(
        self, root: Path | str, depth_scale: float | None = None, intrinsics: Path | str | None = None
    ) -> None:
        self.root = existing_folder(root)
        self.about = read_intrinsics(
            place(intrinsics) if intrinsics else inside(self.root / "intrinsics.json", self.root)
        )
        if depth_scale is not None:
            self.about = replace(self.about, depth_scale=checked_scale(depth_scale, "depth_scale"))
        if self.about.color is not None and not is_folder(self.root / self.about.color):
            hint = f'{holding(self.root)}; for depth without colour say "color": null in {self.about.path}'
            raise FileNotFoundError(f"{self.root / self.about.color}: expected the colour folder; {hint}")

    def ids(self) -> list[str]:
        """The sorted ids, of depth and colour files together; ValueError or FrameError `id` as `checked_ids`."""
        names = self._stems(self.about.depth, DEPTH_ENDINGS)
        if self.about.color is not None:
            known = set(names)
            colors = self._stems(self.about.color, FRAME_ENDINGS)
            checked_ids(colors, self.root, f"{self.about.color}/NAME.jpg")
            names += [name for name in colors if name not in known]
        return checked_ids(names, self.root, f"{self.about.depth}/NAME.png (or {', '.join(DEPTH_ENDINGS[1:])})")

    def load(self, frame_id: str) -> Frame:
        """The frame; FrameError `missing`, `decode`, `type`, `size`, `too-large` or `scale` when it cannot be used."""
        check_id(frame_id, self.root)
        path = found(self.root / self.about.depth / frame_id, DEPTH_ENDINGS, "depth")
        depth = decode_depth(path)
        image = None
        if self.about.color is not None:
            color = found(self.root / self.about.color / frame_id, FRAME_ENDINGS, "colour")
            image = read_color(color, (depth.shape[0], depth.shape[1]), path)
        pose = self._pose_path(frame_id)
        scale = self.about.depth_scale
        if scale is None and depth.dtype == np.uint16:
            raise FrameError(
                "scale", f"{self.about.path}: uint16 depth needs depth_scale, metres a unit; {path} has it"
            )
        frame = Frame(frame_id, depth, 1.0 if scale is None else scale, self.about.camera, image)
        return checked_frame(
            replace(frame, pose=read_pose(inside(pose, self.root))) if exists(pose) else frame, str(path)
        )

    def inputs(self, frame_id: str) -> list[str]:
        """The files behind the frame, those that exist (as they were listed the first time it was asked)."""
        check_id(frame_id, self.root)
        return [str(self.about.path), *self._files.get(frame_id, ())]

    @cached_property
    def _files(self) -> dict[str, list[str]]:
        """The full names of every frame's files: listed at once, since a look at each would cost more than reading."""
        kinds = ((self.about.depth, DEPTH_ENDINGS), (self.about.color, FRAME_ENDINGS), (self.about.poses, (".txt",)))
        found: dict[str, list[str]] = {}
        for folder, endings in kinds:
            if folder is None or not exists(self.root / folder):
                continue
            for name, full in walk_files(self.root / folder, self.root):
                ending = next((e for e in endings if name.lower().endswith(e)), None)
                if ending:
                    found.setdefault(name[: -len(ending)], []).append(full)
        return found

    def _stems(self, folder: str, endings: tuple[str, ...]) -> list[str]:
        return stems(inside(existing_folder(self.root / folder), self.root), self.root, endings)

    def _pose_path(self, frame_id: str) -> Path:
        return self.root / self.about.poses / f"{frame_id}.txt"


class FolderLabels(LabelledRecording):
    """LabelledFrames over `color/`, `labels/` and `classes.txt`; split `all`, or the ids listed in `SPLIT.txt`.

    Depth, where there is `depth/` and `intrinsics.json`, is that of `Folder`; the names of the folders are that file's.
    """

    def __init__(self, root: Path | str, split: str = "all") -> None:
        self.root = existing_folder(root)
        classes = read_lines(self.root / "classes.txt", "one class name a line")
        path = inside(self.root / "intrinsics.json", self.root)
        about = read_intrinsics(path) if exists(path) else None
        color, labels = (about.color or "color", about.labels) if about else ("color", "labels")
        self._color, self._labels = self.root / color, self.root / labels
        if split == "all":
            names = stems(existing_folder(self._labels), self.root, (".png",))
        else:
            check_id(split, self.root)
            names = read_lines(self.root / f"{split}.txt", "the split's ids, one a line")
        super().__init__(checked_ids(names, self.root, f"{labels}/NAME.png"), classes)
        self._map = ClassMap.counted(len(classes))

    def pair(self, name: str) -> tuple[Color, Color]:
        color = found(self._color / name, COLOR_ENDINGS, "colour")
        return labelled_pair(color, self._labels / f"{name}.png", name, self._map)

    def source(self) -> Folder:
        return Folder(self.root)


def read_lines(path: Path, what: str) -> list[str]:
    """The non-empty lines of a UTF-8 text file, stripped; one sentence when it is missing, empty or not text."""
    try:
        lines = [line.strip() for line in read_at_most(path, MAX_LIST_BYTES).decode("utf-8").split("\n")]
    except OSError as error:
        raise FileNotFoundError(f"{path}: expected {what} ({error.strerror}); {holding(path.parent)}") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: expected {what} in UTF-8 ({error.reason} at byte {error.start})") from error
    lines = [line for line in lines if line]
    if not lines:
        raise ValueError(f"{path}: expected {what}; it is empty")
    return lines
