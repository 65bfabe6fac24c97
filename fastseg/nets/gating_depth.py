"""Depth that gates: its bins and their edges, gates of measured depth, and the branch that predicts it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any, Literal

import torch
from torch import Tensor, nn

NYU_EDGES = (1.5, 2.1, 3.0, 4.7)  # metres, of five bins
CITYSCAPES_DISPARITIES = (13.9, 13.2, 12.5, 11.0)  # log2 of the raw 16-bit value, nearest first
ROUNDING = 1e-6  # of an edge: 2,100 mm read as float32 metres may lie above 2.1
DROPOUT = 0.1
Kind = Literal["classes", "regression", "both"]


def check_edges(edges: Sequence[float], bins: int) -> tuple[float, ...]:
    """The edges as a tuple; ValueError when they are not bins - 1 positive, increasing numbers of metres."""
    found = tuple(float(edge) for edge in edges)
    finite = all(0 < edge < float("inf") for edge in found)
    if len(found) != bins - 1 or not finite or any(a >= b for a, b in pairwise(found)):
        raise ValueError(f"edges of {bins} depth bins must be {bins - 1} increasing metres; got {list(edges)}")
    return found


def default_edges(bins: int) -> tuple[float, ...]:
    """The paper's for NYUv2 where there are five bins, else as many evenly in log depth from 1.5 m to 4.7 m."""
    if bins == len(NYU_EDGES) + 1:
        return NYU_EDGES
    steps = max(1, bins - 2)
    return tuple(NYU_EDGES[0] * (NYU_EDGES[-1] / NYU_EDGES[0]) ** (k / steps) for k in range(bins - 1))


def disparity_edges(focal: float = 2262.52, baseline: float = 0.209313) -> tuple[float, ...]:
    """The paper's edges for Cityscapes in metres: f b / d with d = (2^e - 1) / 256 of its raw disparities 2^e.

    focal, baseline   pixels of the disparity image, metres: of most of its cities, others differ by a few per cent
    """
    return tuple(focal * baseline * 256 / (2**each - 1) for each in CITYSCAPES_DISPARITIES)


def fit_edges(depths: Iterable[Any], bins: int, at_most: int = 4096) -> tuple[float, ...]:
    """Edges in metres that put as many measured pixels of a corpus in one bin as in another.

    depths    maps (H, W) in metres, 0, negative, NaN and inf = no measurement; up to `at_most` pixels of each, evenly
              spread, are looked at

    ValueError: no measurement, or depths so alike that edges coincide.
    """
    import numpy as np

    found = []
    for depth in depths:
        flat = np.asarray(depth, np.float64).ravel()
        kept = flat[np.isfinite(flat) & (flat > 0)]
        found.append(kept[:: max(1, len(kept) // at_most)])
    whole = np.concatenate(found) if found else np.zeros(0)
    if not whole.size:
        raise ValueError("edges of depth bins cannot be fitted: no pixel of the data set has a measured depth")
    edges = np.quantile(whole, np.arange(1, bins) / bins)
    return check_edges([float(edge) for edge in edges], bins)


def check_metres(depth: Any, name: str = "depth") -> None:
    """None; ValueError when the median of the measured depths (any array) cannot be metres of a scene."""
    import numpy as np

    values = np.asarray(depth, np.float32).ravel()[::7]
    kept = values[np.isfinite(values) & (values > 0)]
    middle = float(np.median(kept)) if kept.size else 1.0
    if not 0.1 <= middle <= 200:
        raise ValueError(f"{name} must be in metres; its median is {middle:g}: millimetres, or disparity?")


def quantised(depth: Tensor, edges: Tensor) -> Tensor:
    """The bin (N, H, W) uint8 of each depth, 0 = nearest; 255 = no measurement.

    depth   (N, H, W) floating, metres; 0, negative, NaN and inf = no measurement
    edges   (bins - 1,) metres, increasing; a depth at an edge is of the nearer bin
    """
    measured = depth.isfinite() & (depth > 0)
    held = depth.float().where(measured, 1.0).contiguous()
    bins = torch.bucketize(held, edges.float() * (1 + ROUNDING))
    return bins.where(measured, 255).to(torch.uint8)


def on_grid(depth: Tensor, size: tuple[int, int]) -> Tensor:
    """Depth (N, H, W) at the centres of a coarser grid, (N, h, w): the nearest measurement, never a mean."""
    return nn.functional.interpolate(depth[:, None].float(), list(size), mode="nearest-exact")[:, 0]


def gates_of(bins: Tensor, count: int) -> Tensor:
    """Gates (N, count, h, w) float32 of bins (N, h, w): 1 in a pixel's own bin; all 1 / count where it is 255."""
    numbers = torch.arange(count, dtype=torch.uint8, device=bins.device)[:, None, None]
    own = (bins[:, None] == numbers).float()
    return own.where((bins < count)[:, None], 1 / count).contiguous()


def smoothed(depth: Tensor, sigma: float) -> Tensor:
    """Predicted depth (N, H, W) after a Gaussian of `sigma` pixels, 0 = as it is; the border is mirrored.

    ValueError: sigma is negative, or so wide that its window of six sigma is more than twice the image.
    """
    from torchvision.transforms.v2 import functional

    if not 0 <= sigma < float("inf"):
        raise ValueError(f"the sigma of smoothing must not be negative; got {sigma:g}")
    radius = int(3 * sigma + 0.5)
    if radius >= min(depth.shape[-2:]):
        raise ValueError(f"smoothing by sigma {sigma:g} needs an image of more than {radius} pixels a side")
    if not radius:
        return depth
    found: Tensor = functional.gaussian_blur(depth[:, None], [2 * radius + 1] * 2, [sigma, sigma])[:, 0]
    return found


class DepthBranch(nn.Module):
    """(bins (N, B, h, w) logits, log-depth (N, h, w)) of features (N, width, h, w); None for what `kind` leaves out.

    3x3 width -> width / 4, 3x3 -> width / 16 (512, 128, 32 in the paper), each with batch-norm and ReLU, dropout, 1x1.
    """

    def __init__(self, width: int, bins: int, kind: Kind) -> None:
        super().__init__()
        middle, last = max(8, width // 4), max(8, width // 16)
        self.features = nn.Sequential(*unit(width, middle, 3), *unit(middle, last, 3), nn.Dropout(DROPOUT))
        self.bins = None if kind == "regression" else nn.Conv2d(last, bins, 1)
        self.log_depth = None if kind == "classes" else nn.Conv2d(last, 1, 1)

    def forward(self, x: Tensor) -> tuple[Tensor | None, Tensor | None]:
        found = self.features(x)
        bins = None if self.bins is None else self.bins(found)
        return bins, None if self.log_depth is None else self.log_depth(found)[:, 0]


def unit(width_in: int, width_out: int, kernel: int) -> list[nn.Module]:
    """A convolution, its batch-norm and its ReLU."""
    convolution = nn.Conv2d(width_in, width_out, kernel, padding=kernel // 2, bias=False)
    return [convolution, nn.BatchNorm2d(width_out), nn.ReLU(inplace=True)]
