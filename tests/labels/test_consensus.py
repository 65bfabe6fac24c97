"""Votes on up and floor: outliers are dropped, nothing depends on the frame of reference, and rooms tell the truth."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest

from fastseg.data.rooms import Rooms
from fastseg.frames import Frame
from fastseg.labels.consensus import (
    REASONS,
    ConsensusConfig,
    Double,
    Estimates,
    alone,
    by_poses,
    degrees_between,
    floor_vote,
    part_below,
    unit,
    up_vote,
    weighted_median,
)
from fastseg.labels.hn import HNConfig, estimate_frame, label_given
from fastseg.labels.standing import coarse_depth, standing, while_still

HN = HNConfig(radius=2, gravity_radius=4, stride=2, max_residual=0.02)
WHOLE = ConsensusConfig(window=0)


def rotation(rng: np.random.Generator) -> Double:
    q = np.linalg.qr(rng.standard_normal((3, 3)))[0]
    return np.asarray(q * np.linalg.det(q), np.float64)


def scene(n: int = 40, seed: int = 0, noise_deg: float = 0.3) -> tuple[Estimates, Double, float]:
    """Estimates of n frames of a world with its up along z and its floor at 0.4 m; every third shows no floor."""
    rng = np.random.default_rng(seed)
    pose = np.tile(np.eye(4), (n, 1, 1))
    pose[:, :3, :3] = [rotation(rng) for _ in range(n)]
    pose[:, :3, 3] = rng.uniform(-2, 2, (n, 3)) + np.array([0, 0, 3])
    up = np.array([0.0, 0.0, 1.0])
    found = unit(up + np.deg2rad(noise_deg) * rng.standard_normal((n, 3)))
    ups = np.einsum("nij,ni->nj", pose[:, :3, :3], found)
    seen = np.where(np.arange(n) % 3 == 0, 0.0, 1.0)
    floor_m = 0.4 - pose[:, 2, 3] + 0.01 * rng.standard_normal(n)
    return Estimates(ups, np.where(seen > 0, floor_m, floor_m + 0.7), np.ones(n), seen, pose), up, 0.4


def errors(planes: Any, estimates: Estimates, up: Double, height: float) -> tuple[Double, Double]:
    """Degrees and metres by which voted planes miss the truth, NaN where there is none."""
    pose = estimates.pose
    wanted = np.einsum("nij,i->nj", pose[:, :3, :3], up)
    return degrees_between(planes.up, wanted), np.abs(planes.floor_m - (height - pose[:, :3, 3] @ up))


def test_frames_without_a_floor_get_the_plane_of_their_scene() -> None:
    estimates, up, height = scene()
    planes = by_poses(estimates, WHOLE)
    tilt, away = errors(planes, estimates, up, height)
    assert set(planes.reason) == {""} and (planes.votes == 26).all()
    assert tilt.max() < 0.2 and away.max() < 0.02  # the mean of forty votes of 0.3 degrees, feet a few metres away


def test_a_vote_drops_outliers() -> None:
    estimates, up, height = scene()
    wild = np.arange(40) % 5 == 1
    ups = np.where(wild[:, None], unit(estimates.up + np.array([0.6, 0.1, -0.3])), estimates.up)
    spoiled = replace(estimates, up=ups, floor_m=np.where(wild, estimates.floor_m + 0.8, estimates.floor_m))
    planes = by_poses(spoiled, WHOLE)
    good = np.array([r == "" for r in planes.reason])
    tilt, away = errors(planes, estimates, up, height)
    assert (good == ~wild).all() and {planes.reason[i] for i in np.flatnonzero(wild)} == {"apart"}
    assert tilt[good].max() < 0.25 and away[good].max() < 0.03


def test_the_median_on_the_sphere_is_not_moved_by_a_minority() -> None:
    rng = np.random.default_rng(1)
    true = np.array([0.0, -1.0, 0.0])
    votes = np.concatenate([unit(true + 0.003 * rng.standard_normal((60, 3))), np.tile(unit(np.ones(3)), (40, 1))])
    up, spread = up_vote(votes, np.ones(100))
    assert degrees_between(up, true) < 0.1 and spread < 1


def test_the_floor_is_the_fullest_band_by_weight() -> None:
    heights = np.array([0.0, 0.01, 0.02, 0.75, 0.76, 0.77, 0.78])
    assert floor_vote(heights, np.array([9.0, 9, 9, 1, 1, 1, 1]), 0.05)[0] == 0.01
    height, spread, share = floor_vote(heights, np.ones(7), 0.05)
    assert height == pytest.approx(0.76) and share == pytest.approx(4 / 7) and spread == pytest.approx(0.02)
    assert floor_vote(np.array([1.0, 2.0]), np.ones(2), 0.05)[0] == 1.0  # the lower of equals
    assert weighted_median(np.array([3.0, 1.0, 2.0]), np.array([1.0, 1.0, 5.0])) == 2.0


def test_votes_turn_with_the_world_and_do_not_depend_on_order() -> None:
    estimates, _, _ = scene(30)
    rng = np.random.default_rng(2)
    moved = np.eye(4)
    moved[:3, :3], moved[:3, 3] = rotation(rng), [5.0, -3.0, 2.0]
    planes = by_poses(estimates, WHOLE)
    turned = by_poses(replace(estimates, pose=moved @ estimates.pose), WHOLE)
    np.testing.assert_allclose(turned.up, planes.up, atol=1e-6)  # planes lie in the cameras: the world is nowhere
    np.testing.assert_allclose(turned.floor_m, planes.floor_m, atol=1e-6)
    order = rng.permutation(30)
    mixed = by_poses(Estimates(**{name: value[order] for name, value in vars(estimates).items()}), WHOLE)
    np.testing.assert_allclose(mixed.up, planes.up[order], atol=1e-9)  # the order of sums
    np.testing.assert_allclose(mixed.floor_m, planes.floor_m[order], atol=1e-9)


def test_a_window_follows_poses_that_drift() -> None:
    estimates, up, height = scene(200, noise_deg=0.1)
    lean = np.deg2rad(np.linspace(0, 8, 200))
    drift = np.tile(np.eye(4), (200, 1, 1))
    drift[:, 0, 0] = drift[:, 2, 2] = np.cos(lean)
    drift[:, 0, 2], drift[:, 2, 0] = np.sin(lean), -np.sin(lean)
    drifting = replace(estimates, pose=drift @ estimates.pose)
    worst = {w: errors(by_poses(drifting, ConsensusConfig(window=w)), estimates, up, height)[0] for w in (0, 8)}
    assert np.median(worst[0]) > 1.5 and worst[8][20:-20].max() < 0.6


def test_frames_that_cannot_be_voted_on_say_why() -> None:
    estimates, _, _ = scene(30)
    pose = estimates.pose.copy()
    pose[3, 0, 0], pose[4, :3, :3] = np.nan, 2 * np.eye(3)
    weight = estimates.weight.copy()
    weight[3:6] = 0
    low = estimates.floor_m.copy()
    low[7] -= 1
    planes = by_poses(replace(estimates, pose=pose, weight=weight, floor_m=low), WHOLE)
    assert [planes.reason[i] for i in (3, 4, 5, 7)] == ["pose", "pose", "", "below"]
    assert np.isnan(planes.up[[3, 4, 7]]).all() and np.isfinite(planes.up[5]).all()
    assert set(by_poses(replace(estimates, floor=np.zeros(30)), WHOLE).reason) == {"votes"}
    assert set(planes.reason) <= set(REASONS)


def test_wrong_poses_are_noticed_by_the_votes() -> None:
    estimates, _, _ = scene(40)
    rng = np.random.default_rng(3)
    spun = estimates.pose.copy()
    spun[:, :3, :3] = [rotation(rng) for _ in range(40)]
    assert set(by_poses(replace(estimates, pose=spun), WHOLE).reason) == {"up"}
    sunk = estimates.pose.copy()
    sunk[:, 2, 3] += rng.uniform(-2, 2, 40)
    assert set(by_poses(replace(estimates, pose=sunk), WHOLE).reason) == {"floor"}


@cache
def path() -> list[tuple[Frame, Any]]:
    """The frames of a camera that walks through a room, noisy, and their truth; every second is robbed of its floor."""
    rooms = Rooms(5, 16, 120, 160, views=16, path=True)
    out = []
    for k, frame_id in enumerate(rooms.ids()):
        exact = rooms.truth(frame_id)
        frame = rooms.record(frame_id, exact)
        c = frame.camera
        v, u = np.mgrid[: c.height, : c.width]
        z = exact.depth.astype(np.float64)
        height = np.stack([(u - c.cx) / c.fx * z, (v - c.cy) / c.fy * z, z], -1) @ exact.up - exact.floor_m
        hidden = np.where((height < 0.3) & (k % 2 == 1), 0, frame.depth).astype(np.uint16)
        out.append((replace(frame, depth=hidden), exact))
    return out


def found_alone() -> Estimates:
    found = [estimate_frame(frame, HN) for frame, _ in path()]
    poses = np.stack([frame.pose for frame, _ in path() if frame.pose is not None])
    return alone(np.stack([f[0] for f in found]), np.stack([f[1] for f in found]), poses, HN)


def test_a_room_whose_floor_is_hidden_in_half_the_frames_is_labelled_as_by_exact_planes() -> None:
    estimates = found_alone()
    planes = by_poses(estimates, WHOLE)
    assert (estimates.floor[1::2] == 0).sum() >= 6  # without the vote these are rejected
    for i, (frame, exact) in enumerate(path()):
        assert planes.reason[i] == ""
        assert degrees_between(planes.up[i], unit(exact.up)) < 0.5
        assert abs(planes.floor_m[i] - exact.floor_m) < 0.03
        given = label_given(frame, HN, planes.up[i], float(planes.floor_m[i]))
        wanted = label_given(frame, HN, exact.up, exact.floor_m)
        assert (given.label == wanted.label).mean() > 0.95  # a bin's edge moves by a centimetre or two


def test_frames_of_a_standing_camera_share_a_plane_without_poses() -> None:
    frame, exact = path()[0]
    blocked = frame.depth.copy()
    blocked[80:, 50:110] = 900  # somebody steps before the floor
    frames = [replace(frame, depth=d) for d in (frame.depth, blocked, frame.depth, frame.depth, frame.depth)]
    frames += [f for f, _ in path()[4:8:2]]
    depths = np.stack([coarse_depth(f) for f in frames])
    runs = standing(depths)
    assert runs[0] == runs[2] == runs[4] and len({runs[4], runs[5], runs[6]}) == 3
    found = [estimate_frame(f, HN) for f in frames]
    estimates = alone(
        np.stack([f[0] for f in found]), np.stack([f[1] for f in found]), np.full((len(frames), 4, 4), np.nan), HN
    )
    planes = while_still(estimates, depths, WHOLE)
    assert planes.reason[5:] == ("votes", "votes")  # the camera moved: each is judged alone
    for i in np.flatnonzero(runs == runs[0]):
        assert planes.reason[i] == "" and degrees_between(planes.up[i], unit(exact.up)) < 1
        assert abs(planes.floor_m[i] - exact.floor_m) < 0.03


def test_points_below_a_floor_are_counted() -> None:
    frame, exact = path()[0]
    assert part_below(frame, exact.up, exact.floor_m, 0.3) < 0.01
    assert part_below(frame, exact.up, exact.floor_m + 1, 0.3) > 0.2
    empty = replace(frame, depth=np.zeros_like(frame.depth))
    assert part_below(empty, exact.up, exact.floor_m, 0.3) == 0


def test_a_setting_that_suits_no_scene_is_refused() -> None:
    for change in ({"window": -1.0}, {"fewest": 0}, {"near_m": 0.0}, {"max_apart_deg": float("nan")}):
        with pytest.raises(ValueError, match="a consensus takes"):
            ConsensusConfig(**change)
