"""Frames drawn uniformly over scenes, as the HN-labels paper draws 41K of NYUv2's 407,024."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable

import numpy as np


def sample_over_scenes(ids: Iterable[str], scene: Callable[[str], str], n: int, seed: int) -> list[str]:
    """`n` of the ids, sorted: the same number from every scene, as far as scenes are long enough.

    With scenes of s_1, ..., s_k frames, scene i gives min(s_i, L) of them, L the largest whole number for which
    sum_i min(s_i, L) <= n; what is left of n goes, one frame each, to scenes drawn from those with more than L.
    Within a scene frames are drawn without replacement. The answer follows from the set of ids, n and the seed alone;
    for one seed, a larger n keeps each scene's frames and adds some.

    Raises ValueError when n is below 1 or above the number of ids, or when an id comes twice.
    """
    scenes: dict[str, list[str]] = {}
    for frame_id in ids:
        scenes.setdefault(scene(frame_id), []).append(frame_id)
    total = sum(map(len, scenes.values()))
    if not 1 <= n <= total:
        raise ValueError(f"the sample must be of 1 to {total} frames, as there are; got {n}")
    names = sorted(scenes)
    shares = _shares([len(scenes[name]) for name in names], n, seed)
    chosen = [_drawn(scenes[name], name, share, seed) for name, share in zip(names, shares, strict=True)]
    return sorted(frame_id for frames in chosen for frame_id in frames)


def scene_of(frame_id: str) -> str:
    """The scene of an id where a source names none: its path without the last component."""
    return frame_id.rpartition("/")[0]


def _shares(sizes: list[int], n: int, seed: int) -> list[int]:
    """How many frames each scene gives; they add up to n."""
    level, left, waiting = 0, n, len(sizes)
    for size in sorted(sizes):
        if (size - level) * waiting > left:
            break
        left -= (size - level) * waiting
        level, waiting = size, waiting - 1
    if waiting:
        level, left = level + left // waiting, left % waiting
    longer = [i for i, size in enumerate(sizes) if size > level]
    extra = {longer[i] for i in np.random.default_rng([seed, 0]).permutation(len(longer))[:left]}
    return [min(size, level) + (i in extra) for i, size in enumerate(sizes)]


def _drawn(ids: list[str], name: str, share: int, seed: int) -> list[str]:
    frames = sorted(set(ids))
    if len(frames) < len(ids):
        raise ValueError(f"the ids to sample from must be unique; scene {name!r} has one twice")
    order = np.random.default_rng([seed, 1, zlib.crc32(name.encode())]).permutation(len(frames))
    return [frames[i] for i in order[:share]]
