from __future__ import annotations

import io
import struct
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from recorded import by_folder, encoded, label, put, room_frames

from fastseg.data.images import decode_color
from fastseg.data.scannet import ScanNet, registered
from fastseg.data.sens import frame_offsets, read_header
from fastseg.frames import Camera, Frame, FrameError

FRAMES = tuple(
    replace(
        frame, camera=Camera(*(float(np.float32(getattr(frame.camera, n))) for n in ("fx", "fy", "cx", "cy")), 240, 320)
    )
    for frame in room_frames()
)  # the container holds float32
SCAN = "scans/scene0000_00/scene0000_00"
LOST = np.full((4, 4), -np.inf)


def matrix(camera: Camera) -> np.ndarray:
    full = np.eye(4)
    full[0, 0], full[1, 1], full[0, 2], full[1, 2] = camera.fx, camera.fy, camera.cx, camera.cy
    return full


def floats(*matrices: np.ndarray) -> bytes:
    return b"".join(np.asarray(m, "<f4").tobytes() for m in matrices)


def header(count: int, *, color: Camera | None = None, extrinsics: np.ndarray | None = None, **other: Any) -> bytes:
    """The bytes before the first frame; `other`: version, letters (of the name), kinds (of compression), units."""
    depth, name, tilt = FRAMES[0].camera, b"StructureSensor", np.eye(4) if extrinsics is None else extrinsics
    color = color or depth
    start = struct.pack("<IQ", other.get("version", 4), other.get("letters", len(name))) + name
    sizes = (color.width, color.height, depth.width, depth.height)
    kinds, units = other.get("kinds", (2, 1)), other.get("units", 1000.0)
    cameras = floats(matrix(color), np.eye(4), matrix(depth), tilt)
    return start + cameras + struct.pack("<2i4IfQ", *kinds, *sizes, units, count)


def record(
    frame: Frame, color: bytes | None = None, depth: bytes | None = None, pose: np.ndarray | None = None
) -> bytes:
    image = (frame.image or b"") if color is None else color
    units = zlib.compress(frame.depth.astype("<u2").tobytes(), 1) if depth is None else depth
    chosen = frame.pose if pose is None else pose
    assert chosen is not None
    return floats(chosen) + struct.pack("<4Q", 111, 222, len(image), len(units)) + image + units


def write(root: Path, *records: bytes, head: bytes | None = None, scan: str = SCAN) -> Path:
    made = records or tuple(record(frame) for frame in FRAMES)
    put(
        root / f"{scan}.sens", (header(len(made)) if head is None else head) + b"".join(made) + bytes(8)
    )  # no IMU frames
    return root


def reason(root: Path, index: int = 0) -> FrameError:
    with pytest.raises(FrameError) as caught:
        ScanNet(root).load(f"{SCAN}/{index:06d}")
    assert "\n" not in str(caught.value) and "scene0000_00" in str(caught.value)
    return caught.value


def test_a_scan_has_the_labels_of_the_plain_layout(tmp_path: Path) -> None:
    source = ScanNet(write(tmp_path / "scannet"))
    assert source.ids() == [f"{SCAN}/000000", f"{SCAN}/000001"] and source.scene(source.ids()[1]) == SCAN
    for k in (1, 0):
        frame, plain = source.load(source.ids()[k]), by_folder(tmp_path / str(k), FRAMES[k])
        assert frame.camera == plain.camera and frame.depth.dtype == np.uint16
        assert frame.depth_scale == pytest.approx(0.001) and frame.image == FRAMES[k].image
        np.testing.assert_allclose(frame.pose, FRAMES[k].pose, atol=1e-6)
        np.testing.assert_array_equal(label(frame).label, label(plain).label)
    assert source.inputs(source.ids()[0]) == [str(tmp_path / "scannet" / f"{SCAN}.sens")]


def test_raw_depth_and_raw_and_png_colour_are_read(tmp_path: Path) -> None:
    rgb = decode_color(FRAMES[0].image or b"", "a")
    raw = FRAMES[0].depth.astype("<u2").tobytes()
    frame = ScanNet(write(tmp_path / "a", record(FRAMES[0], encoded(rgb), raw), head=header(1, kinds=(1, 0)))).load(
        f"{SCAN}/000000"
    )
    assert frame.image == encoded(rgb) and (frame.depth == FRAMES[0].depth).all()
    frame = ScanNet(write(tmp_path / "b", record(FRAMES[0], rgb.tobytes(), raw), head=header(1, kinds=(0, 0)))).load(
        f"{SCAN}/000000"
    )
    assert frame.image is not None and frame.image[:2] == b"\xff\xd8"
    assert np.abs(decode_color(frame.image, "b").astype(int) - rgb).mean() < 3


def test_lost_tracking_is_no_pose_and_a_wrong_one_is_rejected(tmp_path: Path) -> None:
    records = [record(FRAMES[0], pose=pose) for pose in (LOST, np.full((4, 4), np.nan), np.eye(4) * 2)]
    source = ScanNet(write(tmp_path, *records))
    assert source.load(f"{SCAN}/000000").pose is None and source.load(f"{SCAN}/000001").pose is None
    assert reason(tmp_path, 2).reason == "type"


def test_the_units_are_the_files_own_and_may_be_given(tmp_path: Path) -> None:
    write(tmp_path, head=header(2, units=500.0))
    assert ScanNet(tmp_path).load(f"{SCAN}/000000").depth_scale == 0.002
    assert ScanNet(tmp_path, 0.001).load(f"{SCAN}/000000").depth_scale == 0.001
    assert reason(write(tmp_path, head=header(2, units=0.01))).reason == "scale"


@pytest.mark.parametrize(("height", "width"), [(484, 648), (488, 656)])  # decoded whole, at a half
def test_colour_of_another_size_is_resampled_onto_the_depth(tmp_path: Path, height: int, width: int) -> None:
    color = FRAMES[0].camera.resized(height, width)
    columns, rows = np.meshgrid(np.arange(width) / (width - 1), np.arange(height) / (height - 1))
    picture = np.rint(np.dstack([columns * 255, rows * 255, np.full_like(rows, 90)])).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=95, subsampling=0)
    frame = ScanNet(write(tmp_path, record(FRAMES[0], buffer.getvalue()), head=header(1, color=color))).load(
        f"{SCAN}/000000"
    )
    assert frame.camera == FRAMES[0].camera and frame.image is not None
    seen, k = decode_color(frame.image, "a").astype(float), frame.camera
    u, v = np.meshgrid(np.arange(320), np.arange(240))
    wanted = (
        ((u - k.cx) / k.fx * color.fx + color.cx) * 255 / (width - 1),
        ((v - k.cy) / k.fy * color.fy + color.cy) * 255 / (height - 1),
    )
    inner = np.s_[4:-4, 4:-4]
    apart = [(seen[..., c] - wanted[c])[inner] for c in (0, 1)]
    assert all(np.abs(d).mean() < 1.5 and abs(d.mean()) < 0.2 for d in apart)  # half a depth pixel is 0.4 levels


def test_colour_is_black_where_its_camera_does_not_reach() -> None:
    depth = Camera(300.0, 300.0, 159.5, 119.5, 240, 320)
    narrow = Camera(300.0, 300.0, 139.5, 99.5, 200, 280)  # 20 columns and rows less on each side
    seen = decode_color(registered(np.full((200, 280, 3), 200, np.uint8), narrow, depth), "a")
    assert seen.shape == (240, 320, 3)
    assert (seen[24:216, 24:296] > 190).all() and (seen[:16] < 10).all() and (seen[:, -16:] < 10).all()


@pytest.mark.parametrize("other", [(600.0, 159.5, 320), (300.0, 79.5, 160), (300.0, 259.5, 320), (100.0, 159.5, 320)])
def test_two_cameras_of_other_views_are_refused(other: tuple[float, float, int]) -> None:
    fx, cx, width = other
    with pytest.raises(FrameError, match="of the same view") as caught:
        registered(
            np.zeros((240, 320, 3), np.uint8),
            Camera(300.0, 300.0, 159.5, 119.5, 240, 320),
            Camera(fx, 300.0, cx, 119.5, 240, width),
        )
    assert caught.value.reason == "intrinsics"


def test_reading_one_frame_does_not_read_the_others(tmp_path: Path) -> None:
    path = write(tmp_path, head=header(3)) / f"{SCAN}.sens"
    huge = 600 * 2**20  # a hole in the file: nothing of it is ever read
    with path.open("wb") as file:
        file.write(header(3) + record(FRAMES[0]) + floats(np.eye(4)) + struct.pack("<4Q", 0, 0, 9, huge))
        file.seek(9 + huge, 1)
        file.write(record(FRAMES[1]))
    source = ScanNet(tmp_path)
    assert (
        source.load(f"{SCAN}/000002").image == FRAMES[1].image
        and source.load(f"{SCAN}/000000").image == FRAMES[0].image
    )
    assert reason(tmp_path, 1).reason == "too-large"


def test_a_scan_cut_short_keeps_its_whole_frames(tmp_path: Path) -> None:
    path = write(tmp_path) / f"{SCAN}.sens"
    data = path.read_bytes()
    path.write_bytes(data[: len(header(2)) + len(record(FRAMES[0])) + 50])
    assert len(ScanNet(tmp_path).ids()) == 2 and ScanNet(tmp_path).load(f"{SCAN}/000000").depth.any()
    assert reason(tmp_path, 1).reason == "decode" and "1 frames are whole" in str(reason(tmp_path, 1))
    assert reason(tmp_path, 7).reason == "missing"


def test_a_scan_whose_header_cannot_be_read_is_one_rejected_id(tmp_path: Path) -> None:
    write(tmp_path, scan="scans/b/b")
    put(tmp_path / "scans" / "a.sens", b"")
    assert ScanNet(tmp_path).ids() == ["scans/a", "scans/b/b/000000", "scans/b/b/000001"]
    assert ScanNet(tmp_path).inputs("scans/a") == [str(tmp_path / "scans" / "a.sens")]
    with pytest.raises(FrameError, match=r"a\.sens: expected a \.sens file of version 4") as caught:
        ScanNet(tmp_path).load("scans/a")
    assert caught.value.reason == "decode"


@pytest.mark.parametrize(
    ("head", "expected"),
    [(header(2, version=3), "decode"), (header(2, letters=2**60), "decode"), (header(2**61), "decode"),
     (header(2)[:-5], "decode"), (header(0), "decode"), (header(2, kinds=(2, 2)), "type"),
     (header(2, kinds=(-1, 1)), "type"), (header(2, kinds=(2, 9)), "type"),
     (header(2, units=0.0), "scale"), (header(2, units=float("nan")), "scale")],
)  # fmt: skip
def test_a_header_is_refused_with_its_reason(tmp_path: Path, head: bytes, expected: str) -> None:
    put(tmp_path / f"{SCAN}.sens", head)
    if len(head) == len(header(2)):
        put(tmp_path / f"{SCAN}.sens", head + b"".join(record(frame) for frame in FRAMES))
    with pytest.raises(FrameError) as caught:
        ScanNet(tmp_path).load(SCAN)
    assert caught.value.reason == expected and ScanNet(tmp_path).ids() == [SCAN]


def test_absurd_sizes_are_too_large_before_anything_is_allocated(tmp_path: Path) -> None:
    head = bytearray(header(2))
    struct.pack_into("<II", head, len(head) - 20, 2**31, 2**31)
    put(tmp_path / f"{SCAN}.sens", bytes(head) + record(FRAMES[0]) * 2)
    with pytest.raises(FrameError) as caught:
        read_header(tmp_path / f"{SCAN}.sens")
    assert caught.value.reason == "too-large"


def test_depth_that_is_not_registered_is_refused(tmp_path: Path) -> None:
    shifted = np.eye(4)
    shifted[0, 3] = 0.04
    error = reason(write(tmp_path, head=header(2, extrinsics=shifted)))
    assert error.reason == "intrinsics" and "registered" in str(error)


@pytest.mark.parametrize(
    "depth",
    [b"", b"x" * 100, zlib.compress(bytes(320 * 240 * 2 - 2)), zlib.compress(bytes(320 * 240 * 2 + 2)),
     zlib.compress(bytes(2**26)), zlib.compress(FRAMES[0].depth.tobytes())[:-9]],
)  # fmt: skip
def test_depth_of_another_length_is_rejected(tmp_path: Path, depth: bytes) -> None:
    assert reason(write(tmp_path, record(FRAMES[0], depth=depth))).reason == "decode"


@pytest.mark.parametrize(("color", "expected"), [(b"", "decode"), (b"\xff\xd8\xff", "decode")])
def test_colour_that_is_none_is_rejected(tmp_path: Path, color: bytes, expected: str) -> None:
    assert reason(write(tmp_path, record(FRAMES[0], color))).reason == expected


def test_colour_of_another_size_than_the_header_says_is_rejected(tmp_path: Path) -> None:
    assert reason(write(tmp_path, head=header(2, color=FRAMES[0].camera.resized(480, 640)))).reason == "size"


def test_the_index_is_made_once_for_a_file(tmp_path: Path) -> None:
    source = ScanNet(write(tmp_path))
    before = frame_offsets.cache_info()
    for _ in range(3):
        source.load(f"{SCAN}/000001")
    after = frame_offsets.cache_info()
    assert (after.misses - before.misses, after.hits - before.hits) == (1, 2)
    path = tmp_path / f"{SCAN}.sens"
    first = len(header(2))
    ends = np.cumsum([first, *(len(record(frame)) for frame in FRAMES)])
    np.testing.assert_array_equal(frame_offsets(path, first, 2), ends)


def test_a_folder_without_scans_says_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"expected NAME\.sens, or exported SCENE/depth"):
        ScanNet(tmp_path).ids()
