"""The camera that Monodepth learns beside depth and motion: its images' intrinsics, and the file it ends in."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from fastseg.data.clip_camera import write_intrinsics
from fastseg.frames import Camera, FrameError, LabelledImages
from fastseg.nets.pose import LearnedCamera

KEPT = "intrinsics.json"


def learned_camera(pose: nn.Module, camera: Tensor, extent: Tensor | None) -> Tensor:
    """fx, fy, cx, cy (N, 4) float32 of each image: `camera`, or what a pose network that learns it has made of it.

    camera (N, 4) in pixels of each image; extent (N, 2), see `fastseg.data.batches.Scene`

    ValueError: a camera to learn, and no extent.
    """
    lens = cast(LearnedCamera | None, pose.lens)
    if lens is None:
        return camera.float()
    if extent is None:
        raise ValueError("a camera that is learned needs the extent of the pictures in their images")
    found: Tensor = lens(camera, extent)
    return found


@torch.no_grad()
def found_camera(net: nn.Module, start: Camera) -> Camera | None:
    """The camera of the pictures themselves, learned from `start` on; None for a network that learns none.

    FrameError `intrinsics`: what was learned is no camera.
    """
    lens: LearnedCamera | None = getattr(getattr(net, "pose", None), "lens", None)
    if lens is None:
        return None
    given = torch.tensor([[start.fx, start.fy, start.cx, start.cy]], device=lens.change.device)
    extent = torch.tensor([[start.width, start.height]], device=lens.change.device)
    fx, fy, cx, cy = lens(given, extent)[0].tolist()
    return Camera(fx, fy, cx, cy, start.height, start.width)


def keep_camera(net: nn.Module, examples: LabelledImages, out: Path) -> str:
    """A sentence about the camera that was learned, now in OUT/intrinsics.json; "" when none was."""
    start: Camera | None = getattr(examples, "start", None)
    if start is None:
        return ""
    try:
        camera = found_camera(net, start)
    except FrameError as error:
        return f"no camera was learned: {error}"
    if camera is None:
        return ""
    write_intrinsics(out / KEPT, camera)
    numbers = f"fx {camera.fx:.2f}, fy {camera.fy:.2f}, cx {camera.cx:.2f}, cy {camera.cy:.2f}"
    return f"the camera learned, {numbers} of {camera.width}x{camera.height} pixels, is in {out / KEPT}"
