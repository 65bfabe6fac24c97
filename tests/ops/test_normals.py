"""The op `normals` against its reference, analytic planes and rooms, on every device there is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastseg.data.rooms import Rooms
from fastseg.frames import Camera
from fastseg.ops.normals import normals
from fastseg.reference import normals as reference

Put = Callable[[Any], Any]
Depth = npt.NDArray[Any]


def camera_of(height: int, width: int) -> Camera:
    side = max(height, width)
    return Camera(0.9 * side, 0.95 * side, 0.48 * width, 0.53 * height, height, width)


def plane_depth(camera: Camera, normal: npt.NDArray[np.float64], distance: float) -> npt.NDArray[np.float32]:
    """Depth of the plane n . p = -distance (n looks at the camera), 0 where it is behind it."""
    v, u = np.mgrid[0 : camera.height, 0 : camera.width].astype(np.float64)
    ray = np.stack([(u - camera.cx) / camera.fx, (v - camera.cy) / camera.fy, np.ones_like(u)])
    along = -np.einsum("c,chw->hw", normal, ray)
    return np.where(along > 1e-3, distance / np.maximum(along, 1e-3), 0).astype(np.float32)


def host(array: Any) -> npt.NDArray[Any]:
    return np.asarray(array.get() if hasattr(array, "get") else array)


def angle_deg(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    cross = np.linalg.norm(np.cross(a, b, axis=0), axis=0)
    return np.asarray(np.rad2deg(np.arctan2(cross, np.sum(a * b, axis=0))))


def holed(seed: int, height: int, width: int) -> npt.NDArray[np.float32]:
    """Two slanted planes with a step between them, noise, and every kind of missing pixel."""
    rng = np.random.default_rng(seed)
    camera = camera_of(height, width)
    depth = plane_depth(camera, np.array([0.3, -0.2, -0.93]), 1.5)
    depth[:, width // 2 :] += 0.8
    depth += rng.normal(0, 0.001, depth.shape).astype(np.float32)
    for missing in (0.0, -1.0, np.nan, np.inf):
        depth[rng.random(depth.shape) < 0.02] = missing
    return depth


SIZES = [(1, 1), (2, 3), (7, 5), (17, 40), (33, 31), (34, 65)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("estimator", ["plane", "pca"])
@pytest.mark.parametrize("radius", [1, 3, 6])
def test_agrees_with_the_reference(device: str, put: Put, size: tuple[int, int], estimator: Any, radius: int) -> None:
    depth, camera = holed(1, *size), camera_of(*size)
    points, found = normals(put(depth), camera, estimator=estimator, radius=radius, max_residual=0.02)
    wanted_points, wanted = reference.normals(depth, camera, estimator=estimator, radius=radius, max_residual=0.02)
    np.testing.assert_allclose(host(points), wanted_points, rtol=2e-6, atol=1e-7)  # float32 products
    defined = np.isfinite(wanted[0])
    differing = (np.isfinite(host(found)[0]) != defined).sum()
    assert differing <= 0.005 * defined.size  # a residual or determinant at its limit may fall on either side
    both = defined & np.isfinite(host(found)[0])
    if both.any():
        # float32 sums: the error grows as the window's own noise, which the reference in double does not add
        assert np.quantile(angle_deg(host(found), wanted)[both], 0.99) < 0.1


def test_batch_equals_single_frames(device: str, put: Put) -> None:
    camera = camera_of(33, 47)
    batch = np.stack([holed(seed, 33, 47) for seed in range(3)])
    points, found = normals(put(batch), camera, radius=3, threads=2)
    for frame in range(3):
        one_points, one = normals(put(batch[frame]), camera, radius=3)
        np.testing.assert_array_equal(host(points)[frame], host(one_points))
        np.testing.assert_array_equal(host(found)[frame], host(one))


def test_stride_takes_every_nth_normal(device: str, put: Put) -> None:
    depth, camera = holed(2, 34, 45), camera_of(34, 45)
    _, full = normals(put(depth), camera, radius=4)
    _, some = normals(put(depth), camera, radius=4, stride=4)
    wanted = host(full)[:, ::4, ::4]
    np.testing.assert_array_equal(np.isnan(host(some)), np.isnan(wanted))
    # the same windows, summed in another order: float32 rounding
    np.testing.assert_allclose(host(some), wanted, rtol=0, atol=2e-5)


def test_millimetres_equal_metres(device: str, put: Put) -> None:
    camera = camera_of(20, 37)
    raw = np.round(np.nan_to_num(holed(3, 20, 37), posinf=0).clip(0) * 1000).astype(np.uint16)
    _, from_raw = normals(put(raw), camera, radius=3, depth_scale=0.001)
    _, from_metres = normals(put(raw.astype(np.float32) * np.float32(0.001)), camera, radius=3)
    np.testing.assert_array_equal(host(from_raw), host(from_metres))


@settings(max_examples=500, deadline=None)
@given(
    tilt=st.floats(0, 60), turn=st.floats(0, 360), distance=st.floats(0.3, 6), estimator=st.sampled_from(["plane"]),
    radius=st.integers(2, 10),
)  # fmt: skip
def test_normals_of_a_tilted_plane(tilt: float, turn: float, distance: float, estimator: Any, radius: int) -> None:
    camera = camera_of(48, 64)
    t, a = np.deg2rad(tilt), np.deg2rad(turn)
    normal = np.array([np.sin(t) * np.cos(a), np.sin(t) * np.sin(a), -np.cos(t)])
    depth = plane_depth(camera, normal, distance)
    _, found = normals(depth, camera, estimator=estimator, radius=radius)
    defined = np.isfinite(found[0])
    assert defined[depth > 0].mean() > 0.95
    assert angle_deg(found, normal[:, None, None] * np.ones_like(found))[defined].max() < 0.05


@settings(max_examples=500, deadline=None)
@given(seed=st.integers(0, 10**6), factor=st.floats(0.25, 4))
def test_scaling_the_scene_leaves_normals_alone(seed: int, factor: float) -> None:
    camera, depth = camera_of(24, 31), holed(seed, 24, 31)
    _, near = normals(depth, camera, radius=3)
    _, far = normals(depth * np.float32(factor), camera, radius=3)
    both = np.isfinite(near[0]) & np.isfinite(far[0])
    assert (np.isfinite(near[0]) == np.isfinite(far[0])).mean() > 0.99
    assert np.quantile(angle_deg(near, far)[both], 0.99) < 0.1


@settings(max_examples=500, deadline=None)
@given(seed=st.integers(0, 10**6), quarters=st.integers(1, 3), estimator=st.sampled_from(["plane", "pca"]))
def test_turning_the_camera_about_its_axis_turns_the_normals(seed: int, quarters: int, estimator: Any) -> None:
    camera, depth = Camera(40, 40, 15.5, 15.5, 32, 32), holed(seed, 32, 32)
    _, upright = normals(depth, camera, radius=3, estimator=estimator)
    _, turned = normals(np.rot90(depth, quarters).copy(), camera, radius=3, estimator=estimator)
    back = np.rot90(turned, -quarters, (1, 2))
    for _ in range(quarters):
        back = np.stack([-back[1], back[0], back[2]])  # a quarter turn takes x to -y, y to x
    both = np.isfinite(upright[0]) & np.isfinite(back[0])
    assert (np.isfinite(upright[0]) == np.isfinite(back[0])).mean() > 0.99
    assert np.quantile(angle_deg(back, upright)[both], 0.99) < 0.05  # float32 sums in another order


def test_windows_across_a_depth_edge_have_no_normal(device: str, put: Put) -> None:
    camera = camera_of(32, 48)
    depth = np.full((32, 48), 1.0, np.float32)
    depth[:, 24:] = 1.5
    _, found = normals(put(depth), camera, radius=3, max_residual=0.003)
    undefined = np.isnan(host(found)[0])
    assert undefined[:, 22:26].all()
    assert not undefined[:, :20].any() and not undefined[:, 28:].any()


def test_noisy_rooms_have_usable_normals(device: str, put: Put) -> None:
    if device == "emu":
        pytest.skip("a whole frame takes the emulator too long; sizes above cover its tiles")
    rooms = Rooms(11, 1)
    exact = rooms.truth(rooms.ids()[0])
    frame = rooms.record(rooms.ids()[0], exact)
    _, found = normals(put(frame.depth), frame.camera, depth_scale=frame.depth_scale, radius=5, max_residual=0.003)
    defined = np.isfinite(host(found)[0])
    assert defined[frame.depth > 0].mean() > 0.7
    assert np.median(angle_deg(host(found), exact.normals)[defined]) < 15


def test_nothing_measured_gives_nothing(device: str, put: Put) -> None:
    camera = camera_of(9, 11)
    for missing in (0.0, -2.0, np.nan, np.inf):
        points, found = normals(put(np.full((9, 11), missing, np.float32)), camera)
        assert np.isnan(host(points)).all() and np.isnan(host(found)).all()


def test_an_empty_batch_is_answered_empty(device: str, put: Put) -> None:
    points, found = normals(put(np.zeros((0, 9, 11), np.float32)), camera_of(9, 11))
    assert points.shape == found.shape == (0, 3, 9, 11)


def test_torch_tensors_stay_torch() -> None:
    torch = pytest.importorskip("torch")
    depth = holed(7, 20, 30)
    points, found = normals(torch.from_numpy(depth), camera_of(20, 30), radius=3)
    assert isinstance(points, torch.Tensor) and isinstance(found, torch.Tensor)
    np.testing.assert_array_equal(found.numpy(), normals(depth, camera_of(20, 30), radius=3)[1])


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"depth": np.zeros((8, 9))}, TypeError, "depth must be float32 or uint16"),
        ({"depth": np.zeros((9, 8), np.float32)}, ValueError, "depth must be .*H=8, W=9"),
        ({"depth": np.zeros((8, 18), np.float32)[:, ::2]}, ValueError, "not contiguous"),
        ({"depth": [[1.0]]}, TypeError, "numpy, torch or cupy"),
        ({"radius": 0}, ValueError, "radius"),
        ({"radius": 33}, ValueError, "radius"),
        ({"estimator": "magic"}, ValueError, "estimator"),
        ({"depth_scale": 0.0}, ValueError, "depth_scale"),
        ({"stride": 0}, ValueError, "stride"),
        ({"max_residual": float("nan")}, ValueError, "max_residual"),
    ],
)
def test_unsupported_arguments_are_refused(change: dict[str, Any], error: type[Exception], words: str) -> None:
    arguments: dict[str, Any] = {"depth": np.zeros((8, 9), np.float32), "camera": camera_of(8, 9)} | change
    with pytest.raises(error, match=words):
        normals(**arguments)


def test_repeats_are_bitwise_equal(device: str, put: Put) -> None:
    depth, camera = put(holed(9, 33, 50)), camera_of(33, 50)
    first = host(normals(depth, camera, radius=4)[1])
    for _ in range(20 if device != "emu" else 2):
        np.testing.assert_array_equal(host(normals(depth, camera, radius=4)[1]), first)
