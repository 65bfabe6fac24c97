"""Which source frames a target gets; the poses between frames; where a recording ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fastseg.data.checks import Pose

FARTHEST_OFFSET = 60
MOST_SOURCES = 4


@dataclass(frozen=True)
class ClipPlan:
    """Which source frames a target gets, and with which poses.

    offsets  places after the target in its recording: (-1, 1) are its neighbours, () none
    stereo   the picture of the pair's other camera too, the last source, at its known pose
    poses    "known": given where the recording has them; "needed": an error where it has none; "learned": left out
    """

    offsets: tuple[int, ...] = (-1, 1)
    stereo: bool = False
    poses: str = "known"

    def __post_init__(self) -> None:
        if len(set(self.offsets)) < len(self.offsets) or any(not 0 < abs(o) <= FARTHEST_OFFSET for o in self.offsets):
            wanted = f"whole numbers from 1 to {FARTHEST_OFFSET}, before (-) or after the target, each once"
            raise ValueError(f"offsets must be {wanted}; got {list(self.offsets)}")
        if len(self.offsets) + self.stereo > MOST_SOURCES:
            raise ValueError(f"a clip takes at most {MOST_SOURCES} sources; got {len(self.offsets) + self.stereo}")
        if self.poses not in ("known", "needed", "learned"):
            raise ValueError(f"poses must be known, needed or learned; got {self.poses!r}")
        if self.stereo and self.poses == "learned":
            raise ValueError("stereo clips have a known pose; poses must be known or needed, got 'learned'")

    @property
    def least(self) -> int:
        """The frames that a recording must have for one clip."""
        return 1 + max((0, *self.offsets)) - min((0, *self.offsets))

    @property
    def needs_poses(self) -> bool:
        """Whether frames without poses are of no use: asked for, or known for the pair and so for all sources."""
        return bool(self.offsets) and (self.poses == "needed" or self.stereo)


def relative(target: Pose, source: Pose) -> Pose:
    """`T_source_target` (4, 4) of two poses `T_world_target` and `T_world_source`: the source's inverse by the target.

    The inverse is that of a rigid motion, [R^T, -R^T t].
    """
    inverse = np.eye(4)
    inverse[:3, :3] = source[:3, :3].T
    inverse[:3, 3] = -source[:3, :3].T @ source[:3, 3]
    return inverse @ target


def shifted(x: float, y: float = 0.0, z: float = 0.0) -> Pose:
    """The (4, 4) pose that adds (x, y, z) metres to a point."""
    pose = np.eye(4)
    pose[:3, 3] = x, y, z
    return pose


def runs(names: Sequence[str], numbers: Sequence[int], times: Sequence[float] | None = None) -> list[list[str]]:
    """The names (sorted by number) cut into recordings without gaps.

    A gap is a number that does not follow the last, or a time more than half as long again after the last one as the
    median. times: seconds of each name, or None.
    """
    steps = np.diff(np.asarray(times, np.float64)) if times is not None and len(times) > 1 else np.zeros(0)
    longest = 1.5 * float(np.median(steps)) if steps.size else np.inf
    found: list[list[str]] = []
    for k, name in enumerate(names):
        follows = k > 0 and numbers[k] == numbers[k - 1] + 1 and not (steps.size and steps[k - 1] > longest)
        if follows:
            found[-1].append(name)
        else:
            found.append([name])
    return found
