"""Frames without what lies beyond a sensor's known range."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from fastseg.data.sample import scene_of
from fastseg.frames import Frame, FrameSource


class WithinRange:
    """The FrameSource `source` with depth beyond `max_depth_m` metres turned into 0, "no measurement".

    For sensors that give numbers beyond what they can measure, as structured light does behind its last metres.
    Raises ValueError unless max_depth_m is above 0.
    """

    def __init__(self, source: FrameSource, max_depth_m: float) -> None:
        if not max_depth_m > 0:
            raise ValueError(f"max_depth_m must be above 0; got {max_depth_m:g}")
        self._source, self._max_depth_m = source, max_depth_m

    def ids(self) -> list[str]:
        return self._source.ids()

    def inputs(self, frame_id: str) -> list[str]:
        return self._source.inputs(frame_id)

    def scene(self, frame_id: str) -> str:
        """The scene that the source names, or the id's folder."""
        name: str = getattr(self._source, "scene", scene_of)(frame_id)
        return name

    def load(self, frame_id: str) -> Frame:
        frame = self._source.load(frame_id)
        farthest = self._max_depth_m / frame.depth_scale
        if frame.depth.dtype == np.uint16:
            kept = frame.depth <= np.uint16(min(farthest, 65535))  # whole units: the fraction is below the resolution
        else:
            kept = ~(frame.depth > np.float32(farthest))  # NaN stays what it is
        return replace(frame, depth=np.where(kept, frame.depth, frame.depth.dtype.type(0)))
