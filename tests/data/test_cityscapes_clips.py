from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from clip_kits import BASELINE, check_geometry, walk
from recorded import encoded, put

from fastseg.data.cityscapes_clips import CityscapesClips
from fastseg.data.clip_plan import ClipPlan
from fastseg.frames import FrameError

CITY = "train/aachen/aachen_000007"
PAIR = ClipPlan(offsets=(), stereo=True)


def about(baseline: float = BASELINE, focal: float = 1.0) -> str:
    k = walk().camera
    inner = {"fx": k.fx * focal, "fy": k.fy, "u0": k.cx, "v0": k.cy}
    return json.dumps({"intrinsic": inner, "extrinsic": {"baseline": baseline, "pitch": 0.04, "roll": 0.0}})


def write(root: Path, sequence: str = "_sequence", first: int = 17) -> Path:
    """Frames 17 to 21 around the labelled frame 19, which alone has a camera."""
    for k in range(5):
        name = f"{CITY}_{first + k:06d}"
        put(root / f"leftImg8bit{sequence}" / f"{name}_leftImg8bit.png", encoded(walk().left[k].color))
        put(root / f"rightImg8bit{sequence}" / f"{name}_rightImg8bit.png", encoded(walk().right[k].color))
    put(root / "camera" / f"{CITY}_000019_camera.json", about())
    return root


def test_a_sequence_is_video_with_the_camera_of_its_labelled_frame(tmp_path: Path) -> None:
    clips = CityscapesClips(write(tmp_path))
    assert clips.ids() == [f"{CITY}_{k:06d}" for k in (18, 19, 20)]
    target, sources, camera, poses = clips.clip(2)
    np.testing.assert_array_equal(target, walk().left[3].color)
    np.testing.assert_array_equal(sources, [walk().left[2].color, walk().left[4].color])
    assert camera == walk().camera and poses is None


def test_each_snippet_has_its_own_camera(tmp_path: Path) -> None:
    write(write(tmp_path), first=47)
    put(tmp_path / "camera" / f"{CITY}_000049_camera.json", about(focal=1.25))
    clips = CityscapesClips(tmp_path)
    assert len(clips) == 6
    focal = [clips.clip(index)[2].fx / walk().camera.fx for index in range(6)]  # type: ignore[union-attr]
    np.testing.assert_allclose(focal, [1, 1, 1, 1.25, 1.25, 1.25])


@pytest.mark.parametrize("sequence", ["_sequence", ""])
def test_pairs_have_the_baseline_of_the_camera_file(tmp_path: Path, sequence: str) -> None:
    clips = CityscapesClips(write(tmp_path, sequence), PAIR, split="train")
    assert len(clips) == 5
    target, sources, camera, poses = clips.clip(4)
    np.testing.assert_allclose(poses[0, :3, 3], [-BASELINE, 0, 0], atol=1e-6)  # type: ignore[index]
    check_geometry(target, sources, camera, poses, walk().left[4].depth)


def test_frames_too_far_from_a_camera_have_none(tmp_path: Path) -> None:
    with pytest.raises(FrameError, match="expected a camera of this recording within 30 frames") as caught:
        CityscapesClips(write(tmp_path, first=80)).clip(0)
    assert caught.value.reason == "missing"


def test_what_is_not_there_is_said_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"expected leftImg8bit_sequence/SPLIT/CITY/.* of Cityscapes"):
        CityscapesClips(tmp_path)
    write(tmp_path)
    with pytest.raises(ValueError, match="leftImg8bit_sequence/val/CITY"):
        CityscapesClips(tmp_path, split="val")
    with pytest.raises(ValueError, match="needs; there is none"):
        CityscapesClips(tmp_path, ClipPlan(stereo=True))
    for path in (tmp_path / "rightImg8bit_sequence/train/aachen").iterdir():
        path.unlink()
    with pytest.raises(ValueError, match="expected stereo pairs; no picture has one of the other camera"):
        CityscapesClips(tmp_path, PAIR)


def test_exchanged_folders_and_absurd_baselines_are_found(tmp_path: Path) -> None:
    write(tmp_path)
    put(tmp_path / "camera" / f"{CITY}_000019_camera.json", about(baseline=-0.2))
    with pytest.raises(FrameError, match="expected a baseline"):
        CityscapesClips(tmp_path, PAIR)
    put(tmp_path / "camera" / f"{CITY}_000019_camera.json", about())
    for k in range(5):
        name = f"{CITY}_{17 + k:06d}"
        put(tmp_path / "leftImg8bit_sequence" / f"{name}_leftImg8bit.png", encoded(walk().right[k].color))
        put(tmp_path / "rightImg8bit_sequence" / f"{name}_rightImg8bit.png", encoded(walk().left[k].color))
    with pytest.raises(ValueError, match="they seem swapped"):
        CityscapesClips(tmp_path, PAIR)
