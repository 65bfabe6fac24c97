"""The scores say what their definitions say, on cases whose answer is known."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pytest

from benchmarks.label_quality import where_both
from benchmarks.normals_quality import ErrorTally, Regions, error_deg, exact, regions
from benchmarks.posed_quality import Accepted, agreement, angle_deg, covisible, score
from benchmarks.rooms_quality import exact_label, score_rooms
from fastseg.data.rooms import RoomFrame, Rooms
from fastseg.frames import Frame, FrameError


@dataclass(frozen=True)
class Answer:
    label: npt.NDArray[np.uint8]
    up: npt.NDArray[np.float64]
    floor_m: float


ROOMS = Rooms(4, 4, 120, 160, noise=False, path=True)
TRUTH = {frame_id: ROOMS.truth(frame_id) for frame_id in ROOMS.ids()}
FRAMES = [ROOMS.record(frame_id, room) for frame_id, room in TRUTH.items()]


def perfect(frame: Frame) -> Answer:
    room = TRUTH[frame.id]
    return Answer(exact_label(room), room.up, room.floor_m)


def rotated(room: RoomFrame, degrees: float) -> npt.NDArray[np.float64]:
    """The room's up turned by so many degrees."""
    across = np.cross(room.up, [1.0, 0.0, 0.0])
    across /= np.linalg.norm(across)
    turn = np.deg2rad(degrees)
    return np.asarray(room.up * np.cos(turn) + across * np.sin(turn))


def test_perfect_labels_score_perfectly_between_frames() -> None:
    found = score(FRAMES, perfect, stated_up=np.array([0.0, 0.0, 1.0]))
    assert (found["accepted"], found["reasons"]) == (4, {})
    assert found["up_spread_deg"]["p95"] < 1e-6
    assert found["up_to_gravity_deg"]["p95"] < 1e-6
    assert found["floor_offset_m"]["median"] == pytest.approx(0, abs=1e-6)  # world floor at z = 0
    assert found["floor_offset_m"]["within_5cm"] == found["floor_offset_m"]["within_5cm_own_up"] == 1
    assert found["agreement"]["pairs"] == 3
    # nearest-pixel warping crosses a bin's border at a few pixels
    assert found["agreement"]["label"] > 0.97


def test_a_wrong_label_in_every_second_frame_halves_nothing_but_the_agreement() -> None:
    flipped = {frame.id for frame in FRAMES[1::2]}

    def labeller(frame: Frame) -> Answer:
        answer = perfect(frame)
        other = ((answer.label // 10) + 1) % 2 * 10 + answer.label % 10
        return replace(answer, label=other.astype(np.uint8)) if frame.id in flipped else answer

    found = score(FRAMES, labeller)["agreement"]
    assert found["normal_bin"] < 0.03
    assert found["height_bin"] > 0.97
    assert found["label"] < 0.03


def test_rejections_are_counted_by_reason_and_leave_pairs_of_accepted_frames() -> None:
    def labeller(frame: Frame) -> Answer:
        if frame.id == FRAMES[1].id:
            raise FrameError("no-floor", "no floor")
        return perfect(frame)

    found = score(FRAMES, labeller)
    assert (found["frames"], found["accepted"], found["rejected"]) == (4, 3, 1)
    assert found["reasons"] == {"no-floor": 1}
    assert found["agreement"]["pairs"] == 2


def test_up_spread_is_the_angle_to_the_mean() -> None:
    def labeller(frame: Frame) -> Answer:
        room = TRUTH[frame.id]
        sign = 1 if frame.id in {FRAMES[0].id, FRAMES[1].id} else -1
        turn = np.cross(room.pose[:3, :3].T @ np.array([1.0, 0.0, 0.0]), room.up)
        up = room.up * np.cos(np.deg2rad(2)) + sign * turn * np.sin(np.deg2rad(2))
        return Answer(exact_label(room), up, room.floor_m)

    found = score(FRAMES, labeller)
    assert found["up_spread_deg"]["median"] == pytest.approx(2, abs=1e-6)


def test_ignored_pixels_are_left_out_of_agreement() -> None:
    def labeller(frame: Frame) -> Answer:
        answer = perfect(frame)
        label = answer.label.copy()
        label[:, ::2] = 255
        return replace(answer, label=label)

    found = score(FRAMES, labeller)["agreement"]
    assert 0.1 < found["labelled_share"] < 0.6
    assert found["label"] > 0.97
    assert found["equal_of_covisible"] == pytest.approx(found["label"] * found["labelled_share"])


def test_covisible_of_a_frame_with_itself_is_every_pixel_in_place() -> None:
    same = Accepted(FRAMES[0], perfect(FRAMES[0]))
    source, target = covisible(same, same)
    np.testing.assert_array_equal(source, target)
    assert source.size == int((FRAMES[0].depth > 0).sum())


def test_covisible_leaves_out_points_that_something_hides() -> None:
    answer = perfect(FRAMES[0])
    nearer = replace(FRAMES[0], depth=(FRAMES[0].depth * np.float32(0.9)).astype(np.float32))
    source, _ = covisible(Accepted(FRAMES[0], answer), Accepted(nearer, answer))
    assert source.size == 0


def test_pairs_without_common_pixels_are_left_out() -> None:
    away = np.eye(4)
    away[:3, 3] = 100
    far = replace(FRAMES[1], pose=away)
    answer = perfect(FRAMES[0])
    assert agreement([Accepted(FRAMES[0], answer), Accepted(far, answer)], 10) == {"pairs": 0, "pixels": 0}


def test_a_frame_without_pose_is_refused() -> None:
    with pytest.raises(ValueError, match="has no pose"):
        score([replace(frame, pose=None) for frame in FRAMES], perfect)


def test_angle_keeps_its_digits_when_small() -> None:
    a = np.array([1.0, 0.0, 0.0])
    b = np.array([np.cos(1e-7), np.sin(1e-7), 0.0])
    assert angle_deg(a, b) == pytest.approx(np.rad2deg(1e-7), rel=1e-6)
    assert angle_deg(a, -a) == pytest.approx(180)


def test_perfect_labels_score_perfectly_against_truth() -> None:
    found = score_rooms(ROOMS, perfect)
    assert found["up_error_deg"]["p95"] == 0
    assert found["floor_error_m"] == {"median": 0, "p95": 0, "within_2cm": 1}
    assert found["agreement"]["label"] == found["agreement"]["labelled_share"] == 1
    assert sum(row["pixels"] for row in found["agreement"]["per_bin"]) == 4 * 120 * 160


def test_errors_against_truth_are_those_put_in() -> None:
    def labeller(frame: Frame) -> Answer:
        room = TRUTH[frame.id]
        label = exact_label(room)
        raised = np.where(label == 0, 1, label).astype(np.uint8)  # every lowest level pixel one height bin too high
        return Answer(raised, rotated(room, 3), room.floor_m + 0.03)

    found = score_rooms(ROOMS, labeller)
    assert found["up_error_deg"]["median"] == pytest.approx(3, abs=1e-6)
    assert found["floor_error_m"]["median"] == pytest.approx(0.03, abs=1e-6)
    assert found["floor_error_m"]["within_2cm"] == 0
    rows = found["agreement"]["per_bin"]
    assert rows[0]["share"] == 0
    assert found["agreement"]["label"] == pytest.approx(1 - rows[0]["pixels"] / (4 * 120 * 160))
    assert found["agreement"]["normal_bin"] == 1


def test_the_exact_label_puts_the_floor_in_bin_zero_and_walls_in_the_second_half() -> None:
    room = TRUTH[FRAMES[0].id]
    points, normals = exact(room)
    height = points @ room.up - room.floor_m
    label = exact_label(room)
    level = np.abs(normals @ room.up) > 0.99
    assert (label[level & (height < 0.2)] == 0).all()
    upright = np.abs(normals @ room.up) < 0.01
    assert (label[upright] >= 10).all()
    assert (label[upright & (height > 2.5)] == 19).all()


def test_regions_find_a_jump_and_a_crease_and_no_edge_on_a_slope() -> None:
    v, u = np.mgrid[0:40, 0:80].astype(np.float32)
    points = np.stack([u * 0.01, v * 0.01, np.full_like(u, 2)], -1)
    normals = np.zeros_like(points)
    normals[..., 2] = -1
    slope = points.copy()
    slope[..., 2] += 3 * slope[..., 0]
    tilt = np.broadcast_to(np.array([3, 0, -1], np.float32) / np.sqrt(np.float32(10)), points.shape)
    assert regions(slope, tilt.copy()).smooth.all()
    jump = points.copy()
    jump[:, 40:, 2] += 0.5
    found = regions(jump, normals)
    np.testing.assert_array_equal(found.near_edges[0], (u[0] >= 34) & (u[0] <= 45))
    np.testing.assert_array_equal(found.smooth, ~found.near_edges)
    bent = normals.copy()
    bent[:, 40:] = [np.sin(0.5), 0, -np.cos(0.5)]
    crease = regions(points, bent)
    assert not crease.smooth[0, 36] and not crease.near_edges[0, 10]


def test_normals_tally_pools_errors_and_states_what_is_undefined() -> None:
    truth = np.zeros((4, 4, 3), np.float32)
    truth[..., 2] = -1
    found = truth.copy()
    found[0] = [np.sin(0.1), 0, -np.cos(0.1)]
    found[1] = np.nan
    everywhere = np.ones((4, 4), np.bool_)
    tally = ErrorTally()
    tally.add(found, truth, Regions(everywhere, ~everywhere), everywhere)
    smooth = tally.summary()["smooth"]
    assert smooth["defined"] == 0.75
    assert smooth["mean"] == pytest.approx(np.rad2deg(0.1) / 3, rel=1e-4)
    assert tally.summary()["near_edges"] == {"defined": 0.0}
    assert error_deg(found, truth)[0, 0] == pytest.approx(np.rad2deg(0.1), rel=1e-4)


def test_a_comparison_on_common_ground_takes_frames_and_pixels_of_both() -> None:
    def left(frame: Frame) -> Answer:
        answer = perfect(frame)
        label = answer.label.copy()
        label[:, :80] = 255
        return replace(answer, label=label)

    def picky(frame: Frame) -> Answer:
        if frame.id == FRAMES[0].id:
            raise FrameError("no-floor", "no floor")
        return left(frame)

    both = where_both(perfect, picky)
    with pytest.raises(FrameError, match="no floor"):
        both(FRAMES[0])
    found = both(FRAMES[1])
    assert (found.label[:, :80] == 255).all()
    np.testing.assert_array_equal(found.label[:, 80:], perfect(FRAMES[1]).label[:, 80:])
