"""Consensus without poses: frames that the camera took from one place share their up and floor.

What is possible without poses, plainly: a plane can be handed on only where the motion between two frames is known,
and a sequence of depth images alone shows one motion surely, none at all. `standing` finds the runs of frames with the
same coarse depth, and `while_still` lets the frames of a run vote: a person who walks through the picture, or noise at
the gate, no longer costs a label. A frame of a camera that moves is judged alone: once the floor is out of view,
nothing in its depth says how far below it lies, and to guess so would be a label that nobody measured.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from fastseg.frames import Frame
from fastseg.labels.consensus import ConsensusConfig, Double, Estimates, Planes, by_poses

CELLS = (6, 8)  # rows and columns of the coarse depth
FEWEST_CELLS = 12


def coarse_depth(frame: Frame) -> Double:
    """(48,) metres: the median depth in each of 6 x 8 cells, of every fourth row and column; NaN where little is."""
    z = frame.depth[::4, ::4].astype(np.float64) * frame.depth_scale
    z = np.where(np.isfinite(z) & (z > 0), z, np.nan)
    cells = [c for row in np.array_split(z, CELLS[0]) for c in np.array_split(row, CELLS[1], axis=1)]
    found = [c[np.isfinite(c)] for c in cells]
    return np.array(
        [np.median(f) if 4 * f.size > c.size else np.nan for f, c in zip(found, cells, strict=True)], np.float64
    )


def standing(depths: Double) -> npt.NDArray[np.int64]:
    """(N,) a number for each run of successive frames that the camera took from one place, from coarse depths (N, 48).

    A frame belongs to the run of the frame before it while four fifths of the cells that it and the run's first frame
    both know (FEWEST_CELLS at least) lie within 1 cm or 1 % of each other. What moves in the scene may fill the rest.
    A camera that slides along a bare wall cannot be told from one that stands.
    """
    runs, first = np.zeros(len(depths), np.int64), 0
    for i in range(1, len(depths)):
        a, b = depths[first], depths[i]
        known = np.isfinite(a) & np.isfinite(b)
        equal = np.abs(a[known] - b[known]) < np.maximum(0.01, 0.01 * a[known])
        stands = known.sum() >= FEWEST_CELLS and equal.mean() >= 0.8
        first = first if stands else i
        runs[i] = runs[i - 1] + (0 if stands else 1)
    return runs


def while_still(estimates: Estimates, depths: Double, config: ConsensusConfig) -> Planes:
    """The planes that the frames of each run of a standing camera vote for, without poses; `depths` as `standing`'s."""
    runs = standing(depths)
    pose = np.broadcast_to(np.eye(4), (len(runs), 4, 4))
    parts = []
    for run in np.unique(runs):
        own = {name: value[runs == run] for name, value in vars(replace(estimates, pose=pose)).items()}
        parts.append(by_poses(Estimates(**own), replace(config, window=0.0)))
    return joined(parts)


def joined(parts: list[Planes]) -> Planes:
    """The planes of several sets of frames, one after the other."""
    arrays = {name: np.concatenate([getattr(p, name) for p in parts]) for name in list(vars(parts[0]))[:-1]}
    return Planes(**arrays, reason=tuple(r for p in parts for r in p.reason))
