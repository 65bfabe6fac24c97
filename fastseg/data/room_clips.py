"""Walks through procedural rooms as video with exact truth: clips `rooms`."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fastseg.data.checks import Pose
from fastseg.data.clip_plan import ClipPlan
from fastseg.data.clips import RecordedClips
from fastseg.data.images import Color
from fastseg.data.labelled import metres
from fastseg.data.rooms import RoomFrame, Rooms
from fastseg.data.sample import scene_of
from fastseg.frames import Camera

REMEMBERED = 8  # pictures: a clip's source frames are the next clip's target


class RoomClips(RecordedClips):
    """A Clips over `count` frames, `views` along one camera's walk through each room, ids `room-000012/view-0003`.

    Poses and depth are exact; noise=True gives the depth that a Kinect would measure. The walk moves about 2 cm and
    1 degree from frame to frame: offsets of some frames give video that depth can be learned from.
    """

    def __init__(
        self, seed: int, count: int, height: int = 240, width: int = 320, *, views: int = 30, noise: bool = False,
        plan: ClipPlan | None = None,
    ) -> None:  # fmt: skip
        self._rooms = Rooms(seed, count, height, width, noise=noise, views=views, path=True)
        self._noise = noise
        self._known: OrderedDict[str, RoomFrame] = OrderedDict()
        recordings: dict[str, list[str]] = {}
        for name in self._rooms.ids():
            recordings.setdefault(scene_of(name), []).append(name)
        super().__init__(Path("rooms"), recordings.values(), plan or ClipPlan())

    def depth(self, index: int) -> npt.NDArray[np.float32]:
        """The target's depth (H, W) float32 metres, 0 = no measurement (there is none without noise)."""
        name, _ = self._names(index)
        if not self._noise:
            return metres(self._truth(name).depth)
        frame = self._rooms.record(name, self._truth(name))
        return metres(frame.depth, frame.depth_scale)

    def picture(self, name: str) -> Color:
        return self._truth(name).color

    def camera(self, name: str, size: tuple[int, int]) -> Camera:
        return self._rooms.camera

    def pose(self, name: str) -> Pose:
        return self._truth(name).pose

    def _truth(self, name: str) -> RoomFrame:
        if name not in self._known:
            self._known[name] = self._rooms.truth(name)
        self._known.move_to_end(name)
        while len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
        return self._known[name]
