"""Cityscapes (Cordts et al., CVPR 2016) with its stereo disparity: reader `cityscapes`.

    ROOT/disparity/SPLIT/CITY/NAME_disparity.png       uint16: disparity d = (v - 1) / 256 pixels, 0 = no measurement
    ROOT/leftImg8bit/SPLIT/CITY/NAME_leftImg8bit.png   colour of the disparity's size (2048x1024)
    ROOT/camera/SPLIT/CITY/NAME_camera.json            intrinsic: fx, fy, u0, v0; extrinsic: baseline (m), pitch, roll

Depth = fx baseline / d, float32 metres (no one scale gives it). The camera's pitch and roll in the car (radians, nose
down and right side down positive) give the prior of up; the car itself is taken to stand level.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

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
    stems,
)
from fastseg.data.images import read_bytes
from fastseg.data.intrinsics import named, number, read_json
from fastseg.data.png import decode_png16
from fastseg.frames import Camera, Frame, FrameError

COLOR, DEPTH, CAMERA = "_leftImg8bit.png", "_disparity.png", "_camera.json"


class Cityscapes:
    """A FrameSource over Cityscapes; an id is SPLIT/CITY/NAME, such as `val/frankfurt/frankfurt_000000_000294`.

    `split` (train, val, test, train_extra) leaves the others out. A colour image without disparity is listed, and
    rejected as `missing`: no input is dropped.
    """

    def __init__(self, root: Path | str, split: str | None = None) -> None:
        self.root = existing_folder(root)
        self.split = split
        if split is not None:
            check_id(split, self.root)
        for folder in ("disparity", "leftImg8bit", "camera"):
            if not is_folder(self.root / folder / (split or "")):
                wanted = f"expected the folder {folder}/{split or 'SPLIT'} of Cityscapes; there is none"
                raise FileNotFoundError(f"{self.root}: {wanted}")

    def ids(self) -> list[str]:
        """The sorted ids; ValueError or FrameError `id` as `checked_ids`."""
        names = {*self._stems("disparity", DEPTH), *self._stems("leftImg8bit", COLOR)}
        return checked_ids(names, self.root, f"disparity/SPLIT/CITY/NAME{DEPTH}")

    def load(self, frame_id: str) -> Frame:
        """The frame; FrameError `missing`, `decode`, `type`, `size`, `scale`, `too-large` or `intrinsics`."""
        check_id(frame_id, self.root)
        path = found(self.root / "disparity" / frame_id, (DEPTH,), "disparity")
        stored = decode_png16(read_bytes(path), str(path))
        size = (stored.shape[0], stored.shape[1])
        about = inside(found(self.root / "camera" / frame_id, (CAMERA,), "camera"), self.root)
        camera, baseline, up = read_camera(about, size)
        image = read_color(found(self.root / "leftImg8bit" / frame_id, (COLOR,), "colour"), size, path)
        depth = depth_table(camera.fx * baseline)[stored]
        return checked_frame(Frame(frame_id, depth, 1.0, camera, image, up_prior=up), str(path))

    def inputs(self, frame_id: str) -> list[str]:
        """The files behind the frame, those that exist."""
        check_id(frame_id, self.root)
        names = (("disparity", DEPTH), ("leftImg8bit", COLOR), ("camera", CAMERA))
        paths = [self.root / folder / f"{frame_id}{ending}" for folder, ending in names]
        return [str(path) for path in paths if exists(path)]

    def scene(self, frame_id: str) -> str:
        """The recorded sequence that the frame is of: SPLIT/CITY/CITY_SEQUENCE."""
        return frame_id.rpartition("_")[0]

    def _stems(self, folder: str, ending: str) -> list[str]:
        below = f"{self.split}/" if self.split else ""
        return [below + name for name in stems(self.root / folder / below, self.root, (ending.lower(),))]


def depth_table(focal_baseline: float) -> npt.NDArray[np.float32]:
    """Metres (65536,) float32 for every stored value v: fx baseline / ((v - 1) / 256); 0 for v = 0 and v = 1.

    v = 1 is a disparity of zero: a point infinitely far, which is no measurement of depth.
    """
    disparity = (np.arange(65536, dtype=np.float64) - 1) / 256
    metres = np.zeros(65536, np.float32)
    metres[2:] = focal_baseline / disparity[2:]
    return metres


def read_camera(path: Path, size: tuple[int, int]) -> tuple[Camera, float, npt.NDArray[np.float64]]:
    """(camera, baseline in metres, up (3,) in its frame) of a camera.json; FrameError `intrinsics` or `gravity`."""
    values = read_json(path, "a camera of Cityscapes: intrinsic and extrinsic")
    inner, outer = (_section(values, key, path) for key in ("intrinsic", "extrinsic"))
    fx, fy, cx, cy = (number(inner, key, path) for key in ("fx", "fy", "u0", "v0"))
    camera = named(path, lambda: Camera(fx, fy, cx, cy, *size))
    baseline = number(outer, "baseline", path)
    if not 0.01 < baseline < 10:
        raise FrameError("intrinsics", f"{path}: expected a baseline of 0.01 to 10 m; got {baseline:g}", baseline)
    pitch, roll = (number(outer, key, path) for key in ("pitch", "roll"))
    if not (abs(pitch) < math.pi / 4 and abs(roll) < math.pi / 4):
        raise FrameError(
            "gravity", f"{path}: expected pitch and roll within 45 degrees; got {pitch:g}, {roll:g} radians"
        )
    return camera, baseline, up_of(pitch, roll)


def up_of(pitch: float, roll: float) -> npt.NDArray[np.float64]:
    """Up (3,) in the camera's frame: (-cos p sin r, -cos p cos r, -sin p) for a camera turned by R_y(p) R_x(r)."""
    return np.array([-math.cos(pitch) * math.sin(roll), -math.cos(pitch) * math.cos(roll), -math.sin(pitch)])


def _section(values: dict[str, Any], key: str, path: Path) -> dict[str, Any]:
    section = values.get(key)
    if not isinstance(section, dict):
        raise FrameError("intrinsics", f"{path}: expected an object {key!r}; got {type(section).__name__}")
    return section
