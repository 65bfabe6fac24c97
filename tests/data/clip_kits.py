"""Walks through a room in the form of other data sets, and whether a clip's geometry is that of its pictures."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastseg.data.clip_plan import shifted
from fastseg.data.rooms import RoomFrame, make_room, render, room_camera, room_path
from fastseg.frames import Camera

HEIGHT, WIDTH, BASELINE = 96, 160, 0.2


@dataclass(frozen=True)
class Walk:
    """Exact pictures of both cameras of a rig, `BASELINE` apart, along a walk; `poses` of the left one."""

    left: list[RoomFrame]
    right: list[RoomFrame]

    @property
    def camera(self) -> Camera:
        return self.left[0].camera


@functools.cache
def walk(frames: int = 5, step: int = 4) -> Walk:
    room, camera = make_room(7), room_camera(HEIGHT, WIDTH)
    poses = room_path(room, 0, frames * step)[::step]
    left = [render(room, camera, pose) for pose in poses]
    return Walk(left, [render(room, camera, pose @ shifted(BASELINE)) for pose in poses])


def warp_errors(target: Any, source: Any, camera: Camera, pose: Any, depth: Any) -> tuple[float, float]:
    """Median difference of the target from the source, (warped by depth and pose `T_source_target`, as it is).

    The median leaves out what is hidden in the source; pixels that fall outside of it are left out of both.
    """
    v, u = np.mgrid[: camera.height, : camera.width].astype(np.float64)
    points = np.stack(
        [(u - camera.cx) / camera.fx * depth, (v - camera.cy) / camera.fy * depth, depth, np.ones_like(u)]
    )
    x, y, z, _ = np.tensordot(np.asarray(pose, np.float64), points, 1)
    near = np.maximum(z, 1e-6)
    columns, rows = (
        np.rint(camera.fx * x / near + camera.cx).astype(int),
        np.rint(camera.fy * y / near + camera.cy).astype(int),
    )
    seen = (depth > 0) & (z > 0.01) & (columns >= 0) & (columns < camera.width) & (rows >= 0) & (rows < camera.height)
    found = source[rows.clip(0, camera.height - 1), columns.clip(0, camera.width - 1)].astype(float)
    warped, still = (np.abs(target.astype(float) - other).mean(2)[seen] for other in (found, source))
    assert seen.mean() > 0.5
    return float(np.mean(np.minimum(warped, 40))), float(np.mean(np.minimum(still, 40)))


def check_geometry(
    target: Any, sources: Any, camera: Camera | None, poses: Any, depth: Any, share: float = 0.5
) -> None:
    """Assert that every source warped onto the target is closer to it than the source as it is, by `share`."""
    assert camera is not None and poses is not None and poses.dtype == np.float32 and len(poses) == len(sources)
    assert target.dtype == sources.dtype == np.uint8 and sources.shape[1:] == target.shape
    for source, pose in zip(sources, poses, strict=True):
        warped, still = warp_errors(target, source, camera, pose, depth)
        assert warped < share * still, (warped, still)
