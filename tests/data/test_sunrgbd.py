from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from recorded import by_folder, encoded, label, put, room_frames, room_up

from fastseg.data.sunrgbd import SunRgbd, unrotated, up_of
from fastseg.frames import Frame, FrameError

FRAMES = room_frames()
NAME = "kv1/b3dodata/img_0063"


def rotated(depth: np.ndarray) -> np.ndarray:
    """Millimetres as stored: 16 bits turned left by 3."""
    wide = depth.astype(np.uint32)
    return ((wide << 3 | wide >> 13) & 0xFFFF).astype(np.uint16)


def tilt_from(up: np.ndarray) -> np.ndarray:
    """(3, 4): a rotation onto a frame whose y points along gravity."""
    down = -up / np.linalg.norm(up)
    x = np.cross(down, (0, 0, 1))
    x /= np.linalg.norm(x)
    return np.c_[np.stack([x, down, np.cross(x, down)]), np.zeros(3)]


def text(matrix: np.ndarray) -> str:
    return "".join(" ".join(f"{x:.7f}" for x in row) + " \n" for row in matrix)


def write(root: Path, frame: Frame = FRAMES[0], name: str = NAME, up: np.ndarray | None = None) -> Path:
    folder, k = root / name, frame.camera
    put(folder / "depth" / "x_abs.png", encoded(rotated(frame.depth)))
    put(folder / "depth_bfx" / "x_abs.png", encoded(rotated(np.maximum(frame.depth, 500))))
    put(folder / "image" / "x.jpg", frame.image or b"")
    put(folder / "intrinsics.txt", text(np.array([[k.fx, 0, k.cx], [0, k.fy, k.cy], [0, 0, 1]])))
    put(folder / "fullres" / "x.jpg", frame.image or b"")
    put(folder / "fullres" / "intrinsics.txt", "1 0 0 0 1 0 0 0 1")
    if up is not None:
        put(folder / "extrinsics" / "20140801.txt", text(np.c_[np.eye(3), np.zeros(3)]))
        put(folder / "extrinsics" / "20150101.txt", text(tilt_from(up)))
    return root


def reason(root: Path) -> str:
    with pytest.raises(FrameError) as caught:
        SunRgbd(root).load(NAME)
    return caught.value.reason


def test_a_frame_has_the_label_of_the_plain_layout(tmp_path: Path) -> None:
    source = SunRgbd(write(tmp_path / "sun"))
    assert source.ids() == [NAME] and source.scene(NAME) == "kv1/b3dodata"
    frame, plain = source.load(NAME), by_folder(tmp_path / "plain", FRAMES[0])
    assert frame.camera == plain.camera and frame.depth.dtype == np.uint16 and frame.up_prior is None
    np.testing.assert_array_equal(frame.depth, plain.depth)
    np.testing.assert_array_equal(label(frame).label, label(plain).label)
    names = {Path(path).relative_to(tmp_path / "sun" / NAME).as_posix() for path in source.inputs(NAME)}
    assert names == {"depth/x_abs.png", "image/x.jpg", "intrinsics.txt"}


def test_bits_rotate_right_by_three_and_beyond_eight_metres_is_no_measurement() -> None:
    depth = np.array([[0, 1, 7, 1000, 8000, 8001, 8191, 8192, 65535]], np.uint16)
    assert unrotated(rotated(depth)).tolist() == [[0, 1, 7, 1000, 8000, 0, 0, 0, 0]]
    assert unrotated(np.array([[8]], np.uint16)).tolist() == [[1]]
    every = np.arange(65536, dtype=np.uint16)[None]
    assert np.unique(rotated(every)).size == 65536
    np.testing.assert_array_equal(unrotated(rotated(every))[0, :8001], every[0, :8001])


def test_the_last_tilt_gives_the_prior_of_up(tmp_path: Path) -> None:
    source = SunRgbd(write(tmp_path, up=room_up(0)))
    frame = source.load(NAME)
    assert frame.up_prior is not None
    np.testing.assert_allclose(frame.up_prior, room_up(0), atol=1e-6)
    assert source.inputs(NAME)[-1].endswith("20150101.txt")
    assert float(label(frame).up @ frame.up_prior) > np.cos(np.radians(1))


def test_up_is_opposite_to_the_row_of_gravity() -> None:
    assert up_of(np.eye(3)).tolist() == [0, -1, 0]
    pitch = np.radians(30)  # nose down: what is above leans backwards, and an office's floor is in view
    down = np.array([[1, 0, 0], [0, np.cos(pitch), np.sin(pitch)], [0, -np.sin(pitch), np.cos(pitch)]])
    np.testing.assert_allclose(up_of(down), (0, -np.cos(pitch), -np.sin(pitch)))


def test_filled_in_depth_is_read_where_there_is_no_other(tmp_path: Path) -> None:
    (write(tmp_path) / NAME / "depth" / "x_abs.png").unlink()
    assert SunRgbd(tmp_path).load(NAME).depth.min() == 500
    (tmp_path / NAME / "depth_bfx" / "x_abs.png").unlink()
    assert SunRgbd(tmp_path).ids() == [NAME] and reason(tmp_path) == "missing"


def test_two_depth_files_in_a_frame_are_refused(tmp_path: Path) -> None:
    put(write(tmp_path) / NAME / "depth" / "y_abs.png", encoded(FRAMES[0].depth))
    assert reason(tmp_path) == "missing"


@pytest.mark.parametrize("name", ["image/x.jpg", "intrinsics.txt"])
def test_a_frame_without_one_of_its_files_is_listed_and_missing(tmp_path: Path, name: str) -> None:
    (write(tmp_path) / NAME / name).unlink()
    assert SunRgbd(tmp_path).ids() == [NAME] and reason(tmp_path) == "missing"


@pytest.mark.parametrize(
    ("values", "expected"),
    [("1 2 3", "decode"), ("0 " * 12, "type"), ("nan " * 12, "type"), ("2 0 0 0 0 2 0 0 0 0 2 0", "type"),
     ("1 0 0 0 0 1 0 0 0 0 -1 0", "type")],
)  # fmt: skip
def test_a_tilt_that_is_no_rotation_is_rejected(tmp_path: Path, values: str, expected: str) -> None:
    put(write(tmp_path, up=room_up(0)) / NAME / "extrinsics" / "2016.txt", values)
    assert reason(tmp_path) == expected


@pytest.mark.parametrize("values", ["0 0 0 0 0 0 0 0 1", "1e9 0 9 0 1e9 9 0 0 1", "nan 0 9 0 9 9 0 0 1"])
def test_absurd_intrinsics_are_rejected(tmp_path: Path, values: str) -> None:
    put(write(tmp_path) / NAME / "intrinsics.txt", values)
    assert reason(tmp_path) == "intrinsics"


@pytest.mark.parametrize("name", ["depth/x_abs.png", "image/x.jpg", "intrinsics.txt"])
def test_a_truncated_file_is_rejected(tmp_path: Path, name: str) -> None:
    data = (write(tmp_path) / NAME / name).read_bytes()
    for kept in (0, len(data) // 3):
        (tmp_path / NAME / name).write_bytes(data[:kept])
        assert reason(tmp_path) == "decode"


def test_a_root_without_frames_or_that_is_one_says_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"folders FRAME/ with depth"):
        SunRgbd(tmp_path).ids()
    with pytest.raises(ValueError, match="is one frame"):
        SunRgbd(write(tmp_path) / NAME).ids()


def test_the_real_frame_is_labelled_and_its_tilt_is_near(shared_data: Path) -> None:
    frame = SunRgbd(shared_data / "rgbd_sun").load("img_0063")
    assert frame.depth.shape == (427, 561) and frame.depth.max() == 2525
    made = label(frame)
    assert frame.up_prior is not None and float(made.up @ frame.up_prior) > np.cos(np.radians(2))
    assert made.aligned_fraction > 0.9 and abs(frame.up_prior[0] - made.up[0]) < 0.01  # the roll tells the axes apart
