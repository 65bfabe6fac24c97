"""The Kinect model keeps the figures it states."""

from __future__ import annotations

import numpy as np
import pytest

from fastseg.data.rooms import kinect_noise, make_room, render, returned_light, room_camera, room_view
from fastseg.data.rooms_noise import DISPARITY_STEP, FAR_M, NEAR_M, _field

CAMERA = room_camera(240, 320)


def wall(z: float) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    return np.full((CAMERA.height, CAMERA.width), z, np.float32)


@pytest.mark.parametrize("z", [0.8, 1.5, 2.5, 4.0])
def test_axial_noise_grows_as_published(z: float) -> None:
    level = np.linspace(0.97 * z, 1.03 * z, CAMERA.width, dtype=np.float32) * np.ones((CAMERA.height, 1), np.float32)
    read = kinect_noise(level, CAMERA, 0).astype(np.float64)
    error = (read / 1000 - level)[read > 0]
    sigma = 0.0012 + 0.0019 * (z - 0.4) ** 2
    assert 0.85 * sigma < error.std() < 1.15 * sigma  # the window's noise is correlated: few independent samples
    assert abs(error.mean()) < 0.15 * sigma


def test_depth_is_rounded_to_disparity_steps_and_millimetres() -> None:
    read = kinect_noise(wall(4.0), CAMERA, 0)
    steps = 585 * 0.075 / (np.unique(read[read > 0]) / 1000) / DISPARITY_STEP
    assert read.dtype == np.uint16 and 3 <= len(steps) < 12
    assert np.abs(steps - np.round(steps)).max() < 0.02  # a millimetre at 4 m is 0.02 steps


def test_noise_is_smooth_over_a_few_pixels() -> None:
    field = _field(np.random.default_rng(0), 200, 300, 2)
    assert abs(field.std() - 1) < 0.05 and abs(field.mean()) < 0.05
    assert (field[:, 1:] * field[:, :-1]).mean() > 0.5 and abs((field[:, 12:] * field[:, :-12]).mean()) < 0.1


def test_grazing_surfaces_are_holes() -> None:
    v = np.arange(CAMERA.height)[:, None] - CAMERA.cy
    floor = np.where(v > 2, 0.45 * CAMERA.fy / np.maximum(v, 1e-3), 0) * np.ones((1, CAMERA.width))
    normals = np.zeros((3, CAMERA.height, CAMERA.width), np.float32)
    normals[1] = -1
    read = kinect_noise(floor.astype(np.float32), CAMERA, 0, normals)
    x, y = (np.arange(CAMERA.width) - CAMERA.cx) / CAMERA.fx, v / CAMERA.fy
    angle = np.rad2deg(np.arccos(np.clip(y / np.sqrt(x**2 + y**2 + 1), -1, 1)))
    within = (floor > NEAR_M + 0.1) & (floor < FAR_M - 1)
    assert (read[within & (angle < 68)] > 0).mean() > 0.98
    assert within[angle > 86].sum() == 0 or (read[within & (angle > 86)] > 0).mean() < 0.05
    assert (read[within & (angle > 82)] > 0).mean() < 0.3


def test_near_objects_cast_a_shadow_to_their_left_only() -> None:
    depth = wall(3.0)
    depth[:, 140:180] = 1.0
    flat = np.zeros((3, *depth.shape), np.float32)
    flat[2] = -1
    read = kinect_noise(depth, CAMERA, 0, flat)
    expected = CAMERA.fx * 0.075 * (1 / 1.0 - 1 / 3.0)  # pixels
    assert abs((read[:, 100:140] == 0).sum(axis=1).mean() - expected) < 2
    assert (read[:, 182:220] == 0).mean() < 0.02


def test_the_far_side_of_a_depth_edge_is_often_lost_and_the_near_side_is_not() -> None:
    depth = wall(3.0)
    depth[100:] = 1.0
    lost = kinect_noise(depth, CAMERA, 0) == 0
    assert 0.3 < lost[98:100].mean() < 0.95 and lost[:90].mean() < 0.02 and lost[103:].mean() < 0.02


@pytest.mark.parametrize("z", [0.3, 7.5])
def test_nothing_is_measured_out_of_range(z: float) -> None:
    assert (kinect_noise(wall(z), CAMERA, 0) > 0).mean() < 0.02


def test_dark_surfaces_lose_more_pixels() -> None:
    share = [(kinect_noise(wall(2.0), CAMERA, 0, None, wall(good)) == 0).mean() for good in (1.0, 0.5, 0.0)]
    assert share[0] < 0.01 < share[1] < 0.5 < share[2] < 0.9


def test_missing_depth_stays_missing() -> None:
    depth = wall(2.0)
    depth[50:60, 50:60], depth[70:80, 70:80], depth[90:99, 90:99] = np.nan, 0, np.inf
    read = kinect_noise(depth, CAMERA, 0)
    assert (read[52:58, 52:58] == 0).all() and (read[72:78, 72:78] == 0).all() and (read[92:97, 92:97] == 0).all()
    assert (read > 0).mean() > 0.9


def test_noise_depends_on_its_seed_alone() -> None:
    assert (kinect_noise(wall(2.0), CAMERA, 1) == kinect_noise(wall(2.0), CAMERA, 1)).all()
    assert (kinect_noise(wall(2.0), CAMERA, 1) != kinect_noise(wall(2.0), CAMERA, 2)).any()


def test_rooms_have_holes_but_not_many() -> None:
    holes = []
    for seed in range(6):
        room = make_room(seed)
        frame = render(room, CAMERA, room_view(room, 0))
        holes.append((kinect_noise(frame.depth, CAMERA, 0, frame.normals, returned_light(frame)) == 0).mean())
    assert 0.005 < np.median(holes) < 0.25


def test_depth_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="240x320"):
        kinect_noise(np.ones((3, 4), np.float32), CAMERA, 0)
