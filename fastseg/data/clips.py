"""Clips for pre-training by depth: which source frames a target gets, and what every source of them does alike."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt

from fastseg.data.checks import Pose, checked_ids
from fastseg.data.clip_pictures import check_order, motion_of, reduced
from fastseg.data.clip_plan import FARTHEST_OFFSET, ClipPlan, relative
from fastseg.data.images import Color
from fastseg.frames import Camera, FrameError

Clip = tuple[Color, Color, Camera | None, npt.NDArray[np.float32] | None]

FARTHEST_SOURCE_M = 10_000.0
MIN_MOTION = 0.002  # share of the picture's width


class RecordedClips(ABC):
    """A Clips over recordings of consecutive pictures; what a source has of its own is `picture` and `camera`.

    recordings  ids of pictures in order of time; a clip lies in one recording, and one shorter than a clip gives none
    plan        the source frames
    paired      the ids whose other picture exists (stereo); other targets are left out
    Raises ValueError with one sentence when there is no clip, a pose is missing or a stereo pair seems swapped.
    """

    def __init__(
        self, root: Path, recordings: Iterable[Sequence[str]], plan: ClipPlan, paired: Collection[str] | None = None
    ) -> None:
        self.root, self.plan = root, plan
        self._recordings = [list(names) for names in recordings]
        first, last = -min((0, *plan.offsets)), max((0, *plan.offsets))
        self._targets = [
            (r, place) for r, names in enumerate(self._recordings) for place in range(first, len(names) - last)
            if not plan.stereo or paired is None or names[place] in paired
        ]  # fmt: skip
        if not self._targets:
            raise ValueError(self._nothing())
        checked_ids(self.ids(), root, "pictures")
        self._check_first()

    def ids(self) -> list[str]:
        """The ids of the targets, recording by recording in order of time."""
        return [self._recordings[r][place] for r, place in self._targets]

    def __len__(self) -> int:
        return len(self._targets)

    def clip(self, index: int) -> Clip:
        """(target, sources (S, H, W, 3), camera, poses); FrameError `missing`, `decode`, `size`, ... naming a file."""
        name, sources = self._names(index)
        read = self._read(index)
        target, pictures = read[0], [read[offset] for offset in self.plan.offsets]
        pair = None
        if self.plan.stereo:
            pair = self.other(name)
            pictures.append(self.other_picture(name))
        for source, picture in zip([*sources, "the pair of it"], pictures, strict=False):
            _check_one_size(target, picture, str(self.root / name), source)
        stacked = np.stack(pictures) if pictures else np.empty((0, *target.shape), np.uint8)
        poses = self._poses(name, sources, pair)
        return target, stacked, self.camera(name, (target.shape[0], target.shape[1])), poses

    def moving(self, min_motion: float = MIN_MOTION) -> Self:
        """The same clips without those whose camera stands still: every picture is read once.

        min_motion: a target stays when one of its source frames moved by that share of the width or more (`motion`).
        Raises ValueError when none is left.
        """
        if not self.plan.offsets:
            raise ValueError(f"{self.root}: a filter of static frames needs source frames; offsets is ()")
        seen: dict[tuple[int, int], npt.NDArray[np.float32]] = {}
        kept = [target for target in self._targets if self._moves(target, min_motion, seen)]
        if not kept:
            least = f"expected motion of {min_motion:g} of the picture's width or more"
            raise ValueError(f"{self.root}: {least} in some of its {len(self)} clips; the camera stands still in all")
        clips = copy.copy(self)
        clips._targets = kept
        return clips

    @abstractmethod
    def picture(self, name: str) -> Color:
        """The picture (H, W, 3) uint8 RGB of an id; FrameError naming its file."""

    @abstractmethod
    def camera(self, name: str, size: tuple[int, int]) -> Camera | None:
        """The camera of an id whose picture is of `size` (height, width); None: to be learned."""

    def pose(self, name: str) -> Pose | None:
        """`T_world_cam` (4, 4) of an id, None where it is not known."""
        return None

    def other(self, name: str) -> Pose:
        """`T_other_this` (4, 4): from the frame of an id's camera to that of the pair's other camera."""
        raise ValueError(f"{self.root}: expected stereo pairs; this source has one camera")

    def other_picture(self, name: str) -> Color:
        """The picture of the pair's other camera at the time of `name`."""
        raise ValueError(f"{self.root}: expected stereo pairs; this source has one camera")

    def _names(self, index: int) -> tuple[str, list[str]]:
        r, place = self._targets[index]
        return self._recordings[r][place], [self._recordings[r][place + offset] for offset in self.plan.offsets]

    def _read(self, index: int) -> dict[int, Color]:
        """The pictures of a clip by their place after the target, read in order of time, as a video needs it."""
        r, place = self._targets[index]
        return {offset: self.picture(self._recordings[r][place + offset]) for offset in sorted((0, *self.plan.offsets))}

    def _poses(self, name: str, sources: list[str], pair: Pose | None) -> npt.NDArray[np.float32] | None:
        known: list[Pose] = []
        if self.plan.poses != "learned":
            target = self.pose(name) if sources else None
            found = [self.pose(source) for source in sources]
            if target is not None:
                known = [relative(target, source) for source in found if source is not None]
        if len(known) < len(sources):
            if self.plan.needs_poses:
                raise FrameError("missing", f"{self.root / name}: {NO_POSES}")
            return None
        poses = [*known, *([pair] if pair is not None else [])]
        for pose in poses:
            if not float(np.abs(pose).max()) < FARTHEST_SOURCE_M:
                wanted = f"expected source frames within {FARTHEST_SOURCE_M:g} m of their target"
                raise FrameError("type", f"{self.root / name}: {wanted}; its poses say {float(np.abs(pose).max()):g}")
        return np.stack(poses).astype(np.float32) if poses else None

    def _moves(
        self, target: tuple[int, int], min_motion: float, seen: dict[tuple[int, int], npt.NDArray[np.float32]]
    ) -> bool:
        """Whether a target moves against a source; `seen` keeps the reduced pictures that the next targets need."""
        r, place = target
        for offset in sorted((0, *self.plan.offsets)):
            at = (r, place + offset)
            if at not in seen:
                seen[at] = reduced(self.picture(self._recordings[r][place + offset]))
        for known in [known for known in seen if known < (r, place - FARTHEST_OFFSET)]:
            del seen[known]
        return any(motion_of(seen[target], seen[r, place + offset]) >= min_motion for offset in self.plan.offsets)

    def _check_first(self) -> None:
        name, _ = self._names(0)
        if self.plan.needs_poses and self.pose(name) is None:
            raise ValueError(f"{self.root / name}: {NO_POSES}")
        if self.plan.stereo:
            here, there = self.picture(name), self.other_picture(name)
            left, right = (here, there) if self.other(name)[0, 3] < 0 else (there, here)
            check_order(left, right, str(self.root / name))

    def _nothing(self) -> str:
        longest = max(map(len, self._recordings), default=0)
        if self._recordings and longest >= self.plan.least:
            return f"{self.root}: expected stereo pairs; no picture has one of the other camera"
        offsets = ", ".join(map(str, self.plan.offsets))
        why = f"a target with the source frames {offsets}" if self.plan.offsets else "a target"
        return (
            f"{self.root}: expected a recording of {self.plan.least} frames or more, {why}; the longest has {longest}"
        )


def _check_one_size(target: Color, picture: Color, name: str, source: str) -> None:
    if picture.shape != target.shape:
        wanted = f"expected the frames of a clip to be of one size, {target.shape[1]}x{target.shape[0]}"
        got = f"{picture.shape[1]}x{picture.shape[0]} ({source})"
        raise FrameError("size", f"{name}: {wanted}; got {got}", picture.shape[0] * picture.shape[1])


NO_POSES = "expected a camera-to-world pose for each frame, which this supervision needs; there is none"
