from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from recorded import by_folder, encoded, label, put, room_frames, room_up

from fastseg.data.cityscapes import Cityscapes, depth_table, up_of
from fastseg.frames import Camera, Frame, FrameError

BASELINE = 0.209313
FRAMES = room_frames()
NAME = "val/frankfurt/frankfurt_000000_000294"


def camera_json(camera: Camera, up: tuple[float, float] = (0.0, 0.0), **other: object) -> str:
    outer = {"baseline": BASELINE, "pitch": up[0], "roll": up[1], "x": 1.7, "y": 0.1, "yaw": -0.0195, "z": 1.22}
    inner = {"fx": camera.fx, "fy": camera.fy, "u0": camera.cx, "v0": camera.cy}
    return json.dumps({"extrinsic": outer | other, "intrinsic": inner | {k: v for k, v in other.items() if k in inner}})


def disparity(frame: Frame) -> np.ndarray:
    """What is stored for a frame's depth: v = 256 fx b / z + 1, and 0 where there is none."""
    metres = frame.depth.astype(np.float64) * frame.depth_scale
    with np.errstate(divide="ignore"):
        stored = np.rint(256 * frame.camera.fx * BASELINE / metres + 1)
    return np.where(metres > 0, stored, 0).astype(np.uint16)


def write(root: Path, frame: Frame = FRAMES[0], name: str = NAME, **other: object) -> Path:
    put(root / "disparity" / f"{name}_disparity.png", encoded(disparity(frame)))
    put(root / "leftImg8bit" / f"{name}_leftImg8bit.png", frame.image or b"")
    put(root / "camera" / f"{name}_camera.json", camera_json(frame.camera, **other))  # type: ignore[arg-type]
    return root


def reason(root: Path) -> str:
    with pytest.raises(FrameError) as caught:
        Cityscapes(root).load(NAME)
    return caught.value.reason


def test_disparity_becomes_depth_and_the_label_of_the_plain_layout(tmp_path: Path) -> None:
    source = Cityscapes(write(tmp_path / "city"))
    assert source.ids() == [NAME] and source.scene(NAME) == "val/frankfurt/frankfurt_000000"
    frame = source.load(NAME)
    stored = disparity(FRAMES[0]).astype(np.float64)
    wanted = np.where(stored > 1, FRAMES[0].camera.fx * BASELINE / ((stored - 1) / 256), 0)
    np.testing.assert_allclose(frame.depth, wanted, rtol=1e-6)
    valid = FRAMES[0].depth > 0
    np.testing.assert_allclose(frame.depth[valid], FRAMES[0].depth[valid] / 1000, rtol=2e-3)  # half a step of disparity
    assert frame.depth.dtype == np.float32 and frame.depth_scale == 1 and frame.camera == FRAMES[0].camera
    plain = by_folder(tmp_path / "plain", replace(frame, up_prior=None))
    np.testing.assert_array_equal(label(replace(frame, up_prior=None)).label, label(plain).label)
    assert (label(frame).label == label(plain).label).mean() > 0.999
    names = {Path(path).relative_to(tmp_path / "city").parts[0] for path in source.inputs(NAME)}
    assert names == {"disparity", "leftImg8bit", "camera"}


def test_no_disparity_and_a_disparity_of_zero_are_no_measurement() -> None:
    table = depth_table(473.7)
    assert table[:2].tolist() == [0, 0] and table[257] == np.float32(473.7) and table[513] == np.float32(473.7 / 2)
    assert (np.diff(table[2:]) < 0).all() and np.isfinite(table).all()


def test_pitch_and_roll_are_the_prior_of_up(tmp_path: Path) -> None:
    np.testing.assert_allclose(up_of(0, 0), (0, -1, 0))
    up = room_up(0)
    pitch = -math.asin(up[2])
    roll = math.atan2(-up[0], -up[1])
    np.testing.assert_allclose(up_of(pitch, roll), up, atol=1e-9)
    frame = Cityscapes(write(tmp_path, up=(pitch, roll))).load(NAME)
    assert frame.up_prior is not None and float(label(frame).up @ frame.up_prior) > np.cos(np.radians(1))


@pytest.mark.parametrize(
    ("other", "expected"),
    [({"baseline": 0}, "intrinsics"), ({"baseline": "x"}, "intrinsics"), ({"baseline": math.nan}, "intrinsics"),
     ({"baseline": 209.0}, "intrinsics"), ({"fx": 1e9}, "intrinsics"), ({"u0": None}, "intrinsics"),
     ({"pitch": math.inf}, "gravity"), ({"roll": 3.1}, "gravity"), ({"pitch": math.nan}, "gravity")],
)  # fmt: skip
def test_absurd_cameras_are_rejected_naming_the_file(tmp_path: Path, other: dict[str, object], expected: str) -> None:
    with pytest.raises(FrameError, match=r"_camera\.json: ") as caught:
        Cityscapes(write(tmp_path, **other)).load(NAME)
    assert caught.value.reason == expected


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"intrinsic": 1, "extrinsic": {}}', "{" * 100_000])
def test_a_camera_file_that_is_none_is_rejected(tmp_path: Path, text: str) -> None:
    put(write(tmp_path) / "camera" / f"{NAME}_camera.json", text)
    assert reason(tmp_path) == "intrinsics"


@pytest.mark.parametrize("folder", ["disparity", "leftImg8bit", "camera"])
def test_a_frame_without_one_of_its_files_is_missing(tmp_path: Path, folder: str) -> None:
    write(tmp_path, name="val/frankfurt/frankfurt_000000_000576")
    next((write(tmp_path) / folder / "val" / "frankfurt").glob("*_000294_*")).unlink()
    assert len(Cityscapes(tmp_path).ids()) == 2 and reason(tmp_path) == "missing"


def test_a_split_is_one_folder(tmp_path: Path) -> None:
    write(write(tmp_path), name="train/bochum/bochum_000000_000313")
    assert len(Cityscapes(tmp_path).ids()) == 2
    assert Cityscapes(tmp_path, "train").ids() == ["train/bochum/bochum_000000_000313"]
    with pytest.raises(FileNotFoundError, match="expected the folder disparity/test"):
        Cityscapes(tmp_path, "test")


@pytest.mark.parametrize("split", ["..", "/etc", "val/../.."])
def test_a_split_cannot_leave_the_root(tmp_path: Path, split: str) -> None:
    with pytest.raises(FrameError) as caught:
        Cityscapes(write(tmp_path), split)
    assert caught.value.reason == "id"


@pytest.mark.parametrize("folder", ["disparity", "leftImg8bit"])
def test_a_truncated_file_is_rejected(tmp_path: Path, folder: str) -> None:
    path = next((write(tmp_path) / folder).rglob("*.png"))
    data = path.read_bytes()
    for kept in (0, len(data) // 3, len(data) - 5):
        path.write_bytes(data[:kept])
        assert reason(tmp_path) == "decode"


def test_the_tiny_sample_has_no_disparity_and_says_so(shared_data: Path) -> None:
    with pytest.raises(FileNotFoundError, match="expected the folder disparity/SPLIT of Cityscapes"):
        Cityscapes(shared_data / "cityscapes_tiny")
