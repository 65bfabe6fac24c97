from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fastseg.data.checks import check_pose, checked_frame, checked_ids, read_pose, stems
from fastseg.frames import Camera, Frame, FrameError

CAMERA = Camera(40, 40, 20, 16, 33, 41)


def frame(depth: np.ndarray, scale: float) -> Frame:
    return Frame("a", depth, scale, CAMERA)


@pytest.mark.parametrize(
    "name", ["../a", "/a", "a//b", "a/./b", "a\nb", "a\0b", "a\x7f", "x" * 256, "\udcff", "", "a\\b", "a/.."]
)
def test_bad_names_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(FrameError) as caught:
        checked_ids(["good", name], tmp_path, "files")
    assert caught.value.reason == "id" and repr(name) in str(caught.value)


def test_odd_but_plain_names_are_kept_as_text(tmp_path: Path) -> None:
    names = ["<script>alert(1)</script>".replace("/", "-"), "a b", "über", "x" * 255]
    assert checked_ids(names, tmp_path, "files") == sorted(names)


@pytest.mark.parametrize("twins", [("a", "a"), ("a/Frame", "a/frame")])
def test_duplicates_and_case_twins_are_refused(tmp_path: Path, twins: tuple[str, str]) -> None:
    with pytest.raises(FrameError, match="unique"):
        checked_ids(twins, tmp_path, "files")


def test_an_empty_folder_says_what_was_expected(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"holds no frames; expected depth/NAME.png"):
        checked_ids([], tmp_path, "depth/NAME.png")


def test_links_out_of_the_root_are_refused(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside.png"
    (root / "depth").mkdir(parents=True)
    outside.touch()
    (root / "depth" / "inside.png").touch()
    (root / "depth" / "link.png").symlink_to(root / "depth" / "inside.png")
    assert sorted(stems(root / "depth", root, (".png",))) == ["inside", "link"]
    (root / "depth" / "away.png").symlink_to(outside)
    with pytest.raises(FrameError, match=r"away\.png"):
        stems(root / "depth", root, (".png",))


def test_links_to_folders_are_refused(tmp_path: Path) -> None:
    (tmp_path / "depth" / "a").mkdir(parents=True)
    (tmp_path / "depth" / "b").symlink_to(tmp_path / "depth")
    with pytest.raises(FrameError, match="link"):
        stems(tmp_path / "depth", tmp_path, (".png",))


def test_millimetres_read_as_metres_are_rejected_with_the_median() -> None:
    with pytest.raises(FrameError, match=r"median depth is 1650 m, expected 0.1 to 100 m") as caught:
        checked_frame(frame(np.full((33, 41), 1650, np.uint16), 1.0), "depth.png")
    assert caught.value.reason == "scale" and caught.value.value == 1650


def test_metres_read_as_millimetres_are_rejected() -> None:
    with pytest.raises(FrameError) as caught:
        checked_frame(frame(np.full((33, 41), 2, np.float32), 0.001), "depth.npy")
    assert caught.value.reason == "scale"


def test_one_valid_pixel_off_the_grid_decides_the_scale() -> None:
    depth = np.zeros((330, 410), np.float32)
    depth[0, 1] = 5000
    camera = Camera(400, 400, 200, 160, 330, 410)
    with pytest.raises(FrameError) as caught:
        checked_frame(Frame("a", depth, 1.0, camera), "depth.npy")
    assert caught.value.value == 5000


@pytest.mark.parametrize("value", [0, np.nan, -1, np.inf])
def test_depth_without_a_measurement_passes(value: float) -> None:
    assert checked_frame(frame(np.full((33, 41), value, np.float32), 1.0), "depth.npy").id == "a"


@pytest.mark.parametrize("depth", [np.ones((33, 41, 1), np.float32), np.ones((33, 41), np.int32)])
def test_depth_of_another_shape_or_type_is_rejected(depth: np.ndarray) -> None:
    with pytest.raises(FrameError) as caught:
        checked_frame(frame(depth, 1.0), "depth.npy")
    assert caught.value.reason == "type"


def test_depth_that_is_not_of_the_cameras_size_is_rejected() -> None:
    with pytest.raises(FrameError, match=r"41x33.*got 33x41") as caught:
        checked_frame(frame(np.ones((41, 33), np.float32), 1.0), "depth.npy")
    assert caught.value.reason == "size"


def poses() -> dict[str, np.ndarray]:
    bad = {name: np.eye(4) for name in ("nan", "mirrored", "scaled", "row")}
    bad["nan"][0, 3] = np.nan
    bad["mirrored"][0, 0] = -1
    bad["scaled"][:3, :3] *= 1.1
    bad["row"][3, 0] = 1
    return bad


@pytest.mark.parametrize("name", poses())
def test_a_matrix_that_is_no_pose_is_rejected(name: str) -> None:
    with pytest.raises(FrameError) as caught:
        check_pose(poses()[name], "pose.txt")
    assert caught.value.reason == "type"


@pytest.mark.parametrize("text", ["", "1 2 3", "a " * 16, "\0\xff"])
def test_a_pose_file_that_is_not_16_numbers_is_rejected(tmp_path: Path, text: str) -> None:
    (tmp_path / "pose.txt").write_text(text)
    with pytest.raises(FrameError, match=r"pose\.txt") as caught:
        read_pose(tmp_path / "pose.txt")
    assert caught.value.reason == "decode"
