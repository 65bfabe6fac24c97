"""Scores of a camera's predicted motion: trajectory error over short snippets, and the error of its turns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Poses = npt.NDArray[np.float64]


@dataclass(frozen=True)
class PoseScores:
    """Errors over the snippets of a recording.

    ate, ate_deviation      mean and deviation over snippets of the absolute trajectory error, metres
    still                   the same mean for a camera that is taken to stand still: what has to be beaten
    rotation_deg            mean angle between true and predicted turn from a frame to the next
    turned_deg              mean angle of the true turn: what predicting none would give
    snippets                how many
    """

    ate: float
    ate_deviation: float
    still: float
    rotation_deg: float
    turned_deg: float
    snippets: int


def pose_scores(true: npt.ArrayLike, steps: npt.ArrayLike, length: int = 5) -> PoseScores:
    """The scores of predicted steps against true poses, over every snippet of `length` consecutive frames.

    true    (N, 4, 4) T_world_cam of consecutive frames, metres
    steps   (N - 1, 4, 4) predicted T_next_this, as PoseNet(this, next) gives them: points of frame k into frame k + 1

    ValueError: shapes that do not fit, fewer frames than a snippet has, or values that are not finite.
    Zhou et al., "Unsupervised Learning of Depth and Ego-Motion from Video", 2017, section 4.4.
    """
    poses, moves = np.asarray(true, np.float64), np.asarray(steps, np.float64)
    if poses.ndim != 3 or poses.shape[1:] != (4, 4) or moves.shape != (len(poses) - 1, 4, 4):
        raise ValueError(f"expected poses (N, 4, 4) and steps (N - 1, 4, 4); got {poses.shape} and {moves.shape}")
    if not 2 <= length <= len(poses):
        raise ValueError(f"a snippet has 2 frames or more, and there are {len(poses)}; got {length}")
    if not (np.isfinite(poses).all() and np.isfinite(moves).all()):
        raise ValueError("poses and steps must be finite")
    starts = range(len(poses) - length + 1)
    places = [_places(poses[k : k + length]) for k in starts]
    errors = [
        trajectory_error(where, trajectory(moves[k : k + length - 1])[:, :3, 3])
        for k, where in zip(starts, places, strict=True)
    ]
    still = [trajectory_error(where, np.zeros_like(where)) for where in places]
    turns = np.linalg.inv(poses[1:]) @ poses[:-1]
    wrong = [rotation_angle_deg(a[:3, :3].T @ b[:3, :3]) for a, b in zip(turns, moves, strict=True)]
    turned = [rotation_angle_deg(each[:3, :3]) for each in turns]
    return PoseScores(
        float(np.mean(errors)), float(np.std(errors)), float(np.mean(still)), float(np.mean(wrong)),
        float(np.mean(turned)), len(errors),
    )  # fmt: skip


def trajectory(steps: Poses) -> Poses:
    """T_first_cam (N + 1, 4, 4) of the frames that steps T_next_this (N, 4, 4) lead through; the first stands at I."""
    found = [np.eye(4)]
    for step in steps:
        found.append(found[-1] @ np.linalg.inv(step))
    return np.stack(found)


def trajectory_error(true: Poses, found: Poses) -> float:
    """Root mean square distance in metres of places (N, 3) that begin at the origin, found ones scaled to fit best.

    sqrt(1/N sum |t*_k - s t_k|^2),  s = sum t*_k . t_k / sum t_k . t_k, and not below 0: a path is never turned round
    """
    length = float((found * found).sum())
    scale = max(float((true * found).sum()) / length, 0.0) if length > 0 else 0.0
    return float(np.sqrt(((true - scale * found) ** 2).sum(1).mean()))


def rotation_angle_deg(turn: Poses) -> float:
    """The angle in degrees of a rotation (3, 3): atan2(|axis part|, trace part), exact near 0 where arccos is not."""
    axis = np.array([turn[2, 1] - turn[1, 2], turn[0, 2] - turn[2, 0], turn[1, 0] - turn[0, 1]])
    return float(np.degrees(np.arctan2(np.linalg.norm(axis), np.trace(turn) - 1)))


def _places(poses: Poses) -> Poses:
    """Where the cameras (N, 4, 4) stand, seen from the first."""
    return np.asarray((np.linalg.inv(poses[0]) @ poses)[:, :3, 3], np.float64)
