"""Ray casting of boxes, cylinders and spheres in a box-shaped room, one primitive's screen rectangle at a time.

A pixel's ray is p = o + z d with d = R ((u - cx)/fx, (v - cy)/fy, 1), so z is the camera's z-depth. With w = 1/z, the
ray meets the plane q_a = h_a of a box where w = d_a / (h_a - o_a), which is linear in the pixel, and the hit lies
inside the face where |o_b w + d_b| <= h_b w: no division in the loop. A sphere gives C w^2 + 2 B w + A = 0.
The z-buffer holds w (float64); `code` holds 8 * primitive + face (0..5: -x +x -y +y -z +z, 6: curved side).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

Array = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int32]
NEAR = 0.02  # metres: what is nearer to the camera plane is cut off when a screen rectangle is made
CURVED = 6


@njit(cache=True, nogil=True)
def _grow(rect: Array, q: Array, view: Array, lo: Array, intrinsics: Array) -> None:
    x, y, z = q[0] - lo[0], q[1] - lo[1], q[2] - lo[2]
    cz = view[0, 2] * x + view[1, 2] * y + view[2, 2] * z
    u = intrinsics[0] * (view[0, 0] * x + view[1, 0] * y + view[2, 0] * z) / cz + intrinsics[2]
    v = intrinsics[1] * (view[0, 1] * x + view[1, 1] * y + view[2, 1] * z) / cz + intrinsics[3]
    rect[0], rect[1] = min(rect[0], u), max(rect[1], u)
    rect[2], rect[3] = min(rect[2], v), max(rect[3], v)


@njit(cache=True, nogil=True)
def _segment(rect: Array, p: Array, q: Array, view: Array, lo: Array, intrinsics: Array) -> None:
    """Grow rect by the part of the segment p q that lies in front of the camera."""
    zp, zq = -NEAR, -NEAR
    for a in range(3):
        zp += view[a, 2] * (p[a] - lo[a])
        zq += view[a, 2] * (q[a] - lo[a])
    if zp >= 0:
        _grow(rect, p, view, lo, intrinsics)
    if (zp >= 0) != (zq >= 0):
        cut = p + (zp / (zp - zq)) * (q - p)
        _grow(rect, cut + view[:, 2] * 1e-9, view, lo, intrinsics)


@njit(cache=True, nogil=True)
def _rectangle(corners: Array, edges: Codes, view: Array, lo: Array, intrinsics: Array, h: int, w: int) -> Codes:
    """First and past-the-last row and column that the edges cover: v0, v1, u0, u1 (empty when out of sight)."""
    rect = np.array([1e12, -1e12, 1e12, -1e12])
    for e in range(edges.shape[0]):
        _segment(rect, corners[edges[e, 0]], corners[edges[e, 1]], view, lo, intrinsics)
        _segment(rect, corners[edges[e, 1]], corners[edges[e, 0]], view, lo, intrinsics)
    out = np.zeros(4, np.int32)
    if rect[0] <= rect[1]:
        out[0] = min(max(np.ceil(rect[2]), 0), h)
        out[1] = min(max(np.floor(rect[3]) + 1, 0), h)
        out[2] = min(max(np.ceil(rect[0]), 0), w)
        out[3] = min(max(np.floor(rect[1]) + 1, 0), w)
    return out


@njit(cache=True, nogil=True)
def _flat(rect: Codes, a: int, n: float, half: Array, disc: bool, view: Array, lo: Array, k: Array, number: int,
          inverse: Array, code: Codes) -> None:  # fmt: skip
    """Draw the face q_a - o_a = n of a box, or the disc of a cylinder, where it is nearest."""
    b, c = (a + 1) % 3, (a + 2) % 3
    hb, hc, ob, oc = half[b], half[c], lo[b], lo[c]
    sa, sb, sc = view[a, 0] / (k[0] * n), view[b, 0] / k[0], view[c, 0] / k[0]
    for v in range(rect[0], rect[1]):
        y = (v - k[3]) / k[1]
        wa = (view[a, 1] * y + view[a, 2]) / n - sa * k[2]
        db = view[b, 1] * y + view[b, 2] - sb * k[2]
        dc = view[c, 1] * y + view[c, 2] - sc * k[2]
        for u in range(rect[2], rect[3]):
            w = wa + sa * u
            if w > inverse[v, u]:
                eb, ec = ob * w + db + sb * u, oc * w + dc + sc * u
                inside = eb * eb + ec * ec <= hb * hb * w * w if disc else abs(eb) <= hb * w and abs(ec) <= hc * w
                if inside:
                    inverse[v, u] = w
                    code[v, u] = number


@njit(cache=True, nogil=True)
def _round(rect: Codes, half: Array, sphere: bool, view: Array, lo: Array, k: Array, number: int,
           inverse: Array, code: Codes) -> None:  # fmt: skip
    """Draw a sphere or the side of an upright cylinder where it is nearest."""
    tall = 1.0 if sphere else 0.0
    cc = lo[0] ** 2 + lo[1] ** 2 + tall * lo[2] ** 2 - half[0] ** 2
    if cc <= 0:
        return
    for v in range(rect[0], rect[1]):
        y = (v - k[3]) / k[1]
        for u in range(rect[2], rect[3]):
            x = (u - k[2]) / k[0]
            d0 = view[0, 0] * x + view[0, 1] * y + view[0, 2]
            d1 = view[1, 0] * x + view[1, 1] * y + view[1, 2]
            d2 = view[2, 0] * x + view[2, 1] * y + view[2, 2]
            bb = d0 * lo[0] + d1 * lo[1] + tall * d2 * lo[2]
            root = bb * bb - cc * (d0 * d0 + d1 * d1 + tall * d2 * d2)
            if root >= 0 and bb < 0:
                w = (np.sqrt(root) - bb) / cc
                if w > inverse[v, u] and (sphere or abs(lo[2] * w + d2) <= half[2] * w):
                    inverse[v, u] = w
                    code[v, u] = number


@njit(cache=True, nogil=True)
def _shell(size: Array, turn: Array, origin: Array, k: Array, inverse: Array, code: Codes) -> None:
    """Fill the buffers with the room's own faces seen from inside: primitives 0..5 = floor, ceiling, -x +x -y +y."""
    height, width = inverse.shape
    n = np.empty((3, 2))
    for a in range(3):
        n[a, 0], n[a, 1] = -1.0 / max(origin[a], 1e-9), 1.0 / max(size[a] - origin[a], 1e-9)
    for v in range(height):
        y = (v - k[3]) / k[1]
        for u in range(width):
            x = (u - k[2]) / k[0]
            best, number = 0.0, 0
            for a in range(3):
                d = turn[a, 0] * x + turn[a, 1] * y + turn[a, 2]
                side = 1 if d > 0 else 0
                w = d * n[a, side]
                if w > best:
                    best, number = w, 8 * ((2 + 2 * a + side) % 6) + 2 * a + 1 - side
            inverse[v, u] = best
            code[v, u] = number


@njit(cache=True, nogil=True)
def _draw(kind: int, shape: Array, turn: Array, origin: Array, k: Array, number: int, inverse: Array,
          code: Codes, edges: Codes, quads: Codes) -> None:  # fmt: skip
    half, c, s = shape[3:6], shape[6], shape[7]
    view, lo, corners = turn.copy(), origin - shape[:3], np.empty((8, 3))
    for a in range(3):
        view[0, a], view[1, a] = c * turn[0, a] + s * turn[1, a], c * turn[1, a] - s * turn[0, a]
    lo[0], lo[1] = c * lo[0] + s * lo[1], c * lo[1] - s * lo[0]
    for i in range(8):
        for a in range(3):
            corners[i, a] = half[a] if (i >> a) & 1 else -half[a]
    height, width = inverse.shape
    if kind != 0:
        rect = _rectangle(corners, edges, view, lo, k, height, width)
        _round(rect, half, kind == 2, view, lo, k, 8 * number + CURVED, inverse, code)
    first = 0 if kind == 0 else (2 if kind == 1 else 3)
    for a in range(first, 3):
        side = 1 if lo[a] > half[a] else 0
        if abs(lo[a]) > half[a]:
            rect = _rectangle(corners, quads[2 * a + side], view, lo, k, height, width)
            n = (half[a] if side else -half[a]) - lo[a]
            _flat(rect, a, n, half, kind == 1, view, lo, k, 8 * number + 2 * a + side, inverse, code)


def _box_edges() -> tuple[Codes, Codes]:
    edges = [(i, i | 1 << a) for i in range(8) for a in range(3) if not i >> a & 1]
    quads = [[e for e in edges if all((i >> a & 1) == side for i in e)] for a in range(3) for side in (0, 1)]
    return np.array(edges, np.int32), np.array(quads, np.int32)


_EDGES, _QUADS = _box_edges()


@njit(cache=True, nogil=True)
def _cast(size: Array, kind: Codes, shape: Array, turn: Array, origin: Array, k: Array, inverse: Array, code: Codes,
          edges: Codes, quads: Codes) -> None:  # fmt: skip
    _shell(size, turn, origin, k, inverse, code)
    for number in range(6, kind.shape[0]):
        _draw(kind[number], shape[number], turn, origin, k, number, inverse, code, edges, quads)


def cast(
    size: Array, kind: Codes, shape: Array, turn: Array, origin: Array, intrinsics: Array, height: int, width: int
) -> tuple[Array, Codes]:
    """(inverse z-depth float64 (H, W) in 1/m, code int32 (H, W) = 8 * primitive + face) of the nearest surfaces.

    size (3,) is the room's; kind (P,) int32 and shape (P, 8) float64 (centre, half sizes, cos and sin of yaw) are the
    primitives, whose first six are the room's faces; turn (3, 3) and origin (3,) are the camera's rotation and place in
    the world; intrinsics (4,) = fx, fy, cx, cy. The camera stands inside the room and outside of every primitive.
    """
    inverse, code = np.empty((height, width)), np.empty((height, width), np.int32)
    _cast(size, kind, shape, np.ascontiguousarray(turn), np.ascontiguousarray(origin), intrinsics, inverse, code,
          _EDGES, _QUADS)  # fmt: skip
    return inverse, code
