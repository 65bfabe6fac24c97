"""RGB-D recordings as clips supervised by their sensor: what any reader of frames gives, target by target."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from fastseg.data.checks import Pose
from fastseg.data.clip_plan import ClipPlan
from fastseg.data.clips import RecordedClips
from fastseg.data.images import Color, decode_color
from fastseg.data.labelled import metres
from fastseg.data.sample import scene_of
from fastseg.frames import Camera, DepthClips, Frame, FrameError, FrameSource

REMEMBERED = 4
UNMEASURED = 255


class SensorClips(RecordedClips):
    """A Clips over a FrameSource, with its measured depth; an id is a frame's.

    A recording is what the source calls a scene (the id's folder where it names none), its frames in the order of their
    ids: of the source only scenes that are recordings in order of time make sense with source frames. The plan's
    default has none: single frames, for sensor supervision. Errors are those of the source's `load`; a frame without
    colour is FrameError `missing`.
    """

    def __init__(self, source: FrameSource, plan: ClipPlan | None = None) -> None:
        self._source = source
        self._known: dict[str, Frame] = {}
        scene = getattr(source, "scene", scene_of)
        recordings: dict[str, list[str]] = {}
        for name in source.ids():
            recordings.setdefault(str(scene(name)), []).append(name)
        root = getattr(source, "root", Path(type(source).__name__))
        super().__init__(root, recordings.values(), plan or ClipPlan(offsets=()))

    def depth(self, index: int) -> npt.NDArray[np.float32]:
        """The target's depth (H, W) float32 metres, 0 = no measurement; FrameError `no-depth` when nothing was."""
        name, _ = self._names(index)
        depth = metres(*self._measured(name))
        if not depth.any():
            wanted = "expected depth (or disparity) above 0 somewhere; it is 0 or NaN everywhere"
            raise FrameError("no-depth", f"{self.root / name}: {wanted}")
        return depth

    def picture(self, name: str) -> Color:
        frame = self._frame(name)
        if frame.image is None:
            raise FrameError("missing", f"{self.root / name}: expected the frame's colour; this recording has none")
        return decode_color(frame.image, str(self.root / name))

    def camera(self, name: str, size: tuple[int, int]) -> Camera:
        return self._frame(name).camera

    def pose(self, name: str) -> Pose | None:
        return self._frame(name).pose

    def _measured(self, name: str) -> tuple[npt.NDArray[np.float32] | npt.NDArray[np.uint16], float]:
        frame = self._frame(name)
        return frame.depth, frame.depth_scale

    def _frame(self, name: str) -> Frame:
        """The frame; the last few are kept, since a clip asks for picture, camera, pose and depth in turn."""
        if name not in self._known:
            frame = self._source.load(name)
            while len(self._known) >= REMEMBERED:
                self._known.pop(next(iter(self._known)))
            self._known[name] = frame
        return self._known[name]


class MeasuredTargets:
    """The targets of clips with depth as LabelledFrames: the one class, `depth`, is what was measured, 255 the rest."""

    class_names: ClassVar[Sequence[str]] = ("depth",)

    def __init__(self, clips: DepthClips) -> None:
        self._clips = clips

    def ids(self) -> list[str]:
        return self._clips.ids()

    def __len__(self) -> int:
        return len(self._clips)

    def __getitem__(self, index: int) -> tuple[Color, Color]:
        label = np.where(self.depth(index) > 0, 0, UNMEASURED).astype(np.uint8)
        return self._clips.clip(index)[0], label

    def depth(self, index: int) -> npt.NDArray[np.float32]:
        """(H, W) float32 metres, 0 = no measurement; FrameError as the clips'."""
        return self._clips.depth(index)

    def camera(self, index: int) -> Camera | None:
        """The target's camera, None when it is not known."""
        return self._clips.clip(index)[2]
