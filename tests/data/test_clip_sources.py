from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from clip_kits import check_geometry, walk
from recorded import encoded, put, room_frames

from fastseg.data.clip_plan import ClipPlan
from fastseg.data.clip_sources import CLIPS_TAKE, ClipSource, open_clips, with_depth
from fastseg.data.layouts import CLIPS
from fastseg.data.room_clips import RoomClips
from fastseg.data.sensor_clips import MeasuredTargets, SensorClips
from fastseg.data.sources import open_source
from fastseg.frames import DepthClips, Frame, FrameError, LabelledFrames


def write_recording(root: Path) -> Path:
    """An RGB-D recording in the plain layout, float32 metres, with poses."""
    put(root / "intrinsics.json", json.dumps(asdict(walk().camera)))
    for k, frame in enumerate(walk().left):
        put(root / "color" / "a" / f"{k}.png", encoded(frame.color))
        put(root / "poses" / "a" / f"{k}.txt", "\n".join(" ".join(map(str, row)) for row in frame.pose))
        (root / "depth" / "a").mkdir(parents=True, exist_ok=True)
        np.save(root / "depth" / "a" / f"{k}.npy", frame.depth)
    return root


def test_every_source_says_what_it_takes_and_where_its_files_lie() -> None:
    assert set(CLIPS_TAKE) == set(CLIPS) == set(get_args(ClipSource))


@pytest.mark.parametrize("name", get_args(ClipSource))
def test_every_source_says_in_one_sentence_that_there_is_nothing(name: ClipSource, tmp_path: Path) -> None:
    intrinsics = "learn" if name in ("folder", "video") else None
    with pytest.raises((ValueError, FileNotFoundError), match="expected") as caught:
        open_clips(name, tmp_path, intrinsics=intrinsics)
    assert "\n" not in str(caught.value) and str(tmp_path) in str(caught.value)


def test_each_source_refuses_what_it_does_not_take(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="clips rooms take no intrinsics; got learn"):
        open_clips("rooms", tmp_path, intrinsics="learn")
    with pytest.raises(ValueError, match="clips folder take no cameras"):
        open_clips("folder", tmp_path, cameras="grey")
    with pytest.raises(ValueError, match=r"no source of clips 'kitti' \(did you mean kitti-"):
        open_clips("kitti", tmp_path)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="min_motion must be 0 or above; got nan"):
        open_clips("folder", tmp_path, min_motion=float("nan"))


def test_a_video_file_is_no_folder_of_frames(tmp_path: Path) -> None:
    put(tmp_path / "drive.MP4", b"")
    with pytest.raises(
        ValueError, match=r"drive\.MP4: expected a folder, as clips folder are; a video file is clips vi"
    ):
        open_clips("folder", tmp_path / "drive.MP4")


def test_rooms_are_video_with_exact_depth_and_poses(tmp_path: Path) -> None:
    put(tmp_path / "rooms.json", json.dumps({"seed": 3, "count": 32, "views": 16, "height": 96, "width": 128}))
    clips = open_clips("rooms", tmp_path, ClipPlan(offsets=(-4, 4)))
    assert isinstance(clips, RoomClips) and len(clips) == 16 and clips.ids()[8] == "room-000001/view-0004"
    for index in (2, 8):
        depth = clips.depth(index)
        assert depth.dtype == np.float32 and depth.min() > 0
        check_geometry(*clips.clip(index), depth, share=0.8)
    again = RoomClips(3, 32, 96, 128, views=16, noise=True, plan=ClipPlan(offsets=(-4, 4)))
    np.testing.assert_array_equal(again.clip(8)[0], clips.clip(8)[0])
    measured, exact = again.depth(8), clips.depth(8)
    assert np.median(np.abs(measured - exact)[measured > 0]) < 0.05 and (measured == 0).any()


def test_rooms_of_too_few_views_are_no_video(tmp_path: Path) -> None:
    put(tmp_path / "rooms.json", json.dumps({"seed": 3, "count": 8, "views": 2}))
    with pytest.raises(ValueError, match="expected a recording of 3 frames or more"):
        open_clips("rooms", tmp_path)


def test_a_recording_is_sensor_supervised_frame_by_frame_or_with_its_neighbours(tmp_path: Path) -> None:
    single = open_clips("frames", write_recording(tmp_path))
    assert len(single) == 5 and single.clip(0)[1].shape[0] == 0 and single.clip(0)[3] is None
    clips: DepthClips = SensorClips(open_source("folder", tmp_path), ClipPlan())
    target, sources, camera, poses = clips.clip(1)
    np.testing.assert_array_equal(clips.depth(1), walk().left[2].depth)
    check_geometry(target, sources, camera, poses, clips.depth(1))


def test_measured_targets_are_labelled_frames(tmp_path: Path) -> None:
    write_recording(tmp_path)
    hole = walk().left[0].depth.copy()
    hole[:7] = np.nan
    np.save(tmp_path / "depth" / "a" / "0.npy", hole)
    frames: LabelledFrames = MeasuredTargets(with_depth(open_clips("frames", tmp_path)))
    image, label = frames[0]
    np.testing.assert_array_equal(image, walk().left[0].color)
    assert len(frames) == 5 and frames.ids()[0] == "a/0" and frames.camera(0) == walk().camera
    assert (label[:7] == 255).all() and not label[7:].any() and not frames.depth(0)[:7].any()
    with pytest.raises(ValueError, match=r"expected clips with measured depth.*; FolderClips have none"):
        with_depth(open_clips("folder", tmp_path))


def test_depth_that_is_zero_or_nan_everywhere_and_frames_without_colour_are_refused(tmp_path: Path) -> None:
    write_recording(tmp_path)
    np.save(tmp_path / "depth" / "a" / "1.npy", np.full((96, 160), np.nan, np.float32))
    with pytest.raises(FrameError, match=r"a/1: expected depth \(or disparity\) above 0 somewhere") as caught:
        SensorClips(open_source("folder", tmp_path)).depth(1)
    assert caught.value.reason == "no-depth"

    class Grey:
        def ids(self) -> list[str]:
            return ["a"]

        def load(self, frame_id: str) -> Frame:
            frame = room_frames()[0]
            return Frame(frame_id, frame.depth, frame.depth_scale, frame.camera)

        def inputs(self, frame_id: str) -> list[str]:
            return []

    with pytest.raises(FrameError, match="a: expected the frame's colour; this recording has none"):
        SensorClips(Grey()).clip(0)


def test_kitchen_frames_are_sensor_supervised(shared_data: Path) -> None:
    clips = open_clips("frames", shared_data / "rgbd_redkitchen", reader="7scenes")
    assert isinstance(clips, SensorClips) and len(clips) == 125
    target, sources, camera, _ = clips.clip(60)
    depth = clips.depth(60)
    assert target.shape == (480, 640, 3) and not len(sources) and camera is not None
    assert 0.5 < np.median(depth[depth > 0]) < 5


def test_static_frames_are_left_out_of_a_folder(tmp_path: Path) -> None:
    shown = [0, 0, 0, 0, 1, 2, 3]
    for k, number in enumerate(shown):
        put(tmp_path / f"{k}.png", encoded(walk().left[number].color))
    clips = open_clips("folder", tmp_path, intrinsics="learn", min_motion=0.002)
    assert clips.ids() == ["3", "4", "5"]
