"""Texture and light of procedural rooms: from (inverse depth, code) to colour, depth, normals and labels."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

from fastseg.data.rooms_cast import Array, Codes

BIAS = 0.012  # share of the distance to the light by which a surface lies behind the shadow map; more when grazing
HALO = 0.15  # metres over which the room's corners darken (stands in for ambient occlusion)


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _hash(i: int, j: int, salt: int) -> float:
    n = (i * 374761393 + j * 668265263 + salt * 974634777) & 0xFFFFFFFF
    n = ((n ^ (n >> 13)) * 1274126177) & 0xFFFFFFFF
    return ((n ^ (n >> 16)) & 0xFFFFFF) / 16777216.0


@njit(cache=True, nogil=True, error_model="numpy")
def _noise(x: float, y: float, salt: int) -> float:
    """Smooth noise in [0, 1] with period 1."""
    i, j = int(np.floor(x)), int(np.floor(y))
    x, y = x - i, y - j
    x, y = x * x * (3 - 2 * x), y * y * (3 - 2 * y)
    low = _hash(i, j, salt) * (1 - x) + _hash(i + 1, j, salt) * x
    high = _hash(i, j + 1, salt) * (1 - x) + _hash(i + 1, j + 1, salt) * x
    return low * (1 - y) + high * y


@njit(cache=True, nogil=True, error_model="numpy")
def _cells(texture: int, x: float, y: float, salt: int) -> tuple[float, float]:
    """(mix, gain) of tiles, stripes, planks and bricks at x, y in periods."""
    i, j = int(np.floor(x)), int(np.floor(y))
    fx, fy = x - i, y - j
    if texture == 1:  # tiles: checkered or all alike, dark joints
        joint = fx < 0.03 or fy < 0.03
        checker = ((i + j) & 1) if salt & 1 else 0.3 * _hash(i, j, salt)
        return 1.0 * checker, 0.75 if joint else 1.0
    if texture == 2:
        return (1.0 if fx < 0.5 else 0.0), 1.0
    if texture == 3:  # planks along y
        j = int(np.floor(y * 0.12 + 3 * _hash(i, 7, salt)))
        grain = _noise(x * 14 + 40 * _hash(i, j, salt), y * 0.6, salt)
        return 0.5 * _hash(i, j, salt) + 0.5 * grain, 0.7 if fx < 0.03 else 1.0
    row = int(np.floor(y * 3))
    x += 0.5 * (row & 1)
    i = int(np.floor(x))
    joint = x - i < 0.05 or y * 3 - row < 0.12
    return _hash(i, row, salt), 1.35 if joint else 1.0


@njit(cache=True, nogil=True, error_model="numpy")
def _panel(texture: int, x: float, y: float, a: float, b: float, salt: int) -> tuple[float, float]:
    """(mix, gain) of doors and window panes; a, b in [-1, 1] over the face; x, y in periods."""
    if texture == 7:
        edge = max(abs(a), abs(b)) > 0.92 or abs(a) < 0.04 or (abs(b - 0.2) < 0.03 and salt & 1 == 1)
        return 0.5 - 0.5 * b, (0.35 if edge else 1.6)
    count = max(1.0, np.round(x))
    s = (a * 0.5 + 0.5) * count
    s, t = abs(s - np.floor(s) - 0.5) * 2, abs(b)
    if s > 0.97:
        return 0.0, 0.4
    knob = 0.8 < s < 0.86 and abs(b) < 0.08
    inset = s < 0.78 and 0.08 < t < 0.85 if salt & 1 else t < 0.9 and s < 0.9
    return (1.0 if inset else 0.0), (0.25 if knob else 1.0)


@njit(cache=True, nogil=True, error_model="numpy")
def _texture(texture: int, s: float, t: float, a: float, b: float, width: float, period: float, salt: int,
             out: Array) -> None:  # fmt: skip
    """Fill out with mixing weights (red, green, blue) and a gain at s, t (metres) and a, b (shares of the face)."""
    x, y, gain = s / period, t / period, 1.0
    fine = _noise(s * 90, t * 90, salt)
    if texture == 4:
        mix = 0.5 * _noise(x, y, salt) + 0.5 * _noise(3.1 * x, 3.1 * y, salt + 1)
    elif texture == 0:
        mix = _noise(x, y, salt)
    elif texture in (1, 2, 3, 5):
        mix, gain = _cells(texture, x, y, salt)
    elif texture in (6, 7):
        mix, gain = _panel(texture, 2 * width / period, y, a, b, salt)
    else:
        mix, gain = 0.0, 2.5 if texture == 10 else 1.0
    out[0], out[1], out[2] = mix, mix, mix
    if texture == 8 or texture == 9:
        i = int(np.floor(x))
        border = max(abs(a), abs(b)) > 0.88 and texture == 8
        for c in range(3):
            cell = _hash(i, 0, salt + c) if texture == 9 else _noise(x, y, salt + c) * 1.6 - 0.3
            out[c] = 0.0 if border else min(max(cell, 0.0), 1.0)
        gain = 0.5 if border or (texture == 9 and x - i < 0.08) else 1.0
    out[3] = gain * (0.93 + 0.14 * fine)


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _lit(shadow: npt.NDArray[np.float32], dx: float, dy: float, dz: float, bias: float) -> float:
    """Share of a light that reaches the point at (dx, dy, dz) from it: four taps of its cube of inverse depths."""
    ax, ay, az = abs(dx), abs(dy), abs(dz)
    if ax >= ay and ax >= az:
        face, m, p, q = (1 if dx > 0 else 0), ax, dy, dz
    elif ay >= az:
        face, m, p, q = (3 if dy > 0 else 2), ay, dz, dx
    else:
        face, m, p, q = (5 if dz > 0 else 4), az, dx, dy
    side = shadow.shape[1]
    scale, half, top = 0.5 * side / m, 0.5 * side - 0.5, side - 1.001
    u, v = p * scale + half, q * scale + half
    u = 0.0 if u < 0 else (top if u > top else u)
    v = 0.0 if v < 0 else (top if v > top else v)
    i, j, f, one = np.uint32(u), np.uint32(v), np.uint32(face), np.uint32(1)  # unsigned: no test for a negative index
    u, v, near, share = u - i, v - j, np.float32((1 + bias) / m), 0.0
    if shadow[f, j, i] < near:
        share += (1 - u) * (1 - v)
    if shadow[f, j, i + one] < near:
        share += u * (1 - v)
    if shadow[f, j + one, i] < near:
        share += (1 - u) * v
    if shadow[f, j + one, i + one] < near:
        share += u * v
    return share


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _light(p: Array, n: Array, lights: Array, shadows: npt.NDArray[np.float32], out: Array) -> None:
    """Add each light's irradiance at p with unit normal n: intensity * cos / (0.5 + distance^2) * visibility."""
    for number in range(lights.shape[0]):
        dx, dy, dz = p[0] - lights[number, 0], p[1] - lights[number, 1], p[2] - lights[number, 2]
        cosine = -(n[0] * dx + n[1] * dy + n[2] * dz)
        if cosine > 0:
            square = dx * dx + dy * dy + dz * dz
            cosine /= np.sqrt(square)
            bias = BIAS * (1 + 0.5 / max(cosine, 0.02))
            amount = cosine / (0.5 + square) * _lit(shadows[number], dx, dy, dz, bias)
            for c in range(3):
                out[c] += amount * lights[number, 3 + c]


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _locate(p: Array, shape: Array, kind: int, face: int, place: Array, n: Array) -> None:
    """place = (s, t metres; a, b shares of the face; width of the face); n = the world normal at p."""
    c, s = shape[6], shape[7]
    dx, dy, z = p[0] - shape[0], p[1] - shape[1], p[2] - shape[2]
    x, y = c * dx + s * dy, c * dy - s * dx
    n[0], n[1], n[2] = 0.0, 0.0, 0.0
    if face == 6:
        n[0], n[1], n[2] = dx / shape[3], dy / shape[3], (z / shape[3] if kind == 2 else 0.0)
        place[0], place[1] = np.arctan2(y, x) * shape[3], z
        place[2], place[3], place[4] = place[0] / (np.pi * shape[3]), z / shape[5], np.pi * shape[3]
        return
    sign = 1.0 if face & 1 else -1.0
    if face < 2:
        n[0], n[1], place[0], place[1], place[4] = sign * c, sign * s, y, z, shape[4]
    elif face < 4:
        n[0], n[1], place[0], place[1], place[4] = -sign * s, sign * c, x, z, shape[3]
    else:
        n[2], place[0], place[1], place[4] = sign, x, y, shape[3]
    place[2] = place[0] / place[4]
    place[3] = place[1] / (shape[5] if face < 4 else shape[4])


@njit(cache=True, nogil=True, error_model="numpy")
def _corner(p: Array, size: Array, face: int) -> float:
    """Share of ambient light left at a point of the room's shell, near its edges."""
    gain = 1.0
    for a in range(3):
        if a != face // 2:
            gap = max(min(p[a], size[a] - p[a]), 0.0)
            gain *= 1 - 0.3 * HALO / (HALO + gap)
    return gain


@njit(cache=True, nogil=True, error_model="numpy")
def shade(size: Array, kind: Codes, shape: Array, coats: Array, labels: npt.NDArray[np.uint8], lights: Array,
          shadows: npt.NDArray[np.float32], ambient: Array, curve: npt.NDArray[np.uint8], turn: Array, origin: Array,
          k: Array, inverse: Array, code: Codes, color: npt.NDArray[np.uint8], depth: npt.NDArray[np.float32],
          normals: npt.NDArray[np.float32], label: npt.NDArray[np.uint8]) -> None:  # fmt: skip
    """Fill color (H, W, 3) uint8, depth (H, W), normals (3, H, W) in the camera frame and label (H, W) from the cast.

    coats (P, 9) float64 = texture, first and second linear RGB, period, salt; lights (L, 6) = place, linear RGB;
    shadows (L, 6, S, S) float32 inverse depths around each light; curve (4096,) uint8 maps linear [0, 1] to sRGB-like.
    """
    p, n, place, light, mix = np.empty(3), np.empty(3), np.empty(5), np.empty(3), np.empty(4)
    for v in range(inverse.shape[0]):
        y = (v - k[3]) / k[1]
        for u in range(inverse.shape[1]):
            x, z = (u - k[2]) / k[0], 1.0 / inverse[v, u]
            number, face = code[v, u] >> 3, code[v, u] & 7
            for a in range(3):
                p[a] = origin[a] + z * (turn[a, 0] * x + turn[a, 1] * y + turn[a, 2])
            _locate(p, shape[number], kind[number], face, place, n)
            coat = coats[number]
            texture = int(coat[0])
            _texture(texture, place[0], place[1], place[2], place[3], place[4], coat[7], int(coat[8]), mix)
            dim = _corner(p, size, face) if number < 6 else 0.75 + 0.25 * n[2]
            for c in range(3):
                light[c] = ambient[c] * dim
            if texture != 10 and texture != 7:
                _light(p, n, lights, shadows, light)
            for c in range(3):
                albedo = coat[1 + c] + mix[c] * (coat[4 + c] - coat[1 + c])
                lit = albedo * mix[3] * (light[c] if texture != 10 and texture != 7 else 0.6)
                color[v, u, c] = curve[int(min(lit, 1.0) * 4095)]
                normals[c, v, u] = turn[0, c] * n[0] + turn[1, c] * n[1] + turn[2, c] * n[2]
            depth[v, u] = z
            label[v, u] = labels[number]
