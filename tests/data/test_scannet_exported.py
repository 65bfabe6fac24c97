"""Scans of ScanNet as the data set's own exporter writes them: folders of depth, colour, poses and intrinsics."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from recorded import by_folder, encoded, label, put, room_frames

from fastseg.data.scannet import ScanNet
from fastseg.frames import Camera, FrameError

FRAMES = room_frames()


def matrix(camera: Camera) -> np.ndarray:
    full = np.eye(4)
    full[0, 0], full[1, 1], full[0, 2], full[1, 2] = camera.fx, camera.fy, camera.cx, camera.cy
    return full


def text(numbers: np.ndarray) -> str:
    return "".join(" ".join(repr(float(x)) for x in row) + "\n" for row in numbers)


def write_exported(root: Path, scene: str = "scene0001_00", color: Camera | None = None) -> Path:
    folder, frame = root / scene, FRAMES[0]
    assert frame.pose is not None
    for name, pose in (("0", frame.pose), ("20", np.full((4, 4), -np.inf))):
        put(folder / "depth" / f"{name}.png", encoded(frame.depth))
        put(folder / "color" / f"{name}.jpg", frame.image or b"")
        put(folder / "pose" / f"{name}.txt", text(pose))
    for kind, camera in (("depth", frame.camera), ("color", color or frame.camera)):
        put(folder / "intrinsic" / f"intrinsic_{kind}.txt", text(matrix(camera)))
        put(folder / "intrinsic" / f"extrinsic_{kind}.txt", text(np.eye(4)))
    put(folder / "label-filt" / "0.png", encoded(np.zeros((2, 2), np.uint8)))
    return root


def test_an_exported_scan_has_the_labels_of_the_plain_layout(tmp_path: Path) -> None:
    source = ScanNet(write_exported(tmp_path / "scannet"))
    assert source.ids() == ["scene0001_00/0", "scene0001_00/20"] and source.scene("scene0001_00/0") == "scene0001_00"
    frame, plain = source.load("scene0001_00/0"), by_folder(tmp_path / "plain", FRAMES[0])
    assert frame.camera == plain.camera and frame.image == FRAMES[0].image and frame.depth_scale == 0.001
    np.testing.assert_allclose(frame.pose, FRAMES[0].pose, atol=1e-9)
    np.testing.assert_array_equal(label(frame).label, label(plain).label)
    assert source.load("scene0001_00/20").pose is None and len(source.inputs("scene0001_00/20")) == 5
    single = ScanNet(tmp_path / "scannet" / "scene0001_00")
    assert single.ids() == ["0", "20"] and single.load("0").image == FRAMES[0].image


def test_an_exported_folder_beside_its_scan_is_a_copy(tmp_path: Path) -> None:
    put(write_exported(tmp_path, "scans/scene0000_00") / "scans" / "scene0000_00" / "scene0000_00.sens", b"")
    assert ScanNet(tmp_path).ids() == ["scans/scene0000_00/scene0000_00"]


def test_an_exported_frame_without_its_files_is_missing(tmp_path: Path) -> None:
    folder = write_exported(tmp_path) / "scene0001_00"
    (folder / "depth" / "0.png").unlink()
    (folder / "color" / "20.jpg").unlink()
    for name in ScanNet(tmp_path).ids():
        with pytest.raises(FrameError) as caught:
            ScanNet(tmp_path).load(name)
        assert caught.value.reason == "missing"
