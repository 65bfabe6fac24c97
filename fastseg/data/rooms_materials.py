"""The classes of procedural rooms and the paints that go with them."""

from __future__ import annotations

import colorsys
from typing import NamedTuple

import numpy as np

ROOM_CLASSES = (
    "floor", "wall", "ceiling", "window", "door", "table", "chair", "bed",
    "cabinet", "shelf", "sofa", "rug", "picture", "box", "lamp", "clutter",
)  # fmt: skip

FLAT, TILE, STRIPE, WOOD, CLOTH, BRICK, PANEL, PANE, ART, BOOKS, GLOW = range(11)  # textures, see rooms_shade

Range = tuple[float, float]
Color = tuple[float, float, float]


class Style(NamedTuple):
    """What one paint may look like: a texture, ranges of hue, saturation and value, and the texture's period (m)."""

    texture: int
    hue: Range
    saturation: Range
    value: Range
    period: Range
    contrast: float  # how far the second colour lies from the first, as a share of value


class Paint(NamedTuple):
    """A texture between two linear RGB colours; `period` in metres; `salt` makes its noise its own."""

    texture: int
    first: Color
    second: Color
    period: float
    salt: float


_ANY = (0.0, 1.0)
_BROWN = (0.05, 0.11)
STYLES: dict[str, tuple[Style, ...]] = {
    "floor": (
        Style(WOOD, _BROWN, (0.3, 0.6), (0.3, 0.7), (0.1, 0.2), 0.35),
        Style(TILE, (0.05, 0.2), (0.0, 0.2), (0.4, 0.85), (0.25, 0.6), 0.25),
        Style(CLOTH, _ANY, (0.1, 0.4), (0.25, 0.6), (0.01, 0.04), 0.3),
    ),
    "wall": (
        Style(FLAT, _ANY, (0.0, 0.25), (0.65, 0.95), (0.5, 2.0), 0.06),
        Style(STRIPE, _ANY, (0.05, 0.3), (0.6, 0.9), (0.1, 0.4), 0.1),
        Style(BRICK, (0.0, 0.06), (0.2, 0.5), (0.45, 0.75), (0.2, 0.26), 0.25),
        Style(CLOTH, _ANY, (0.0, 0.2), (0.6, 0.9), (0.03, 0.1), 0.1),
    ),
    "ceiling": (Style(FLAT, _BROWN, (0.0, 0.06), (0.85, 1.0), (0.5, 2.0), 0.05),),
    "window": (Style(PANE, (0.52, 0.62), (0.1, 0.4), (0.9, 1.0), (0.5, 1.0), 0.15),),
    "door": (
        Style(PANEL, _BROWN, (0.3, 0.6), (0.3, 0.6), (0.7, 1.0), 0.3),
        Style(PANEL, _ANY, (0.0, 0.15), (0.7, 0.95), (0.7, 1.0), 0.2),
    ),
    "table": (
        Style(WOOD, _BROWN, (0.3, 0.65), (0.3, 0.7), (0.06, 0.2), 0.3),
        Style(FLAT, _ANY, (0.0, 0.1), (0.15, 0.95), (0.5, 1.0), 0.1),
    ),
    "chair": (
        Style(CLOTH, _ANY, (0.3, 0.8), (0.25, 0.7), (0.01, 0.03), 0.2),
        Style(WOOD, _BROWN, (0.3, 0.7), (0.25, 0.6), (0.05, 0.1), 0.3),
        Style(FLAT, _ANY, (0.0, 0.9), (0.1, 0.8), (0.3, 1.0), 0.1),
    ),
    "bed": (
        Style(CLOTH, _ANY, (0.0, 0.35), (0.7, 0.95), (0.04, 0.12), 0.15),
        Style(STRIPE, _ANY, (0.1, 0.5), (0.6, 0.95), (0.08, 0.3), 0.3),
        Style(TILE, _ANY, (0.1, 0.5), (0.6, 0.95), (0.1, 0.3), 0.3),
    ),
    "cabinet": (
        Style(PANEL, _BROWN, (0.3, 0.65), (0.3, 0.75), (0.35, 0.6), 0.3),
        Style(PANEL, _ANY, (0.0, 0.1), (0.6, 0.95), (0.35, 0.6), 0.2),
    ),
    "shelf": (
        Style(WOOD, _BROWN, (0.2, 0.6), (0.35, 0.8), (0.05, 0.1), 0.25),
        Style(FLAT, _ANY, (0.0, 0.1), (0.6, 0.95), (0.5, 1.0), 0.08),
    ),
    "sofa": (
        Style(CLOTH, _ANY, (0.1, 0.6), (0.2, 0.6), (0.01, 0.04), 0.25),
        Style(FLAT, (0.02, 0.1), (0.4, 0.7), (0.15, 0.4), (0.3, 0.8), 0.2),
    ),
    "rug": (
        Style(TILE, _ANY, (0.3, 0.9), (0.3, 0.8), (0.1, 0.4), 0.5),
        Style(STRIPE, _ANY, (0.3, 0.9), (0.3, 0.8), (0.08, 0.3), 0.5),
        Style(ART, _ANY, (0.3, 0.9), (0.3, 0.8), (0.2, 0.4), 0.5),
    ),
    "picture": (Style(ART, _ANY, (0.2, 1.0), (0.3, 1.0), (0.08, 0.3), 0.8),),
    "books": (Style(BOOKS, _ANY, (0.5, 1.0), (0.5, 0.9), (0.02, 0.05), 0.8),),
    "box": (
        Style(FLAT, (0.07, 0.1), (0.35, 0.6), (0.5, 0.75), (0.2, 0.5), 0.1),
        Style(STRIPE, (0.07, 0.1), (0.3, 0.6), (0.5, 0.75), (0.1, 0.5), 0.2),
        Style(TILE, _ANY, (0.2, 0.9), (0.3, 0.9), (0.05, 0.2), 0.4),
    ),
    "lamp": (Style(GLOW, (0.08, 0.15), (0.05, 0.4), (0.9, 1.0), (0.2, 0.5), 0.05),),
    "metal": (Style(FLAT, _ANY, (0.0, 0.05), (0.2, 0.7), (0.3, 0.6), 0.1),),
    "clutter": (
        Style(FLAT, _ANY, (0.4, 1.0), (0.3, 0.9), (0.2, 0.5), 0.15),
        Style(STRIPE, _ANY, (0.4, 1.0), (0.3, 0.9), (0.03, 0.1), 0.5),
        Style(TILE, _ANY, (0.3, 1.0), (0.3, 0.9), (0.05, 0.1), 0.5),
    ),
}


def _linear(hue: float, saturation: float, value: float) -> Color:
    red, green, blue = colorsys.hsv_to_rgb(hue % 1.0, min(max(saturation, 0), 1), min(max(value, 0.03), 1))
    return red**2.2, green**2.2, blue**2.2


def paint(name: str, rng: np.random.Generator) -> Paint:
    """A random paint in one of the styles of `name` (a class of ROOM_CLASSES, or "books" or "metal")."""
    style = STYLES[name][int(rng.integers(len(STYLES[name])))]
    hue, saturation, value = rng.uniform(*style.hue), rng.uniform(*style.saturation), rng.uniform(*style.value)
    change = style.contrast * rng.uniform(0.5, 1.0) * (-1 if value > 0.5 else 1)
    second = _linear(hue + 0.5 * style.contrast * rng.uniform(-0.5, 0.5), saturation, value * (1 + change))
    return Paint(
        style.texture, _linear(hue, saturation, value), second, rng.uniform(*style.period), rng.uniform(0, 999)
    )
