"""The photometric loss as depth-estimation code writes it: plain torch (eager, or through torch.compile) and kornia."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as functional
from torch import Tensor

ALPHA, C1, C2 = 0.85, 1e-4, 9e-4
Loss = Callable[..., Tensor]


def gaussian_line(like: Tensor) -> Tensor:
    """The eleven weights of a Gaussian of sigma 1.5."""
    taps = torch.arange(-5, 6, dtype=like.dtype, device=like.device)
    line = torch.exp(-(taps**2) / 4.5)
    return line / line.sum()


def means(image: Tensor, kind: str) -> Tensor:
    """Window means of the mirrored image: average pooling, or two passes of a Gaussian."""
    if kind == "gauss11":
        line = gaussian_line(image).repeat(image.shape[1], 1)[:, None]
        padded = functional.pad(image, [5] * 4, mode="reflect")
        across = functional.conv2d(padded, line[:, :, None], groups=image.shape[1])
        return functional.conv2d(across, line[..., None], groups=image.shape[1])
    radius = {"box3": 1, "box7": 3}[kind]
    return functional.avg_pool2d(functional.pad(image, [radius] * 4, mode="reflect"), 2 * radius + 1, 1)


def error(x: Tensor, y: Tensor, kind: str) -> Tensor:
    """The photometric error (N, H, W) of two images."""
    mx, my = means(x, kind), means(y, kind)
    vx, vy, both = means(x * x, kind) - mx * mx, means(y * y, kind) - my * my, means(x * y, kind) - mx * my
    ssim = (2 * mx * my + C1) * (2 * both + C2) / ((mx * mx + my * my + C1) * (vx + vy + C2))
    return (ALPHA / 2 * (1 - ssim) + (1 - ALPHA) * (x - y).abs()).mean(1)


def warped(source: Tensor, depth: Tensor, intrinsics: Tensor, pose: Tensor) -> Tensor:
    """The source seen from the target, by grid_sample with border padding."""
    n, height, width = depth.shape
    v, u = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    fx, fy, cx, cy = (intrinsics[:, i].view(n, 1, 1) for i in range(4))
    points = torch.stack([(u - cx) / fx * depth, (v - cy) / fy * depth, depth, torch.ones_like(depth)], 1)
    x, y, z, _ = (pose @ points.flatten(2)).view(points.shape).unbind(1)
    grid = torch.stack([2 * (fx * x / z + cx) / (width - 1) - 1, 2 * (fy * y / z + cy) / (height - 1) - 1], -1)
    return functional.grid_sample(source, grid, padding_mode="border", align_corners=True)


def eager(
    target: Tensor, sources: Tensor, depth: Tensor, intrinsics: Tensor, poses: Tensor, kind: str, automask: bool
) -> Tensor:
    """The loss (N, H, W): minimum over the sources and, with automask, 0 where an unmoved source is better."""
    count = sources.shape[1]
    errors = [error(target, warped(sources[:, s], depth, intrinsics, poses[:, s]), kind) for s in range(count)]
    least = torch.stack(errors, 1).amin(1)
    if not automask:
        return least
    still = torch.stack([error(target, sources[:, s], kind) for s in range(count)], 1).amin(1)
    return torch.where(still < least, 0.0, least)


def kornia_loss(
    target: Tensor, sources: Tensor, depth: Tensor, intrinsics: Tensor, poses: Tensor, kind: str, automask: bool
) -> Tensor:
    """The same from kornia's pieces: warp_frame_depth (zeros outside) and ssim (a Gaussian for every window)."""
    from kornia.geometry.depth import warp_frame_depth
    from kornia.metrics import ssim

    matrix = torch.zeros(len(depth), 3, 3)
    matrix[:, 0, 0], matrix[:, 1, 1], matrix[:, 0, 2], matrix[:, 1, 2] = intrinsics.unbind(1)
    matrix[:, 2, 2] = 1
    window = {"box3": 3, "box7": 7, "gauss11": 11}[kind]

    def between(image: Tensor) -> Tensor:
        similar: Tensor = ssim(target, image, window)
        return (ALPHA / 2 * (1 - similar) + (1 - ALPHA) * (target - image).abs()).mean(1)

    count = sources.shape[1]
    seen = [warp_frame_depth(sources[:, s], depth[:, None], poses[:, s], matrix) for s in range(count)]
    least = torch.stack([between(image) for image in seen], 1).amin(1)
    if not automask:
        return least
    still = torch.stack([between(sources[:, s]) for s in range(count)], 1).amin(1)
    return torch.where(still < least, 0.0, least)


def losses() -> dict[str, Any]:
    """The peers by name."""
    # A window, a gradient mode and a number of threads each make a graph; beyond its limit torch would run eagerly.
    dynamo: Any = importlib.import_module("torch._dynamo.config")
    dynamo.recompile_limit = 64
    return {"eager": eager, "compile": torch.compile(eager, dynamic=False), "kornia": kornia_loss}
