"""Strict PNG reading: every checksum, exactly the pixels that the header claims, 16-bit grey decoded.

Pillow skips the checksums of pixel data and fills missing rows with zeros without an error, which would be false depth.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numba
import numpy as np
import numpy.typing as npt

from fastseg.frames import FrameError

MAX_PIXELS = 2**23  # of a frame: 3840x2160 fits, and what a worker holds of it stays within 256 MB
MAX_PICTURE_PIXELS = 2**26  # of a picture or label map that is trained on
SIGNATURE = b"\x89PNG\r\n\x1a\n"
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by colour type: grey, RGB, palette, grey + alpha, RGBA

Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class PngHeader:
    """What a PNG says of itself; `color_type` 0 grey, 2 RGB, 3 palette, 4 grey + alpha, 6 RGBA."""

    height: int
    width: int
    bits: int
    color_type: int
    interlaced: bool


def check_pixels(height: int, width: int, name: str, most: int = MAX_PIXELS) -> None:
    """Raise FrameError `too-large` above `most` pixels, `decode` below one pixel: called before allocation."""
    if height < 1 or width < 1:
        raise FrameError("decode", f"{name}: expected at least 1x1 pixels; its header says {width}x{height}")
    if height * width > most:
        size = f"{width}x{height}"
        raise FrameError("too-large", f"{name}: expected at most {most} pixels; got {size}", height * width)


def read_png(data: bytes, name: str, most: int = MAX_PIXELS) -> tuple[PngHeader, list[memoryview]]:
    """(header, compressed pixel chunks) of a PNG file's bytes, all checksums right and the end reached.

    Raises FrameError `decode` or `too-large` (above `most` pixels), naming the file `name`.
    """
    if not data.startswith(SIGNATURE):
        raise FrameError("decode", f"{name}: expected a PNG file; it is none")
    at, view, header = len(SIGNATURE), memoryview(data), None
    pixels: list[memoryview] = []
    while at + 12 <= len(data):
        kind, end = data[at + 4 : at + 8], at + 8 + int.from_bytes(data[at : at + 4], "big")
        if zlib.crc32(view[at + 4 : end]) != int.from_bytes(data[end : end + 4], "big") or end + 4 > len(data):
            break
        if header is None:
            if kind != b"IHDR" or end - at != 21:
                break
            header = _header(data[at + 8 : end], name, most)
        elif kind == b"IDAT":
            pixels.append(view[at + 8 : end])
        elif kind == b"IEND":
            return header, pixels
        at = end + 4
    raise FrameError("decode", f"{name}: expected a whole PNG file; it is truncated or corrupt at byte {at}", at)


def inflated(header: PngHeader, pixels: list[memoryview], name: str) -> Bytes:
    """The filtered rows (H, 1 + bytes a row) uint8; FrameError `decode` unless there are exactly as many as claimed."""
    row = 1 + (header.width * header.bits * CHANNELS[header.color_type] + 7) // 8
    expected = header.height * row
    inflate = zlib.decompressobj()
    try:
        raw = inflate.decompress(b"".join(pixels), expected)
        more = inflate.decompress(inflate.unconsumed_tail, 1)
    except zlib.error as error:
        raise FrameError("decode", f"{name}: expected a whole PNG file; its pixels are corrupt ({error})") from error
    if len(raw) != expected or more or not inflate.eof:
        raise FrameError("decode", f"{name}: expected {expected} bytes of pixels, as its header says", len(raw))
    return np.frombuffer(raw, np.uint8).reshape(header.height, row)


def decode_png16(data: bytes, name: str) -> npt.NDArray[np.uint16]:
    """The pixels (H, W) uint16 of a 16-bit grey PNG; FrameError `type`, `decode` or `too-large`, naming `name`."""
    header, pixels = read_png(data, name)
    if (header.bits, header.color_type, header.interlaced) != (16, 0, False):
        kind = f"{header.bits} bits, {CHANNELS[header.color_type]} channels{', interlaced' * header.interlaced}"
        raise FrameError("type", f"{name}: expected depth as PNG of 16 bits, one channel, not interlaced; got {kind}")
    rows = inflated(header, pixels, name)
    if rows[:, 0].max() > 4:
        raise FrameError("decode", f"{name}: expected PNG row filters 0 to 4; got {rows[:, 0].max()}")
    depth = np.empty((header.height, header.width), np.uint16)
    _unfilter16(rows, depth.view(np.uint8))
    return depth.byteswap(inplace=True) if np.little_endian else depth


def _header(body: bytes, name: str, most: int) -> PngHeader:
    width, height = int.from_bytes(body[:4], "big"), int.from_bytes(body[4:8], "big")
    check_pixels(height, width, name, most)
    if body[9] not in CHANNELS or body[8] not in (1, 2, 4, 8, 16):
        raise FrameError("decode", f"{name}: expected a PNG header; got {body[8]} bits, colour type {body[9]}")
    return PngHeader(height, width, body[8], body[9], body[12] != 0)


@numba.njit(cache=True, nogil=True)
def _unfilter16(rows: Bytes, out: Bytes) -> None:
    """Undo the row filters of PNG (section 9) for two bytes a pixel: rows (H, 1 + 2W) -> out (H, 2W), big-endian."""
    height, n = out.shape
    for y in range(height):
        kind = rows[y, 0]
        if kind == 2 and y > 0:
            for x in range(n):
                out[y, x] = rows[y, x + 1] + out[y - 1, x]
        elif kind == 0 or kind == 2:
            out[y] = rows[y, 1:]
        else:
            for x in range(n):
                left = np.int32(out[y, x - 2]) if x > 1 else np.int32(0)
                above = np.int32(out[y - 1, x]) if y > 0 else np.int32(0)
                corner = np.int32(out[y - 1, x - 2]) if x > 1 and y > 0 else np.int32(0)
                guess = left if kind == 1 else (left + above) >> 1
                if kind == 4:
                    to_left, to_above, to_corner = (
                        abs(above - corner),
                        abs(left - corner),
                        abs(left + above - 2 * corner),
                    )
                    guess = corner
                    if to_left <= to_above and to_left <= to_corner:
                        guess = left
                    elif to_above <= to_corner:
                        guess = above
                out[y, x] = (np.int32(rows[y, x + 1]) + guess) & 255
