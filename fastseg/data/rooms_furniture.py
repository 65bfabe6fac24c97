"""Furniture of procedural rooms: each function returns parts around the origin, the back towards -y, the foot at z = 0.

Sizes are metres, drawn around what shops sell.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from fastseg.data.rooms_materials import Paint, paint

BOX, CYLINDER, SPHERE = range(3)
Vector = tuple[float, float, float]


class Part(NamedTuple):
    """A box (half sizes), upright cylinder (radius, radius, half height) or sphere (radius thrice), turned by yaw."""

    kind: int
    name: str  # a class of ROOM_CLASSES
    centre: Vector
    half: Vector
    yaw: float
    paint: Paint


def moved(parts: list[Part], x: float, y: float, yaw: float, z: float = 0.0) -> list[Part]:
    """The parts turned by yaw about the z axis and then shifted by (x, y, z)."""
    c, s = math.cos(yaw), math.sin(yaw)
    return [
        p._replace(
            centre=(x + c * p.centre[0] - s * p.centre[1], y + s * p.centre[0] + c * p.centre[1], z + p.centre[2]),
            yaw=p.yaw + yaw,
        )
        for p in parts
    ]


def block(name: str, coat: Paint, low: Vector, high: Vector) -> Part:
    """The box from corner `low` to corner `high`."""
    centre = ((low[0] + high[0]) / 2, (low[1] + high[1]) / 2, (low[2] + high[2]) / 2)
    half = ((high[0] - low[0]) / 2, (high[1] - low[1]) / 2, (high[2] - low[2]) / 2)
    return Part(BOX, name, centre, half, 0.0, coat)


def _upright(name: str, coat: Paint, radius: float, low: float, high: float, x: float = 0.0, y: float = 0.0) -> Part:
    return Part(CYLINDER, name, (x, y, (low + high) / 2), (radius, radius, (high - low) / 2), 0.0, coat)


def _legs(name: str, coat: Paint, w: float, d: float, height: float, thick: float, round_leg: bool) -> list[Part]:
    spots = [(sx * (w - thick), sy * (d - thick)) for sx in (-1, 1) for sy in (-1, 1)]
    if round_leg:
        return [_upright(name, coat, thick, 0, height, x, y) for x, y in spots]
    return [block(name, coat, (x - thick, y - thick, 0), (x + thick, y + thick, height)) for x, y in spots]


def thing(rng: np.random.Generator, size: float = 1.0) -> list[Part]:
    """A ball, a tin, a bin or a vase: clutter with curved surfaces."""
    coat, radius = paint("clutter", rng), size * rng.uniform(0.05, 0.2)
    if rng.random() < 0.4:
        return [Part(SPHERE, "clutter", (0, 0, radius), (radius, radius, radius), 0.0, coat)]
    height = radius * rng.uniform(1.2, 3.5)
    body = _upright("clutter", coat, radius, 0, height)
    if rng.random() < 0.3:
        crown = radius * rng.uniform(1.0, 1.6)
        return [body, Part(SPHERE, "clutter", (0, 0, height + 0.7 * crown), (crown,) * 3, 0.0, paint("clutter", rng))]
    return [body]


def carton(rng: np.random.Generator, size: float = 1.0) -> list[Part]:
    """One box, or a smaller one on top of it."""
    w, d, h = (size * rng.uniform(0.1, 0.35) for _ in range(3))
    parts = [block("box", paint("box", rng), (-w, -d, 0), (w, d, 1.6 * h))]
    if rng.random() < 0.3:
        top = block("box", paint("box", rng), (-0.6 * w, -0.6 * d, 0), (0.6 * w, 0.6 * d, h))
        parts += moved([top], 0, 0, rng.uniform(-0.8, 0.8), 1.6 * h)
    return parts


def _laden(rng: np.random.Generator, w: float, d: float, height: float) -> list[Part]:
    parts: list[Part] = []
    for spot in np.linspace(-0.7, 0.7, 4)[rng.random(4) < 0.45]:
        item = thing(rng, 0.5) if rng.random() < 0.5 else carton(rng, 0.4)
        parts += moved(item, float(spot) * w, rng.uniform(-0.5, 0.5) * d, rng.uniform(-1, 1), height)
    return parts


def table(rng: np.random.Generator, w: float | None = None) -> list[Part]:
    """A table: top, four legs or one round foot, things on it."""
    w, d = w or rng.uniform(0.45, 1.0), rng.uniform(0.35, 0.5)
    height, thick, coat = rng.uniform(0.68, 0.78), rng.uniform(0.02, 0.05), paint("table", rng)
    if rng.random() < 0.2:
        round_top = [
            _upright("table", coat, d, height - thick, height),
            _upright("table", coat, 0.05, 0, height - thick),
        ]
        return [*round_top, _upright("table", coat, 0.6 * d, 0, 0.03), *_laden(rng, 0.7 * d, 0.7 * d, height)]
    top = block("table", coat, (-w, -d, height - thick), (w, d, height))
    legs = _legs("table", coat, w, d, height - thick, rng.uniform(0.02, 0.04), rng.random() < 0.3)
    return [top, *legs, *_laden(rng, w, d, height)]


def chair(rng: np.random.Generator) -> list[Part]:
    """A chair: seat, legs, back; or a round stool."""
    w, seat = rng.uniform(0.2, 0.25), rng.uniform(0.42, 0.48)
    coat, leg = paint("chair", rng), paint("chair", rng)
    if rng.random() < 0.15:
        return [_upright("chair", coat, w, seat - 0.06, seat), _upright("chair", leg, 0.03, 0, seat - 0.06),
                _upright("chair", leg, 0.8 * w, 0, 0.03)]  # fmt: skip
    parts = [block("chair", coat, (-w, -w, seat - 0.05), (w, w, seat))]
    parts += _legs("chair", leg, w, w, seat - 0.05, 0.02, rng.random() < 0.3)
    bottom = seat + rng.uniform(0.0, 0.15)
    if bottom > seat + 0.03:
        parts += [
            block("chair", leg, (x - 0.02, -w, seat), (x + 0.02, -w + 0.03, bottom)) for x in (0.02 - w, w - 0.02)
        ]
    parts.append(block("chair", coat, (-w, -w, bottom), (w, -w + 0.04, seat + rng.uniform(0.35, 0.55))))
    return parts


def dining(rng: np.random.Generator) -> list[Part]:
    """A table with one to four chairs around it, more or less pulled out."""
    w = rng.uniform(0.5, 0.95)
    parts = table(rng, w)
    side = max(abs(p.centre[1]) + p.half[1] for p in parts[:1])
    for x, sign in [(-0.45 * w, -1), (0.45 * w, -1), (-0.45 * w, 1), (0.45 * w, 1)]:
        if rng.random() < 0.6:
            yaw = rng.uniform(-0.3, 0.3) + (math.pi if sign > 0 else 0.0)
            parts += moved(chair(rng), x, sign * (side + rng.uniform(0.0, 0.35)), yaw)
    return parts


def desk(rng: np.random.Generator) -> list[Part]:
    """A table with its chair in front."""
    return [
        *table(rng, rng.uniform(0.5, 0.8)),
        *moved(chair(rng), 0.0, rng.uniform(0.55, 0.75), math.pi + rng.uniform(-0.6, 0.6)),
    ]


def bed(rng: np.random.Generator) -> list[Part]:
    """A bed: frame, mattress, blanket, headboard, pillows."""
    w, d, height = rng.uniform(0.45, 0.9), rng.uniform(0.95, 1.05), rng.uniform(0.4, 0.6)
    wood, cover, pillow = paint("table", rng), paint("bed", rng), paint("bed", rng)
    parts = [
        block("bed", wood, (-w, -d, 0.08), (w, d, 0.5 * height)),
        block("bed", pillow, (-w + 0.02, -d + 0.02, 0.5 * height), (w - 0.02, d - 0.02, height)),
        block("bed", cover, (-w - 0.01, -0.4 * d, 0.4 * height), (w + 0.01, d + 0.01, height + 0.03)),
        block("bed", wood, (-w, -d - 0.06, 0), (w, -d, height + rng.uniform(0.2, 0.6))),
    ]
    for x in (-0.5 * w, 0.5 * w) if w > 0.65 else (0.0,):
        cushion = block("bed", pillow, (-0.28, -0.18, 0), (0.28, 0.18, 0.13))
        parts += moved([cushion], x, 0.25 - d, rng.uniform(-0.15, 0.15), height)
    return parts


def cabinet(rng: np.random.Generator) -> list[Part]:
    """A cupboard or a wardrobe on a plinth, things on the low ones."""
    w, d = rng.uniform(0.3, 0.9), rng.uniform(0.2, 0.32)
    height, coat = (rng.uniform(1.7, 2.2) if rng.random() < 0.4 else rng.uniform(0.6, 1.2)), paint("cabinet", rng)
    parts = [
        block("cabinet", paint("metal", rng), (-w + 0.03, -d, 0), (w - 0.03, d - 0.04, 0.08)),
        block("cabinet", coat, (-w, -d, 0.08), (w, d, height)),
    ]
    return parts + (_laden(rng, w, d, height) if height < 1.3 else [])


def shelf(rng: np.random.Generator) -> list[Part]:
    """A bookshelf: sides, back, boards, rows of books."""
    w, d, height = rng.uniform(0.3, 0.7), rng.uniform(0.13, 0.2), rng.uniform(1.0, 2.1)
    coat, count = paint("shelf", rng), int(rng.integers(3, 6))
    parts = [block("shelf", coat, (x - 0.012, -d, 0), (x + 0.012, d, height)) for x in (-w, w)]
    parts.append(block("shelf", coat, (-w, -d, 0), (w, -d + 0.01, height)))
    levels = np.linspace(0.06, height - 0.02, count)
    parts += [block("shelf", coat, (-w, -d, z - 0.012), (w, d, z + 0.012)) for z in levels]
    gap = float(levels[1] - levels[0])
    for z in levels[:-1]:
        if rng.random() < 0.75:
            low, high = sorted(rng.uniform(-w + 0.03, w - 0.03, 2).tolist())
            top = float(z) + rng.uniform(0.5, 0.85) * gap
            parts.append(block("shelf", paint("books", rng), (low, -d, float(z)), (high, rng.uniform(0, 0.8) * d, top)))
    return parts


def sofa(rng: np.random.Generator) -> list[Part]:
    """A sofa or an armchair: seat, back, arms (rolled or square), cushions."""
    w, d, seat = rng.uniform(0.4, 1.1), rng.uniform(0.4, 0.48), rng.uniform(0.36, 0.46)
    coat, arm = paint("sofa", rng), rng.uniform(0.08, 0.13)
    parts = [
        block("sofa", coat, (-w, -d, 0.06), (w, d, seat)),
        block("sofa", coat, (-w, -d, seat), (w, -d + 0.2, seat + rng.uniform(0.3, 0.5))),
    ]
    parts += [block("sofa", coat, (x - arm, -d, 0.03), (x + arm, d, seat + 0.2)) for x in (-w, w)]
    for x in np.linspace(-0.6, 0.6, 3)[rng.random(3) < 0.5] * w:
        cushion = block("sofa", paint("sofa", rng), (-0.2, -0.07, 0), (0.2, 0.07, 0.36))
        parts += moved([cushion], float(x), 0.3 - d, rng.uniform(-0.3, 0.3), seat)
    return parts


def floor_lamp(rng: np.random.Generator) -> list[Part]:
    """A standing lamp: foot, pole, shade."""
    metal, height, radius = paint("metal", rng), rng.uniform(1.2, 1.7), rng.uniform(0.13, 0.22)
    return [
        _upright("lamp", metal, 0.14, 0, 0.03),
        _upright("lamp", metal, 0.015, 0.03, height),
        _upright("lamp", paint("lamp", rng), radius, height - 0.05, height + rng.uniform(0.2, 0.3)),
    ]


def footprint(parts: list[Part]) -> tuple[float, float, float, float]:
    """(x low, x high, y low, y high): the parts' extent on the floor."""
    xs, ys = [], []
    for p in parts:
        c, s = abs(math.cos(p.yaw)), abs(math.sin(p.yaw))
        ex, ey = c * p.half[0] + s * p.half[1], s * p.half[0] + c * p.half[1]
        xs += [p.centre[0] - ex, p.centre[0] + ex]
        ys += [p.centre[1] - ey, p.centre[1] + ey]
    return min(xs), max(xs), min(ys), max(ys)
