"""The three kinds of file in NYU Depth v2's raw recordings, byte for byte: colour, disparity, accelerometer.

They are what libfreenect's `record` program writes: the memory of an x86 computer behind a header.

    r-SECONDS-TICKS.ppm   `P6 640 480 255\\n`, then 921,600 bytes RGB
    d-SECONDS-TICKS.pgm   `P5 640 480 65535\\n`, then 614,400 bytes: 16-bit disparities 0 to 2047 (11 bits; 2047 = none)
    a-SECONDS-TICKS.dump  12 bytes, the struct freenect_raw_tilt_state: little-endian int16 x, y, z (819 counts are one
                          g), int8 tilt in half degrees, one byte of padding, int32 motor status

Which end first? The netpbm format stores 16 bits big end first, but `record` writes x86 memory, little end first; that
is why the data set's toolbox calls swapbytes() after imread(), which reads a PGM as netpbm has it. Files that other
tools wrote again may have netpbm's order. The order is therefore read off the pixels: disparities have 11 bits, so in
one of the two orders no value exceeds 2047. Where both fit (all-zero frames and the like) it is the recorder's.
"""

from __future__ import annotations

import re
import struct

import numpy as np
import numpy.typing as npt

from fastseg.data.checks import check_size
from fastseg.data.nyuv2_raw_camera import NO_DISPARITY, up_of
from fastseg.data.png import check_pixels
from fastseg.frames import FrameError

SIZE = (480, 640)
MAX_RAW_BYTES = 2**22  # of one file: the largest, colour, is 921,615 bytes
COUNTS_PER_G = 819
DUMP = struct.Struct("<3hbxi")
REST_G = (0.5, 1.5)  # a held camera's reading; outside of it there is no telling what is up

_BREAK = rb"(?:\s|#[^\n]*\n)+"  # between the numbers of a header
_HEADER = re.compile(_BREAK.join((rb"P([56])", rb"(\d{1,9})", rb"(\d{1,9})", rb"(\d{1,5})")) + rb"\s")


def decode_disparity(data: bytes, name: str) -> npt.NDArray[np.uint16]:
    """The disparities (480, 640) uint16, 0 to 2047, of a `d-*.pgm` file's bytes, of either byte order.

    Raises FrameError `decode` (header or length), `type` (not 16-bit grey, or values above 11 bits in both orders),
    `size` or `too-large`, naming the file `name`.
    """
    pixels = _pixels(data, b"5", 2, range(NO_DISPARITY, 65536), name)
    recorded = np.frombuffer(pixels, "<u2").reshape(SIZE)
    if recorded.max() > NO_DISPARITY:
        recorded = np.frombuffer(pixels, ">u2").reshape(SIZE)
    if recorded.max() > NO_DISPARITY:
        wanted = f"expected raw disparities of 11 bits, 0 to {NO_DISPARITY}, in one of the two byte orders"
        raise FrameError("type", f"{name}: {wanted}; got {recorded.max()}", float(recorded.max()))
    return recorded.astype(np.uint16)


def decode_ppm(data: bytes, name: str) -> npt.NDArray[np.uint8]:
    """The colour (480, 640, 3) uint8 RGB of an `r-*.ppm` file's bytes; FrameError as `decode_disparity`."""
    pixels = _pixels(data, b"6", 3, range(255, 256), name)
    return np.frombuffer(pixels, np.uint8).reshape(*SIZE, 3)


def decode_dump(data: bytes, name: str) -> npt.NDArray[np.float64]:
    """The unit vector up in the camera frame (3,) of an `a-*.dump` file's bytes, see `up_of`.

    Raises FrameError `decode` for a record of another length, `gravity` when it is no camera at rest: outside of 0.5 to
    1.5 g (its value, in g).
    """
    if len(data) != DUMP.size:
        wanted = f"expected an accelerometer record of {DUMP.size} bytes"
        raise FrameError("decode", f"{name}: {wanted}; got {len(data)}", len(data))
    counts = np.array(DUMP.unpack(data)[:3], np.float64)
    felt = float(np.linalg.norm(counts)) / COUNTS_PER_G
    if not REST_G[0] <= felt <= REST_G[1]:
        wanted = f"expected an accelerometer reading of {REST_G[0]} to {REST_G[1]} g"
        raise FrameError("gravity", f"{name}: {wanted}; got {felt:.2f} g", felt)
    return up_of(counts)


def _pixels(data: bytes, kind: bytes, pixel_bytes: int, maxima: range, name: str) -> memoryview:
    """The bytes behind the header of a 640x480 PGM (kind 5) or PPM (kind 6) whose stated maximum is one of `maxima`."""
    header = _HEADER.match(data, 0, 4096)
    if header is None or header[1] != kind:
        what = "PGM" if kind == b"5" else "PPM"
        raise FrameError(
            "decode", f"{name}: expected a binary {what} header (P{kind.decode()}, width, height, maximum)"
        )
    width, height, maximum = (int(field) for field in header.groups()[1:])
    check_pixels(height, width, name)
    check_size((height, width), SIZE, f"{name}: the image", "Kinect's cameras")
    if maximum not in maxima:
        wanted = f"expected pixels of up to {maxima[0]}" + (" or more" if len(maxima) > 1 else "")
        raise FrameError("type", f"{name}: {wanted}; its header says {maximum}", maximum)
    expected, found = SIZE[0] * SIZE[1] * pixel_bytes, len(data) - header.end()
    if found != expected:
        raise FrameError("decode", f"{name}: expected {expected} bytes of pixels; got {found}", found)
    return memoryview(data)[header.end() :]
