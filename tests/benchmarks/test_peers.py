"""The peers are given their best: right points, right orientation, right gravity, so that a comparison is fair."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import pytest

from benchmarks import peers, peers_hha, peers_label
from benchmarks.normals_quality import error_deg
from benchmarks.posed_quality import angle_deg
from benchmarks.spread import Spread
from fastseg.data.rooms import Rooms
from fastseg.frames import Camera, Frame, FrameError

CAMERA = Camera(110.0, 115.0, 63.2, 47.5, 96, 128)
NORMAL = np.array([0.3, -0.5, -0.8124038405])
NORMAL /= np.linalg.norm(NORMAL)


def plane_depth(offset: float = 2.0) -> peers.Array:
    """The depth of the plane NORMAL . p = -offset."""
    return np.asarray(-offset / (peers.rays(CAMERA) @ NORMAL), np.float32)


def opencv_5() -> None:
    cv2 = pytest.importorskip("cv2")
    if not hasattr(cv2, "RgbdNormals_create"):
        pytest.skip("this OpenCV has no RgbdNormals (OpenCV 5 does)")


def check_plane(normals_of: peers.NormalsOf) -> None:
    found = peers.oriented(normals_of(plane_depth()), peers.rays(CAMERA))[16:-16, 16:-16]
    assert found.shape == (64, 96, 3)
    # 1 degree: Open3D's and LINEMOD's own smoothing of float32 depth; the median, since some leave single outliers
    assert np.nanmedian(error_deg(found, NORMAL.astype(np.float32))) < 1.0


@pytest.mark.parametrize("method", peers.OPENCV_METHODS)
def test_opencv_finds_a_tilted_plane(method: str) -> None:
    opencv_5()
    check_plane(peers.opencv_normals(CAMERA, method))


@pytest.mark.torch
def test_kornia_finds_a_tilted_plane() -> None:
    pytest.importorskip("kornia")
    check_plane(peers.kornia_normals(CAMERA))


def test_open3d_finds_a_tilted_plane() -> None:
    pytest.importorskip("open3d")
    check_plane(peers.open3d_normals(CAMERA))
    check_plane(peers.open3d_tensor_normals(CAMERA))


def test_central_differences_in_numpy_find_a_tilted_plane() -> None:
    check_plane(peers.numpy_normals(CAMERA))


def test_pcl_finds_a_tilted_plane_or_says_why_it_cannot_run() -> None:
    reason = peers.missing_peers()
    if reason:
        pytest.skip(str(reason))
    from benchmarks import peers_pcl

    for method in peers_pcl.METHODS[:2]:
        check_plane(peers_pcl.pcl_normals(CAMERA, method))


def test_a_peer_spread_over_threads_gives_each_thread_its_own_object() -> None:
    made = []

    def make() -> Callable[[int], int]:
        made.append(1)
        time.sleep(0.02)  # so that the first thread does not take every item
        return lambda item: 2 * item

    for threads in (1, 2):
        made.clear()
        with Spread(threads) as spread:
            assert spread(make, [1, 2, 3, 4]) == [2, 4, 6, 8] == spread(make, [1, 2, 3, 4])
        assert len(made) == threads


def test_hha_normals_of_a_tilted_plane_are_exact_and_undefined_without_depth() -> None:
    pytest.importorskip("scipy")
    depth = plane_depth().astype(np.float64)
    depth[40:44, 50:60] = 0
    found = peers_hha.plane_normals(depth, peers.rays(CAMERA).astype(np.float64), 3, peers_hha.dense_sums)
    hole = depth == 0
    assert np.isnan(found[hole]).all()
    assert (
        np.nanmax(error_deg(found.astype(np.float32), NORMAL.astype(np.float32))[~hole]) < 0.05
    )  # the depth and the compared normals are float32


def test_both_window_sums_of_the_hha_model_agree() -> None:
    pytest.importorskip("scipy")
    pytest.importorskip("cv2")
    product = np.random.default_rng(0).normal(size=(37, 41))
    for radius in (3, 10):
        ours, theirs = peers_hha.dense_sums(product, radius), peers_hha.opencv_sums(product, radius)
        np.testing.assert_allclose(ours, theirs, atol=1e-9)  # double; OpenCV goes through a DFT above 11x11
    assert np.isclose(peers_hha.dense_sums(product, 3)[20, 20], product[17:24, 17:24].sum())


def test_rotation_to_world_up_turns_up_and_keeps_lengths() -> None:
    up = np.array([0.3, -0.9, 0.2])
    up /= np.linalg.norm(up)
    rotation = peers_hha.rotation_to(up)
    np.testing.assert_allclose(rotation @ up, [0, -1, 0], atol=1e-12)
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
    np.testing.assert_array_equal(peers_hha.rotation_to(peers_hha.WORLD_UP), np.eye(3))


def test_floor_wall_finds_up_among_walls_floor_and_clutter() -> None:
    rng = np.random.default_rng(1)
    up = np.array([0.1, -0.95, -0.25])
    up /= np.linalg.norm(up)
    side = np.cross(up, [0.0, 0.0, 1.0])
    side /= np.linalg.norm(side)
    axes = np.stack([up, side, np.cross(up, side)])
    clean = np.repeat(axes, 200, 0) + rng.normal(0, 0.03, (600, 3))
    normals = np.concatenate([clean, rng.normal(size=(60, 3))])
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    assert angle_deg(peers_label.floor_wall(normals.T, np.array([0.0, -1.0, 0.0])), up) < 0.5


def test_bins_are_the_specs() -> None:
    height = np.array([[-0.3, 0.0, 0.249, 0.251, 2.49, 9.0, np.nan]], np.float32)
    cosine = np.array([[1.0, -1.0, 0.72, 0.70, 0.0, -0.5, 1.0]], np.float32)
    label = peers_label.bins(height, cosine, np.isfinite(height))
    np.testing.assert_array_equal(label, [[0, 0, 0, 11, 19, 19, 255]])


def test_gate_rejects_a_lowest_part_that_does_not_face_up() -> None:
    low = np.ones((2, 2), np.bool_)
    assert peers_label.gate(low, np.array([[1, 1], [0, np.nan]], np.float32)) == 0.5
    with pytest.raises(FrameError) as caught:
        peers_label.gate(low, np.array([[1, 0], [0, np.nan]], np.float32))
    assert (caught.value.reason, caught.value.value) == ("no-floor", 0.25)


def test_metres_reads_both_kinds_of_invalid_depth_as_none() -> None:
    camera = Camera(3.0, 3.0, 1.0, 0.0, 1, 3)
    raw = Frame("a", np.array([[0, 2000, 65535]], np.uint16), 0.001, camera)
    np.testing.assert_array_equal(peers.metres(raw), np.array([[0, 2, 0]], np.float32))
    metric = Frame("b", np.array([[np.nan, -1, 2]], np.float32), 1.0, camera)
    np.testing.assert_array_equal(peers.metres(metric), np.array([[0, 0, 2]], np.float32))


def test_the_peers_label_an_exact_room() -> None:
    opencv_5()
    pytest.importorskip("scipy")
    rooms = Rooms(2, 1, 240, 320, noise=False)
    room, frame = rooms.truth(rooms.ids()[0]), rooms.load(rooms.ids()[0])
    for answer in (peers_label.label_frame(frame), peers_hha.label_frame(frame, peers_hha.opencv_sums)):
        assert angle_deg(answer.up, room.up) < 1.0
        assert abs(answer.floor_m - room.floor_m) < 0.05


def test_the_peers_reject_a_frame_without_depth() -> None:
    opencv_5()
    empty = Frame("empty", np.zeros((96, 128), np.float32), 1.0, CAMERA)
    for label_frame in (peers_label.label_frame, peers_hha.label_frame):
        with pytest.raises(FrameError, match="have depth"):
            label_frame(empty)
