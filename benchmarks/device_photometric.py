"""`photometric` on a GPU: 12 frames of 3x192x640, forward and with the backward of depth and pose.

The eager peer is the loss as depth-estimation code writes it: back-projection, `grid_sample`, SSIM by average pooling
of the mirrored images; agreement is asserted with it, loss and gradients. 41 MB of inputs would lie in the L2, so that
successive calls work on another of four sets.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from benchmarks.device_race import Call, gpu_race, over
from benchmarks.floors import photometric_work
from benchmarks.rows import OURS, Row
from fastseg.ops.photometric import photometric_loss

FRAMES, HEIGHT, WIDTH, SETS = 12, 192, 640, 4
FOCAL = 0.58 * WIDTH
Inputs = tuple[Any, Any, Any, Any, Any]


def inputs(seed: int, device: str = "cuda", frames: int = FRAMES) -> Inputs:
    """target, sources, depth, intrinsics and poses: smooth pictures, depths of metres, a small step of the camera."""
    import torch
    from torch.nn.functional import interpolate

    made = torch.Generator(device).manual_seed(seed)
    coarse = torch.rand(2 * frames, 3, HEIGHT // 8, WIDTH // 8, device=device, generator=made)
    pictures = interpolate(coarse, (HEIGHT, WIDTH), mode="bilinear").contiguous()
    depth = 2 + 8 * torch.rand(frames, 1, HEIGHT // 16, WIDTH // 16, device=device, generator=made)
    depth = interpolate(depth, (HEIGHT, WIDTH), mode="bilinear")[:, 0].contiguous()
    intrinsics = torch.tensor([FOCAL, FOCAL, WIDTH / 2, HEIGHT / 2], device=device).repeat(frames, 1)
    poses = torch.eye(4, device=device).repeat(frames, 1, 1, 1)
    poses[:, 0, :3, 3] = 0.05 * torch.randn(frames, 3, device=device, generator=made)
    return pictures[:frames], pictures[frames:, None].contiguous(), depth, intrinsics, poses


def means(image: Any) -> Any:
    """3x3 averages of the mirrored image."""
    import torch.nn.functional as functional

    return functional.avg_pool2d(functional.pad(image, [1] * 4, mode="reflect"), 3, 1)


def eager(target: Any, sources: Any, depth: Any, intrinsics: Any, poses: Any) -> Any:
    """The loss (N, H, W) in plain torch."""
    import torch

    fx, fy, cx, cy = (intrinsics[:, i].view(-1, 1, 1) for i in range(4))
    v, u = torch.meshgrid(
        torch.arange(HEIGHT, device=depth.device), torch.arange(WIDTH, device=depth.device), indexing="ij"
    )
    points = torch.stack([(u - cx) / fx * depth, (v - cy) / fy * depth, depth, torch.ones_like(depth)], 1)
    x, y, z, _ = (poses[:, 0] @ points.flatten(2)).view(points.shape).unbind(1)
    grid = torch.stack([2 * (fx * x / z + cx) / (WIDTH - 1) - 1, 2 * (fy * y / z + cy) / (HEIGHT - 1) - 1], -1)
    warped = torch.nn.functional.grid_sample(sources[:, 0], grid, padding_mode="border", align_corners=True)
    mx, my = means(warped), means(target)
    vx, vy = means(warped * warped) - mx * mx, means(target * target) - my * my
    both = means(warped * target) - mx * my
    ssim = (2 * mx * my + 1e-4) * (2 * both + 9e-4) / ((mx * mx + my * my + 1e-4) * (vx + vy + 9e-4))
    return (0.425 * (1 - ssim) + 0.15 * (target - warped).abs()).mean(1)


def ours(*given: Any) -> Any:
    return photometric_loss(*given)[0]


def with_gradients(loss: Callable[..., Any], given: Inputs) -> tuple[Any, Any, Any]:
    """The loss of one set, and the gradients of its sum for depth and poses."""
    import torch

    target, sources, depth, intrinsics, poses = given
    depth, poses = depth.detach().requires_grad_(), poses.detach().requires_grad_()
    found = loss(target, sources, depth, intrinsics, poses)
    return (found, *torch.autograd.grad(found.sum(), (depth, poses)))


def agreement(given: Inputs) -> float:
    """The largest of the differences' 99.9 %, relative to the peer's own size; AssertionError where it is large."""
    worst = 0.0
    for own, peer in zip(with_gradients(ours, given), with_gradients(eager, given), strict=True):
        own, peer = own.detach(), peer.detach()
        apart = (own - peer).abs().flatten().quantile(0.999)
        worst = max(worst, float(apart / peer.abs().flatten().quantile(0.999)))
    # Gradients jump where a sample crosses a pixel's border: single pixels differ, not one in a thousand.
    assert worst <= 0.02, f"ours and eager differ by {worst:.2%}"
    return worst


def photometric_rows(rates: Mapping[str, float]) -> list[Row]:
    """The rows of `photometric`; AssertionError where it does not agree with the eager loss."""
    import torch

    sets = [inputs(seed) for seed in range(SETS)]
    apart = agreement(inputs(SETS, frames=2))
    losses = {OURS: ours, "eager": eager, "compile": torch.compile(eager)}
    rows = []
    for which in ("forward", "forward+backward"):
        calls: dict[str, Call] = {
            name: over(partial(_spread if which == "forward" else with_gradients, loss), sets)
            for name, loss in losses.items()
        }
        case = f"{FRAMES}x3x{HEIGHT}x{WIDTH} {which}"
        work = photometric_work(case)
        assert work is not None
        rows += gpu_race(
            case, calls, rates, frames=FRAMES, moved=work.bytes, flops=work.flops, matmul="fp32_tflop_s",
            errors={OURS: apart},
        )  # fmt: skip
    return rows


def _spread(loss: Callable[..., Any], given: Inputs) -> Any:
    return loss(*given)
