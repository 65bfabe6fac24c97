"""Reference of the op `decile_rank`: the definition by sorting, one map at a time, means in double."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Float = npt.NDArray[np.float32]
Ranks = npt.NDArray[np.uint8]


def decile_rank(scores: Float) -> Ranks:
    """floor(10 Z / N) of every pixel of one map (H, W), Z = pixels with a strictly lower score."""
    if np.isnan(scores).any():
        raise ValueError("scores must hold no NaN")
    _, which, counts = np.unique(scores, return_inverse=True, return_counts=True)
    lower = np.cumsum(counts) - counts
    return (10 * lower[which.reshape(scores.shape)] // scores.size).astype(np.uint8)


def ensemble_mean(maps: Float) -> Float:
    """The mean over models of each model's map (M, H, W) after (x - min) / (max - min); a constant map adds zeros."""
    if not np.isfinite(maps).all():
        raise ValueError("maps must be finite")
    total = np.zeros(maps.shape[1:])
    for scores in maps.astype(np.float64):
        low, high = scores.min(), scores.max()
        if high > low:
            total += (scores - low) / (high - low)
    return (total / len(maps)).astype(np.float32)
