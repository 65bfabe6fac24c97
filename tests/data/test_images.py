from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fastseg.data.images import color_size, decode_color, decode_depth, decode_label
from fastseg.frames import FrameError

DEPTH = (np.arange(33 * 41, dtype=np.uint32).reshape(33, 41) * 47 % 65536).astype(np.uint16)
COLOR = np.random.default_rng(0).integers(0, 256, (33, 41, 3)).astype(np.uint8)


def encoded(array: np.ndarray, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, kind, **options)
    return buffer.getvalue()


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width: int, height: int, bits: int, color_type: int, pixels: bytes) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, bits, color_type, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def depth_file(tmp_path: Path, name: str, data: bytes) -> Path:
    path = tmp_path / name
    path.write_bytes(data)
    return path


def reason(path: Path) -> str:
    with pytest.raises(FrameError) as caught:
        decode_depth(path)
    assert str(path) in str(caught.value)
    return caught.value.reason


GOOD_DEPTH = {
    "a.png": encoded(DEPTH, "PNG"),
    "a.tiff": encoded(DEPTH, "TIFF"),
    "a.pgm": b"P5\n# a comment\n41 33\n65535\n" + DEPTH.astype(">u2").tobytes(),
    "low.pgm": b"P5 41 33 65000 " + DEPTH.astype(">u2").tobytes(),
    "a.npy": npy(DEPTH),
    "columns.npy": npy(np.asfortranarray(DEPTH)),
    "big.npy": npy(DEPTH.astype(">u2")),
}


@pytest.mark.parametrize("name", GOOD_DEPTH)
def test_uint16_depth_is_read_as_stored(tmp_path: Path, name: str) -> None:
    depth = decode_depth(depth_file(tmp_path, name, GOOD_DEPTH[name]))
    assert depth.dtype == np.uint16 and depth.flags.c_contiguous
    np.testing.assert_array_equal(depth, DEPTH)


def filtered(depth: np.ndarray, kinds: list[int]) -> bytes:
    """The rows of a 16-bit PNG by the filters of the PNG specification, one byte at a time."""
    raw = depth.astype(">u2").view(np.uint8).astype(int)
    rows = bytearray()
    for y, kind in enumerate(kinds):
        rows.append(kind)
        for x in range(raw.shape[1]):
            a, b = (raw[y, x - 2] if x > 1 else 0), (raw[y - 1, x] if y else 0)
            c = raw[y - 1, x - 2] if x > 1 and y else 0
            nearest = min((abs(b - c), 0, a), (abs(a - c), 1, b), (abs(a + b - 2 * c), 2, c))[2]
            rows.append((raw[y, x] - (0, a, b, (a + b) // 2, nearest)[kind]) % 256)
    return bytes(rows)


@pytest.mark.parametrize("first", range(5))
def test_every_png_filter_is_undone(tmp_path: Path, first: int) -> None:
    depth = np.random.default_rng(first).integers(0, 65536, (7, 5)).astype(np.uint16)
    data = png(5, 7, 16, 0, filtered(depth, [(first + 3 * y) % 5 for y in range(7)]))
    np.testing.assert_array_equal(decode_depth(depth_file(tmp_path, "a.png", data)), depth)


def test_an_unknown_png_filter_is_rejected(tmp_path: Path) -> None:
    assert reason(depth_file(tmp_path, "a.png", png(1, 1, 16, 0, b"\5ab"))) == "decode"


def test_every_flip_in_the_pixels_of_a_deflated_tiff_is_found(tmp_path: Path) -> None:
    data = encoded(DEPTH, "TIFF", compression="tiff_adobe_deflate")
    pixels = data.index(b"\x78")
    for at in np.random.default_rng(1).integers(pixels, pixels + len(zlib.compress(DEPTH.tobytes())) - 8, 100):
        flipped = bytearray(data)
        flipped[at] ^= 0x10
        assert reason(depth_file(tmp_path, "a.tiff", bytes(flipped))) == "decode"
    np.testing.assert_array_equal(decode_depth(depth_file(tmp_path, "a.tiff", data)), DEPTH)


@pytest.mark.parametrize("ending", ["tiff", "npy"])
def test_float_depth_is_read_as_stored(tmp_path: Path, ending: str) -> None:
    metres = DEPTH.astype(np.float32) / 7000
    metres[3, 4] = np.nan
    data = npy(metres) if ending == "npy" else encoded(metres, "TIFF")
    depth = decode_depth(depth_file(tmp_path, f"a.{ending}", data))
    assert depth.dtype == np.float32
    np.testing.assert_array_equal(depth, metres)


@pytest.mark.parametrize("name", ["a.png", "a.pgm", "a.npy", "a.tiff"])
def test_truncated_depth_is_rejected_at_every_offset(tmp_path: Path, name: str) -> None:
    data = GOOD_DEPTH[name]
    for kept in [0, 1, 7, 8, 20, 33, *(len(data) * k // 20 for k in range(1, 20)), len(data) - 1]:
        assert reason(depth_file(tmp_path, name, data[:kept])) == "decode"


def test_every_single_byte_flip_of_a_png_is_found(tmp_path: Path) -> None:
    data = GOOD_DEPTH["a.png"]
    for at in np.random.default_rng(1).integers(0, len(data), 200):
        flipped = bytearray(data)
        flipped[at] ^= 0x10
        assert reason(depth_file(tmp_path, "a.png", bytes(flipped))) == "decode"


WRONG_TYPE = {
    "three_channels.png": encoded(COLOR, "PNG"),
    "three_channels_16.png": png(2, 2, 16, 2, b"\0" + bytes(12) + b"\0" + bytes(12)),
    "eight_bits.png": encoded(COLOR[..., 0].copy(), "PNG"),
    "eight_bits.pgm": b"P5 2 2 255 " + bytes(4),
    "double.npy": npy(DEPTH.astype(np.float64)),
    "signed.npy": npy(DEPTH.astype(np.int16)),
    "three_channels.npy": npy(COLOR.astype(np.float32)),
    "objects.npy": npy(np.array([[{}]], dtype=object)),
    "color.exr": encoded(COLOR, "JPEG"),
    "three_channels.tiff": encoded(COLOR, "TIFF"),
}


@pytest.mark.parametrize("name", WRONG_TYPE)
def test_depth_of_the_wrong_type_is_rejected(tmp_path: Path, name: str) -> None:
    assert reason(depth_file(tmp_path, name, WRONG_TYPE[name])) == "type"


HUGE = np.lib.format.magic(1, 0) + struct.pack("<H", 118)
HUGE_NPY = HUGE + b"{'descr': '<f4', 'fortran_order': False, 'shape': (90000, 90000), }".ljust(117) + b"\n"
TOO_LARGE = {
    "huge.png": png(20000, 20000, 16, 0, b"\0"),
    "bomb.png": png(2**31 - 1, 2**31 - 1, 16, 0, b"\0"),
    "huge.pgm": b"P5 20000 20000 65535\n",
    "huge.npy": HUGE_NPY,
}


@pytest.mark.parametrize("name", TOO_LARGE)
def test_a_header_that_claims_too_many_pixels_is_rejected_before_allocation(tmp_path: Path, name: str) -> None:
    assert reason(depth_file(tmp_path, name, TOO_LARGE[name])) == "too-large"


def test_a_header_that_claims_more_rows_than_there_are_is_rejected(tmp_path: Path) -> None:
    assert reason(depth_file(tmp_path, "a.png", png(8, 900, 16, 0, b"\0" * 17))) == "decode"
    assert reason(depth_file(tmp_path, "a.png", png(8, 1, 16, 0, bytes(34)))) == "decode"
    assert reason(depth_file(tmp_path, "a.pgm", b"P5 8 900 65535\n" + bytes(160))) == "decode"
    path = depth_file(tmp_path, "label.png", png(8, 2, 8, 0, bytes(9)))
    with pytest.raises(FrameError, match="expected 18 bytes"):
        decode_label(path)


def test_a_file_that_is_not_there_is_missing(tmp_path: Path) -> None:
    assert reason(tmp_path / "none.png") == "missing"
    assert reason(tmp_path) in ("missing", "type")


def test_an_unknown_ending_is_of_the_wrong_type(tmp_path: Path) -> None:
    assert reason(depth_file(tmp_path, "a.exr", b"x")) == "type"


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "JPEG"])
def test_color_is_rgb_of_the_stated_size(kind: str) -> None:
    data = encoded(COLOR, kind, **({"lossless": True} if kind == "WEBP" else {}))
    assert color_size(data, "x") == (33, 41)
    image = decode_color(data, "x")
    assert image.shape == (33, 41, 3) and image.dtype == np.uint8
    if kind != "JPEG":
        np.testing.assert_array_equal(image, COLOR)


@pytest.mark.parametrize(("at_least", "step"), [((48, 64), 2), ((49, 64), 1), ((24, 20), 4), ((1, 1), 8)])
def test_a_jpeg_is_decoded_no_larger_than_need_be(at_least: tuple[int, int], step: int) -> None:
    v, u = np.mgrid[:96, :128]
    smooth = np.dstack([u * 2, v * 2, 128 + 40 * np.sin(u / 9)]).astype(np.uint8)
    small = decode_color(encoded(smooth, "JPEG", quality=98, subsampling=0), "a", at_least)
    means = smooth.reshape(96 // step, step, 128 // step, step, 3).mean((1, 3))
    assert small.shape == means.shape and np.abs(small - means).max() < 4
    assert decode_color(encoded(smooth, "PNG"), "a", at_least).shape == smooth.shape
    assert decode_color(encoded(smooth[:95], "JPEG"), "a", at_least).shape == (95, 128, 3)


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "JPEG"])
def test_truncated_color_is_rejected_decoded_or_not(kind: str) -> None:
    data = encoded(COLOR, kind)
    for kept in [0, 1, 10, 30, *(len(data) * k // 20 for k in range(1, 20))]:
        for read in (color_size, decode_color):
            with pytest.raises(FrameError, match="some/name") as caught:
                read(data[:kept], "some/name")
            assert caught.value.reason == "decode"


def test_a_jpeg_without_its_end_marker_but_with_all_pixels_is_not_refused_unseen() -> None:
    data = encoded(COLOR, "JPEG") + b"appended by a camera"
    assert color_size(data, "x") == (33, 41)


def test_grey_palette_and_alpha_become_rgb() -> None:
    grey = decode_color(encoded(COLOR[..., 0].copy(), "PNG"), "x")
    np.testing.assert_array_equal(grey, np.repeat(COLOR[..., :1], 3, axis=2))
    alpha = np.dstack([COLOR, np.full(COLOR.shape[:2], 9, np.uint8)])
    np.testing.assert_array_equal(decode_color(encoded(alpha, "PNG"), "x"), COLOR)


def test_16_bit_grey_is_no_color() -> None:
    with pytest.raises(FrameError) as caught:
        decode_color(encoded(DEPTH, "PNG"), "x")
    assert caught.value.reason == "type"


def test_labels_are_grey_values_or_palette_indices(tmp_path: Path) -> None:
    label = (DEPTH % 13).astype(np.uint8)
    np.testing.assert_array_equal(decode_label(depth_file(tmp_path, "grey.png", encoded(label, "PNG"))), label)
    painted = Image.fromarray(label, "P")
    painted.putpalette(bytes(range(256)) * 3)
    painted.save(tmp_path / "palette.png", bits=4)
    np.testing.assert_array_equal(decode_label(tmp_path / "palette.png"), label)


@pytest.mark.parametrize("data", [encoded(COLOR, "PNG"), encoded(DEPTH, "PNG"), png(2, 1, 4, 0, b"\0\x12")])
def test_a_label_that_is_not_8_bits_of_one_channel_is_rejected(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(FrameError) as caught:
        decode_label(depth_file(tmp_path, "a.png", data))
    assert caught.value.reason == "type"
