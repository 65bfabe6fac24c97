"""Images that nobody labelled, as the training loop takes them: all their pixels that can teach depth are one class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from fastseg.frames import Camera, Clips, DepthClips

IGNORE = 255


class ClipImages:
    """A Clips as LabelledImages whose one class, `depth`, every pixel is of: each can be looked up in a source."""

    class_names: ClassVar[Sequence[str]] = ("depth",)

    def __init__(self, clips: Clips) -> None:
        self._clips = clips
        self.metadata: Mapping[str, Any] = getattr(clips, "metadata", {})
        self.start: Camera | None = getattr(clips, "start", None)  # of a camera that is to be learned

    def ids(self) -> list[str]:
        return self._clips.ids()

    def __len__(self) -> int:
        return len(self._clips)

    def clip(
        self, index: int
    ) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8], Camera | None, npt.NDArray[np.float32] | None]:
        """The target, its source frames, their camera and poses, see `Clips`."""
        return self._clips.clip(index)

    def __getitem__(self, index: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
        target = self._clips.clip(index)[0]
        return target, np.zeros(target.shape[:2], np.uint8)


class MeasuredImages:
    """A DepthClips as LabelledImages whose one class, `depth`, the measured pixels are of; the others are 255."""

    class_names: ClassVar[Sequence[str]] = ("depth",)

    def __init__(self, clips: DepthClips) -> None:
        self._clips = clips
        self.metadata: Mapping[str, Any] = getattr(clips, "metadata", {})
        self._last: tuple[int, npt.NDArray[np.float32], Camera | None] | None = None

    def ids(self) -> list[str]:
        return self._clips.ids()

    def __len__(self) -> int:
        return len(self._clips)

    def __getitem__(self, index: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
        image, _, camera, _ = self._clips.clip(index)
        depth = self._clips.depth(index)
        self._last = index, depth, camera
        return image, np.where(np.isfinite(depth) & (depth > 0), 0, IGNORE).astype(np.uint8)

    def depth(self, index: int) -> npt.NDArray[np.float32]:
        """(H, W) float32 metres, 0 = no measurement."""
        return self._beside(index)[1]

    def camera(self, index: int) -> Camera | None:
        """The camera of the image and its depth, None when it is not known."""
        return self._beside(index)[2]

    def _beside(self, index: int) -> tuple[int, npt.NDArray[np.float32], Camera | None]:
        """Depth and camera; the last ones are kept, since they are asked for after their image."""
        if self._last is None or self._last[0] != index:
            self._last = index, self._clips.depth(index), self._clips.clip(index)[2]
        return self._last
