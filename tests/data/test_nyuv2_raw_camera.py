from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fastseg.data import nyuv2_raw_camera as kinect
from fastseg.data.nyuv2 import CAMERA

cv2 = pytest.importorskip("cv2", reason="the test extra has OpenCV")


def matrix(camera: kinect.Camera) -> np.ndarray:
    return np.array([[camera.fx, 0, camera.cx], [0, camera.fy, camera.cy], [0, 0, 1]])


def test_disparity_to_metres_at_its_limits() -> None:
    metres = kinect.depth_of_disparity()
    assert metres.dtype == np.float32 and metres.shape == (2048,)
    np.testing.assert_allclose(metres[[1, 700, 1000]], [351.3 / 1091.5, 351.3 / 392.5, 351.3 / 92.5], rtol=1e-6)
    assert metres[1057] == pytest.approx(351.3 / 35.5) and metres[1057] < 10  # the last: 1058 would be 10.2 m
    assert metres[0] == 0 and (metres[1058:] == 0).all() and (np.diff(metres[:1058]) > 0).all()


def test_the_colour_camera_is_the_one_of_the_labelled_frames() -> None:
    for name in ("fx", "fy", "cx", "cy"):
        assert getattr(kinect.COLOR, name) == pytest.approx(getattr(CAMERA, name), abs=1e-5)


def test_the_turn_between_the_cameras_is_a_small_rotation() -> None:
    np.testing.assert_allclose(kinect.TURN @ kinect.TURN.T, np.eye(3), atol=1e-9)
    assert np.linalg.det(kinect.TURN) == pytest.approx(1)
    assert np.degrees(np.arccos((np.trace(kinect.TURN) - 1) / 2)) == pytest.approx(0.4346, abs=1e-3)


@pytest.mark.parametrize(("camera", "lens"), [(kinect.COLOR, kinect.COLOR_LENS), (kinect.DEPTH, kinect.DEPTH_LENS)])
def test_distortion_is_opencvs_and_undone(camera: kinect.Camera, lens: kinect.Lens) -> None:
    x, y = kinect.pixel_rays(camera)
    moved = kinect.distorted(x, y, lens)
    rays = np.stack([x, y, np.ones_like(x)], -1).reshape(-1, 1, 3)
    pixels = cv2.projectPoints(rays, np.zeros(3), np.zeros(3), matrix(camera), np.array(lens))[0].reshape(480, 640, 2)
    np.testing.assert_allclose(moved[0] * camera.fx + camera.cx, pixels[..., 0], atol=1e-8)
    np.testing.assert_allclose(moved[1] * camera.fy + camera.cy, pixels[..., 1], atol=1e-8)
    back = kinect.distorted(*kinect.undistorted(x, y, lens), lens)
    assert max(np.abs(back[0] - x).max(), np.abs(back[1] - y).max()) < 1e-12


def test_colour_is_straightened_as_opencv_does() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (480, 640, 3)).astype(np.uint8)
    color = cv2.GaussianBlur(noise, (0, 0), 3)
    ours = kinect.rig(False).straightened(color)
    theirs = cv2.undistort(color, matrix(kinect.COLOR), np.array(kinect.COLOR_LENS))
    inside = np.s_[20:-20, 20:-20]  # outside of the recorded image OpenCV is black, ours repeats the edge
    assert np.abs(ours[inside].astype(int) - theirs[inside]).max() <= 2  # steps of 1/32 there, of 1/256 here
    np.testing.assert_array_equal(kinect.rig(True).straightened(color), ours[45:470, 41:601])


def test_the_window_looks_at_recorded_pixels_alone() -> None:
    camera = kinect.rig(True).camera
    x, y = kinect.distorted(*kinect.pixel_rays(camera), kinect.COLOR_LENS)
    u, v = x * kinect.COLOR.fx + kinect.COLOR.cx, y * kinect.COLOR.fy + kinect.COLOR.cy
    assert (u > 0).all() and (u < 639).all() and (v > 0).all() and (v < 479).all()


def test_the_windows_camera_is_shifted_with_it() -> None:
    camera = kinect.rig(True).camera
    assert (camera.height, camera.width) == (425, 560)
    assert camera.cx == kinect.COLOR.cx - 41 and camera.cy == kinect.COLOR.cy - 45 and camera.fx == kinect.COLOR.fx


@pytest.mark.parametrize("disparity", [700, 900, 1050])
def test_a_wall_fills_the_window_without_pinholes(disparity: int) -> None:
    z = 351.3 / (1092.5 - disparity)
    depth = kinect.rig(True).registered(np.full((480, 640), disparity, np.uint16))
    # a plane across the depth camera's axis leans by 0.35 degrees in the colour camera
    assert (depth > 0).all() and np.abs(depth / z - 1).max() < 0.006
    np.testing.assert_array_equal(
        kinect.rig(False).registered(np.full((480, 640), disparity, np.uint16))[45:470, 41:601], depth
    )


def test_a_pixel_lands_where_rotation_translation_and_projection_send_it() -> None:
    raw = np.full((480, 640), 2047, np.uint16)
    raw[100, 500] = 800
    z = 351.3 / (1092.5 - 800)
    ray = cv2.undistortPoints(np.array([[[500.0, 100.0]]]), matrix(kinect.DEPTH), np.array(kinect.DEPTH_LENS))[0, 0]
    point = kinect.TURN @ (z * np.array([*ray, 1])) - kinect.SHIFT
    u, v = (matrix(kinect.COLOR) @ point)[:2] / point[2]
    depth = kinect.rig(False).registered(raw)
    assert np.argwhere(depth).tolist() == [[round(v), round(u)]]
    assert depth[round(v), round(u)] == pytest.approx(point[2], rel=1e-6)


def test_the_colour_camera_stands_to_the_right_of_the_depth_camera() -> None:
    columns = []
    for disparity in (500, 1050):  # 0.6 m and 8.3 m along one ray: the near point appears further to the left
        raw = np.full((480, 640), 2047, np.uint16)
        raw[240, 320] = disparity
        columns.append(int(np.argwhere(kinect.rig(False).registered(raw))[0, 1]))
    shift = kinect.COLOR.fx * kinect.SHIFT[0] * (592.5 - 42.5) / 351.3
    assert columns[1] - columns[0] == pytest.approx(shift, abs=1) and shift > 20


def test_a_post_hides_the_wall_behind_it_and_leaves_its_shadow_empty() -> None:
    raw = np.full((480, 640), 1000, np.uint16)
    raw[:, 300:320] = 600
    row = kinect.rig(False).registered(raw)[240]
    post, wall = np.flatnonzero((row > 0) & (row < 1)), np.flatnonzero(row > 3)
    assert len(post) in (17, 18, 19) and (np.diff(post) == 1).all()  # 20 columns of focal 582.6 are 17.8 of 518.9
    assert not ((wall > post[0]) & (wall < post[-1])).any()
    shadow = kinect.COLOR.fx * kinect.SHIFT[0] * (1000 - 600) / 351.3  # seen by the colour camera alone
    assert wall[wall > post[-1]][0] - post[-1] - 1 == pytest.approx(shadow, abs=1)


def test_the_nearest_of_all_that_falls_into_a_pixel_stays() -> None:
    raw = np.random.default_rng(5).integers(400, 2048, (480, 640)).astype(np.uint16)
    rig = kinect.rig(True)
    k, far, shift = rig.camera, rig.metres[raw][..., None], kinect.SHIFT.astype(np.float32)
    points = far * rig.rays - shift
    pixel = np.float32([k.fx, k.fy]) * points[..., :2] / points[..., 2:] + np.float32([k.cx, k.cy])
    column, row = np.moveaxis(np.floor(pixel + np.float32(0.5)).astype(int), 2, 0)
    inside = (far[..., 0] > 0) & (column >= 0) & (column < k.width) & (row >= 0) & (row < k.height)
    expected = np.full((k.height, k.width), np.inf, np.float32)
    np.minimum.at(expected, (row[inside], column[inside]), points[..., 2][inside])
    np.testing.assert_array_equal(rig.registered(raw), np.where(np.isinf(expected), 0, expected))


def test_no_measurement_registers_nothing() -> None:
    for value in (0, 2047, 1058, 1093, 1500):
        assert not kinect.rig(True).registered(np.full((480, 640), value, np.uint16)).any()


def test_registration_is_the_same_every_time() -> None:
    raw = np.random.default_rng(5).integers(400, 1058, (480, 640)).astype(np.uint16)
    first = kinect.rig(True).registered(raw)
    assert all((kinect.rig(True).registered(raw) == first).all() for _ in range(5))


def test_up_of_the_labelled_frames_lies_where_the_chips_axes_say(shared_data: Path) -> None:
    """The published rotations of 1,449 frames: hand-held, up above the image, mostly looking a little down.

    They hold no accelerometer readings, so that this bears out only the range of up, not the signs of x and z.
    """
    turns = np.loadtxt(shared_data / "nyu_gravity" / "camera_rotations_NYU.txt").reshape(-1, 3, 3)
    ups = -turns[:, 1]
    assert len(ups) == 1449 and (ups[:, 1] < -0.8).all()
