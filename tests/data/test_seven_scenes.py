from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fastseg.data.seven_scenes import SevenScenes
from fastseg.frames import FrameError

MATRIX = "40 0 20\n0 41 16\n0 0 1\n"


def write(folder: Path, number: int, height: int = 33, width: int = 41, ending: str = "png") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    stem = f"frame-{number:06d}"
    depth = np.full((height, width), 1200, np.uint16)
    depth[0, :2] = (0, 65535)
    Image.fromarray(depth).save(folder / f"{stem}.depth.png")
    Image.fromarray(np.zeros((height, width, 3), np.uint8)).save(folder / f"{stem}.color.{ending}")
    (folder / f"{stem}.pose.txt").write_text("1 0 0 1\n0 1 0 2\n0 0 1 3\n0 0 0 1\n")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write(tmp_path / "seq-01", 0)
    write(tmp_path / "seq-02", 0, ending="jpg")
    (tmp_path / "camera-intrinsics.txt").write_text(MATRIX)
    return tmp_path


def test_frames_of_all_sequences_are_listed_and_read(root: Path) -> None:
    source = SevenScenes(root)
    assert source.ids() == ["seq-01/frame-000000", "seq-02/frame-000000"]
    frame = source.load("seq-02/frame-000000")
    assert (frame.camera.fx, frame.camera.fy, frame.camera.cx, frame.camera.cy) == (40, 41, 20, 16)
    assert frame.depth_scale == 0.001 and frame.depth.dtype == np.uint16
    assert frame.depth[0, :3].tolist() == [0, 0, 1200]
    assert frame.pose is not None and frame.pose[:3, 3].tolist() == [1, 2, 3]
    assert frame.image == (root / "seq-02" / "frame-000000.color.jpg").read_bytes()
    assert len(source.inputs("seq-02/frame-000000")) == 4


def test_without_intrinsics_the_published_camera_stands_for_its_own_size_only(root: Path) -> None:
    (root / "camera-intrinsics.txt").unlink()
    write(root / "seq-03", 7, 480, 640)
    camera = SevenScenes(root).load("seq-03/frame-000007").camera
    assert (camera.fx, camera.fy, camera.cx, camera.cy) == (585, 585, 320, 240)
    with pytest.raises(FrameError, match=r"camera-intrinsics\.txt: expected a 3x3 matrix") as caught:
        SevenScenes(root).load("seq-01/frame-000000")
    assert caught.value.reason == "intrinsics"


@pytest.mark.parametrize("text", ["1 2 3", "40 1 20 0 41 16 0 0 1", "nan 0 20 0 41 16 0 0 1", "1e9 0 20 0 41 16 0 0 1"])
def test_absurd_intrinsics_are_refused_naming_the_file(root: Path, text: str) -> None:
    (root / "camera-intrinsics.txt").write_text(text)
    with pytest.raises(FrameError, match=r"camera-intrinsics\.txt"):
        SevenScenes(root).load("seq-01/frame-000000")


def test_a_frame_without_depth_or_colour_is_listed_and_missing(root: Path) -> None:
    (root / "seq-01" / "frame-000000.depth.png").unlink()
    (root / "seq-02" / "frame-000000.color.jpg").unlink()
    source = SevenScenes(root)
    assert len(source.ids()) == 2
    for name in source.ids():
        with pytest.raises(FrameError) as caught:
            source.load(name)
        assert caught.value.reason == "missing"


def test_an_invalid_pose_rejects_the_frame(root: Path) -> None:
    (root / "seq-01" / "frame-000000.pose.txt").write_text("nan " * 16)
    with pytest.raises(FrameError, match=r"frame-000000\.pose\.txt") as caught:
        SevenScenes(root).load("seq-01/frame-000000")
    assert caught.value.reason == "type"


def test_a_folder_without_frames_says_what_was_expected(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"frame-NNNNNN\.depth\.png"):
        SevenScenes(tmp_path).ids()


def test_the_kitchen_has_125_frames(shared_data: Path) -> None:
    source = SevenScenes(shared_data / "rgbd_redkitchen")
    ids = source.ids()
    assert len(ids) == 125 and ids[1] == "frame-000004"
    for name in (ids[0], ids[-1]):
        frame = source.load(name)
        assert frame.depth.shape == (480, 640) and frame.depth.max() < 65535 and frame.pose is not None
