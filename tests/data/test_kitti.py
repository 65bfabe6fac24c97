from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from recorded import by_folder, encoded, label, put, room_frames

from fastseg.data.kitti import Kitti, depth_of, read_calibration
from fastseg.frames import Camera, Frame, FrameError

FRAMES = room_frames()
DRIVE = "2011_09_26_drive_0002_sync"
NAME = f"train/{DRIVE}/proj_depth/groundtruth/image_02/0000000005"
BASELINE = 0.54


def stored(frame: Frame) -> np.ndarray:
    """Depth as KITTI stores it: 256 a metre."""
    return np.rint(frame.depth.astype(np.float64) * frame.depth_scale * 256).astype(np.uint16)


def calibration(camera: Camera, size: tuple[int, int] | None = None, right: float = -BASELINE) -> str:
    width, height = size or (camera.width, camera.height)
    lines = ["calib_time: 09-Jan-2012 13:57:47", "corner_dist: 9.950000e-02"]
    for name, x in (("02", 0.06), ("03", 0.06 + right)):
        row = [camera.fx, 0, camera.cx, camera.fx * x, 0, camera.fy, camera.cy, 0, 0, 0, 1, 0.0027]
        lines += [f"S_rect_{name}: {width:e} {height:e}", f"P_rect_{name}: " + " ".join(f"{v:.12e}" for v in row)]
    return "\n".join(lines) + "\n"


def write_drive(root: Path, frame: Frame = FRAMES[0], raw: bool = False) -> Path:
    """The depth benchmark's tree; `raw`: colour and calibration in the raw recordings' own tree beside it."""
    drive = root / "2011_09_26" / DRIVE if raw else root / "train" / DRIVE
    put(root / f"{NAME}.png", encoded(stored(frame)))
    put(drive / "image_02" / "data" / "0000000005.png", frame.image or b"")
    put(drive / "image_02" / "data" / "0000000004.png", frame.image or b"")
    put(drive.parent / "calib_cam_to_cam.txt" if raw else drive / "calib_cam_to_cam.txt", calibration(frame.camera))
    return root


def write_stereo(root: Path, frame: Frame = FRAMES[0]) -> str:
    metres = frame.depth.astype(np.float64) * frame.depth_scale
    with np.errstate(divide="ignore"):
        disparity = np.where(metres > 0, np.rint(256 * frame.camera.fx * BASELINE / metres), 0).astype(np.uint16)
    put(root / "training" / "disp_occ_0" / "000003_10.png", encoded(disparity))
    put(root / "training" / "image_2" / "000003_10.png", frame.image or b"")
    put(root / "training" / "calib_cam_to_cam" / "000003.txt", calibration(frame.camera))
    return "training/disp_occ_0/000003_10"


def reason(root: Path, name: str = NAME) -> str:
    with pytest.raises(FrameError) as caught:
        Kitti(root).load(name)
    return caught.value.reason


@pytest.mark.parametrize("raw", [False, True])
def test_lidar_depth_has_the_label_of_the_plain_layout(tmp_path: Path, raw: bool) -> None:
    source = Kitti(write_drive(tmp_path / "kitti", raw=raw))
    assert source.ids() == [NAME] and source.scene(NAME) == f"train/{DRIVE}"
    frame = source.load(NAME)
    assert frame.depth.dtype == np.uint16 and frame.depth_scale == 1 / 256 and frame.image == FRAMES[0].image
    np.testing.assert_array_equal(frame.depth, stored(FRAMES[0]))
    np.testing.assert_allclose(
        [frame.camera.fx, frame.camera.cx, frame.camera.cy],
        [FRAMES[0].camera.fx, FRAMES[0].camera.cx, FRAMES[0].camera.cy], rtol=1e-11,
    )  # fmt: skip
    plain = by_folder(tmp_path / "plain", replace(FRAMES[0], depth=stored(FRAMES[0]), depth_scale=1 / 256))
    np.testing.assert_array_equal(label(frame).label, label(plain).label)
    assert [Path(path).name for path in source.inputs(NAME)] == [
        "0000000005.png", "0000000005.png", "calib_cam_to_cam.txt"
    ]  # fmt: skip


def test_a_drive_folder_is_a_root_too(tmp_path: Path) -> None:
    root = write_drive(tmp_path) / "train" / DRIVE
    name = "proj_depth/groundtruth/image_02/0000000005"
    assert Kitti(root).ids() == [name] and Kitti(root).scene(name) == DRIVE
    assert Kitti(root).load(name).depth.any()


def test_the_selection_has_a_matrix_for_each_image(tmp_path: Path) -> None:
    place, k = tmp_path / "val_selection_cropped", FRAMES[0].camera
    depth = f"{DRIVE}_groundtruth_depth_0000000005_image_02"
    image = f"{DRIVE}_image_0000000005_image_02"
    put(place / "groundtruth_depth" / f"{depth}.png", encoded(stored(FRAMES[0])))
    put(place / "image" / f"{image}.png", FRAMES[0].image or b"")
    put(place / "intrinsics" / f"{image}.txt", f"{k.fx} 0 {k.cx} 0 {k.fy} {k.cy} 0 0 1")
    source, name = Kitti(tmp_path), f"val_selection_cropped/groundtruth_depth/{depth}"
    assert source.ids() == [name] and len(source.inputs(name)) == 3
    assert source.load(name).camera == k and source.load(name).depth_scale == 1 / 256


def test_stereo_disparity_becomes_depth_and_a_label(tmp_path: Path) -> None:
    name = write_stereo(tmp_path / "kitti")
    source = Kitti(tmp_path / "kitti")
    assert source.ids() == [name] and len(source.inputs(name)) == 3
    frame = source.load(name)
    valid = FRAMES[0].depth > 0
    assert frame.depth.dtype == np.float32 and not frame.depth[~valid].any()
    np.testing.assert_allclose(frame.depth[valid], FRAMES[0].depth[valid] / 1000, rtol=2e-3)
    np.testing.assert_array_equal(label(frame).label, label(by_folder(tmp_path / "plain", frame)).label)


def test_disparity_is_inverted_with_the_baseline_of_both_cameras(tmp_path: Path) -> None:
    camera = FRAMES[0].camera
    path = put(tmp_path / "a.txt", calibration(camera))
    depth = depth_of(np.array([[0, 256, 512, 65535]], np.uint16), path)
    wanted = camera.fx * BASELINE
    np.testing.assert_allclose(depth, [[0, wanted, wanted / 2, wanted * 256 / 65535]], rtol=1e-6)
    with pytest.raises(FrameError, match="to the right of"):
        depth_of(np.zeros((1, 1), np.uint16), put(tmp_path / "b.txt", calibration(camera, right=0.54)))


@pytest.mark.parametrize(
    ("part", "expected"), [(0.05, {"no-depth"}), (0.12, {"gravity"}), (0.2, {"gravity", "no-floor"})]
)
def test_sparse_lidar_ends_in_a_reason(tmp_path: Path, part: float, expected: set[str]) -> None:
    seen = np.random.default_rng(1).random(FRAMES[0].depth.shape) < part
    frame = Kitti(write_drive(tmp_path, replace(FRAMES[0], depth=FRAMES[0].depth * seen))).load(NAME)
    with pytest.raises(FrameError) as caught:
        label(frame)
    assert caught.value.reason in expected


def test_where_sparse_lidar_has_a_label_it_is_the_dense_one(tmp_path: Path) -> None:
    seen = np.random.default_rng(1).random(FRAMES[0].depth.shape) < 0.4
    dense, sparse = (
        label(FRAMES[0]),
        label(Kitti(write_drive(tmp_path, replace(FRAMES[0], depth=FRAMES[0].depth * seen))).load(NAME)),
    )
    both = (dense.label != 255) & (sparse.label != 255)
    assert both.mean() > 0.2 and (dense.label == sparse.label)[both].mean() > 0.95
    assert not (sparse.label != 255)[~seen].any()


def test_a_calibration_is_read_line_by_line(tmp_path: Path) -> None:
    values = read_calibration(put(tmp_path / "a.txt", "calib_time: 09-Jan-2012\nK_02: 1 2.5e0\n\nbad\nS: \n"))
    assert values == {"K_02": [1, 2.5], "bad": [], "": [], "S": []}


@pytest.mark.parametrize(
    ("text", "expected"),
    [("", "intrinsics"), ("P_rect_02: 1 2 3\n", "intrinsics"), ("P_rect_02: " + "nan " * 12, "intrinsics"),
     ("P_rect_02: " + "0 " * 12, "intrinsics"), (calibration(FRAMES[0].camera, (1242, 375)), "size"),
     ("S_rect_02: inf nan\n", "intrinsics"), ("\0\xff" * 99, "intrinsics")],
)  # fmt: skip
def test_a_calibration_that_is_none_or_of_another_size_is_rejected(tmp_path: Path, text: str, expected: str) -> None:
    put(write_drive(tmp_path) / "train" / DRIVE / "calib_cam_to_cam.txt", text)
    with pytest.raises(FrameError, match=r"calib_cam_to_cam\.txt") as caught:
        Kitti(tmp_path).load(NAME)
    assert caught.value.reason == expected


@pytest.mark.parametrize("name", ["image_02/data/0000000005.png", "calib_cam_to_cam.txt"])
def test_a_frame_without_colour_or_calibration_is_missing(tmp_path: Path, name: str) -> None:
    (write_drive(tmp_path) / "train" / DRIVE / name).unlink()
    assert Kitti(tmp_path).ids() == [NAME] and reason(tmp_path) == "missing"
    assert reason(tmp_path, "train/x/image_02/data/0000000004") == "missing"


@pytest.mark.parametrize("name", [f"{NAME}.png", f"train/{DRIVE}/image_02/data/0000000005.png"])
def test_a_truncated_file_is_rejected(tmp_path: Path, name: str) -> None:
    data = (write_drive(tmp_path) / name).read_bytes()
    for kept in (0, len(data) // 3, len(data) - 5):
        (tmp_path / name).write_bytes(data[:kept])
        assert reason(tmp_path) == "decode"


@pytest.mark.parametrize("name", ["kitti06", "kitti00_a"])
def test_odometry_holds_no_depth_and_says_what_was_looked_for(shared_data: Path, name: str) -> None:
    with pytest.raises(ValueError, match=r"holds no frames; expected DRIVE/proj_depth/groundtruth"):
        Kitti(shared_data / name).ids()
