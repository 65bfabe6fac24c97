from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from clip_kits import BASELINE, HEIGHT, WIDTH, check_geometry, walk
from recorded import encoded, put

from fastseg.data.clip_plan import ClipPlan
from fastseg.data.kitti_raw_clips import EARTH_M, KittiRaw, read_stamps, unit_pose
from fastseg.frames import FrameError

DRIVE = "2011_09_26/2011_09_26_drive_0001_sync"
LATITUDE, LONGITUDE = 49.0, 8.4
CAM_FROM_VELO = np.array([[0.0, -1, 0], [0, 0, -1], [1, 0, 0]])  # camera: x right, y down, z forward; unit: x forward


def rows(numbers: np.ndarray) -> str:
    return " ".join(f"{value:.12e}" for value in np.ravel(numbers))


def calibration(width: int = WIDTH) -> str:
    k = walk().camera
    lines = ["calib_time: 09-Jan-2012 13:57:47", f"R_rect_00: {rows(np.eye(3))}"]
    for name, x in (("02", 0.0), ("03", -BASELINE)):
        row = [k.fx, 0, k.cx, k.fx * x, 0, k.fy, k.cy, 0, 0, 0, 1, 0]
        lines += [f"S_rect_{name}: {width:e} {HEIGHT:e}", f"P_rect_{name}: {rows(np.array(row))}"]
    return "\n".join(lines) + "\n"


def unit(pose: np.ndarray) -> str:
    """The oxts line of an inertial unit at the camera's place; metres east and north of LATITUDE, LONGITUDE."""
    r = pose[:3, :3] @ CAM_FROM_VELO
    roll, pitch, yaw = math.atan2(r[2, 1], r[2, 2]), -math.asin(r[2, 0]), math.atan2(r[1, 0], r[0, 0])
    scale = math.cos(math.radians(LATITUDE)) * EARTH_M
    start = math.log(math.tan(math.pi / 4 + math.radians(LATITUDE) / 2))
    north = 2 * math.degrees(math.atan(math.exp(start + pose[1, 3] / scale)) - math.pi / 4)
    east = LONGITUDE + math.degrees(pose[0, 3] / scale)
    return " ".join(f"{value:.16g}" for value in (north, east, pose[2, 3], roll, pitch, yaw)) + " 0" * 24 + "\n"


def write(root: Path, oxts: bool = True) -> Path:
    for k in range(5):
        for camera, side in (("02", walk().left), ("03", walk().right)):
            put(root / DRIVE / f"image_{camera}" / "data" / f"{k:010d}.png", encoded(side[k].color))
        if oxts:
            put(root / DRIVE / "oxts" / "data" / f"{k:010d}.txt", unit(walk().left[k].pose))
    stamps = "".join(f"2011-09-26 23:59:59.{k}64389445\n" for k in range(5))
    put(root / DRIVE / "image_02" / "timestamps.txt", stamps)
    put(root / "2011_09_26" / "calib_cam_to_cam.txt", calibration())
    put(root / "2011_09_26" / "calib_velo_to_cam.txt", f"R: {rows(CAM_FROM_VELO)}\nT: 0 0 0\n")
    put(root / "2011_09_26" / "calib_imu_to_velo.txt", f"R: {rows(np.eye(3))}\nT: 0 0 0\n")
    return root


def test_raw_video_has_the_poses_of_its_inertial_unit(tmp_path: Path) -> None:
    clips = KittiRaw(write(tmp_path))
    assert len(clips) == 6 and clips.ids()[0] == f"{DRIVE}/image_02/data/0000000001"
    for index, side in ((0, walk().left), (4, walk().right)):
        frame = side[1 + index % 3]
        target, sources, camera, known = clips.clip(index)
        check_geometry(target, sources, camera, known, frame.depth)
    step = np.linalg.inv(walk().left[0].pose) @ walk().left[1].pose
    np.testing.assert_allclose(clips.clip(0)[3][0], step, atol=2e-4)  # type: ignore[index]


def test_a_raw_drive_without_its_unit_is_video_and_stereo(tmp_path: Path) -> None:
    root = write(tmp_path, oxts=False) / "2011_09_26"
    assert KittiRaw(root).clip(0)[3] is None
    target, sources, camera, known = KittiRaw(root, ClipPlan(offsets=(), stereo=True)).clip(2)
    np.testing.assert_allclose(known[0, :3, 3], [-BASELINE, 0, 0], atol=1e-6)  # type: ignore[index]
    check_geometry(target, sources, camera, known, walk().left[2].depth)


def test_a_frame_that_was_lost_ends_a_recording(tmp_path: Path) -> None:
    write(tmp_path)
    lost = ["00:00.0", "00:00.1", "00:00.2", "00:00.5", "00:00.6"]
    put(tmp_path / DRIVE / "image_02" / "timestamps.txt", "".join(f"2011-09-27 00:{one}\n" for one in lost))
    assert [name[-5:] for name in KittiRaw(tmp_path).ids()] == ["00001", *["00001", "00002", "00003"]]


def test_times_run_on_over_midnight(tmp_path: Path) -> None:
    path = put(tmp_path / "timestamps.txt", "2011-09-26 23:59:59.9\n2011-09-27 00:00:00.1\n")
    np.testing.assert_allclose(np.diff(read_stamps(path)), 0.2)
    with pytest.raises(ValueError, match=r"timestamps\.txt: expected YYYY-MM-DD HH:MM:SS\.NNN in line 1; got '0\.1'"):
        read_stamps(put(path, "0.1\n"))


def test_the_units_pose_is_metres_east_north_and_up_of_its_first() -> None:
    origin = [LATITUDE, LONGITUDE, 100.0, 0, 0, 0]
    metre = math.degrees(1 / EARTH_M)
    pose = unit_pose([LATITUDE + 10 * metre, LONGITUDE, 101.0, 0, 0, math.pi / 2], origin)
    np.testing.assert_allclose(pose[:3, 3], [0, 10, 1], atol=1e-4)
    np.testing.assert_allclose(pose[:3, 0], [0, 1, 0], atol=1e-12)


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [("2011_09_26/calib_cam_to_cam.txt", f"R_rect_00: {rows(np.eye(3))}", "expected P_rect_02, twelve finite"),
     ("2011_09_26/calib_cam_to_cam.txt", calibration(99), "must be 99x96 as the camera"),
     ("2011_09_26/calib_velo_to_cam.txt", "R: 1 2 3\n", "expected R, a rotation of nine numbers; got 3"),
     ("2011_09_26/calib_imu_to_velo.txt", f"R: {rows(np.eye(3))}\nT: 1\n", "expected T, three finite numbers; got 1"),
     (f"{DRIVE}/oxts/data/0000000001.txt", "1 2 x", "expected latitude, longitude, altitude")],
)  # fmt: skip
def test_what_a_drive_says_wrong_is_named_in_one_sentence(tmp_path: Path, name: str, text: str, sentence: str) -> None:
    put(write(tmp_path) / name, text)
    with pytest.raises(FrameError, match=sentence) as caught:
        KittiRaw(tmp_path).clip(0)
    assert str(tmp_path) in str(caught.value) and "\n" not in str(caught.value)


def test_without_calibration_or_pictures_it_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected pictures of KITTI, DATE/DRIVE/image_02/data"):
        KittiRaw(tmp_path)
    (write(tmp_path) / "2011_09_26" / "calib_cam_to_cam.txt").unlink()
    with pytest.raises(FrameError, match=r"calib_cam_to_cam\.txt: expected the drive's calibration"):
        KittiRaw(tmp_path).clip(0)
