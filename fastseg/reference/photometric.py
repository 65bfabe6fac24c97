"""Reference of the op `photometric`: the formulas in plain torch, one whole image after the other; autograd derives."""

from __future__ import annotations

import torch
from torch import Tensor

NEAREST_M = 1e-3
C1, C2 = 0.01**2, 0.03**2
RADIUS = {"box3": 1, "box7": 3, "gauss11": 5}


def positions(depth: Tensor, intrinsics: Tensor, pose: Tensor) -> tuple[Tensor, Tensor]:
    """Where each pixel of depth (N, H, W) lands in the source, (N, 2, H, W), and (N, H, W) whether it is in front."""
    n, height, width = depth.shape
    measured = torch.isfinite(depth) & (depth > 0)
    z = torch.where(measured, depth, 1.0)
    v, u = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    fx, fy, cx, cy = (intrinsics[:, i].view(n, 1, 1) for i in range(4))
    points = torch.stack([(u - cx) / fx * z, (v - cy) / fy * z, z, torch.ones_like(z)], 1)
    x, y, far, _ = torch.einsum("nij,njhw->inhw", pose, points)
    front = measured & (far > NEAREST_M)
    far = torch.where(front, far, 1.0)
    return torch.stack([fx * x / far + cx, fy * y / far + cy], 1), front


def flow_positions(flow: Tensor) -> tuple[Tensor, Tensor]:
    """Where each pixel lands under a flow (N, 2, H, W), and whether its flow is finite."""
    _, _, height, width = flow.shape
    v, u = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return flow + torch.stack([u, v]), torch.isfinite(flow).all(1)


def _axis(at: Tensor, size: int, align_corners: bool) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Along one axis: the pixel before a sample and the one after, the share of the latter, whether it is inside."""
    at = at if align_corners else at * size / (size - 1) - 0.5
    at = torch.where(torch.isfinite(at), at, 0.0)
    inside = (at >= 0) & (at <= size - 1)
    held = torch.where((at > 0) & (at < size - 1), at, at.detach().clamp(0, size - 1))  # no gradient once it is held
    before = held.detach().floor().clamp(max=max(size - 2, 0))
    return before.long(), (before.long() + 1).clamp(max=size - 1), held - before, inside


def sample(
    source: Tensor, at: Tensor, front: Tensor, padding: str = "border", align_corners: bool = True
) -> tuple[Tensor, Tensor]:
    """Bilinear samples (N, C, H, W) of source (N, C, H, W) at positions (N, 2, H, W), 0 where invalid; validity."""
    n, channels, height, width = source.shape
    x0, x1, fx, inside_x = _axis(at[:, 0], width, align_corners)
    y0, y1, fy, inside_y = _axis(at[:, 1], height, align_corners)

    def take(y: Tensor, x: Tensor) -> Tensor:
        index = (y * width + x).view(n, 1, -1).expand(-1, channels, -1)
        return source.reshape(n, channels, -1).gather(2, index).view(n, channels, *x.shape[1:])

    fx, fy = fx[:, None], fy[:, None]
    top = (1 - fx) * take(y0, x0) + fx * take(y0, x1)
    bottom = (1 - fx) * take(y1, x0) + fx * take(y1, x1)
    valid = front & ((inside_x & inside_y) | (padding == "border"))
    return torch.where(valid[:, None], (1 - fy) * top + fy * bottom, 0.0), valid


def ssim(x: Tensor, y: Tensor, kind: str = "box3") -> Tensor:
    """The SSIM map (N, C, H, W) of two images, windows mirrored at the border."""
    radius = RADIUS[kind]
    taps = torch.arange(-radius, radius + 1, dtype=x.dtype)
    line = torch.exp(-(taps**2) / (2 * 1.5**2)) if kind == "gauss11" else torch.ones_like(taps)
    line = line / line.sum()

    def mean(image: Tensor) -> Tensor:
        height, width = image.shape[2:]
        padded = torch.nn.functional.pad(image.reshape(-1, 1, height, width), [radius] * 4, mode="reflect")
        return torch.nn.functional.conv2d(padded, torch.outer(line, line)[None, None]).view(image.shape)

    mx, my = mean(x), mean(y)
    vx, vy, xy = mean(x * x) - mx * mx, mean(y * y) - my * my, mean(x * y) - mx * my
    return (2 * mx * my + C1) * (2 * xy + C2) / ((mx * mx + my * my + C1) * (vx + vy + C2))


def error(x: Tensor, y: Tensor, kind: str, alpha: float) -> Tensor:
    """The photometric error (N, H, W): alpha (1 - SSIM) / 2 + (1 - alpha) |x - y|, mean over channels."""
    return (alpha / 2 * (1 - ssim(x, y, kind)) + (1 - alpha) * (x - y).abs()).mean(1)


def loss(
    target: Tensor,
    sources: Tensor,
    places: list[tuple[Tensor, Tensor]],
    *,
    kind: str = "box3",
    alpha: float = 0.85,
    padding: str = "border",
    align_corners: bool = True,
    reduce: str = "min",
    automask: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:
    """(loss (N, H, W), choice (N, H, W) int8, valid (N, S, H, W)); `places` has a position and a mask a source."""
    warped = [sample(sources[:, s], *place, padding, align_corners) for s, place in enumerate(places)]
    valid = torch.stack([mask for _, mask in warped], 1)
    errors = torch.stack([error(target, image, kind, alpha) for image, _ in warped], 1)
    stills = torch.stack([error(target, sources[:, s], kind, alpha) for s in range(len(places))], 1)

    def reduced(of: Tensor) -> Tensor:
        if reduce == "mean":
            return torch.where(valid, of, 0.0).sum(1) / valid.sum(1).clamp(min=1)
        return torch.where(valid, of, torch.inf).min(1).values

    kept = valid.any(1)
    if automask:
        kept = kept & ~(reduced(stills) < reduced(errors))
    least = torch.where(valid, errors, torch.inf).argmin(1)
    choice = torch.where(kept, least, -1).to(torch.int8)
    return torch.where(kept, reduced(errors), 0.0), choice, valid
