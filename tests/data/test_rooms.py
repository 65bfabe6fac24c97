"""Rooms are proved against their own geometry: planes, cross products, warps between two cameras."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from fastseg.data.rooms import (
    ROOM_CLASSES,
    RoomFrame,
    RoomImages,
    Rooms,
    clearance,
    look,
    make_room,
    render,
    room_camera,
    room_path,
    room_view,
    write_rooms,
)  # fmt: skip
from fastseg.frames import FrameError

CAMERA = room_camera(121, 161)
SEEDS = range(6)
FLOOR, WALL, CEILING = (ROOM_CLASSES.index(name) for name in ("floor", "wall", "ceiling"))


def frames() -> list[RoomFrame]:
    return [render(room, CAMERA, room_view(room, seed)) for seed in SEEDS for room in [make_room(seed)]]


def points(frame: RoomFrame) -> npt.NDArray[np.float64]:
    """(3, H, W) back-projected depth in the camera frame."""
    v, u = np.mgrid[: frame.camera.height, : frame.camera.width].astype(np.float64)
    rays = np.stack([(u - frame.camera.cx) / frame.camera.fx, (v - frame.camera.cy) / frame.camera.fy, np.ones_like(u)])
    return np.asarray(rays * frame.depth)


def in_world(frame: RoomFrame) -> npt.NDArray[np.float64]:
    turned: npt.NDArray[np.float64] = np.einsum("ij,jhw->ihw", frame.pose[:3, :3], points(frame))
    return turned + frame.pose[:3, 3, None, None]


def test_floor_pixels_lie_on_the_plane_that_up_and_floor_m_state() -> None:
    seen = 0
    for frame in frames():
        on_floor = frame.label == FLOOR
        seen += int(on_floor.sum())
        height = np.tensordot(frame.up, points(frame), 1)[on_floor] - frame.floor_m
        assert np.abs(height).max(initial=0) < 1e-5  # float32 depth of a few metres
        assert np.abs(np.tensordot(frame.up, frame.normals, 1)[on_floor] - 1).max(initial=0) < 1e-6
        rest = np.tensordot(frame.up, points(frame), 1)[~on_floor] - frame.floor_m
        assert rest.min() > -1e-5
    assert seen > 5000


def test_ceiling_and_walls_lie_on_the_rooms_faces() -> None:
    for seed in SEEDS:
        room = make_room(seed)
        frame = render(room, CAMERA, room_view(room, 3))
        world = in_world(frame)
        assert np.abs(world[2][frame.label == CEILING] - room.size[2]).max(initial=0) < 1e-5
        assert world.min() > -1e-5 and (world.max(axis=(1, 2)) < room.size + 1e-5).all()


def test_up_is_the_world_z_axis_and_floor_is_below_the_camera() -> None:
    pose = look(np.array([1.5, 1.5, 1.4]), yaw=0.3, pitch=0.0, roll=0.0)
    frame = render(make_room(0), CAMERA, pose)
    assert np.allclose(frame.up, [0, -1, 0]) and frame.floor_m == -1.4
    assert np.allclose(pose[:3, :3] @ pose[:3, :3].T, np.eye(3)) and np.isclose(np.linalg.det(pose[:3, :3]), 1)


def test_normals_are_the_cross_products_of_neighbouring_points() -> None:
    for frame in frames():
        p, n = points(frame), frame.normals
        cross = np.cross(p[:, 2:, 1:-1] - p[:, :-2, 1:-1], p[:, 1:-1, 2:] - p[:, 1:-1, :-2], axis=0)
        cross /= np.maximum(np.linalg.norm(cross, axis=0), 1e-12)
        agree = (cross * n[:, 1:-1, 1:-1]).sum(axis=0)
        same = np.ones(agree.shape, bool)  # the 3x3 neighbourhood has one normal and one offset: no edge inside
        offset = (n * p).sum(axis=0)
        for dv in (0, 1, 2):
            for du in (0, 1, 2):
                shift = np.s_[dv : dv + agree.shape[0], du : du + agree.shape[1]]
                same &= (n[(slice(None), *shift)] * n[:, 1:-1, 1:-1]).sum(axis=0) > 1 - 1e-6
                same &= np.abs(offset[shift] - offset[1:-1, 1:-1]) < 1e-4
        assert same.mean() > 0.6
        assert agree[same].min() > np.cos(np.deg2rad(0.5))  # float32 depth over two pixels


def test_normals_are_unit_and_face_the_camera() -> None:
    for frame in frames():
        assert np.allclose(np.linalg.norm(frame.normals, axis=0), 1, atol=1e-6)
        assert (frame.normals * points(frame)).sum(axis=0).max() < 1e-6


def test_curved_surfaces_lie_on_their_sphere_or_cylinder() -> None:
    room = make_room(0)
    balls = [i for i in range(6, len(room.kind)) if room.kind[i] == 2]
    centre, radius = room.shape[balls[-1], :3], room.shape[balls[-1], 3]
    gap = room.size[:2] / 2 - centre[:2]
    place = np.array([*(centre[:2] + 0.8 * gap / np.linalg.norm(gap)), centre[2]])
    frame = render(room, CAMERA, look(place, float(np.arctan2(-gap[1], -gap[0])), 0.0, 0.0))
    to_centre = in_world(frame) - centre[:, None, None]
    distance = np.linalg.norm(to_centre, axis=0)
    on_ball = np.abs(distance - radius) < 1e-5
    outward = np.einsum("ij,jhw->ihw", frame.pose[:3, :3], frame.normals)[:, on_ball]
    assert on_ball.sum() > 200 and distance.min() > radius - 1e-5
    assert np.allclose(outward, to_centre[:, on_ball] / radius, atol=1e-4)


def test_two_views_agree_on_depth_and_class_where_both_see() -> None:
    room = make_room(2)
    poses = room_path(room, 0, 8)
    first, second = render(room, CAMERA, poses[0]), render(room, CAMERA, poses[7])
    back = np.linalg.inv(poses[7])
    p = np.einsum("ij,jhw->ihw", back[:3, :3], in_world(first)) + back[:3, 3, None, None]
    u = np.round(p[0] / p[2] * CAMERA.fx + CAMERA.cx).astype(int)
    v = np.round(p[1] / p[2] * CAMERA.fy + CAMERA.cy).astype(int)
    inside = (u >= 0) & (v >= 0) & (u < CAMERA.width) & (v < CAMERA.height)
    seen = second.depth[v[inside], u[inside]]
    near = np.abs(seen - p[2][inside]) < 0.02 * seen
    assert inside.mean() > 0.5 and near.mean() > 0.9
    assert (second.label[v[inside], u[inside]] == first.label[inside])[near].mean() > 0.98


def test_a_room_and_its_pictures_depend_on_the_seed_alone() -> None:
    first, second, other = (render(room, CAMERA, room_view(room, 1)) for room in map(make_room, (5, 5, 6)))
    for name in ("color", "depth", "normals", "label"):
        assert getattr(first, name).tobytes() == getattr(second, name).tobytes()
        assert getattr(first, name).tobytes() != getattr(other, name).tobytes()


def test_views_stay_clear_of_furniture_within_the_stated_angles() -> None:
    for seed in SEEDS:
        room = make_room(seed)
        poses = [*(room_view(room, s) for s in range(5)), *room_path(room, 0, 30)]
        for pose in poses:
            forward, roll = pose[:3, 2], np.arcsin(pose[2, 0] / np.hypot(pose[2, 0], pose[2, 1]))
            assert clearance(room, pose[:3, 3]) > 0.29
            assert -35.01 < np.rad2deg(np.arcsin(forward[2])) < 5.01 and abs(np.rad2deg(roll)) < 8.01


def test_paths_are_smooth() -> None:
    poses = room_path(make_room(4), 1, 60)
    step = np.linalg.norm(np.diff(poses[:, :3, 3], axis=0), axis=1)
    turn = np.rad2deg(np.arccos(np.clip((poses[1:, :3, 2] * poses[:-1, :3, 2]).sum(axis=1), -1, 1)))
    assert 0.001 < step.max() < 0.15 and turn.max() < 4


def test_most_views_show_the_floor_and_some_do_not() -> None:
    camera = room_camera(24, 32)
    share = [
        render(r, camera, room_view(r, s)).floor_fraction for i in range(30) for r in [make_room(i)] for s in (0, 1)
    ]
    assert 0.03 < np.mean(np.array(share) < 0.005) < 0.3


def test_every_class_appears_and_no_pixel_is_unlabelled() -> None:
    labels = np.concatenate([np.unique(make_room(seed).label) for seed in range(20)])
    assert set(labels.tolist()) == set(range(len(ROOM_CLASSES)))
    assert max(frame.label.max() for frame in frames()) < len(ROOM_CLASSES)


def test_a_camera_outside_the_room_is_refused() -> None:
    with pytest.raises(ValueError, match="inside the room"):
        render(make_room(0), CAMERA, look(np.array([1.0, 1.0, 9.0]), 0, 0, 0))


def test_the_source_has_unique_sorted_ids_and_loads_what_truth_shows() -> None:
    rooms = Rooms(3, 11, 60, 80, views=3)
    ids = rooms.ids()
    assert ids == sorted(set(ids)) and len(ids) == 11 and ids[4] == "room-000001/view-0001"
    frame, truth = rooms.load(ids[4]), rooms.truth(ids[4])
    assert frame.id == ids[4] and frame.depth.dtype == np.uint16 and frame.depth_scale == 0.001
    assert frame.image is not None and Image.open(io.BytesIO(frame.image)).size == (80, 60)
    seen = frame.depth > 0
    assert seen.mean() > 0.6
    assert np.median(np.abs(frame.depth[seen] * 0.001 - truth.depth[seen])) < 0.03
    assert frame.depth.tobytes() == Rooms(3, 11, 60, 80, views=3).load(ids[4]).depth.tobytes()
    exact = Rooms(3, 11, 60, 80, views=3, noise=False).load(ids[4])
    assert exact.depth.tobytes() == truth.depth.tobytes() and exact.depth_scale == 1.0


@pytest.mark.parametrize("name", ["room-000003/view-0002", "room-000000/view-0003", "../x", "room-0/view-0"])
def test_an_id_outside_of_the_source_is_refused(name: str) -> None:
    with pytest.raises(FrameError) as caught:
        Rooms(3, 11, 60, 80, views=3).load(name)
    assert caught.value.reason == "id"


def test_room_images_pair_colour_with_classes() -> None:
    images = RoomImages(1, 5, 48, 64)
    image, label = images[2]
    assert len(images) == 5 and image.shape == (48, 64, 3) and label.shape == (48, 64) and image.std() > 5
    assert images.class_names[FLOOR] == "floor" and images.class_names[WALL] == "wall"


def test_rooms_are_written_in_the_folder_layout(tmp_path: Path) -> None:
    rooms = Rooms(2, 3, 60, 80, views=2, path=True)
    ids = write_rooms(tmp_path, rooms)
    assert ids == rooms.ids()
    for frame_id in ids:
        depth = np.array(Image.open(tmp_path / "depth" / f"{frame_id}.png"))
        assert depth.dtype == np.uint16 and (depth == rooms.load(frame_id).depth).all()
        assert np.allclose(np.loadtxt(tmp_path / "poses" / f"{frame_id}.txt"), rooms.truth(frame_id).pose, atol=1e-7)
        assert (tmp_path / "color" / f"{frame_id}.jpg").read_bytes() == rooms.load(frame_id).image
    assert (tmp_path / "intrinsics.json").exists() and (tmp_path / "labels" / f"{ids[0]}.png").exists()
