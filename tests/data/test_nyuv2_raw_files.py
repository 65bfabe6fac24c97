from __future__ import annotations

import struct

import numpy as np
import pytest
from kinect_recording import dump, pgm, ppm

from fastseg.data.nyuv2_raw_files import decode_disparity, decode_dump, decode_ppm
from fastseg.frames import FrameError

BLANK = np.full((480, 640), 2047, np.uint16)


def reason(caught: pytest.ExceptionInfo[FrameError]) -> str:
    assert "file" in str(caught.value) and "\n" not in str(caught.value)
    return caught.value.reason


def test_recorded_disparities_are_little_end_first() -> None:
    data = b"P5 640 480 65535\n" + bytes([0xFF, 0x07, 0x2C, 0x03, 0x00, 0x04]) + b"\xff\x07" * (480 * 640 - 3)
    raw = decode_disparity(data, "file")
    assert raw.dtype == np.uint16 and raw.shape == (480, 640) and raw.flags.c_contiguous
    assert raw[0, :4].tolist() == [2047, 0x32C, 1024, 2047]


def test_netpbms_own_byte_order_is_told_by_the_eleven_bits() -> None:
    data = b"P5\n# rewritten\n640 480\n65535\n" + bytes([0x07, 0xFF, 0x03, 0x2C]) + b"\x07\xff" * (480 * 640 - 2)
    assert decode_disparity(data, "file")[0, :3].tolist() == [2047, 0x32C, 2047]
    raw = np.random.default_rng(0).integers(400, 1057, (480, 640)).astype(np.uint16)
    np.testing.assert_array_equal(decode_disparity(pgm(raw, ">"), "file"), decode_disparity(pgm(raw, "<"), "file"))


def test_where_both_orders_fit_it_is_the_recorders() -> None:
    both = np.full((480, 640), 0x0300, np.uint16)
    assert (decode_disparity(pgm(both), "file") == 0x0300).all()
    assert (decode_disparity(pgm(both * 0), "file") == 0).all()


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", "decode"),
        (b"P5 640 480 65535", "decode"),
        (b"P6 640 480 65535\n" + bytes(614400), "decode"),
        (b"P2 640 480 65535\n" + bytes(614400), "decode"),
        (pgm(BLANK)[:-1], "decode"),
        (pgm(BLANK) + b"\0", "decode"),
        (pgm(BLANK)[:300], "decode"),
        (b"P5 640 480 255\n" + bytes(614400), "type"),
        (pgm(np.where(np.arange(640) == 9, 2048, BLANK)), "type"),
        (pgm(np.full((480, 640), 65535)), "type"),
        (b"P5 320 240 65535\n" + bytes(153600), "size"),
        (b"P5 480 640 65535\n" + bytes(614400), "size"),
        (b"P5 0 480 65535\n", "decode"),
        (b"P5 999999999 999999999 65535\n" + bytes(9), "too-large"),
        (b"P5 99999999999999999999 480 65535\n" + bytes(9), "decode"),
        (b"P5 640 480 -1\n" + bytes(614400), "decode"),
        (b"P5 " + b"# comment\n" * 1000 + b"640 480 65535\n", "decode"),
    ],
)
def test_what_is_no_raw_disparity_has_a_reason(data: bytes, expected: str) -> None:
    with pytest.raises(FrameError) as caught:
        decode_disparity(data, "file")
    assert reason(caught) == expected


def test_colour_is_red_green_blue_by_rows() -> None:
    color = decode_ppm(b"P6 640 480 255\n" + bytes([1, 2, 3, 4, 5, 6]) + bytes(921600 - 9) + bytes([7, 8, 9]), "file")
    assert color.shape == (480, 640, 3) and color.dtype == np.uint8
    assert color[0, :2].tolist() == [[1, 2, 3], [4, 5, 6]] and color[-1, -1].tolist() == [7, 8, 9]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (ppm(np.zeros((480, 640, 3), np.uint8))[:-1], "decode"),
        (pgm(BLANK), "decode"),
        (b"P6 640 480 65535\n" + bytes(1843200), "type"),
        (b"P6 1280 1024 255\n" + bytes(3932160), "size"),
        (b"P6 60000 60000 255\n", "too-large"),
    ],
)
def test_what_is_no_colour_has_a_reason(data: bytes, expected: str) -> None:
    with pytest.raises(FrameError) as caught:
        decode_ppm(data, "file")
    assert reason(caught) == expected


def test_a_level_camera_at_rest_reads_819_counts_upward() -> None:
    # x = 0, y = 819, z = 0, tilt -12 half degrees, padding, motor status 4: all little end first
    np.testing.assert_allclose(decode_dump(bytes.fromhex("0000 3303 0000 f4 00 04000000"), "file"), [0, -1, 0])


@pytest.mark.parametrize(
    ("counts", "up"),
    [
        ((0, 709, -409), (0, -0.866, -0.5)),  # looks 30 degrees down: up leans back towards the camera
        ((0, 709, 409), (0, -0.866, 0.5)),  # looks up
        ((409, 709, 0), (-0.5, -0.866, 0)),  # its left side raised: up lies to the left
        ((0, -819, 0), (0, 1, 0)),  # head over
    ],
)
def test_the_chips_axes_are_left_up_and_forward(counts: tuple[int, int, int], up: tuple[float, float, float]) -> None:
    data = struct.pack("<hhhbBi", *counts, 0, 0, 0)
    np.testing.assert_allclose(decode_dump(data, "file"), up, atol=2e-3)


def test_a_record_gives_the_up_it_was_made_of() -> None:
    for up in np.random.default_rng(2).normal(size=(50, 3)):
        unit = up / np.linalg.norm(up)
        assert np.degrees(np.arccos(decode_dump(dump(unit), "file") @ unit)) < 0.06  # counts are whole: 0.5 of 819


@pytest.mark.parametrize("size", [0, 6, 11, 13, 32])
def test_a_record_of_another_length_is_refused(size: int) -> None:
    with pytest.raises(FrameError, match="record of 12 bytes") as caught:
        decode_dump(bytes(size), "file")
    assert reason(caught) == "decode"


@pytest.mark.parametrize("g", [0.0, 0.3, 2.0])
def test_no_gravity_or_a_shaken_camera_is_refused(g: float) -> None:
    with pytest.raises(FrameError, match="accelerometer") as caught:
        decode_dump(dump(np.array([0.0, -1.0, 0.0]), g), "file")
    assert reason(caught) == "gravity" and caught.value.value == pytest.approx(g, abs=1e-3)
