"""KITTI (Geiger et al., IJRR 2013; Uhrig et al., 3DV 2017; Menze, Geiger, CVPR 2015) with depth: reader `kitti`.

Lidar depth of the depth benchmark, uint16: metres = v / 256, 0 = no measurement; beside the raw recordings:

    ROOT/[SPLIT/]DRIVE/proj_depth/groundtruth/image_0C/N.png
    ROOT/[SPLIT/]DRIVE/image_0C/data/N.png or ROOT/DATE/DRIVE/image_0C/data/N.png        colour, C = 2 or 3
    calib_cam_to_cam.txt in that colour's DRIVE or the folder above it, or in ROOT       P_rect_0C, S_rect_0C

Its selection: ROOT/**/groundtruth_depth/A_groundtruth_depth_B.png, image/A_image_B.png, intrinsics/A_image_B.txt (3x3).
Stereo 2015, uint16 disparity v / 256: ROOT/**/disp_occ_0/N_10.png, image_2/N_10.png, calib_cam_to_cam/N.txt; there
depth = (P_rect_02 - P_rect_03)[0, 3] / disparity, float32 metres.

A frame is a depth file; images without one (the first and last five of a drive, the odometry benchmark) are no RGB-D
frames and are not listed. Lidar measures some 5 to 30 % of the pixels: below a tenth the label answers `no-depth`;
above, pixels without enough measured neighbours have no normal and stay ignored, and a frame of few normals answers
`gravity` or `no-floor`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fastseg.data.checks import (
    Pose,
    check_id,
    check_size,
    checked_frame,
    checked_ids,
    existing_folder,
    exists,
    found,
    read_color,
    read_numbers,
    stems,
)
from fastseg.data.images import read_bytes
from fastseg.data.intrinsics import pinhole
from fastseg.data.png import decode_png16
from fastseg.frames import Camera, Frame, FrameError

COLOR_ENDINGS = (".png", ".jpg")
DRIVE = re.compile(r"(?:(?P<drive>.+)/)?proj_depth/groundtruth/image_(?P<camera>0[23])/(?P<name>[^/]+)")
SELECTED = re.compile(r"(?P<folder>(?:.+/)?)groundtruth_depth/(?P<first>[^/]+)_groundtruth_depth_(?P<last>[^/]+)")
STEREO = re.compile(r"(?P<folder>(?:.+/)?)disp_occ_0/(?P<name>(?P<number>\d+)_\d+)")
CALIBRATION = "calib_cam_to_cam.txt"
UNITS = 256  # stored values a metre, and a pixel of disparity


@dataclass(frozen=True)
class Files:
    """Where a frame's colour and calibration may lie, in order; `camera` is of P_rect_02, None for a 3x3."""

    colors: tuple[Path, ...]
    calibrations: tuple[Path, ...]
    camera: str | None
    disparity: bool = False


class Kitti:
    """A FrameSource over KITTI's depth files; an id is the path of the depth file without its ending."""

    def __init__(self, root: Path | str) -> None:
        self.root = existing_folder(root)

    def ids(self) -> list[str]:
        """The sorted ids; ValueError or FrameError `id` as `checked_ids`."""
        names = (name for name in stems(self.root, self.root, (".png",)) if _matched(name))
        wanted = "DRIVE/proj_depth/groundtruth/image_02/N.png, groundtruth_depth/*.png or disp_occ_0/N.png"
        return checked_ids(names, self.root, wanted)

    def load(self, frame_id: str) -> Frame:
        """The frame; FrameError `missing`, `decode`, `type`, `size`, `scale`, `too-large` or `intrinsics`."""
        files = self._files(frame_id)
        path = found(self.root / frame_id, (".png",), "depth")
        stored = decode_png16(read_bytes(path), str(path))
        size = (stored.shape[0], stored.shape[1])
        image = read_color(first_of(files.colors, "colour"), size, path)
        about = first_of(files.calibrations, "calibration")
        if files.camera is None:
            camera = pinhole(read_numbers(about, 3, 3, "an intrinsic matrix"), size, about)
        else:
            camera = read_camera(about, files.camera, size)
        if files.disparity:
            return checked_frame(Frame(frame_id, depth_of(stored, about), 1.0, camera, image), str(path))
        return checked_frame(Frame(frame_id, stored, 1 / UNITS, camera, image), str(path))

    def inputs(self, frame_id: str) -> list[str]:
        """The files behind the frame, those that exist."""
        files = self._files(frame_id)
        chosen = (next((p for p in paths if exists(p)), None) for paths in (files.colors, files.calibrations))
        depth = self.root / f"{frame_id}.png"
        return [str(path) for path in (depth, *chosen) if path is not None and exists(path)]

    def scene(self, frame_id: str) -> str:
        """The drive of a frame; the folder above the depth folder for the selection and for stereo 2015."""
        match = _matched(frame_id)
        return (match["drive"] or self.root.name) if match and match.re is DRIVE else frame_id.rpartition("/")[0]

    def _files(self, frame_id: str) -> Files:
        check_id(frame_id, self.root)
        match = _matched(frame_id)
        if match is None:
            raise FrameError("missing", f"{self.root}: {frame_id!r} is not the path of a depth file of KITTI")
        if match.re is DRIVE:
            return self._drive(match["drive"] or "", match["camera"], match["name"])
        folder = self.root / match["folder"]
        if match.re is SELECTED:
            name = f"{match['first']}_image_{match['last']}"
            return Files(_with_endings(folder / "image" / name), (folder / "intrinsics" / f"{name}.txt",), None)
        calibration = folder / "calib_cam_to_cam" / f"{match['number']}.txt"
        return Files(_with_endings(folder / "image_2" / match["name"]), (calibration,), "02", disparity=True)

    def _drive(self, drive: str, camera: str, name: str) -> Files:
        """The colour lies in the same DRIVE folder, or in the raw recordings' DATE/DRIVE (DATE begins DRIVE)."""
        own = self.root / drive
        raw = self.root / own.name[:10] / own.name
        colors = [path for place in (own, raw) for path in _with_endings(place / f"image_{camera}" / "data" / name)]
        places = dict.fromkeys((own, raw, raw.parent, *([own.parent] if drive else []), self.root))
        return Files(tuple(colors), tuple(place / CALIBRATION for place in places), camera)


def read_camera(path: Path, camera: str, size: tuple[int, int]) -> Camera:
    """The rectified camera `02` or `03` of a calibration, for its own (height, width); FrameError as `projection`."""
    values = read_calibration(path)
    matrix, stated = projection(values, camera, path), values.get(f"S_rect_{camera}")
    if stated is not None:
        if len(stated) != 2 or not np.isfinite(stated).all():
            raise FrameError("intrinsics", f"{path}: expected S_rect_{camera}, a width and a height; got {stated}")
        check_size(size, (round(stated[1]), round(stated[0])), "depth", f"camera {camera} in {path}")
    return pinhole(matrix, size, path)


def projection(values: dict[str, list[float]], camera: str, path: Path) -> Pose:
    """P_rect (3, 4) of a camera, from metres in camera 0's frame to pixels; FrameError `intrinsics` without it."""
    numbers = values.get(f"P_rect_{camera}", [])
    if len(numbers) != 12 or not np.isfinite(numbers).all():
        raise FrameError("intrinsics", f"{path}: expected P_rect_{camera}, twelve finite numbers; got {len(numbers)}")
    return np.array(numbers, np.float64).reshape(3, 4)


def read_calibration(path: Path) -> dict[str, list[float]]:
    """The numbers of a calibration's lines `KEY: numbers`; other lines (dates) are left out."""
    values: dict[str, list[float]] = {}
    for line in read_bytes(path).decode("utf-8", "replace").split("\n"):
        key, _, rest = line.partition(":")
        try:
            values[key.strip()] = [float(field) for field in rest.split()]
        except ValueError:
            continue
    return values


def depth_of(stored: npt.NDArray[np.uint16], calibration: Path) -> npt.NDArray[np.float32]:
    """Depth (H, W) float32 metres of stored disparity: (P_rect_02 - P_rect_03)[0, 3] / (v / 256); 0 for v = 0."""
    values = read_calibration(calibration)
    left, right = (projection(values, camera, calibration) for camera in ("02", "03"))
    focal_baseline = float(left[0, 3] - right[0, 3])
    if not focal_baseline > 0:
        wanted = "expected P_rect_03 to the right of P_rect_02"
        raise FrameError("intrinsics", f"{calibration}: {wanted}; fx baseline is {focal_baseline:g}", focal_baseline)
    table = np.zeros(65536, np.float32)
    table[1:] = focal_baseline * UNITS / np.arange(1, 65536, dtype=np.float64)
    return table[stored]


def first_of(paths: tuple[Path, ...], what: str) -> Path:
    """The first of the paths that exists; FrameError `missing` naming the first and how many others were looked for."""
    path = next((path for path in paths if exists(path)), None)
    if path is None:
        others = f" (nor at {len(paths) - 1} other places)" if len(paths) > 1 else ""
        raise FrameError("missing", f"{paths[0]}: expected the frame's {what}; there is none{others}")
    return path


def _with_endings(stem: Path) -> tuple[Path, ...]:
    return tuple(stem.with_name(stem.name + ending) for ending in COLOR_ENDINGS)


def _matched(name: str) -> re.Match[str] | None:
    return DRIVE.fullmatch(name) or SELECTED.fullmatch(name) or STEREO.fullmatch(name)
