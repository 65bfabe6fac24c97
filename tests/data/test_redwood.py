from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from recorded import by_folder, encoded, label, put, room_frames

from fastseg.data.redwood import PRIMESENSE, RECENT, Redwood, read_camera, read_log
from fastseg.frames import Frame, FrameError

FRAMES = room_frames()


def camera_json(frame: Frame, **other: object) -> str:
    k = frame.camera
    columns = [k.fx, 0, 0, 0, k.fy, 0, k.cx, k.cy, 1]
    return json.dumps({"width": k.width, "height": k.height, "intrinsic_matrix": columns} | other, indent=1)


def block(index: int, pose: np.ndarray) -> str:
    rows = [" ".join(f"{x:.12g}" for x in row) for row in pose]
    return "\n".join([f"{index} {index} {index + 1}", *rows]) + "\n"


def write(root: Path, color: str = "color") -> Path:
    for k, frame in enumerate(FRAMES):
        put(root / "depth" / f"{k:05d}.png", encoded(frame.depth))
        put(root / color / f"{k:05d}.jpg", frame.image or b"")
    put(root / "intrinsic.json", camera_json(FRAMES[0]))
    put(root / "trajectory.log", "".join(block(k, f.pose) for k, f in enumerate(FRAMES) if f.pose is not None))
    return root


def reason(root: Path, name: str) -> str:
    with pytest.raises(FrameError) as caught:
        Redwood(root).load(name)
    return caught.value.reason


@pytest.mark.parametrize("color", ["color", "rgb", "image"])
def test_a_recording_has_the_labels_of_the_plain_layout(tmp_path: Path, color: str) -> None:
    source = Redwood(write(tmp_path / "scan", color))
    assert source.ids() == ["00000", "00001"] and source.scene("00001") == "scan"
    frame, plain = source.load("00001"), by_folder(tmp_path / "plain", FRAMES[1])
    assert frame.camera == plain.camera and frame.depth.dtype == np.uint16 and frame.depth_scale == 0.001
    assert frame.image == FRAMES[1].image
    np.testing.assert_allclose(frame.pose, FRAMES[1].pose, atol=1e-9)
    np.testing.assert_array_equal(label(frame).label, label(plain).label)
    names = {Path(path).relative_to(tmp_path / "scan").as_posix() for path in source.inputs("00001")}
    assert names == {"depth/00001.png", f"{color}/00001.jpg", "trajectory.log", "intrinsic.json"}


def test_a_folder_of_recordings_has_a_scene_for_each(tmp_path: Path) -> None:
    write(tmp_path / "b")
    write(tmp_path / "a", "rgb")
    source = Redwood(tmp_path)
    assert source.ids() == ["a/00000", "a/00001", "b/00000", "b/00001"] and source.scene("b/00001") == "b"
    assert source.load("a/00000").image == FRAMES[0].image
    assert reason(tmp_path, "c/00000") == "missing" and reason(tmp_path, "a/7") == "missing"


def test_without_a_camera_file_the_published_camera_stands_for_its_own_size(tmp_path: Path) -> None:
    (write(tmp_path) / "intrinsic.json").unlink()
    assert reason(tmp_path, "00000") == "size" and PRIMESENSE.fx == 525


def test_a_matrix_is_read_column_by_column(tmp_path: Path) -> None:
    camera = read_camera(put(tmp_path / "a.json", camera_json(FRAMES[0])))
    assert camera == FRAMES[0].camera


@pytest.mark.parametrize(
    "other",
    [{"intrinsic_matrix": [1] * 8}, {"intrinsic_matrix": "x"}, {"width": 0}, {"intrinsic_matrix": [None] * 9},
     {"intrinsic_matrix": [500, 0, 160, 0, 500, 120, 0, 0, 1]}, {"height": 2.5},
     {"intrinsic_matrix": [1e9, 0, 0, 0, 1e9, 0, 160, 120, 1]}],
)  # fmt: skip
def test_a_camera_that_is_none_is_refused_naming_its_file(tmp_path: Path, other: dict[str, object]) -> None:
    path = put(write(tmp_path) / "intrinsic.json", camera_json(FRAMES[0], **other))
    with pytest.raises(FrameError, match=r"intrinsic\.json: ") as caught:
        Redwood(tmp_path).load("00000")
    assert caught.value.reason == "intrinsics" and str(path) in str(caught.value)


def test_a_frame_that_the_trajectory_leaves_out_has_no_pose(tmp_path: Path) -> None:
    put(write(tmp_path) / "trajectory.log", block(1, np.eye(4)))
    assert Redwood(tmp_path).load("00000").pose is None
    np.testing.assert_array_equal(Redwood(tmp_path).load("00001").pose, np.eye(4))


@pytest.mark.parametrize("text", ["0 0 1\n1 0 0 0\n", "0 0 1\n" + "1 0 0 x\n" * 4, "x\n" * 5, block(0, np.eye(4)) * 2])
def test_a_trajectory_that_is_none_is_refused_naming_the_block(tmp_path: Path, text: str) -> None:
    with pytest.raises(FrameError, match=r"trajectory\.log: expected .*block [01]") as caught:
        read_log(put(tmp_path / "trajectory.log", text))
    assert caught.value.reason == "decode"


def test_a_pose_that_is_no_rigid_motion_rejects_its_frame_alone(tmp_path: Path) -> None:
    put(write(tmp_path) / "trajectory.log", block(0, np.eye(4) * 2) + block(1, np.eye(4)))
    assert reason(tmp_path, "00000") == "type" and Redwood(tmp_path).load("00001").pose is not None


def test_stamped_names_pair_by_time_and_the_rest_is_missing(tmp_path: Path) -> None:
    for name in ("0000001-000000000000", "0000002-000000033000", "0000003-000000200000"):
        put(tmp_path / "depth" / f"{name}.png", encoded(FRAMES[0].depth))
    for name, frame in (("0000001-000000005000", FRAMES[0]), ("0000002-000000040000", FRAMES[1])):
        put(tmp_path / "rgb" / f"{name}.jpg", frame.image or b"")
    put(tmp_path / "intrinsic.json", camera_json(FRAMES[0]))
    source = Redwood(tmp_path)
    assert source.ids() == ["0000001-000000000000", "0000002-000000033000", "0000003-000000200000"]
    assert source.load("0000002-000000033000").image == FRAMES[1].image
    assert any(path.endswith("rgb/0000002-000000040000.jpg") for path in source.inputs("0000002-000000033000"))
    assert reason(tmp_path, "0000003-000000200000") == "missing"


def test_colour_alone_and_depth_alone_are_listed_and_missing(tmp_path: Path) -> None:
    (write(tmp_path) / "depth" / "00000.png").unlink()
    (tmp_path / "color" / "00001.jpg").unlink()
    assert Redwood(tmp_path).ids() == ["00000", "00001"]
    assert reason(tmp_path, "00000") == reason(tmp_path, "00001") == "missing"


def test_a_recording_without_any_depth_is_listed_and_missing(tmp_path: Path) -> None:
    write(tmp_path / "a")
    put(tmp_path / "b" / "color" / "00000.jpg", FRAMES[0].image or b"")
    assert Redwood(tmp_path).ids() == ["a/00000", "a/00001", "b/00000"]
    assert reason(tmp_path, "b/00000") == "missing"


def test_a_corpus_of_recordings_keeps_the_poses_of_few_in_memory(tmp_path: Path) -> None:
    for scene in range(RECENT + 2):
        write(tmp_path / str(scene))
    source = Redwood(tmp_path)
    for name in (*source.ids(), "0/00000"):
        assert source.load(name).pose is not None
    assert len(source._shared) == RECENT


def test_a_folder_that_is_no_recording_says_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"depth/NAME\.png beside"):
        Redwood(tmp_path).ids()
    (write(tmp_path) / "color").rename(tmp_path / "colour")
    with pytest.raises(FrameError, match=r"color/00000\.jpg: expected the frame's colour"):
        Redwood(tmp_path).load("00000")


def test_a_recording_behind_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "scan").symlink_to(write(tmp_path / "elsewhere"))
    with pytest.raises(FrameError) as caught:
        Redwood(tmp_path / "root")
    assert caught.value.reason == "id"


@pytest.mark.parametrize("name", ["depth/00000.png", "color/00000.jpg"])
def test_a_truncated_file_is_rejected(tmp_path: Path, name: str) -> None:
    data = (write(tmp_path) / name).read_bytes()
    for kept in (0, len(data) // 3, len(data) - 5):
        (tmp_path / name).write_bytes(data[:kept])
        assert reason(tmp_path, "00000") == "decode"


def test_the_open3d_sample_has_five_labels_and_its_published_camera(shared_data: Path) -> None:
    source = Redwood(shared_data / "rgbd_redwood5")
    assert source.ids() == [f"{k:05d}" for k in range(5)]
    frames = [source.load(name) for name in source.ids()]
    assert all(frame.camera == PRIMESENSE and frame.pose is not None for frame in frames)
    ups = [frame.pose[:3, :3] @ label(frame).up for frame in frames if frame.pose is not None]
    assert np.degrees(np.arccos(np.clip(np.array(ups) @ (0, 1, 0), -1, 1))).max() < 1.5  # its world has y up
