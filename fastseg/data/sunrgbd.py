"""SUN RGB-D (Song, Lichtenberg, Xiao, CVPR 2015), one folder a frame: reader `sunrgbd`.

    ROOT/**/FRAME/depth/*.png        uint16 millimetres rotated left by 3 bits, 0 = no measurement
    ROOT/**/FRAME/depth_bfx/*.png    the same with holes filled in; read where a frame has no depth/
    ROOT/**/FRAME/image/*.jpg        colour of the depth's size, registered to it
    ROOT/**/FRAME/intrinsics.txt     3x3
    ROOT/**/FRAME/extrinsics/*.txt   optional 3x4, the last by name counts: its rotation maps the camera's frame
                                     (x right, y down) onto one whose y points along gravity

Depth beyond 8 m is no measurement here: the data set's own tools set it to 8 m, a wall that is not there. `depth/`
comes first because filled-in depth is a guess: on a Kinect v2 frame of an office 95 % of the lowest points look up in
`depth/` and 45 % in `depth_bfx/`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from fastseg.data.checks import (
    Pose,
    check_id,
    check_pose,
    checked_frame,
    checked_ids,
    existing_folder,
    exists,
    is_folder,
    read_color,
    read_numbers,
    stems,
)
from fastseg.data.images import read_bytes
from fastseg.data.intrinsics import checked_scale, pinhole
from fastseg.data.places import answered
from fastseg.data.png import decode_png16
from fastseg.frames import Frame, FrameError

DEPTH_FOLDERS = ("depth", "depth_bfx")
COLOR_FOLDER = "image"
COLOR_ENDINGS = (".jpg", ".png")
MAX_UNITS = 8000


class SunRgbd:
    """A FrameSource over SUN RGB-D; an id is the frame's folder, such as `kv1/NYUdata/NYU0001`.

    Every folder that holds `depth/`, `depth_bfx/` or `image/` with a file in it is a frame. `depth_scale` overrides the
    0.001 metres a unit (after the bits are rotated back).
    """

    def __init__(self, root: Path | str, depth_scale: float | None = None) -> None:
        self.root = existing_folder(root)
        self.depth_scale = checked_scale(0.001 if depth_scale is None else depth_scale, "depth_scale")

    def ids(self) -> list[str]:
        """The sorted ids; ValueError or FrameError `id` as `checked_ids`."""
        parts = (name.split("/") for name in stems(self.root, self.root, COLOR_ENDINGS))
        names = {"/".join(part[:-2]) for part in parts if part[-2:-1] and part[-2] in (*DEPTH_FOLDERS, COLOR_FOLDER)}
        if names == {""}:
            raise ValueError(f"{self.root}: is one frame of SUN RGB-D; expected a folder that holds such folders")
        return checked_ids(names - {""}, self.root, "folders FRAME/ with depth/*.png and image/*.jpg")

    def load(self, frame_id: str) -> Frame:
        """The frame; FrameError `missing`, `decode`, `type`, `size`, `scale`, `too-large` or `intrinsics`."""
        check_id(frame_id, self.root)
        folder = self.root / frame_id
        path, color = self._depth(folder), only(folder / COLOR_FOLDER, COLOR_ENDINGS)
        depth = unrotated(decode_png16(read_bytes(path), str(path)))
        size = (depth.shape[0], depth.shape[1])
        matrix = read_numbers(folder / "intrinsics.txt", 3, 3, "an intrinsic matrix")
        camera = pinhole(matrix, size, folder / "intrinsics.txt")
        image = read_color(color, size, path)
        tilt = self._tilt(folder)
        up = None if tilt is None else up_of(tilt)
        return checked_frame(Frame(frame_id, depth, self.depth_scale, camera, image, up_prior=up), str(path))

    def inputs(self, frame_id: str) -> list[str]:
        """The files behind the frame, those that exist."""
        check_id(frame_id, self.root)
        folder = self.root / frame_id
        depths = next((files for name in DEPTH_FOLDERS if (files := listed(folder / name, (".png",)))), [])
        tilts = listed(folder / "extrinsics", (".txt",))[-1:]
        about = [folder / "intrinsics.txt"] if exists(folder / "intrinsics.txt") else []
        return [str(path) for path in (*depths, *listed(folder / COLOR_FOLDER, COLOR_ENDINGS), *about, *tilts)]

    def scene(self, frame_id: str) -> str:
        """The folder that the frame's folder lies in, as `xtion/sun3ddata/home_at/home_at_scan1` of a video."""
        return frame_id.rpartition("/")[0]

    def _depth(self, folder: Path) -> Path:
        name = next((name for name in DEPTH_FOLDERS if listed(folder / name, (".png",))), DEPTH_FOLDERS[0])
        return only(folder / name, (".png",))

    def _tilt(self, folder: Path) -> Pose | None:
        """The (3, 3) rotation of the last extrinsics file, None when there is none; FrameError `decode` or `type`."""
        files = listed(folder / "extrinsics", (".txt",))
        if not files:
            return None
        pose = np.eye(4)
        pose[:3] = read_numbers(files[-1], 3, 4, "a tilt")
        return check_pose(pose, str(files[-1]))[:3, :3]


def unrotated(stored: npt.NDArray[np.uint16]) -> npt.NDArray[np.uint16]:
    """Depth (H, W) in millimetres: v >> 3 | v << 13 in 16 bits, above 8 m set to 0 (no measurement)."""
    depth = (stored >> np.uint16(3)) | (stored << np.uint16(13))
    depth[depth > MAX_UNITS] = 0
    return depth


def up_of(tilt: Pose) -> npt.NDArray[np.float64]:
    """Up (3,) in the camera's frame for a rotation R onto a frame whose y points along gravity: R^T (0, -1, 0)."""
    up: npt.NDArray[np.float64] = -tilt[1] / np.linalg.norm(tilt[1])
    return up


def listed(folder: Path, endings: tuple[str, ...]) -> list[Path]:
    """The files of a folder with one of the endings (any case), sorted; none when there is no such folder."""
    if not is_folder(folder):
        return []
    with answered(folder):
        return sorted((p for p in folder.iterdir() if p.name.lower().endswith(endings)), key=lambda path: path.name)


def only(folder: Path, endings: tuple[str, ...]) -> Path:
    """The one file of a folder with one of the endings; FrameError `missing` when there is none, or more than one."""
    files = listed(folder, endings)
    if len(files) != 1:
        raise FrameError(
            "missing", f"{folder}: expected one {' or '.join(endings)} file; it has {len(files)}", len(files)
        )
    return files[0]
