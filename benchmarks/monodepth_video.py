"""Parts `kitti` and `rooms` of `benchmarks.monodepth_real`: depth and motion from video alone."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.clip_scores import (
    Chosen,
    FlatRoad,
    Learned,
    Pair,
    Predict,
    TruePoses,
    agreement,
    explained,
    motion,
    triples,
)
from benchmarks.monodepth_runs import LOOP, OPTIM, protocol, strip, trained, variant
from benchmarks.stereo_warp import sgbm
from benchmarks.study_rooms import Slides
from fastseg.data.augment import AugmentConfig
from fastseg.data.clip_plan import ClipPlan
from fastseg.data.clips import RecordedClips
from fastseg.data.folder_clips import FolderClips
from fastseg.data.images import decode_depth
from fastseg.data.kitti_clips import KittiOdometry
from fastseg.data.rooms import write_rooms
from fastseg.data.sensor_clips import SensorClips
from fastseg.methods import parse_size
from fastseg.methods.monodepth import ClipConfig, Monodepth
from fastseg.pictures import Picture

INTRINSICS = "240.976,244.717,203.544,63.052"
TRAINED, FRAMES = 320, 400
PREDICTED_M = 0.002  # metres a unit of depth_pred, by the data's README
ROOMS = {"seed": 41, "rooms": 100, "views": 16, "height": 128, "width": 192}
HELD = {"seed": 42, "rooms": 12, "views": 16, "height": 128, "width": 192}
STRIDE = 2  # frames from a target to its source frames, 4 to 8 cm
Found = tuple[dict[str, Any], Sequence[Picture]]


def kitti(data: Path, runs: Path, network: str, steps: int, init_from: str) -> Found:
    """What is learned from frames 0-319 of kitti00_a, measured on the others and on kitti06; pictures of four."""
    root = _frames(data / "kitti00_a", runs / "kitti-frames")
    out = runs / f"kitti{variant(network, init_from)}"
    method = Monodepth(
        "video", root=str(root), out=out, clips=ClipConfig(intrinsics=INTRINSICS), network=network, size="64x224",
        steps=steps, batch=4, init_from=init_from, resume=True, optim=OPTIM, loop=LOOP,
    )  # fmt: skip
    before, after = trained(method)
    size = parse_size(method.size)
    frames = data / "kitti00_a" / "rgb"
    clips, steady = (FolderClips(frames, ClipPlan(offsets), INTRINSICS) for offsets in ((-1, 1), (1,)))
    held = Chosen(clips, range(TRAINED, len(clips), 2))
    result: dict[str, Any] = {"trained": protocol(method, f"frames 0-{TRAINED - 1}")}
    for name, learned in (("before", before), ("after", after)):
        result[name] = driving(held, steady, size, learned) | {
            "struct2depth": _against(data, clips, size, learned.depth)
        }
    road, camera = FlatRoad(), clips.clip(0)[2]
    assert camera is not None
    small = camera.resized(*size)
    result["flat_road"] = {"true_poses": explained(held, size, road)}
    result["flat_road"]["struct2depth"] = _against(data, clips, size, lambda image: road.depth(small))
    result["kitti06"] = elsewhere(data / "kitti06", size, before, after)
    return result, [strip(held, index, size, after) for index in (0, 12, 24, 36)]


def driving(held: Chosen, steady: RecordedClips, size: tuple[int, int], learned: Learned) -> dict[str, Any]:
    """How well a network explains held-out frames by its own motion and by the true one; its motion's errors."""
    return {
        "own_poses": explained(held, size, learned),
        "true_poses": explained(held, size, TruePoses(learned)),
        "motion": motion(steady, TRAINED, size, learned),
    }


def elsewhere(root: Path, size: tuple[int, int], before: Learned, after: Learned) -> dict[str, Any]:
    """kitti06, another drive: a geometry from stereo and true poses; the networks trained on kitti00_a."""
    clips, steady = (KittiOdometry(root, ClipPlan(offsets), "grey") for offsets in ((-1, 1), (1,)))
    pair = KittiOdometry(root, ClipPlan((), stereo=True), "grey")
    left, (right, *_), camera, _ = pair.clip(0)
    assert camera is not None
    disparity = sgbm(left, right, 96)
    depth = np.zeros_like(disparity)
    np.divide(camera.fx * abs(float(pair.other(pair.ids()[0])[0, 3])), disparity, out=depth, where=disparity > 0)

    def by_stereo(pair: Pair) -> tuple[torch.Tensor, None, torch.Tensor]:
        assert pair.pose is not None
        return torch.from_numpy(depth)[None], None, pair.pose

    at = clips.ids().index(pair.ids()[0])
    found: dict[str, Any] = {"stereo_depth_true_poses": explained(Chosen(clips, [at]), left.shape[:2], by_stereo)}
    whole = Chosen(clips, range(len(clips)))
    for name, learned in (("before", before), ("after", after)):
        found[name] = {
            "own_poses": explained(whole, size, learned),
            "motion": motion(steady, 0, size, learned),
            "against_stereo": agreement([left], [depth], size, learned.depth, median=True),
        }
    small = camera.resized(*size)
    flat = agreement([left], [depth], size, lambda image: FlatRoad().depth(small), median=True)
    return found | {"flat_road": {"against_stereo": flat}}


def rooms(runs: Path, network: str, steps: int, init_from: str) -> Found:
    """What is learned from video of procedural rooms, measured in others against exact depth and poses.

    The camera slides (`benchmarks.study_rooms`); the rate, the frames' distance and what is not flipped are those of
    the study monodepth_rooms, chosen on other rooms.
    """
    root = runs / "rooms-frames"
    if len(list((root / "labels").rglob("*.png"))) < ROOMS["rooms"] * ROOMS["views"]:
        write_rooms(root, slides(ROOMS))
    method = Monodepth(
        "video", root=str(root), out=runs / f"rooms{variant(network, init_from)}",
        clips=ClipConfig(offsets=(-STRIDE, STRIDE)), network=network, size="64x96", steps=steps, batch=8,
        init_from=init_from, resume=True, augment=AugmentConfig(0.0, 1.0, 1.0, hue=0.1, jitter_chance=0.5),
        optim=replace(OPTIM, lr=3e-4), loop=LOOP,
    )  # fmt: skip
    before, after = trained(method)
    size = parse_size(method.size)
    clips = SensorClips(slides(HELD), ClipPlan((-STRIDE, STRIDE)))
    held = Chosen(clips, range(0, len(clips), 4))
    result: dict[str, Any] = {"trained": protocol(method, str(ROOMS)), "held": HELD | {"targets": len(held)}}
    for name, learned in (("before", before), ("after", after)):
        result[name] = {
            "own_poses": explained(held, size, learned),
            "true_poses": explained(held, size, TruePoses(learned)),
            "motion": triples(held, size, learned),
            "depth": exact_depth(clips, held.indices, size, learned.depth),
        }
    result["constant"] = {"depth": exact_depth(clips, held.indices, size, lambda image: torch.ones(1, *size))}
    return result, [strip(held, index, size, after) for index in range(0, len(held), len(held) // 4)]


def slides(which: Mapping[str, int]) -> Slides:
    """Rooms that a camera slides through, with exact depth."""
    count = which["rooms"] * which["views"]
    return Slides(which["seed"], count, which["height"], which["width"], noise=False, views=which["views"])


def exact_depth(
    clips: SensorClips, indices: Sequence[int], size: tuple[int, int], predict: Predict
) -> dict[str, float]:
    """DepthScores of predictions scaled to each image's median, against exact depth."""
    read = [(clips.clip(index)[0], clips.depth(index)) for index in indices]
    return agreement([each for each, _ in read], [each for _, each in read], size, predict, median=True)


def _frames(given: Path, root: Path) -> Path:
    """A folder with the frames to train on, as a user would have them: pictures and nothing else."""
    root.mkdir(parents=True, exist_ok=True)
    for picture in sorted((given / "rgb").glob("*.jpg"))[:TRAINED]:
        shutil.copyfile(picture, root / picture.name)
    return root


def _against(data: Path, clips: FolderClips, size: tuple[int, int], predict: Predict) -> dict[str, float]:
    """DepthScores against another network's predictions (struct2depth's, which lie beside the frames), not truth."""
    numbers = [f"{number:06d}" for number in range(TRAINED, FRAMES, 10)]
    stored = [decode_depth(data / "kitti00_a" / "depth_pred" / f"{number}.png") for number in numbers]
    depths = [each.astype(np.float32) * np.float32(PREDICTED_M) for each in stored]
    return agreement([clips.picture(number) for number in numbers], depths, size, predict, median=True)
