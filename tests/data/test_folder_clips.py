from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from clip_kits import check_geometry, walk, warp_errors
from recorded import encoded, put

from fastseg.data.clip_camera import read_lens
from fastseg.data.clip_plan import ClipPlan
from fastseg.data.folder_clips import FolderClips, in_order
from fastseg.data.images import decode_depth
from fastseg.frames import FrameError

NUMBERS = ",".join(str(v) for v in (walk().camera.fx, walk().camera.fy, walk().camera.cx, walk().camera.cy))


def write(root: Path, about: dict[str, object] | None = None) -> Path:
    for k, frame in enumerate(walk().left):
        put(root / "color" / "walk" / f"frame{8 + k}.png", encoded(frame.color))  # frame8 ... frame12
        put(root / "poses" / "walk" / f"frame{8 + k}.txt", "\n".join(" ".join(map(str, row)) for row in frame.pose))
    put(root / "intrinsics.json", json.dumps(asdict(walk().camera) | (about or {})))
    return root


def test_frames_in_order_of_their_numbers_with_poses_and_the_files_camera(tmp_path: Path) -> None:
    clips = FolderClips(write(tmp_path))
    assert clips.ids() == ["walk/frame9", "walk/frame10", "walk/frame11"]
    target, sources, camera, poses = clips.clip(1)
    np.testing.assert_array_equal(sources, [walk().left[1].color, walk().left[3].color])
    assert camera == walk().camera
    check_geometry(target, sources, camera, poses, walk().left[2].depth)


def test_names_are_ordered_by_the_numbers_in_them() -> None:
    assert sorted(["a10b2", "a2b10", "a2b9", "b1"], key=in_order) == ["a2b9", "a2b10", "a10b2", "b1"]


def test_a_plain_folder_of_pictures_is_a_recording_and_so_is_each_below_it(tmp_path: Path) -> None:
    for k, frame in enumerate(walk().left):
        put(tmp_path / "one" / f"{k}.png", encoded(frame.color))
        put(tmp_path / "two" / f"{k}.png", encoded(frame.color))
    assert len(FolderClips(tmp_path / "one", intrinsics="learn")) == 3
    assert FolderClips(tmp_path, intrinsics=NUMBERS).ids()[3:] == ["two/1", "two/2", "two/3"]


@pytest.mark.parametrize("place", ["rgb/poses.txt", "poses.txt"])
def test_poses_may_be_the_rows_of_one_file(tmp_path: Path, place: str) -> None:
    for k, frame in enumerate(walk().left):
        put(tmp_path / "rgb" / f"{k:06d}.png", encoded(frame.color))
    put(tmp_path / place, "\n".join(" ".join(map(str, frame.pose[:3].ravel())) for frame in walk().left))
    target, sources, camera, poses = FolderClips(tmp_path / "rgb", intrinsics=NUMBERS).clip(0)
    check_geometry(target, sources, camera, poses, walk().left[1].depth)
    put(tmp_path / place, "1 2 3\n")
    with pytest.raises(ValueError, match=r"poses\.txt: expected a row for each of 5 frames; it has 1"):
        FolderClips(tmp_path / "rgb", intrinsics=NUMBERS)


def test_the_camera_is_given_in_a_file_in_numbers_or_learned(tmp_path: Path) -> None:
    about = write(tmp_path) / "intrinsics.json"
    other = about.rename(tmp_path / "camera.json")
    for given in (str(other), NUMBERS):
        camera = FolderClips(tmp_path, intrinsics=given).clip(0)[2]
        assert camera is not None and (camera.fx, camera.cy) == (walk().camera.fx, walk().camera.cy)
    assert FolderClips(tmp_path, intrinsics="learn").clip(0)[2] is None


def test_without_intrinsics_the_three_ways_are_named(tmp_path: Path) -> None:
    (write(tmp_path) / "intrinsics.json").unlink()
    with pytest.raises(FileNotFoundError) as caught:
        FolderClips(tmp_path)
    said = str(caught.value)
    assert all(part in said for part in ("intrinsics.json", "FILE", "fx,fy,cx,cy", "learn")) and "\n" not in said


@pytest.mark.parametrize(
    ("given", "sentence"),
    [("1,2,3", r"intrinsics must be a file, fx,fy,cx,cy or learn; got '1,2,3'"), ("a,b,c,d", "intrinsics must be"),
     ("nan,1,1,1", "must be finite"), ("1,1,1,1", "focal lengths must lie"), ("nowhere.json", r"nowhere\.json")],
)  # fmt: skip
def test_a_camera_that_makes_no_sense_is_refused(tmp_path: Path, given: str, sentence: str) -> None:
    with pytest.raises((ValueError, FileNotFoundError), match=sentence):
        read_lens(given, tmp_path / "intrinsics.json").camera((96, 160), "a")


def test_frames_of_another_size_than_the_camera_or_each_other_are_refused(tmp_path: Path) -> None:
    write(tmp_path, {"width": 200})
    with pytest.raises(FrameError, match=r"frame8: picture must be 200x96 as the camera in .*; got 160x96"):
        FolderClips(tmp_path)
    put(tmp_path / "color" / "walk2" / "1.png", encoded(np.zeros((50, 60, 3), np.uint8)))
    with pytest.raises(FrameError, match=r"1\.png: expected frames of one size, 160x96 as walk/frame8; got 60x50"):
        FolderClips(tmp_path, intrinsics="learn")


def test_an_empty_folder_or_two_frames_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected frames NAME"):
        FolderClips(tmp_path, intrinsics="learn")
    for k in range(2):
        put(tmp_path / f"{k}.png", encoded(walk().left[k].color))
    with pytest.raises(ValueError, match="expected a recording of 3 frames or more"):
        FolderClips(tmp_path, intrinsics="learn")
    with pytest.raises(ValueError, match="expected a camera-to-world pose"):
        FolderClips(tmp_path, ClipPlan(offsets=(1,), poses="needed"), "learn")


def test_driving_frames_have_their_rows_of_the_poses(shared_data: Path) -> None:
    given = "240.976,244.717,203.544,63.052"
    clips = FolderClips(shared_data / "kitti00_a" / "rgb", intrinsics=given)
    assert len(clips) == 398
    target, sources, camera, poses = clips.clip(29)
    assert target.shape == (128, 416, 3) and camera is not None and poses is not None
    assert poses[0, 2, 3] > 0.3 and poses[1, 2, 3] < -0.3  # towards the frame before, points lie further ahead
    predicted = decode_depth(shared_data / "kitti00_a" / "depth_pred" / "000030.png")
    for source, pose in zip(sources, poses, strict=True):  # 0.002: the best scale by the data's own README
        warped, still = warp_errors(target, source, camera, pose, predicted * np.float32(0.002))
        assert warped < 0.7 * still, (warped, still)
        back, _ = warp_errors(target, source, camera, np.linalg.inv(pose), predicted * np.float32(0.002))
        assert back > still
