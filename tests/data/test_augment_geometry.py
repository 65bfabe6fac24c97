"""Depth and camera move with the picture: what the result back-projects to is what the room really looks like."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from fastseg.data.augment import NOTHING, AugmentConfig, Augmented, augment
from fastseg.data.rooms import RoomFrame, Rooms
from fastseg.frames import Camera

pytestmark = pytest.mark.torch

Array = npt.NDArray[np.float64]
SIZE = (96, 160)


@cache
def room_frame() -> RoomFrame:
    """A room of the procedural set; its pixels are made oblong below, as those of a stretched picture are."""
    rooms = Rooms(3, 1, 120, 160, noise=False)
    return rooms.truth(rooms.ids()[0])


def oblong(camera: Camera) -> Camera:
    """The camera with another focal length down than across, and off its middle: no two numbers alike."""
    return Camera(camera.fx, 1.2 * camera.fy, camera.cx + 7, camera.cy - 5, camera.height, camera.width)


def points_of(depth: npt.NDArray[Any], intrinsics: Array, u: npt.NDArray[Any], v: npt.NDArray[Any]) -> Array:
    """(x, y, z) of pixels (u, v) at their depth."""
    fx, fy, cx, cy = intrinsics
    return np.stack([(u - cx) * depth / fx, (v - cy) * depth / fy, 1.0 * depth], -1)


def coordinates(height: int, width: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """An image and a label that say in their colours where each pixel came from (up to 255 of each)."""
    v, u = np.mgrid[:height, :width]
    return np.stack([u, v, 0 * u], -1).astype(np.uint8), v.astype(np.uint8)


def run(config: AugmentConfig, index: int, depth: npt.NDArray[np.float32], camera: Camera) -> Augmented:
    return augment(*coordinates(*depth.shape), SIZE, config, (5, 0, index), depth, camera)


def scale_of(config: AugmentConfig, index: int) -> float:
    low, high = np.log([config.min_scale, config.max_scale])
    return float(np.exp(np.random.default_rng((5, 0, index)).uniform(low, high)))


def turned(points: Array, degrees: float) -> Array:
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    found: Array = points @ np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]).T
    return found


def heights(depth: npt.NDArray[np.float32], camera: Camera, pose: Array) -> npt.NDArray[np.uint8]:
    """Height above the floor in bins of 25 cm, as HN-labels have it; the world's z is up."""
    v, u = np.mgrid[: camera.height, : camera.width]
    world = (
        points_of(depth, np.array([camera.fx, camera.fy, camera.cx, camera.cy]), u, v) @ pose[:3, :3].T + pose[:3, 3]
    )
    return np.clip(world[..., 2] / 0.25, 0, 20).astype(np.uint8)


def moved_camera(found: Augmented) -> Camera:
    assert found.camera is not None
    fx, fy, cx, cy = found.camera.tolist()
    return Camera(fx, fy, cx, cy, *SIZE)


CASES = {
    "crop": AugmentConfig(0, 1.2, 2.0, 0),
    "shrink": AugmentConfig(0, 0.5, 0.9, 0),
    "flip": AugmentConfig(1, 0.7, 1.5, 0),
    "cover": AugmentConfig(1, 0.7, 1.5, 0, aspect=1.3, fit="cover"),
    "turn": AugmentConfig(1, 0.7, 1.5, 0, rotate=30, aspect=1.3, fit="cover"),
    "nearer": AugmentConfig(1, 0.5, 2.0, 0, rotate=10, divide_depth=True),
}


@pytest.mark.parametrize("name", CASES)
def test_the_result_back_projects_to_the_points_of_the_picture(name: str) -> None:
    """Each pixel's depth is its nearest source pixel's; its ray passes within half a source pixel of that one's."""
    config, truth = CASES[name], room_frame()
    camera = oblong(truth.camera)
    before = np.array([camera.fx, camera.fy, camera.cx, camera.cy])
    for index in range(12):
        found = run(config, index, truth.depth, camera)
        assert found.depth is not None and found.camera is not None
        depth, after = found.depth.numpy().astype(float), found.camera.numpy()
        seen = (found.label.numpy() != 255) & (depth > 0)
        assert seen.mean() > 0.15
        v, u = np.nonzero(seen)
        scale = scale_of(config, index) if config.divide_depth else 1.0
        points = points_of(depth[v, u], after, u, v) * scale * [-1 if config.flip else 1, 1, 1]
        turn = np.random.default_rng((5, 0, index))
        turn.random(7)  # scale, place (2), flip, factors (3)
        points = turned(points, -config.rotate * float(turn.uniform(-1, 1)))
        at_u, at_v = (points[:, i] / points[:, 2] * before[i] + before[2 + i] for i in (0, 1))
        near_u, near_v = np.rint(at_u).astype(int), np.rint(at_v).astype(int)
        sure = np.maximum(abs(at_u - near_u), abs(at_v - near_v)) < 0.5 - 1e-4  # halves may round either way
        inside = (near_u >= 0) & (near_v >= 0) & (near_u < camera.width) & (near_v < camera.height)
        assert inside[sure].all() and sure.mean() > 0.4
        there = truth.depth[near_v[sure], near_u[sure]]
        np.testing.assert_allclose(points[sure, 2], there, rtol=1e-5)  # float32 metres
        assert (found.label.numpy()[v, u][sure] == near_v[sure]).all()


@pytest.mark.parametrize("name", CASES)
def test_colour_lies_where_label_and_depth_do(name: str) -> None:
    config, truth = CASES[name], room_frame()
    for index in range(12):
        found = run(config, index, truth.depth, truth.camera)
        seen = found.label != 255
        apart = (found.image[1].float() - found.label.float()).abs()[seen]
        assert apart.max() < 3 and apart.mean() < 0.6  # of rows of the source: bilinear, against the nearest
        assert bool((found.image[:, ~seen] == 124).all()) and bool((found.depth[~seen] == 0).all())  # type: ignore[index]


def test_a_picture_scaled_and_cropped_is_what_the_moved_camera_would_see() -> None:
    """The room drawn anew by the moved camera, against the augmented depth: apart at edges alone."""
    from fastseg.data.rooms import make_room, render, room_camera, room_view

    room = make_room(7)
    pose = room_view(room, 0)
    frame = render(room, room_camera(120, 160), pose)
    found = run(AugmentConfig(0, 1.3, 1.6, 0, fit="cover"), 3, frame.depth, frame.camera)
    assert found.depth is not None and found.camera is not None
    moved = render(room, moved_camera(found), pose)
    apart = np.abs(found.depth.numpy() / moved.depth - 1)
    assert np.median(apart) < 0.01 and (apart < 0.03).mean() > 0.9


def test_a_roll_is_what_the_rolled_camera_would_see_and_hn_labels_stay_true() -> None:
    """The room drawn by the camera turned about its axis: the same depth, and the same height at every pixel."""
    from fastseg.data.rooms import make_room, render, room_camera, room_view

    room = make_room(7)
    pose = room_view(room, 0)
    frame = render(room, room_camera(120, 160), pose)
    config = AugmentConfig(0, 1.5, 1.5, 0, rotate=20)
    label = heights(frame.depth, frame.camera, pose)
    found = augment(frame.color, label, SIZE, config, (5, 0, 0), frame.depth, frame.camera)
    turn = np.random.default_rng((5, 0, 0))
    turn.random(7)
    roll = np.eye(4)
    roll[:3, :3] = turned(np.eye(3), -config.rotate * float(turn.uniform(-1, 1))).T
    assert found.depth is not None and found.camera is not None
    moved = render(room, moved_camera(found), pose @ roll)
    seen = found.label.numpy() != 255
    apart = np.abs(found.depth.numpy() / moved.depth - 1)[seen]
    assert np.median(apart) < 0.01 and (apart < 0.03).mean() > 0.9
    anew = heights(moved.depth, moved.camera, pose @ roll)
    assert (anew == found.label.numpy())[seen].mean() > 0.9


def test_missing_depth_stays_missing() -> None:
    truth = room_frame()
    depth = truth.depth.copy()
    depth[:40], depth[40:60], depth[60:80] = np.nan, np.inf, -1
    found = run(CASES["turn"], 1, depth, truth.camera)
    assert found.depth is not None
    rows = found.label.numpy()
    assert (found.depth.numpy()[(rows < 80) | (rows == 255)] == 0).all()
    assert (found.depth.numpy()[(rows >= 80) & (rows != 255)] > 0).all()


def test_a_turn_alone_of_nothing_is_the_picture_itself() -> None:
    """The sampling of turned pictures, at a turn too small to move a pixel, against the plain one."""
    image, label = coordinates(40, 60)
    config = AugmentConfig(0, 1, 1, 0, rotate=1e-9)
    plain, sampled = (augment(image, label, (40, 60), each, (0, 0, 0)) for each in (NOTHING, config))
    assert torch.equal(plain.image, sampled.image) and torch.equal(plain.label, sampled.label)


def test_cover_keeps_the_aspect() -> None:
    found = run(AugmentConfig(0, 1, 1, 0, fit="cover"), 0, room_frame().depth, room_frame().camera)
    assert found.camera is not None
    fx, fy, *_ = found.camera.tolist()
    assert fx / fy == pytest.approx(room_frame().camera.fx / room_frame().camera.fy, rel=0.02)
    assert bool((found.label != 255).all())


@pytest.mark.parametrize("wrong", ["depth", "camera"])
def test_depth_or_camera_of_another_size_is_refused(wrong: str) -> None:
    image, label = coordinates(40, 60)
    depth = np.ones((40, 61) if wrong == "depth" else (40, 60), np.float32)
    camera = Camera(50, 50, 30, 20, 40, 61 if wrong == "camera" else 60)
    with pytest.raises(ValueError, match=f"its {wrong} must be"):
        augment(image, label, SIZE, NOTHING, (0, 0, 0), depth, camera)
