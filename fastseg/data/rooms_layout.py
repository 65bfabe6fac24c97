"""Procedural rooms: size, walls, windows, doors, pictures, furniture, lights, drawn from a seed.

World frame: metres, z up, the floor is z = 0, the room fills [0, size_x] x [0, size_y] x [0, size_z].
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fastseg.data import rooms_furniture as furniture
from fastseg.data.rooms_cast import cast
from fastseg.data.rooms_furniture import BOX, SPHERE, Part, block, footprint, moved
from fastseg.data.rooms_materials import ROOM_CLASSES, paint

SHADOW_SIDE = 256  # pixels of each face of a light's shadow cube: 2.3 cm at 3 m
Maker = Callable[[np.random.Generator], list[Part]]


@dataclass(frozen=True)
class Room:
    """A room as arrays of P primitives, the first six its floor, ceiling and walls at -x, +x, -y, +y.

    seed      what it was drawn from
    size      (3,) float64 metres
    kind      (P,) int32: 0 box, 1 upright cylinder, 2 sphere
    shape     (P, 8) float64: centre, half sizes, cos and sin of yaw
    label     (P,) uint8 index into ROOM_CLASSES
    coats     (P, 9) float64: texture, two linear RGB colours, period in metres, salt
    lights    (L, 6) float64: place, linear RGB power
    shadows   (L, 6, S, S) float32: inverse depth around each light, faces -x +x -y +y -z +z
    ambient   (3,) float64 linear RGB
    gamma     exponent of the tone curve
    """

    seed: int
    size: npt.NDArray[np.float64]
    kind: npt.NDArray[np.int32]
    shape: npt.NDArray[np.float64]
    label: npt.NDArray[np.uint8]
    coats: npt.NDArray[np.float64]
    lights: npt.NDArray[np.float64]
    shadows: npt.NDArray[np.float32]
    ambient: npt.NDArray[np.float64]
    gamma: float


class Plan:
    """Parts placed so far and the floor rectangles they take, inside a room of the given size."""

    def __init__(self, size: npt.NDArray[np.float64]) -> None:
        self.size = size
        self.parts: list[Part] = []
        self.taken: list[tuple[float, float, float, float, float]] = []  # centre x, y, half x, y, yaw

    def free(self, spot: tuple[float, float, float, float, float], margin: float = 0.03) -> bool:
        corners = _corners(spot)
        inside = corners.min() > 0 and (corners < self.size[:2]).all()
        return bool(inside) and not any(_overlap(spot, other, margin) for other in self.taken)

    def put(self, parts: list[Part], x: float, y: float, yaw: float, margin: float = 0.03) -> bool:
        """Place the parts with their origin at x, y; False when something stands there or a wall is in the way."""
        x0, x1, y0, y1 = footprint(parts)
        mx, my, c, s = (x0 + x1) / 2, (y0 + y1) / 2, math.cos(yaw), math.sin(yaw)
        spot = (x + c * mx - s * my, y + s * mx + c * my, (x1 - x0) / 2, (y1 - y0) / 2, yaw)
        if not self.free(spot, margin):
            return False
        self.taken.append(spot)
        self.parts += moved(parts, x, y, yaw)
        return True

    def wall(self, number: int, along: float, gap: float) -> tuple[float, float, float]:
        """(x, y, yaw) of a thing at `along` metres on wall 0..3 (-y, +x, +y, -x), its origin `gap` metres inside."""
        w, d = float(self.size[0]), float(self.size[1])
        spots = [(along, gap), (w - gap, along), (w - along, d - gap), (gap, d - along)]
        return *spots[number], number * math.pi / 2

    def length(self, number: int) -> float:
        return float(self.size[number % 2])


def _corners(spot: tuple[float, float, float, float, float]) -> npt.NDArray[np.float64]:
    x, y, hx, hy, yaw = spot
    along, across = np.array([math.cos(yaw), math.sin(yaw)]), np.array([-math.sin(yaw), math.cos(yaw)])
    signs = np.array([(-1, -1), (-1, 1), (1, -1), (1, 1)])
    corners: npt.NDArray[np.float64] = np.array([x, y]) + signs[:, :1] * hx * along + signs[:, 1:] * hy * across
    return corners


def _overlap(first: tuple[float, ...], second: tuple[float, ...], margin: float) -> bool:
    """Whether two turned rectangles come nearer than margin: no axis of either separates their corners."""
    a, b = _corners(first), _corners(second)  # type: ignore[arg-type]
    for yaw in (first[4], first[4] + math.pi / 2, second[4], second[4] + math.pi / 2):
        axis = np.array([math.cos(yaw), math.sin(yaw)])
        p, q = a @ axis, b @ axis
        if p.max() + margin <= q.min() or q.max() + margin <= p.min():
            return False
    return True


def _hang(plan: Plan, rng: np.random.Generator, used: list[list[tuple[float, float]]], name: str) -> None:
    """Put a window, a door or a picture on a free stretch of a wall; nothing when ten tries find none."""
    sizes = {"window": (0.4, 1.1, 0.8, 1.1, 1.4, 2.2), "door": (0.4, 0.5, 0.0, 0.0, 1.95, 2.15)}
    low, high, sill0, sill1, top0, top1 = sizes.get(name, (0.15, 0.5, 1.1, 1.4, 1.6, 2.1))
    for _ in range(10):
        number, half = int(rng.integers(4)), rng.uniform(low, high)
        if plan.length(number) < 2 * half + 0.3:
            continue
        along = rng.uniform(half + 0.1, plan.length(number) - half - 0.1)
        if any(along - half < b + 0.08 and along + half > a - 0.08 for a, b in used[number]):
            continue
        used[number].append((along - half, along + half))
        bottom, top = rng.uniform(sill0, sill1), rng.uniform(top0, top1)
        thick = rng.uniform(0.01, 0.04)
        item = [block(name, paint(name, rng), (-half, 0, bottom), (half, thick, max(top, bottom + 0.3)))]
        x, y, yaw = plan.wall(number, along, 0.0)
        plan.parts += moved(item, x, y, yaw)
        if name == "door":
            step = 0.4
            x, y, yaw = plan.wall(number, along, step)
            plan.taken.append((x, y, half, step, yaw))
        return


def _against_wall(plan: Plan, rng: np.random.Generator, maker: Maker) -> None:
    parts = maker(rng)
    x0, x1, y0, _ = footprint(parts)
    for _ in range(12):
        number = int(rng.integers(4))
        room = plan.length(number)
        if room < x1 - x0 + 0.1:
            continue
        low, high = -x0 + 0.02, room - x1 - 0.02
        along = float(rng.choice([low, high])) if rng.random() < 0.3 else rng.uniform(low, high)
        if plan.put(parts, *plan.wall(number, along, 0.02 + rng.exponential(0.02) - y0)):
            return


def _anywhere(plan: Plan, rng: np.random.Generator, maker: Maker) -> None:
    parts = maker(rng)
    for _ in range(12):
        x, y = rng.uniform(0.3, plan.size[0] - 0.3), rng.uniform(0.3, plan.size[1] - 0.3)
        yaw = rng.integers(4) * math.pi / 2 + (rng.uniform(-0.8, 0.8) if rng.random() < 0.4 else 0.0)
        if plan.put(parts, float(x), float(y), float(yaw), 0.1):
            return


def _furnish(plan: Plan, rng: np.random.Generator) -> None:
    area = float(plan.size[0] * plan.size[1])
    if rng.random() < 0.4:  # a chimney or a column, as rooms have
        w, d = rng.uniform(0.15, 0.5), rng.uniform(0.1, 0.25)
        column = [block("wall", paint("wall", rng), (-w, -d, 0), (w, d, float(plan.size[2])))]
        _against_wall(plan, rng, lambda _: moved(column, 0, 0, 0))
    large: list[Maker] = [furniture.bed, furniture.sofa, furniture.cabinet, furniture.shelf, furniture.desk]
    order = rng.permutation(len(large))
    for i in range(round(area / 3.5) + 1):
        _against_wall(plan, rng, large[order[i % len(large)]])
    free: list[Maker] = [furniture.dining, furniture.dining, furniture.sofa, furniture.table, furniture.bed]
    for i in rng.integers(len(free), size=1 + int(area > 16) + int(area > 28)):
        _anywhere(plan, rng, free[i])
    small: list[Maker] = [furniture.chair, furniture.thing, furniture.carton, furniture.floor_lamp]
    for i in rng.choice(len(small), size=int(rng.integers(3, 9)), p=[0.25, 0.3, 0.35, 0.1]):
        _anywhere(plan, rng, small[i])
    for _ in range(int(rng.integers(0, 3))):  # rugs lie under furniture: no collision
        w, d = rng.uniform(0.5, 1.4), rng.uniform(0.4, 1.0)
        rug = [block("rug", paint("rug", rng), (-w, -d, 0), (w, d, 0.01))]
        half = math.hypot(w, d)
        if 2 * half < min(plan.size[:2]):
            x, y = rng.uniform(half, plan.size[0] - half), rng.uniform(half, plan.size[1] - half)
            plan.parts += moved(rug, float(x), float(y), float(rng.choice([0.0, rng.uniform(0, 3)])))


def _light_up(plan: Plan, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """(L, 6) lights: one under the ceiling, one before each of at most two windows."""
    x, y = plan.size[0] * rng.uniform(0.35, 0.65), plan.size[1] * rng.uniform(0.35, 0.65)
    drop, radius = rng.uniform(0.15, 0.4), rng.uniform(0.08, 0.15)
    z = float(plan.size[2]) - drop
    plan.parts.append(Part(SPHERE, "lamp", (x, y, z), (radius,) * 3, 0.0, paint("lamp", rng)))
    warm = np.array([1.0, rng.uniform(0.8, 1.0), rng.uniform(0.6, 1.0)])
    lights = [np.r_[x, y, z - radius - 0.03, rng.uniform(1.0, 3.5) * warm]]
    for part in [p for p in plan.parts if p.name == "window"][:2]:
        c, s = math.cos(part.yaw), math.sin(part.yaw)
        place = np.array(part.centre) + np.array([-s, c, 0.0]) * 0.35
        power = rng.uniform(0.3, 2.5) * np.array([rng.uniform(0.8, 1), rng.uniform(0.9, 1), 1.0])
        if not any(np.linalg.norm(place - np.array(p.centre)) < max(p.half) + 0.1 for p in plan.parts if p is not part):
            lights.append(np.r_[place, power])
    return np.array(lights)


def _shadow_cubes(
    size: npt.NDArray[np.float64], kind: npt.NDArray[np.int32], shape: npt.NDArray[np.float64],
    lights: npt.NDArray[np.float64],
) -> npt.NDArray[np.float32]:  # fmt: skip
    side = SHADOW_SIDE
    k = np.array([side / 2, side / 2, side / 2 - 0.5, side / 2 - 0.5])
    cubes = np.empty((len(lights), 6, side, side), np.float32)
    for light, cube in zip(lights, cubes, strict=True):
        for face in range(6):
            axis, turn = face // 2, np.zeros((3, 3))
            turn[(axis + 1) % 3, 0] = turn[(axis + 2) % 3, 1] = 1.0
            turn[axis, 2] = 1.0 if face & 1 else -1.0
            cube[face], _ = cast(size, kind, shape, turn, light[:3].copy(), k, side, side)
    return cubes


def make_room(seed: int) -> Room:
    """The room of this seed: 3 to 6.5 m by 3 to 6.5 m and 2.35 to 3 m high, furnished, textured and lit."""
    rng = np.random.default_rng([seed, 0x6F6F72])
    size = np.array([rng.uniform(3.0, 6.5), rng.uniform(3.0, 6.5), rng.uniform(2.35, 3.0)])
    plan = Plan(size)
    used: list[list[tuple[float, float]]] = [[] for _ in range(4)]
    for name, count in (("door", 1 + rng.integers(2)), ("window", rng.integers(4)), ("picture", rng.integers(6))):
        for _ in range(int(count)):
            _hang(plan, rng, used, name)
    _furnish(plan, rng)
    lights = _light_up(plan, rng)
    walls = [paint("wall", rng)] * 4 if rng.random() < 0.7 else [paint("wall", rng) for _ in range(4)]
    coats = [paint("floor", rng), paint("ceiling", rng), *walls, *(p.paint for p in plan.parts)]
    shell = np.r_[size / 2, size / 2, 1.0, 0.0]
    shape = np.array([shell] * 6 + [(*p.centre, *p.half, math.cos(p.yaw), math.sin(p.yaw)) for p in plan.parts])
    kind = np.array([BOX] * 6 + [p.kind for p in plan.parts], np.int32)
    names = ["floor", "ceiling", "wall", "wall", "wall", "wall", *(p.name for p in plan.parts)]
    return Room(
        seed, size, kind, shape,
        label=np.array([ROOM_CLASSES.index(name) for name in names], np.uint8),
        coats=np.array([(c.texture, *c.first, *c.second, c.period, c.salt) for c in coats], np.float64),
        lights=lights,
        shadows=_shadow_cubes(size, kind, shape, lights),
        ambient=rng.uniform(0.25, 0.5) * rng.uniform(0.9, 1.0, 3),
        gamma=float(rng.uniform(1.9, 2.4)),
    )  # fmt: skip
