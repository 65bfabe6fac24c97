from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fastseg.data.folder import Folder, FolderLabels
from fastseg.frames import FrameError

ABOUT = {"fx": 40, "fy": 40, "cx": 20, "cy": 16, "width": 41, "height": 33, "depth_scale": 0.001}
DEPTH = np.full((33, 41), 1500, np.uint16)
COLOR = np.random.default_rng(0).integers(0, 256, (33, 41, 3)).astype(np.uint8)


def put(path: Path, array: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npy":
        np.save(path, array)
    else:
        Image.fromarray(array).save(path)
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    put(tmp_path / "depth" / "b" / "2.png", DEPTH)
    put(tmp_path / "color" / "b" / "2.jpg", COLOR)
    put(tmp_path / "depth" / "1.npy", DEPTH.astype(np.float32))
    put(tmp_path / "color" / "1.webp", COLOR)
    pose = tmp_path / "poses" / "b" / "2.txt"
    pose.parent.mkdir(parents=True)
    pose.write_text("1 0 0 3\n0 1 0 4\n0 0 1 5\n0 0 0 1\n")
    (tmp_path / "intrinsics.json").write_text(json.dumps(ABOUT))
    return tmp_path


def reason(root: Path, frame_id: str) -> FrameError:
    with pytest.raises(FrameError) as caught:
        Folder(root).load(frame_id)
    return caught.value


def test_a_frame_has_its_depth_colour_pose_and_camera(root: Path) -> None:
    source = Folder(root)
    assert source.ids() == ["1", "b/2"]
    frame = source.load("b/2")
    assert (frame.id, frame.depth_scale, frame.camera.fx) == ("b/2", 0.001, 40)
    assert frame.image == (root / "color" / "b" / "2.jpg").read_bytes()
    assert frame.pose is not None and frame.pose[:3, 3].tolist() == [3, 4, 5]
    assert source.load("1").pose is None and source.load("1").depth.dtype == np.float32
    names = {Path(path).relative_to(root).as_posix() for path in source.inputs("b/2")}
    assert names == {"intrinsics.json", "depth/b/2.png", "color/b/2.jpg", "poses/b/2.txt"}


def test_a_file_without_its_partner_is_listed_and_missing(root: Path) -> None:
    put(root / "depth" / "3.png", DEPTH)
    put(root / "color" / "4.png", COLOR)
    assert Folder(root).ids() == ["1", "3", "4", "b/2"]
    assert reason(root, "3").reason == reason(root, "4").reason == "missing"
    assert "colour" in str(reason(root, "3")) and "depth" in str(reason(root, "4"))


def test_depth_alone_must_be_said(root: Path) -> None:
    (root / "color").rename(root / "colour")
    with pytest.raises(FileNotFoundError, match="expected the colour folder"):
        Folder(root)
    (root / "intrinsics.json").write_text(json.dumps({**ABOUT, "color": None}))
    assert Folder(root).load("b/2").image is None


def test_folders_and_intrinsics_may_lie_elsewhere(root: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    (root / "color").rename(root / "rgb")
    about = tmp_path_factory.mktemp("elsewhere") / "camera.json"
    about.write_text(json.dumps({**ABOUT, "color": "rgb", "fx": 50}))
    (root / "intrinsics.json").unlink()
    assert Folder(root, intrinsics=about).load("b/2").camera.fx == 50


def test_uint16_depth_without_a_scale_is_refused_and_float_is_metres(root: Path) -> None:
    (root / "intrinsics.json").write_text(json.dumps({k: v for k, v in ABOUT.items() if k != "depth_scale"}))
    put(root / "depth" / "1.npy", np.full((33, 41), 1.5, np.float32))
    assert Folder(root).load("1").depth_scale == 1.0
    assert reason(root, "b/2").reason == "scale" and "needs depth_scale" in str(reason(root, "b/2"))
    assert Folder(root, depth_scale=0.002).load("b/2").depth_scale == 0.002


def test_millimetres_read_as_metres_are_rejected(root: Path) -> None:
    with pytest.raises(FrameError, match=r"b/2\.png: median depth is 1500 m"):
        Folder(root, depth_scale=1.0).load("b/2")


def test_colour_of_another_size_is_rejected(root: Path) -> None:
    put(root / "color" / "b" / "2.jpg", COLOR[:30])
    assert reason(root, "b/2").reason == "size" and "41x30" in str(reason(root, "b/2"))


def test_depth_of_another_size_than_the_camera_is_rejected(root: Path) -> None:
    put(root / "depth" / "b" / "2.png", DEPTH[:30])
    put(root / "color" / "b" / "2.jpg", COLOR[:30])
    assert reason(root, "b/2").reason == "size"


@pytest.mark.parametrize("folder", ["depth/b/2.png", "color/b/2.jpg", "poses/b/2.txt"])
def test_a_truncated_file_is_rejected_naming_it(root: Path, folder: str) -> None:
    data = (root / folder).read_bytes()
    for kept in (0, len(data) // 4, len(data) // 2, len(data) - 3):
        (root / folder).write_bytes(data[:kept])
        assert reason(root, "b/2").reason == "decode" and folder in str(reason(root, "b/2"))


def test_a_frame_of_zeros_is_left_for_the_label_to_judge(root: Path) -> None:
    put(root / "depth" / "b" / "2.png", DEPTH * 0)
    assert not Folder(root).load("b/2").depth.any()


def test_two_depth_files_of_one_name_are_refused(root: Path) -> None:
    put(root / "depth" / "b" / "2.npy", DEPTH)
    with pytest.raises(FrameError, match="unique"):
        Folder(root).ids()


def test_an_id_cannot_leave_the_root(root: Path) -> None:
    assert reason(root, "../depth/1").reason == "id"


def test_an_empty_or_absent_folder_is_one_sentence(root: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="expected a folder"):
        Folder(tmp_path / "none")
    for path in [*root.rglob("*.png"), *root.rglob("*.npy"), *root.rglob("*.jpg"), *root.rglob("*.webp")]:
        path.unlink()
    with pytest.raises(ValueError, match=r"expected color/NAME\.jpg"):
        Folder(root).ids()


def test_labelled_images_of_a_split(root: Path) -> None:
    label = (np.arange(33 * 41).reshape(33, 41) % 3).astype(np.uint8)
    label[0, 0] = 255
    put(root / "labels" / "b" / "2.png", label)
    put(root / "labels" / "1.png", label)
    (root / "classes.txt").write_text("floor\nwall\nchair\n")
    (root / "val.txt").write_text("b/2\n")
    assert FolderLabels(root).ids() == ["1", "b/2"]
    images = FolderLabels(root, "val")
    image, read = images[0]
    assert images.class_names == ["floor", "wall", "chair"] and len(images) == 1
    assert image.shape == (33, 41, 3)
    np.testing.assert_array_equal(read, label)
    (root / "classes.txt").write_text("floor\nwall\n")
    with pytest.raises(FrameError, match=r"'b/2' has 2 at 451 pixels"):
        FolderLabels(root, "val")[0]
    with pytest.raises(FileNotFoundError, match=r"test\.txt"):
        FolderLabels(root, "test")


def test_labelled_images_lie_in_the_folders_that_the_intrinsics_name(root: Path) -> None:
    put(root / "masks" / "1.png", np.zeros((33, 41), np.uint8))
    (root / "color").rename(root / "rgb")
    (root / "classes.txt").write_text("floor\n")
    about = json.loads((root / "intrinsics.json").read_text()) | {"color": "rgb", "labels": "masks"}
    (root / "intrinsics.json").write_text(json.dumps(about))
    images = FolderLabels(root)
    assert images.ids() == ["1"] and images[0][0].shape == (33, 41, 3) and images.depth(0).shape == (33, 41)


def test_a_real_sense_recording_is_read_in_place(shared_data: Path, tmp_path: Path) -> None:
    about = {"fx": 615, "fy": 615, "cx": 320, "cy": 240, "width": 640, "height": 480, "depth_scale": 0.001}
    (tmp_path / "camera.json").write_text(json.dumps({**about, "color": "rgb"}))
    source = Folder(shared_data / "rgbd_officedesk_d435", intrinsics=tmp_path / "camera.json")
    assert len(source.ids()) == 16
    assert source.load(source.ids()[0]).depth.shape == (480, 640)
