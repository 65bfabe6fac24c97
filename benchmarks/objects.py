"""Procedural pictures of objects with known masks: eight shapes, one or some to a picture, over clutter.

A class is a shape and the pattern on it; place, size, turn, colours, light and noise are chance, and so is what stands
behind: a ground with a pattern of its own and things of no class, which have the same patterns and colours.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
import numpy.typing as npt

from fastseg.pictures import oklch

Picture = npt.NDArray[np.uint8]
Float = npt.NDArray[np.float64]

CLASSES = ("crescent", "cross", "disc", "flower", "hourglass", "ring", "square", "triangle")  # sorted, as folders are
NAMES = ("background", *CLASSES)
NEAR = 0.22  # of lightness between an object and the ground, at least
RADII = (0.14, 0.26)  # of an object that stands alone, as shares of a picture's side
AMONG = 0.8  # of that among others
LUMPS = 64  # outlines of things of no class


def draw(seed: Sequence[int], kinds: Sequence[int], size: int) -> tuple[Picture, Picture]:
    """A picture (size, size, 3) uint8 RGB and its label (size, size) uint8, 0 = background, 1 + k = class k.

    seed    of everything that is chance
    kinds   the classes 0..7 of its objects, from the farthest to the nearest; each hides what is behind it
    """
    rng = np.random.default_rng(list(seed))
    v, u = (np.arange(size)[:, None] + 0.5) / size, (np.arange(size)[None] + 0.5) / size
    light, slope, grain = rng.uniform(0.35, 0.8), rng.uniform(-0.25, 0.25, 2), rng.uniform(2, 8)
    image = _ground(rng, u, v, light)
    for _ in range(rng.integers(2, 6)):
        lump, own = len(CLASSES) + int(rng.integers(LUMPS)), light + rng.uniform(-0.3, 0.3)
        _paint(rng, image, lump, rng.uniform(0.04, 0.12), own, int(rng.integers(4)))
    label = np.zeros((size, size), np.uint8)
    for kind in kinds:
        own = light + rng.choice([-1, 1]) * rng.uniform(NEAR, 0.4)
        own = own if 0.15 <= own <= 0.95 else 2 * light - own
        radius = rng.uniform(*RADII) * (1 if len(kinds) < 2 else AMONG)
        rows, columns, inside = _paint(rng, image, kind, radius, own, kind % 4)
        label[rows, columns][inside] = 1 + kind
    shade = 1 + slope[0] * (u - 0.5) + slope[1] * (v - 0.5)
    noisy = image * shade[..., None] + rng.normal(0, grain, image.shape)
    return np.clip(np.rint(noisy), 0, 255).astype(np.uint8), label


def _ground(rng: np.random.Generator, u: Float, v: Float, light: float) -> Float:
    """(size, size, 3) of smooth colours with a weak pattern of a random size and direction."""
    hue, angle = rng.uniform(0, 360), rng.uniform(0, math.pi)
    wave = np.zeros(np.broadcast_shapes(u.shape, v.shape))
    for _ in range(4):
        fx, fy = rng.normal(0, 2, 2)
        wave += rng.uniform(0.1, 0.3) * np.sin(2 * math.pi * (fx * u + fy * v) + rng.uniform(0, 2 * math.pi))
    x, y = u * math.cos(angle) + v * math.sin(angle), v * math.cos(angle) - u * math.sin(angle)
    pattern = _pattern(int(rng.integers(4)), *(rng.uniform(6, 12) * each for each in (x, y)))
    return oklch(light + 0.08 * wave + 0.05 * pattern, 0.07, hue + 40 * wave).astype(np.float64)


def _paint(
    rng: np.random.Generator, image: Float, kind: int, radius: float, light: float, pattern: int
) -> tuple[slice, slice, npt.NDArray[np.bool_]]:
    """The rows and columns about the thing once it stands in the picture, and where there it covers half a pixel."""
    size = len(image)
    middle, angle = rng.uniform(0.8 * radius, 1 - 0.8 * radius, 2), rng.uniform(-0.6, 0.6)
    ends = [(max(0, int((at - 1.3 * radius) * size)), int((at + 1.3 * radius) * size) + 1) for at in middle]
    columns, rows = slice(*ends[0]), slice(*ends[1])
    x = ((np.arange(size)[None, columns] + 0.5) / size - middle[0]) / radius
    y = ((np.arange(size)[rows, None] + 0.5) / size - middle[1]) / radius
    x, y = x * math.cos(angle) + y * math.sin(angle), y * math.cos(angle) - x * math.sin(angle)
    inwards = -_outside(kind, x, y) * radius * size  # pixels from the edge, about
    cover = np.clip(inwards + 0.5, 0, 1)[..., None]
    dark, bright = oklch(np.clip([light - 0.1, light + 0.1], 0, 1), 0.11, rng.uniform(0, 360)).astype(np.float64)
    colour = (dark + bright) / 2 + _pattern(pattern, 4 * x, 4 * y)[..., None] * (bright - dark) / 2
    image[rows, columns] += cover * (colour - image[rows, columns])
    return rows, columns, inwards > 0


def _pattern(kind: int, x: Float, y: Float) -> Float:
    """-1 .. 1 over coordinates of period 2: plain, stripes, checks or dots."""
    if kind == 0:
        return 0 * (x + y)
    across, along = np.sin(math.pi * x), np.sin(math.pi * y)
    if kind == 1:
        return np.asarray(np.clip(3 * across + 0 * y, -1, 1))
    return np.asarray(np.clip(3 * across * along if kind == 2 else 4 * (across**2 * along**2 - 0.4), -1, 1))


def _outside(kind: int, x: Float, y: Float) -> Float:
    """Below 0 inside a shape of about unit radius, above 0 outside, about the distance near its edge."""
    far = np.hypot(x, y)
    if kind >= len(CLASSES):
        return far - _blob(kind, np.arctan2(y, x))
    shapes: tuple[Callable[[], Float], ...] = (
        lambda: np.maximum(far - 1, 0.85 - np.hypot(x - 0.55, y)),
        lambda: np.minimum(np.maximum(np.abs(x), 3 * np.abs(y)), np.maximum(3 * np.abs(x), np.abs(y))) - 0.95,
        lambda: far - 0.9,
        lambda: 0.7 * (far - 0.7 - 0.3 * np.cos(5 * np.arctan2(y, x))),
        lambda: np.maximum(np.abs(y) - 0.85, 0.75 * (np.abs(x) - 0.12 - 0.8 * np.abs(y))),
        lambda: np.abs(far - 0.75) - 0.25,
        lambda: np.maximum(np.abs(x), np.abs(y)) - 0.8,
        lambda: np.maximum(y - 0.6, 0.87 * np.abs(x) - 0.5 * y - 0.5),
    )
    return shapes[kind]()


def _blob(kind: int, angle: Float) -> Float:
    """The radius towards each angle of a lump that is none of the shapes."""
    sizes, turns = _lumps()
    orders = np.arange(2, 5)
    return np.asarray(0.8 + (sizes[kind % LUMPS] * np.cos(orders * (angle[..., None] + turns[kind % LUMPS]))).sum(-1))


@cache
def _lumps() -> tuple[Float, Float]:
    rng = np.random.default_rng(LUMPS)
    return rng.uniform(0.03, 0.16, (LUMPS, 3)), rng.uniform(0, 2 * math.pi, (LUMPS, 3))
