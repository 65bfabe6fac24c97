from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from fastseg.data.augment import NOTHING, AugmentConfig, augment_clip
from fastseg.data.batches import Recipe, batches
from fastseg.data.rooms import RoomImages
from fastseg.data.unlabelled import ClipImages, MeasuredImages
from fastseg.frames import Camera
from fastseg.ops.photometric import warp
from tests.room_clips import WalkClips

pytestmark = pytest.mark.torch
SIZE = (96, 128)


@pytest.fixture(scope="module")
def walk() -> WalkClips:
    return WalkClips(3, 12, *SIZE, step=3)


def _warp_error(walk: WalkClips, config: AugmentConfig, index: int, move: bool = True) -> float:
    """The mean difference in [0, 1] between a changed target and its changed source, looked up by changed truth."""
    target, sources, camera, poses = walk.clip(index)
    depth, key = walk.target(index).depth, (0, 0, index)
    found = augment_clip(target, sources, camera, poses, SIZE, config, key)
    from fastseg.data.augment import augment

    metres = augment(target, np.zeros(SIZE, np.uint8), SIZE, config, key, depth, camera).depth
    assert found.sources is not None and found.poses is not None and found.camera is not None and metres is not None
    pose = found.poses[:1] if move else torch.eye(4)[None]
    source = found.sources[:1].float() / 255
    seen, valid = warp(source, metres[None], found.camera.float()[None], pose, padding="zeros")
    kept = valid[0].bool() & (metres > 0) & (found.label == 0)
    return float((seen[0] - found.image.float() / 255).abs().mean(0)[kept].mean())


@pytest.mark.parametrize(
    "config",
    [
        NOTHING,
        replace(NOTHING, flip=1.0),
        replace(NOTHING, rotate=30.0),
        replace(NOTHING, flip=1.0, rotate=30.0, min_scale=1.5, max_scale=1.5, aspect=1.3),
        replace(NOTHING, flip=0.5, min_scale=1.4, max_scale=1.4, divide_depth=True, jitter=0.1, hue=0.1),
    ],
)
def test_a_changed_clip_is_still_one_scene_seen_from_its_poses(walk: WalkClips, config: AugmentConfig) -> None:
    for index in (0, 4):
        right, wrong = (_warp_error(walk, config, index, move) for move in (True, False))
        assert right < 0.6 * wrong and right < 0.04  # what is left are occlusions and the blur of resampling


def test_a_batch_of_clips_carries_frames_camera_and_the_poses_asked_for(walk: WalkClips) -> None:
    recipe = Recipe((48, 64), 2, 0, AugmentConfig(), clips="posed")
    first, second = batches(ClipImages(walk), recipe, 0, 2)
    assert first.sources is not None and first.poses is not None and first.camera is not None and first.depth is None
    assert first.sources.shape == (2, 2, 3, 48, 64) and first.sources.dtype == torch.uint8
    assert first.poses.shape == (2, 2, 4, 4) and first.camera.shape == (2, 4) and not first.camera.isnan().any()
    assert first.labels.shape == (2, 48, 64) and first.ids != second.ids
    assert next(iter(batches(ClipImages(walk), replace(recipe, clips="frames"), 0, 1))).poses is None


def test_workers_give_the_same_clips(walk: WalkClips) -> None:
    recipe = Recipe((48, 64), 2, 0, AugmentConfig(), clips="posed")
    for alone, shared in zip(*(batches(ClipImages(walk), recipe, 1, 3, count) for count in (0, 2)), strict=True):
        assert alone.ids == shared.ids and torch.equal(alone.images, shared.images)
        assert alone.sources is not None and shared.sources is not None and torch.equal(alone.sources, shared.sources)


class Odd(WalkClips):
    """Clips that cannot be used, each in another way."""

    wrong = ""

    def clip(
        self, index: int
    ) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8], Camera, npt.NDArray[np.float32] | None]:
        target, sources, camera, poses = super().clip(index)
        assert poses is not None
        match self.wrong:
            case "size":
                sources = sources[:, 1:]
            case "count":
                sources, poses = sources[: 1 + index % 2], poses[: 1 + index % 2]
            case "none":
                sources, poses = sources[:0], poses[:0]
            case "poses":
                poses[0, 0, 3] = np.nan
        return target, sources, camera, None if self.wrong == "unknown" else poses


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ("size", r"source frames must be uint8 \(S, 96, 128, 3\), as their target"),
        ("count", "all clips must have the same number of source frames; not so room-000000/view"),
        ("none", "a clip has 1 to 4 source frames; got 0"),
        ("poses", "poses of 2 source frames must be finite"),
        ("unknown", "room-000000/view-.*: the poses of its source frames are not known"),
    ],
)
def test_a_clip_that_cannot_be_used_is_one_sentence(wrong: str, sentence: str) -> None:
    clips = Odd(3, 12, *SIZE, step=3)
    clips.wrong = wrong
    recipe = Recipe((48, 64), 4, 0, NOTHING, clips="posed")
    with pytest.raises(ValueError, match=sentence):
        next(iter(batches(ClipImages(clips), recipe, 0, 1)))


def test_an_unknown_camera_is_one_sentence() -> None:
    class Uncalibrated(WalkClips):
        def clip(self, index: int) -> tuple[Any, Any, Any, Any]:
            target, sources, _, poses = super().clip(index)
            return target, sources, None, poses

    clips = ClipImages(Uncalibrated(3, 12, *SIZE, step=3))
    with pytest.raises(ValueError, match=r"room-000000/view-.*: its camera's intrinsics are not known"):
        next(iter(batches(clips, Recipe((48, 64), 2, 0, NOTHING, clips="frames"), 0, 1)))


def test_clips_are_asked_of_clips_alone() -> None:
    with pytest.raises(ValueError, match="not one of video or stereo"):
        batches(RoomImages(0, 4, *SIZE), Recipe((48, 64), 2, 0, NOTHING, clips="frames"), 0, 1)


def test_measured_pixels_are_of_the_one_class() -> None:
    class Holed(WalkClips):
        def depth(self, index: int) -> npt.NDArray[np.float32]:
            found = self.target(index).depth.astype(np.float32)
            found[:10], found[10, :3] = 0, (np.nan, np.inf, -1)
            return found

    frames = MeasuredImages(Holed(3, 10, *SIZE, step=3))
    label = frames[1][1]
    assert frames.class_names == ("depth",) and len(frames) == len(frames.ids()) == 4
    assert (label[:10] == 255).all() and label[10, :4].tolist() == [255, 255, 255, 0] and not label[11:].any()
    batch = next(iter(batches(frames, Recipe(SIZE, 2, 0, NOTHING, depth=True), 0, 1)))
    assert batch.depth is not None and torch.equal(batch.depth > 0, batch.labels == 0)
