"""Walks through procedural rooms as clips: the smallest `Clips` with exact poses and depth."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from fastseg.data.rooms import RoomFrame, Rooms
from fastseg.frames import Camera


class WalkClips:
    """`views` - 2 * `step` clips of one room; the source frames are `step` views before and after the target."""

    def __init__(self, seed: int, views: int, height: int, width: int, step: int = 5, posed: bool = True) -> None:
        self.step, self.posed = step, posed
        self.rooms = Rooms(seed, views, height, width, noise=False, views=views, path=True)
        self.truth = lru_cache(maxsize=views)(lambda index: self.rooms.truth(self.rooms.ids()[index]))

    def ids(self) -> list[str]:
        return self.rooms.ids()[self.step : -self.step]

    def __len__(self) -> int:
        return len(self.ids())

    def target(self, index: int) -> RoomFrame:
        found: RoomFrame = self.truth(index + self.step)
        return found

    def clip(
        self, index: int
    ) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8], Camera, npt.NDArray[np.float32] | None]:
        target, sources = self.target(index), [self.truth(index), self.truth(index + 2 * self.step)]
        poses = np.stack([np.linalg.inv(source.pose) @ target.pose for source in sources]).astype(np.float32)
        return target.color, np.stack([each.color for each in sources]), target.camera, poses if self.posed else None
