"""Where each pixel of an augmented image comes from; colour, label, depth and camera follow the same `Placement`.

A point of the turned image is x' = p + M (x - p), M = F R(turn) F^-1, F = diag(fx, fy), p the image's middle: what the
camera sees when it rolls about its axis, so that a depth stays a depth and 3D points turn by R about z. A window of it
is then resized and set into the result, and perhaps mirrored (points: x becomes -x).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import numpy.typing as npt

from fastseg.frames import Camera
from fastseg.tensors import Tensor

GREY, IGNORE = 124, 255  # what an image shows, and a label says, where nothing was seen; depth is 0 there
Fit = Literal["stretch", "cover"]


@dataclass(frozen=True)
class Axis:
    """One side: `window` pixels from `corner` of the source become `inner` pixels from `margin` of `size`."""

    source: int
    size: int
    corner: int
    window: int
    inner: int
    margin: int

    @classmethod
    def placed(cls, source: int, size: int, scale: float, place: float) -> Axis:
        """The side scaled by `scale`, 1 = it fills the result: a window at `place` of what fits, or with margins."""
        if scale >= 1:
            window = max(1, round(source / scale))
            return cls(source, size, int(place * (source - window + 1)), window, size, 0)
        inner = max(1, round(size * scale))
        return cls(source, size, 0, source, inner, int(place * (size - inner + 1)))

    @property
    def zoom(self) -> float:
        return self.inner / self.window

    def moved(self, at: float) -> float:
        """Where the source's coordinate `at` lies in the result; pixel centres at integers."""
        return (at + 0.5 - self.corner) * self.zoom - 0.5 + self.margin

    def behind(self) -> npt.NDArray[np.float64]:
        """The source's coordinate behind each of the result's pixels (size,)."""
        return (np.arange(self.size, dtype=np.float64) + 0.5 - self.margin) / self.zoom + self.corner - 0.5


@dataclass(frozen=True)
class Placement:
    """Where the result's pixels lie in the source: rows, columns, a turn (radians, x to y), a mirror.

    stretch     fx / fy of the source, so that turning is a camera's roll
    """

    rows: Axis
    columns: Axis
    turn: float = 0.0
    flip: bool = False
    stretch: float = 1.0

    @property
    def matrix(self) -> npt.NDArray[np.float64]:
        """M of the module's text, of (u, v)."""
        c, s = np.cos(self.turn), np.sin(self.turn)
        return np.array([[c, -s * self.stretch], [s / self.stretch, c]])

    @property
    def points(self) -> npt.NDArray[np.float64]:
        """A (4, 4), which takes the points of the image as it was to those of the result: turned, then mirrored."""
        c, s, x = np.cos(self.turn), np.sin(self.turn), -1.0 if self.flip else 1.0
        return np.array([[x * c, -x * s, 0, 0], [s, c, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])

    @property
    def middle(self) -> npt.NDArray[np.float64]:
        return np.array([(self.columns.source - 1) / 2, (self.rows.source - 1) / 2])

    @property
    def extent(self) -> tuple[float, float]:
        """Pixels of the result that the source's whole width and height take; the width negative where mirrored."""
        width, height = (axis.zoom * axis.source for axis in (self.columns, self.rows))
        return (-width if self.flip else width), height

    @cached_property
    def behind(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """(u, v) of the source behind each pixel of the result before the mirror, (h, w) each."""
        (a, b), (c, d) = np.linalg.inv(self.matrix)
        mu, mv = self.middle
        u, v = self.columns.behind()[None] - mu, self.rows.behind()[:, None] - mv
        return a * u + b * v + mu, c * u + d * v + mv

    def intrinsics(self, camera: Camera) -> tuple[float, float, float, float]:
        """(fx, fy, cx, cy) of the result; they may lie beyond what `Camera` takes for a sensor's."""
        u, v = self.matrix @ (np.array([camera.cx, camera.cy]) - self.middle) + self.middle
        cx, cy = self.columns.moved(float(u)), self.rows.moved(float(v))
        mirrored = self.columns.size - 1 - cx if self.flip else cx
        return camera.fx * self.columns.zoom, camera.fy * self.rows.zoom, mirrored, cy

    def colour(self, image: Tensor) -> Tensor:
        """(3, h, w) uint8 of (3, H, W): bilinear with antialias, grey where the source ends."""
        from torchvision.transforms.v2.functional import InterpolationMode

        if self.turn:
            return self._mirrored(self._turned_colour(image))
        return self._mirrored(self._set(image, InterpolationMode.BILINEAR, GREY))

    def nearest(self, values: Tensor, fill: int) -> Tensor:
        """(h, w) of a label or depth (H, W): the nearest pixel's value, `fill` where the source ends."""
        import torch
        from torchvision.transforms.v2.functional import InterpolationMode

        if not self.turn:
            return self._mirrored(self._set(values[None], InterpolationMode.NEAREST_EXACT, fill))[0]
        u, v, inside = self._indices()
        found = torch.where(inside, values[v, u], torch.tensor(fill, dtype=values.dtype))
        return self._mirrored(found)

    def _mirrored(self, values: Tensor) -> Tensor:
        return values.flip(-1) if self.flip else values.contiguous()

    def _set(self, values: Tensor, mode: object, fill: int) -> Tensor:
        """The window, resized once and set into the result."""
        from torchvision.transforms.v2 import functional

        rows, columns = self.rows, self.columns
        box = (rows.corner, columns.corner, rows.window, columns.window)
        inner = [rows.inner, columns.inner]
        small: Tensor = functional.resized_crop(values, *box, inner, mode, antialias=True)
        if inner == [rows.size, columns.size]:
            return small
        right, below = columns.size - columns.inner - columns.margin, rows.size - rows.inner - rows.margin
        padded: Tensor = functional.pad(small, [columns.margin, rows.margin, right, below], fill=[fill])
        return padded

    def _indices(self) -> tuple[Tensor, Tensor, Tensor]:
        """The nearest source column and row of each pixel, and whether it lies inside the source."""
        import torch

        u, v = (torch.from_numpy(np.floor(each + 0.5).astype(np.int64)) for each in self.behind)
        width, height = self.columns.source, self.rows.source
        return u.clamp(0, width - 1), v.clamp(0, height - 1), (u >= 0) & (u < width) & (v >= 0) & (v < height)

    def _turned_colour(self, image: Tensor) -> Tensor:
        """Shrunk first where the result is smaller (the antialias), then one bilinear sampling."""
        import torch
        from torchvision.transforms.v2 import functional

        axes = (self.rows, self.columns)
        smaller = [max(1, round(axis.source * min(1.0, axis.zoom))) for axis in axes]
        small = functional.resize(image, smaller, antialias=True).float()
        grid = [2 * (each + 0.5) / axis.source - 1 for each, axis in zip(self.behind, axes[::-1], strict=True)]
        where = torch.from_numpy(np.stack(grid, -1).astype(np.float32))
        found = torch.nn.functional.grid_sample(small[None], where[None], padding_mode="border", align_corners=False)
        inside = self._indices()[2]
        return torch.where(inside, found[0].round_().to(torch.uint8), torch.tensor(GREY, dtype=torch.uint8))


def scales(source: Sequence[int], size: Sequence[int], fit: Fit, scale: float, aspect: float) -> tuple[float, float]:
    """How far the (rows, columns) of the source reach at `scale`: 1 = they fill the result's.

    stretch     both sides fill the result at scale 1, whatever the aspect
    cover       the source keeps its aspect, and at scale 1 just covers the result
    aspect      the width to height of what is shown, times this
    """
    fills = [whole / part for part, whole in zip(source, size, strict=True)]
    reach = [1.0, 1.0] if fit == "stretch" else [max(fills) / each for each in fills]
    return scale * reach[0] / aspect**0.5, scale * reach[1] * aspect**0.5
