from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from fastseg.metrics_pose import pose_scores, rotation_angle_deg, trajectory, trajectory_error

Poses = npt.NDArray[np.float64]


def _turn(degrees: float) -> Poses:
    """A turn about the vertical."""
    a = np.radians(degrees)
    return np.array([[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]])


def _arc(count: int = 12, turn: float = 3.0) -> Poses:
    """T_world_cam of a camera that drives 0.5 m a frame and turns at every one."""
    poses = [np.eye(4)]
    for _ in range(count - 1):
        step = np.eye(4)
        step[:3, :3], step[:3, 3] = _turn(turn), (0, 0, 0.5)
        poses.append(poses[-1] @ step)
    return np.stack(poses)


def _steps(poses: Poses) -> Poses:
    """T_next_this of consecutive poses."""
    return np.asarray(np.linalg.inv(poses[1:]) @ poses[:-1])


def test_true_steps_have_no_error_wherever_the_world_begins() -> None:
    start = np.eye(4)
    start[:3, :3], start[:3, 3] = _turn(70), (5, -2, 9)
    for poses in (_arc(), start @ _arc()):
        found = pose_scores(poses, _steps(poses))
        assert found.ate == pytest.approx(0, abs=1e-12) and found.rotation_deg == pytest.approx(0, abs=1e-9)
        assert found.snippets == 8 and found.turned_deg == pytest.approx(3.0)


def test_an_unknown_scale_is_forgiven_and_nothing_else() -> None:
    poses = _arc()
    steps = _steps(poses)
    steps[:, :3, 3] *= 0.07
    assert pose_scores(poses, steps).ate == pytest.approx(0, abs=1e-12)
    backwards = _steps(poses)
    backwards[:, :3, 3] *= -1
    found = pose_scores(poses, backwards)
    assert found.ate == pytest.approx(found.still)


def test_a_camera_taken_to_stand_still_has_the_error_of_its_path() -> None:
    poses = _arc(5, turn=0.0)
    found = pose_scores(poses, np.tile(np.eye(4), (4, 1, 1)))
    assert found.ate == found.still == pytest.approx(np.sqrt(np.mean([0, 0.25, 1, 2.25, 4])))


def test_the_error_of_a_turn_is_its_angle() -> None:
    poses = _arc(turn=3.0)
    assert pose_scores(poses, _steps(_arc(turn=5.5))).rotation_deg == pytest.approx(2.5)
    assert rotation_angle_deg(_turn(1e-6)) == pytest.approx(1e-6) and rotation_angle_deg(_turn(179)) == pytest.approx(
        179
    )


def test_steps_lead_back_to_the_poses() -> None:
    poses = _arc()
    assert np.allclose(trajectory(_steps(poses)), poses)


def test_the_best_scale_is_that_of_least_squares() -> None:
    random = np.random.default_rng(0)
    true, found = random.normal(size=(2, 5, 3))
    found += true
    errors = [np.sqrt(((true - s * found) ** 2).sum(1).mean()) for s in np.linspace(0, 2, 4001)]
    assert trajectory_error(true, found) == pytest.approx(min(errors), abs=1e-6)


def test_what_cannot_be_scored_is_refused() -> None:
    poses = _arc(6)
    with pytest.raises(ValueError, match=r"expected poses \(N, 4, 4\)"):
        pose_scores(poses, _steps(poses)[1:])
    with pytest.raises(ValueError, match="a snippet has 2 frames or more, and there are 6; got 7"):
        pose_scores(poses, _steps(poses), length=7)
    with pytest.raises(ValueError, match="finite"):
        pose_scores(poses, _steps(poses) * np.nan)
