"""The program that scores a consensus: its walks, its bent poses and its evidence from floors, on rooms."""

from __future__ import annotations

import numpy as np

from benchmarks.posed_quality import Accepted
from benchmarks.scene_quality import (
    HN,
    Config,
    bent,
    by_plane,
    floor_evidence,
    floor_of,
    score_procedural,
    voted,
    walks,
)
from fastseg.labels.hn import label_frame, label_given

WALK = Config(rooms=1, views=8, seed=4, windows=(0,))


def test_bent_poses_stay_poses_and_leave_by_the_degrees_asked() -> None:
    poses = [np.eye(4)] * 400
    turned = np.stack(bent(poses, 1.0, 5))
    np.testing.assert_allclose(
        turned[:, :3, :3] @ turned[:, :3, :3].transpose(0, 2, 1), np.eye(3)[None].repeat(400, 0), atol=1e-9
    )
    angles = np.rad2deg(np.arccos((np.trace(turned[:, :3, :3], axis1=1, axis2=2) - 1) / 2))
    assert 1.0 < np.sqrt((angles**2).mean()) < 2.4  # sqrt(3) for three axes of one degree
    assert np.abs(np.diff(turned[:, 0, 1])).max() < np.deg2rad(0.4)  # smooth
    np.testing.assert_allclose(np.stack(bent(poses, 0.0, 5)), np.stack(poses), atol=1e-12)


def test_a_floor_stands_out_against_a_plane_that_misses_it() -> None:
    walk = [(f, t) for f, t in next(walks(WALK)) if t.floor_fraction > 0.1]
    floors, near, off = {}, [], []
    for k, (frame, exact) in enumerate(walk):
        given = label_given(frame, HN, exact.up, exact.floor_m)
        floors[frame.id] = floor_of(frame, given)
        near.append(Accepted(frame, given))
        off.append(Accepted(frame, label_given(frame, HN, exact.up, exact.floor_m + 0.1 * (k % 3))))
    assert len(walk) >= 3
    assert floor_evidence(near, floors)["floor_gap_m"]["p95"] < 0.02
    assert floor_evidence(off, floors)["floor_gap_m"]["p95"] > 0.08


def test_every_frame_of_a_walk_has_a_part_in_the_figures() -> None:
    found = score_procedural(WALK)
    whole, rescued, seen = (found[f"window 0, {part}"]["labelled"] for part in ("all", "rescued", "accepted alone"))
    assert whole == rescued + seen and seen == found["alone"]["labelled"] and found["frames"] == 8


def test_without_planes_a_frame_is_labelled_alone() -> None:
    frame, _ = next((f, t) for f, t in next(walks(WALK)) if t.floor_fraction > 0.1)
    assert (by_plane(frame, {}).label == label_frame(frame, HN).label).all()
    assert set(voted([frame], 0)[frame.id][0].reason) == {"votes"}
