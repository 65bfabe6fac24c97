"""The ways a kernel of `normals` and `hn_labels` cuts images into tiles, rows and groups of four leave no mark."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from fastseg.frames import Camera
from fastseg.ops.hn_labels import hn_labels
from fastseg.ops.normals import normals
from fastseg.reference import normals as reference
from tests.ops.test_normals import angle_deg, camera_of, holed, host

Put = Callable[[Any], Any]
POINTS: Any = ("points",)
NORMALS: Any = ("normals",)
ESTIMATORS = ("plane", "pca", "cross")
SIZES = [(1, 1), (31, 33), (33, 65), (9, 132), (41, 260)]  # widths that are cut into fours, and that are not


def three(height: int, width: int) -> npt.NDArray[np.float32]:
    return np.stack([holed(seed, height, width) for seed in range(3)])


def agree(found: npt.NDArray[Any], wanted: npt.NDArray[Any]) -> None:
    """Undefined at the same pixels but for a residual at its limit; elsewhere within float32's rounding of sums."""
    defined, wanted_defined = np.isfinite(found[0]), np.isfinite(wanted[0])
    assert (defined != wanted_defined).sum() <= 0.005 * defined.size
    if (defined & wanted_defined).any():
        assert np.quantile(angle_deg(found, wanted)[defined & wanted_defined], 0.99) < 0.1


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_every_frame_of_a_batch_agrees_with_the_reference(
    device: str, put: Put, estimator: Any, size: tuple[int, int]
) -> None:
    depth, camera = three(*size), camera_of(*size)
    points, found = normals(put(depth), camera, estimator=estimator, radius=3, max_residual=0.02)
    for n in range(3):
        wanted = reference.normals(depth[n], camera, estimator=estimator, radius=3, max_residual=0.02)
        np.testing.assert_allclose(host(points)[n], wanted[0], rtol=2e-6, atol=1e-7)  # float32 products
        agree(host(found)[n], wanted[1])


@pytest.mark.parametrize("radius", [1, 2, 4, 9, 32])
@pytest.mark.parametrize("estimator", ["plane", "cross"])
def test_windows_of_every_size_agree_with_the_reference(device: str, put: Put, estimator: Any, radius: int) -> None:
    size = (43, 150) if radius < 10 else (35, 40)  # where windows are large, the reference takes its time
    depth, camera = holed(4, *size), camera_of(*size)
    _, found = normals(put(depth), camera, estimator=estimator, radius=radius, max_residual=0.02)
    agree(host(found), reference.normals(depth, camera, estimator=estimator, radius=radius, max_residual=0.02)[1])


@pytest.mark.parametrize("stride", [1, 3, 4])
@pytest.mark.parametrize("size", [(31, 33), (34, 132)])
@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_an_output_left_out_leaves_the_other_as_it_was(
    device: str, put: Put, estimator: Any, size: tuple[int, int], stride: int
) -> None:
    depth, camera = put(three(*size)), camera_of(*size)
    options: dict[str, Any] = {"estimator": estimator, "radius": 2, "stride": stride}
    points, found = normals(depth, camera, **options)
    only_points, nothing = normals(depth, camera, outputs=POINTS, **options)
    assert nothing is None
    np.testing.assert_array_equal(host(only_points), host(points))
    nothing, only_normals = normals(depth, camera, outputs=NORMALS, **options)
    assert nothing is None
    np.testing.assert_array_equal(host(only_normals), host(found))
    _, dense = normals(depth, camera, outputs=NORMALS, **(options | {"stride": 1}))
    np.testing.assert_allclose(host(found), host(dense)[:, :, ::stride, ::stride], atol=5e-5)  # sums in another order


def test_a_pixel_wrong_by_far_harms_its_own_windows_alone(device: str, put: Put) -> None:
    camera, depth = camera_of(40, 132), holed(6, 40, 132)
    _, before = normals(put(depth), camera, radius=3, max_residual=0.02)
    depth[20, 60] = 0.001  # its 1/z is a thousand times its neighbours'
    _, after = normals(put(depth), camera, radius=3, max_residual=0.02)
    change = np.abs(host(after) - host(before)).max(0)
    change[17:24, 57:64] = 0
    assert not (np.isfinite(host(after)[0]) != np.isfinite(host(before)[0]))[change != 0].any()
    assert np.nanmax(change) < 1e-4  # the GPU's sums are relative to a depth that 32 pixels of the tile choose


@pytest.mark.parametrize(
    ("estimator", "size"), [("plane", (31, 43)), ("plane", (32, 44)), ("pca", (31, 43)), ("cross", (32, 44))]
)
def test_label_points_and_normals_may_be_left_out(
    device: str, put: Put, get: Callable[[Any], Any], estimator: Any, size: tuple[int, int]
) -> None:
    depth, camera = put(three(*size)), camera_of(*size)
    options: dict[str, Any] = {"estimator": estimator, "radius": 2, "gravity_radius": 3, "stride": 2}
    every = hn_labels(depth, camera, outputs=("label", "points", "normals"), **options)
    points, found = normals(depth, camera, estimator=estimator, radius=2, max_residual=0.003)
    np.testing.assert_array_equal(get(every.points), host(points))
    np.testing.assert_array_equal(get(every.normals), host(found))
    for left_in in ("label", "points", "normals"):
        some = hn_labels(depth, camera, outputs=(left_in,), **options)
        for name, value in vars(some).items():
            if name in ("label", "points", "normals") and name != left_in:
                assert value is None
            else:
                np.testing.assert_array_equal(get(value), get(getattr(every, name)), err_msg=name)


def test_a_floor_below_every_guess_is_exact_still(device: str, put: Put, get: Callable[[Any], Any]) -> None:
    camera = Camera(100, 100, 55.5, 55.5, 112, 112)
    depth = np.random.default_rng(5).uniform(0.9, 1.1, (112, 112)).astype(np.float32)
    depth[:, ::4] += 1  # a sample of every fourth pixel takes the floor to lie twice as low as it does
    made = hn_labels(put(depth), camera, radius=1, gravity_radius=1, stride=4, min_valid=0.0, percentile=1.0)
    up = get(made.up)[0].astype(np.float64)
    v, u = np.mgrid[0:112, 0:112]
    rays = np.stack([(u - camera.cx) / camera.fx, (v - camera.cy) / camera.fy, np.ones_like(u)])
    heights = np.sort((np.einsum("c,chw->hw", up, rays) * depth).ravel())
    assert get(made.figures)[0, 0] == pytest.approx(heights[int(0.01 * (heights.size - 1))], abs=2e-6)
