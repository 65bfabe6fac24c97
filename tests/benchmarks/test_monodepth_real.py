"""The scores of monodepth on real pixels: true geometry scores well, wrong geometry does not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.clip_scores import (
    Chosen,
    FlatRoad,
    Learned,
    Pair,
    TruePoses,
    agreement,
    explained,
    motion,
    pairs,
    triples,
)
from benchmarks.stereo_warp import stereo_scores, unoccluded
from fastseg.data.augment import IMAGENET
from fastseg.data.clip_plan import ClipPlan
from fastseg.data.room_clips import RoomClips
from fastseg.frames import Camera
from fastseg.nets import build_network

pytestmark = pytest.mark.torch
SIZE = (48, 64)


@pytest.fixture(scope="module")
def clips() -> RoomClips:
    return RoomClips(3, 12, *SIZE, views=12, plan=ClipPlan((-4, 4)))


@pytest.fixture(scope="module")
def untrained() -> Learned:
    return Learned(build_network("depth-pose/skip/mobilenetv3_small_050", 1), IMAGENET, (0.1, 100.0))


def test_true_depth_and_poses_explain_a_clip_and_a_constant_does_not(clips: RoomClips) -> None:
    chosen, depth = Chosen(clips, [0]), torch.from_numpy(clips.depth(0).copy())[None]

    def true(pair: Pair) -> tuple[torch.Tensor, None, torch.Tensor]:
        assert pair.pose is not None
        return depth, None, pair.pose

    def far(pair: Pair) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        return 10 * depth, 20 * depth, torch.eye(4)[None]

    right, wrong = explained(chosen, SIZE, true), explained(chosen, SIZE, far)
    assert right["photometric"] < 0.7 * right["unwarped"] and "inconsistency" not in right
    assert wrong["photometric"] == pytest.approx(wrong["unwarped"]) and wrong["seen"] > 0.99
    assert wrong["inconsistency"] == pytest.approx(1 / 3, rel=1e-3)  # |10 d - 20 d| / 30 d


def test_a_network_is_scored_before_it_learned(clips: RoomClips, untrained: Learned) -> None:
    chosen = Chosen(clips, [0, 1])
    found = explained(chosen, SIZE, untrained)
    assert found["photometric"] == pytest.approx(found["unwarped"], rel=0.5) and found["inconsistency"] < 0.1
    assert explained(chosen, SIZE, TruePoses(untrained))["seen"] > 0.3
    scores = triples(chosen, SIZE, untrained)
    assert scores["snippets"] == 2 and scores["rotation_deg"] == pytest.approx(scores["turned_deg"], abs=1.0)
    steady = RoomClips(3, 12, *SIZE, views=12, plan=ClipPlan((1,)))
    assert motion(steady, 4, SIZE, untrained)["snippets"] == 4  # of the last eight frames


def test_motion_back_is_that_of_the_frames_in_order_of_time_undone(clips: RoomClips, untrained: Learned) -> None:
    back, ahead = pairs(Chosen(clips, [0]), SIZE)
    assert back.back and not ahead.back
    turned = Pair(back.source, back.target, back.camera, back.pinhole, None, False)
    torch.testing.assert_close(untrained.pose(back) @ untrained.pose(turned), torch.eye(4)[None])


def test_a_prediction_is_scored_at_the_size_of_the_measurement(clips: RoomClips) -> None:
    picture, depth = clips.clip(0)[0], clips.depth(0)
    half = torch.from_numpy(depth[::2, ::2].copy())[None]
    found = agreement([picture], [depth], (24, 32), lambda image: 3 * half, median=True)
    assert found["delta1"] > 0.9 and found["rel"] < 0.1
    assert agreement([picture], [depth], (24, 32), lambda image: 3 * half, median=False)["rel"] > 1


def test_the_road_lies_below_the_horizon() -> None:
    depth = FlatRoad(1.5, 80.0).depth(Camera(100.0, 100.0, 31.5, 20.0, 48, 64))[0]
    assert bool((depth[:21] == 80).all()) and float(depth[40, 0]) == pytest.approx(100 * 1.5 / 20)


def test_a_point_behind_a_nearer_one_is_occluded() -> None:
    disparity = np.full((1, 12), 2.0, np.float32)
    disparity[0, 8:10] = 6.0  # lands on columns 2 and 3, where columns 4 and 5 land too; 3 and 6 lie beside them
    seen = unoccluded(disparity, np.ones((1, 12), bool))
    assert seen[0].tolist() == [False, False, True, False, False, False, False, True, True, True, True, True]


@pytest.mark.slow
def test_true_disparity_warps_below_sgbm_where_both_cameras_see(shared_data: Path) -> None:
    found, pictures = stereo_scores(shared_data / "stereo_motorcycle")
    for kind in ("photometric", "colour"):
        assert found["true"]["unoccluded"][kind] < found["sgbm"]["unoccluded"][kind]
        assert all(each[kind] > found["true"]["unoccluded"][kind] for each in found["moved_px"].values())
    assert set(pictures) == {"left", "true", "sgbm"}
