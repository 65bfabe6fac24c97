"""Rectified stereo pairs, with or without disparity: clips `stereo`.

    ROOT/left/**/NAME.{jpg,png,webp}, right/**/NAME    pictures of one size
    ROOT/stereo.json                                   fx, fy, cx, cy (of the left camera), width, height, baseline (m),
                                                       optional doffs (default 0) and disparity_scale (1/256)
    ROOT/disparity/**/NAME.{png,npy,tiff}              optional: of the left picture; float32 pixels, or uint16 in units
                                                       of disparity_scale pixels. 0, negative, NaN and inf: unknown

doffs = cx of the right camera - cx of the left one, so that depth = fx baseline / (disparity + doffs). Pictures are
brought to one principal point: the right one is sampled doffs pixels further right, and both are cut to what it shows.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fastseg.data.checks import Pose, check_size, existing_folder, found, inside, is_folder, stems
from fastseg.data.clip_plan import ClipPlan, shifted
from fastseg.data.clips import RecordedClips
from fastseg.data.folder import COLOR_ENDINGS
from fastseg.data.images import MAX_PICTURE_BYTES, Color, decode_color, decode_depth, read_bytes
from fastseg.data.intrinsics import NUMBERS, named, number, read_json
from fastseg.data.places import holding
from fastseg.data.sample import scene_of
from fastseg.frames import Camera, FrameError

DISPARITY_ENDINGS = (".png", ".npy", ".tif", ".tiff")
LARGEST_DOFFS = 0.25  # share of the width


class StereoClips(RecordedClips):
    """A Clips over pairs; an id is the left picture's path below `left/` without its ending.

    The plan's default is the pair alone; without `stereo` the targets alone, for supervision by disparity.
    """

    def __init__(self, root: Path | str, plan: ClipPlan | None = None) -> None:
        self.root = existing_folder(root)
        self._read_about(inside(self.root / "stereo.json", self.root))
        left, right = (self._listed(side) for side in ("left", "right"))
        recordings: dict[str, list[str]] = {}
        for name in left:
            recordings.setdefault(scene_of(name), []).append(name)
        plan = plan or ClipPlan(offsets=(), stereo=True)
        super().__init__(self.root, [sorted(names) for names in recordings.values()], plan, set(right))

    def picture(self, name: str) -> Color:
        return self._decoded("left", name)[:, self._kept]

    def other_picture(self, name: str) -> Color:
        picture = self._decoded("right", name)
        whole = math.floor(self.doffs)
        part, last = self.doffs - whole, picture.shape[1] - 1
        columns = np.arange(self._kept.start, self._kept.stop) + whole
        near = picture[:, columns.clip(0, last)]
        if not part:
            return near
        far = picture[:, (columns + 1).clip(0, last)]
        return np.rint(near * (1 - part) + far * part).astype(np.uint8)

    def camera(self, name: str, size: tuple[int, int]) -> Camera:
        return self._camera.cropped(0, self._kept.start, *size)

    def other(self, name: str) -> Pose:
        return shifted(-self.baseline)

    def depth(self, index: int) -> npt.NDArray[np.float32]:
        """The target's depth (H, W) float32 metres, fx baseline / (disparity + doffs), 0 where it is unknown.

        Raises FrameError `missing`, `no-depth` (0 or NaN everywhere) or `type` (negative: the pair is swapped).
        """
        name, _ = self._names(index)
        path = inside(found(self.root / "disparity" / name, DISPARITY_ENDINGS, "disparity"), self.root)
        stored = decode_depth(path)
        size = (self._camera.height, self._camera.width)
        check_size((stored.shape[0], stored.shape[1]), size, f"{path}: disparity", "camera in stereo.json")
        scale = self._scale if stored.dtype == np.uint16 else 1.0
        disparity = checked_disparity(stored.astype(np.float32) * np.float32(scale), str(path))
        distance = np.where(disparity > 0, disparity + np.float32(self.doffs), np.float32(0))
        depth = np.zeros(size, np.float32)
        np.divide(self._camera.fx * self.baseline, distance, out=depth, where=distance > 0)
        return depth[:, self._kept]

    def _read_about(self, path: Path) -> None:
        wanted = f"{', '.join(NUMBERS)} and baseline (metres)"
        try:
            values = read_json(path, wanted)
        except FrameError as error:
            if error.reason != "missing":
                raise
            raise FileNotFoundError(f"{error.detail}; {holding(self.root)}") from error
        unknown = sorted(values.keys() - {*NUMBERS, "baseline", "doffs", "disparity_scale"})
        if unknown:
            raise FrameError("intrinsics", f"{path}: unknown keys {', '.join(map(repr, unknown))}")
        fx, fy, cx, cy, width, height = (number(values, key, path) for key in NUMBERS)
        self._camera = named(path, lambda: Camera(fx, fy, cx, cy, int(height), int(width)))
        self.baseline = number(values, "baseline", path)
        if not 0.001 < self.baseline < 100:
            raise FrameError(
                "intrinsics", f"{path}: expected a baseline in metres; got {self.baseline:g}", self.baseline
            )
        self.doffs = number(values, "doffs", path) if "doffs" in values else 0.0
        if not abs(self.doffs) < LARGEST_DOFFS * width:
            raise FrameError("intrinsics", f"{path}: expected doffs in pixels; got {self.doffs:g}", self.doffs)
        self._scale = number(values, "disparity_scale", path) if "disparity_scale" in values else 1 / 256
        if not 0 < self._scale < 100:
            raise FrameError("intrinsics", f"{path}: expected disparity_scale above 0; got {self._scale:g}")
        first, last = math.ceil(max(0.0, -self.doffs)), math.floor(width - 1 - max(0.0, self.doffs))
        self._kept = slice(first, last + 1)

    def _listed(self, side: str) -> list[str]:
        folder = self.root / side
        names = stems(inside(folder, self.root), self.root, COLOR_ENDINGS) if is_folder(folder) else []
        if not names:
            raise ValueError(f"{folder}: expected pictures left/NAME.png and right/NAME.png; {holding(folder)}")
        return names

    def _decoded(self, side: str, name: str) -> Color:
        path = found(self.root / side / name, COLOR_ENDINGS, f"{side} picture")
        picture = decode_color(read_bytes(path, MAX_PICTURE_BYTES), str(path))
        size = (self._camera.height, self._camera.width)
        check_size((picture.shape[0], picture.shape[1]), size, f"{path}: picture", "camera in stereo.json")
        return picture


def checked_disparity(disparity: npt.NDArray[np.float32], name: str) -> npt.NDArray[np.float32]:
    """Disparity (H, W) float32 pixels with 0 where it is unknown (0, negative, NaN, inf); FrameError naming `name`.

    `no-depth` when nothing is known, `type` when most of what is not 0 is negative: a swapped pair.
    """
    finite = np.isfinite(disparity)
    below, above = int((finite & (disparity < 0)).sum()), int((finite & (disparity > 0)).sum())
    if below > above:
        wanted = "expected positive disparity, left x - right x; most of it is negative: are the pictures swapped?"
        raise FrameError("type", f"{name}: {wanted}", below / (below + above))
    if not above:
        raise FrameError("no-depth", f"{name}: expected disparity above 0 somewhere; it is 0 or NaN everywhere")
    return np.where(finite & (disparity > 0), disparity, np.float32(0)).astype(np.float32)
