"""The nouns every room shares: a camera, a frame, a source of frames, labelled images with or without depth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32] | npt.NDArray[np.float64]


class FrameError(ValueError):
    """A frame that cannot be used: a machine-readable reason, one clear sentence, and the figure behind it."""

    def __init__(self, reason: str, detail: str, value: float = float("nan")) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail
        self.value = value

    def __reduce__(self) -> tuple[type[FrameError], tuple[str, str, float]]:
        return FrameError, (self.reason, self.detail, self.value)


@dataclass(frozen=True)
class Camera:
    """A pinhole camera; focal lengths and centre in pixels of an image of height x width, pixel centres at integers."""

    fx: float
    fy: float
    cx: float
    cy: float
    height: int
    width: int

    def __post_init__(self) -> None:
        values = (self.fx, self.fy, self.cx, self.cy)
        size = f"{self.width}x{self.height}"
        if self.height < 1 or self.width < 1:
            raise FrameError("intrinsics", f"camera size must be at least 1x1 pixels; got {size}")
        if not all(np.isfinite(values)):
            raise FrameError("intrinsics", f"camera intrinsics must be finite; got fx, fy, cx, cy = {values}")
        side = max(self.height, self.width)
        if not (0.1 * side < self.fx < 20 * side and 0.1 * side < self.fy < 20 * side):
            raise FrameError(
                "intrinsics",
                f"focal lengths must lie between 0.1 and 20 times the longer side of the {size} image; "
                f"got fx = {self.fx:g}, fy = {self.fy:g}",
                min(self.fx, self.fy),
            )
        if not (-side < self.cx < 2 * side and -side < self.cy < 2 * side):
            raise FrameError(
                "intrinsics",
                f"the principal point must lie near the {size} image; got cx = {self.cx:g}, cy = {self.cy:g}",
                max(abs(self.cx), abs(self.cy)),
            )

    def resized(self, height: int, width: int) -> Camera:
        """The same camera for the image resized to height x width (pixel centres at integers)."""
        sy, sx = height / self.height, width / self.width
        cx, cy = (self.cx + 0.5) * sx - 0.5, (self.cy + 0.5) * sy - 0.5
        return Camera(self.fx * sx, self.fy * sy, cx, cy, height, width)

    def cropped(self, top: int, left: int, height: int, width: int) -> Camera:
        """The same camera for the window of height x width pixels whose first pixel is (top, left)."""
        if top < 0 or left < 0 or top + height > self.height or left + width > self.width:
            raise ValueError(
                f"crop {width}x{height} at row {top}, column {left} leaves the {self.width}x{self.height} image"
            )
        return Camera(self.fx, self.fy, self.cx - left, self.cy - top, height, width)


@dataclass(frozen=True)
class Frame:
    """One RGB-D recording: `depth` in units of `depth_scale` metres, with the camera it was taken by.

    id            path relative to the dataset root, `/`-separated, no extension; unique in a corpus
    depth         (H, W) float32 or uint16; 0, negative, NaN and inf mean "no measurement"
    depth_scale   metres for one unit of depth (0.001 for millimetres, 1 for metres)
    camera        intrinsics of the depth image (colour is registered to it)
    image         the original colour file's bytes (JPEG, PNG or WebP; an uncompressed file's pixels as a PNG), or None
    pose          (4, 4) float64 camera-to-world `T_world_cam`, or None
    up_prior      (3,) unit vector against gravity in the camera frame (an accelerometer's), or None
    """

    id: str
    depth: npt.NDArray[np.float32] | npt.NDArray[np.uint16]
    depth_scale: float
    camera: Camera
    image: bytes | None = field(default=None, repr=False)
    pose: npt.NDArray[np.float64] | None = None
    up_prior: npt.NDArray[np.float64] | None = None


class FrameSource(Protocol):
    """Where frames lie. `ids()` is cheap and sorted; `load` raises FrameError for a frame that cannot be used.

    `inputs(id)` names the files behind a frame, for the fingerprint of a run.
    """

    def ids(self) -> list[str]: ...

    def load(self, frame_id: str) -> Frame: ...

    def inputs(self, frame_id: str) -> list[str]: ...


class LabelledImages(Protocol):
    """A map-style set: `self[i]` is (image uint8 (H, W, 3) RGB, label uint8 (H, W), 255 = ignore).

    In a set of whole images the label is the image's one class, () uint16.
    """

    @property
    def class_names(self) -> Sequence[str]: ...

    def ids(self) -> list[str]: ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.unsignedinteger]]: ...


class LabelledFrames(LabelledImages, Protocol):
    """Labelled images with the depth behind them: what `self[i]`, `depth(i)` and `camera(i)` give is of one size.

    depth(i)    (H, W) float32 metres, 0 = no measurement; FrameError `missing` where there is none on disk
    camera(i)   the pinhole camera of both, None when it is not known or not a pinhole (a panorama)
    """

    def depth(self, index: int) -> npt.NDArray[np.float32]: ...

    def camera(self, index: int) -> Camera | None: ...


class LabelledInstances(LabelledImages, Protocol):
    """Labelled images whose things are numbered: `instances(i)` (H, W) integers, 0 = none, unique within a class."""

    def instances(self, index: int) -> npt.NDArray[np.unsignedinteger]: ...


class Clips(Protocol):
    """A map-style set of video or stereo: a target frame, and source frames that see the same scene from elsewhere.

    clip(i)   target uint8 (H, W, 3) RGB; sources uint8 (S, H, W, 3), S from 1 to 4, or 0 where depth is measured; the
              camera of them all, None when it is to be learned; poses (S, 4, 4) float32 `T_source_target`, which map
              points of the target frame into each source frame, or None where they are not known. FrameError for a clip
              that cannot be used
    """

    def ids(self) -> list[str]: ...

    def __len__(self) -> int: ...

    def clip(
        self, index: int
    ) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8], Camera | None, npt.NDArray[np.float32] | None]: ...


class DepthClips(Clips, Protocol):
    """Clips whose targets have measured depth: `depth(i)` (H, W) float32 metres, 0 = no measurement."""

    def depth(self, index: int) -> npt.NDArray[np.float32]: ...
