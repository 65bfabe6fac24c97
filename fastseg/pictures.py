"""Arrays painted as pictures: depth, normals, HN labels and class labels as uint8 RGB, and pictures as PNG or JPEG.

Colours are chosen in OKLCH (Ottosson, "A perceptual color space for image processing", 2020): equal steps of
lightness and hue look equal, so the ramp of heights reads as a ramp.
"""

from __future__ import annotations

import io

import numpy as np
import numpy.typing as npt
from PIL import Image

Picture = npt.NDArray[np.uint8]

IGNORE_COLOUR = (58, 61, 68)
_GREY = np.array(IGNORE_COLOUR, np.uint8)
_LMS_FROM_LAB = np.array(
    [[1.0, 0.3963377774, 0.2158037573], [1.0, -0.1055613458, -0.0638541728], [1.0, -0.0894841775, -1.2914855480]]
)
_RGB_FROM_LMS = np.array(
    [
        [4.0767416621, -3.3077115913, 0.2309699292],
        [-1.2684380046, 2.6097574011, -0.3413193965],
        [-0.0041960863, -0.7034186147, 1.7076147010],
    ]
)


def oklch(lightness: npt.ArrayLike, chroma: npt.ArrayLike, hue_deg: npt.ArrayLike) -> Picture:
    """sRGB uint8 (..., 3) of OKLCH colours; lightness in [0, 1], chroma about [0, 0.3], hue in degrees."""
    light, strength, hue = np.broadcast_arrays(*(np.asarray(x, np.float64) for x in (lightness, chroma, hue_deg)))
    angle = np.deg2rad(hue)
    lab = np.stack([light, strength * np.cos(angle), strength * np.sin(angle)], axis=-1)
    linear = np.clip((lab @ _LMS_FROM_LAB.T) ** 3 @ _RGB_FROM_LMS.T, 0.0, 1.0)
    srgb = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.asarray(np.rint(255 * srgb), np.uint8)


def hn_palette(n_height: int, n_normal: int) -> Picture:
    """Colours uint8 (n_normal * n_height, 3) of HN labels: lightness climbs with height, hue tells the normal bin.

    The first normal bin (surfaces parallel to the floor) runs from dark red to yellow, the last (perpendicular)
    from dark violet to light green-blue; bins between them lie between.
    """
    height = np.linspace(0.0, 1.0, n_height)
    rows = []
    for k in range(n_normal):
        start = 15.0 + 275.0 * k / max(n_normal - 1, 1)
        sweep = 85.0 if k < n_normal / 2 else -110.0
        rows.append(oklch(0.38 + 0.52 * height, 0.135, start + sweep * height))
    return np.concatenate(rows)


def class_palette(count: int) -> Picture:
    """Colours uint8 (count, 3) of classes: hues a golden angle apart, three lightnesses in turn."""
    k = np.arange(count)
    return oklch(0.55 + 0.14 * (k % 3), 0.13, 25.0 + 137.508 * k)


def label_picture(label: npt.NDArray[np.integer], palette: Picture) -> Picture:
    """RGB uint8 (H, W, 3) of a label map (H, W); values outside the palette (255 = ignore) are painted dark grey."""
    table = np.empty((len(palette) + 1, 3), np.uint8)
    table[:-1], table[-1] = palette, IGNORE_COLOUR
    index = np.asarray(label).astype(np.int64)
    index[(index < 0) | (index >= len(palette))] = len(palette)
    return np.asarray(table[index])


def depth_picture(depth_m: npt.NDArray[np.floating]) -> Picture:
    """RGB uint8 (H, W, 3) of depth (H, W) in metres, near light and far dark; pixels without measurement grey.

    The ramp runs over the 1st to the 99th percentile of the valid depth.
    """
    depth = np.asarray(depth_m, np.float64)
    valid = np.isfinite(depth) & (depth > 0)
    if not valid.any():
        return np.broadcast_to(_GREY, (*depth.shape, 3)).copy()
    near, far = np.percentile(depth[valid], [1, 99])
    ramp = np.clip((np.where(valid, depth, near) - near) / max(far - near, 1e-9), 0.0, 1.0)
    palette = _ramp_table()[np.rint(255 * ramp).astype(np.int64)]
    return np.where(valid[..., None], palette, _GREY)


def heat_picture(values: npt.NDArray[np.floating]) -> Picture:
    """RGB uint8 (H, W, 3) of values (H, W) in [0, 1]: the ramp of depth, 1 light and 0 dark."""
    return np.asarray(_ramp_table()[np.rint(255 * (1 - np.clip(values, 0, 1))).astype(np.int64)])


def _ramp_table() -> Picture:
    t = np.linspace(0.0, 1.0, 256)
    return oklch(0.93 - 0.70 * t, 0.04 + 0.12 * np.sin(np.pi * t), 95.0 - 190.0 * t)


def normals_picture(normals: npt.NDArray[np.floating]) -> Picture:
    """RGB uint8 (H, W, 3) of unit normals (3, H, W): red = right, green = up, blue = towards the camera; NaN grey."""
    unit = np.asarray(normals, np.float64)
    defined = np.asarray(np.isfinite(unit).all(axis=0))
    flipped = np.where(defined, unit, 0.0) * np.array([1.0, -1.0, -1.0])[:, None, None]
    rgb = np.rint(127.5 * (flipped + 1.0)).astype(np.uint8).transpose(1, 2, 0)
    return np.where(defined[..., None], rgb, _GREY)


def overlay(image: Picture, picture: Picture, opacity: float = 0.55) -> Picture:
    """The picture laid over the grey of an image of the same size, uint8 (H, W, 3)."""
    grey = np.asarray(image, np.float64) @ (0.299, 0.587, 0.114)
    return np.rint(opacity * np.asarray(picture) + (1 - opacity) * grey[..., None]).astype(np.uint8)


def resized(picture: Picture, height: int, width: int, *, smooth: bool) -> Picture:
    """The picture (H, W, 3) or label (H, W) at height x width: bilinear with antialias, or nearest for labels."""
    method = Image.Resampling.BILINEAR if smooth else Image.Resampling.NEAREST
    return np.asarray(Image.fromarray(picture).resize((width, height), method))


def encoded(picture: Picture, kind: str = "png") -> bytes:
    """The picture as a PNG or (`kind="jpeg"`) JPEG file's bytes."""
    buffer = io.BytesIO()
    options: dict[str, int | bool] = {"quality": 82} if kind == "jpeg" else {"optimize": True}
    Image.fromarray(picture).save(buffer, format=kind, **options)
    return buffer.getvalue()
