"""What two pictures alone say: how far the camera moved between them, and which of a stereo pair is the left one."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from fastseg.data.images import Color

COLUMNS = 128  # pictures are compared at about this width: noise averages out, and it is fast
TILE = 16
MOST_SWAPPED = 0.6  # share of the tiles that may seem shifted the wrong way


def motion(first: Color, second: Color) -> float:
    """How far the picture moved from `first` to `second`, as a share of its width: mean |I2 - I1| / mean |grad I1|.

    To first order I2 - I1 = -grad I . flow, so that the ratio is the mean flow across edges; of flow beyond a few
    pixels at 128 columns it says only that it is large. The mean of I2 - I1 (a change of exposure) is taken off first.
    Shape: both (H, W, 3) uint8. A picture without any edge gives 0, pictures of two sizes give inf.
    """
    return motion_of(reduced(first), reduced(second))


def motion_of(first: npt.NDArray[np.float32], second: npt.NDArray[np.float32]) -> float:
    """The same of two pictures that are `reduced` already."""
    if first.shape != second.shape:
        return float("inf")
    if min(first.shape) < 2:
        return 0.0
    down, right = np.gradient(first)
    slope = float(np.hypot(down, right).mean())
    change = second - first
    return float(np.abs(change - change.mean()).mean()) / slope / first.shape[1] if slope > 1e-3 else 0.0


def check_order(left: Color, right: Color, name: str) -> None:
    """None; ValueError naming `name` when most of the scene lies further right in the right picture than in the left.

    In a rectified pair a point at depth z lies fx baseline / z pixels further left in the right picture.
    """
    shifts = tile_shifts(reduced(left), reduced(right))
    if len(shifts) >= 4 and float((shifts < 0).mean()) > MOST_SWAPPED:
        median = float(np.median(shifts)) * max(1, left.shape[1] // COLUMNS)
        sentence = "expected the left and the right picture of a pair; they seem swapped, for the disparity is"
        raise ValueError(f"{name}: {sentence} negative (about {median:.0f} pixels)")


def reduced(picture: Color) -> npt.NDArray[np.float32]:
    """The grey picture (h, w) float32 of means over k x k pixels, k = W // 128 (1 at least, H at most)."""
    k = min(max(1, picture.shape[1] // COLUMNS), picture.shape[0])
    h, w = picture.shape[0] // k, picture.shape[1] // k
    grey = picture[: h * k, : w * k].mean(axis=2, dtype=np.float32)
    small: npt.NDArray[np.float32] = grey.reshape(h, k, w, k).mean(axis=(1, 3))
    return small


def tile_shifts(left: npt.NDArray[np.float32], right: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
    """(T,) the shift d for which left(x) is most like right(x - d), of the tiles where one shift stands out.

    d runs to a sixth of the width either way; tiles are 16x16 of the middle two thirds. left, right: (h, w).
    """
    h, w = left.shape
    most = w // 6
    height, width = h // TILE * TILE, (w - 2 * most) // TILE * TILE
    if not height or not width or left.shape != right.shape:
        return np.zeros(0, np.int64)
    a, b = ((side - side.mean()) / (side.std() + 1e-3) for side in (left, right))
    shifts = np.arange(-most, most + 1)
    costs = np.stack([np.abs(a[:, most : most + width] - b[:, most - d : most - d + width]) for d in shifts])
    tiles = costs[:, :height].reshape(len(shifts), height // TILE, TILE, width // TILE, TILE).mean(axis=(2, 4))
    tiles = tiles.reshape(len(shifts), -1)
    clear = tiles.min(axis=0) < 0.4 * np.median(tiles, axis=0)
    best: npt.NDArray[np.int64] = shifts[tiles.argmin(axis=0)][clear]
    return best
