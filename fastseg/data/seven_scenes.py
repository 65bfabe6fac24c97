"""Microsoft 7-Scenes (Shotton et al., CVPR 2013) and folders laid out like it: reader `7scenes`.

    ROOT/[seq-01/]frame-000000.color.{png,jpg}  640x480 colour
    ROOT/[seq-01/]frame-000000.depth.png        uint16 millimetres; 0 and 65535 both mean "no measurement"
    ROOT/[seq-01/]frame-000000.pose.txt         4x4 camera-to-world
    ROOT/camera-intrinsics.txt                  optional 3x3; the published camera otherwise

Colour and depth are not pixel-registered in this data set (a few pixels off).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fastseg.data.checks import (
    Pose,
    check_id,
    checked_frame,
    checked_ids,
    existing_folder,
    exists,
    found,
    inside,
    read_color,
    read_numbers,
    read_pose,
    stems,
)
from fastseg.data.images import decode_depth
from fastseg.data.intrinsics import checked_scale, named
from fastseg.frames import Camera, Frame, FrameError

PUBLISHED = (585.0, 585.0, 320.0, 240.0)
PUBLISHED_SIZE = (480, 640)
COLOR_ENDINGS = (".color.png", ".color.jpg")
DEPTH_ENDING = ".depth.png"
NO_MEASUREMENT = 65535


class SevenScenes:
    """A FrameSource over 7-Scenes; an id is the path without `.depth.png`, such as `seq-01/frame-000000`.

    `depth_scale` overrides the data set's 0.001 metres a unit.
    """

    def __init__(self, root: Path | str, depth_scale: float | None = None) -> None:
        self.root = existing_folder(root)
        self.depth_scale = checked_scale(0.001 if depth_scale is None else depth_scale, "depth_scale")
        self._intrinsics = self.root / "camera-intrinsics.txt"
        self._numbers = PUBLISHED
        self._given = exists(self._intrinsics)
        if self._given:
            matrix = read_numbers(inside(self._intrinsics, self.root), 3, 3, "an intrinsic matrix")
            self._numbers = (float(matrix[0, 0]), float(matrix[1, 1]), float(matrix[0, 2]), float(matrix[1, 2]))
            self._check_matrix(matrix)

    def ids(self) -> list[str]:
        """The sorted ids of every frame that has depth or colour; ValueError or FrameError `id` as `checked_ids`."""
        depths = stems(self.root, self.root, (DEPTH_ENDING,), "frame-")
        known = set(depths)
        colors = stems(self.root, self.root, COLOR_ENDINGS, "frame-")
        return checked_ids([*depths, *(c for c in set(colors) if c not in known)], self.root, "frame-NNNNNN.depth.png")

    def load(self, frame_id: str) -> Frame:
        """The frame, 65535 as 0; FrameError `missing`, `decode`, `type`, `size`, `too-large`, `intrinsics`, `scale`."""
        check_id(frame_id, self.root)
        path = found(self.root / frame_id, (DEPTH_ENDING,), "depth")
        depth = decode_depth(path)
        if depth.dtype != np.uint16:
            raise FrameError("type", f"{path}: expected uint16 depth; got {depth.dtype}")
        depth = np.where(depth == NO_MEASUREMENT, np.uint16(0), depth)
        size = (depth.shape[0], depth.shape[1])
        image = read_color(found(self.root / frame_id, COLOR_ENDINGS, "colour"), size, path)
        pose = self._pose_path(frame_id)
        frame = Frame(
            frame_id,
            depth,
            self.depth_scale,
            self._camera(size),
            image,
            read_pose(inside(pose, self.root)) if exists(pose) else None,
        )
        return checked_frame(frame, str(path))

    def inputs(self, frame_id: str) -> list[str]:
        """The files behind the frame, those that exist."""
        check_id(frame_id, self.root)
        stem = self.root / frame_id
        names = [stem.with_name(stem.name + ending) for ending in (DEPTH_ENDING, *COLOR_ENDINGS, ".pose.txt")]
        return [str(path) for path in (*names, self._intrinsics) if exists(path)]

    def _camera(self, size: tuple[int, int]) -> Camera:
        if not self._given and size != PUBLISHED_SIZE:
            wanted = f"the published camera is 640x480 and the depth {size[1]}x{size[0]}"
            raise FrameError("intrinsics", f"{self._intrinsics}: expected a 3x3 matrix, as {wanted}")
        return named(self._intrinsics, lambda: Camera(*self._numbers, *size))

    def _check_matrix(self, matrix: Pose) -> None:
        fx, fy, cx, cy = self._numbers
        wanted = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], np.float64)
        if not np.allclose(matrix, wanted):
            raise FrameError(
                "intrinsics", f"{self._intrinsics}: expected [fx 0 cx; 0 fy cy; 0 0 1]; got {matrix.tolist()}"
            )

    def _pose_path(self, frame_id: str) -> Path:
        return self.root / f"{frame_id}.pose.txt"
