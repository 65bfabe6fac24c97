"""The `.sens` container of ScanNet (Dai et al., CVPR 2017), version 4, little-endian: one frame read at a time.

uint32 version, uint64 n, n bytes the sensor's name,
float32[4][16]: intrinsics and extrinsics of colour, then of depth, row by row,
int32 colour compression (0 raw, 1 PNG, 2 JPEG), int32 depth compression (0 raw, 1 zlib, 2 occi),
uint32 colour width, height, depth width, height, float32 depth units a metre, uint64 frames;
each frame: float32[16] camera-to-world, uint64 times of colour and depth, uint64 bytes of colour and depth, both
"""

from __future__ import annotations

import functools
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from fastseg.data.checks import Pose
from fastseg.data.images import MAX_FILE_BYTES
from fastseg.data.places import answered
from fastseg.data.png import check_pixels
from fastseg.frames import FrameError

VERSION = 4
MAX_NAME = 4096
RAW_COLOR, PNG_COLOR, JPEG_COLOR = 0, 1, 2
RAW_DEPTH, ZLIB_DEPTH, OCCI_DEPTH = 0, 1, 2
_FIXED = struct.Struct("<64f2i4IfQ")
_FRAME = struct.Struct("<16f4Q")


@dataclass(frozen=True)
class SensHeader:
    """What a file says before its first frame.

    color, depth            (4, 4) float64 intrinsics, pixels
    color_size, depth_size  (height, width)
    registered              the depth camera's extrinsics are the identity: depth was brought into the colour's camera
    color_kind, depth_kind  the compressions
    units                   of stored depth in a metre
    frames                  how many; first: where they begin, bytes
    """

    color: Pose
    depth: Pose
    color_size: tuple[int, int]
    depth_size: tuple[int, int]
    registered: bool
    color_kind: int
    depth_kind: int
    units: float
    frames: int
    first: int


@dataclass(frozen=True)
class SensFrame:
    """A frame as it lies in the file: (4, 4) float64 camera-to-world (-inf where tracking was lost), bytes of both."""

    pose: Pose
    color: bytes
    depth: bytes


def read_header(path: Path) -> SensHeader:
    """The header of a .sens file; FrameError `missing`, `decode`, `type` or `too-large`, naming the file."""
    try:
        with answered(path), path.open("rb") as file:
            size = path.stat().st_size
            return _header(file, size, str(path))
    except OSError as error:
        raise FrameError("missing", f"{path}: cannot be read ({error.strerror})") from error


def _header(file: BinaryIO, size: int, name: str) -> SensHeader:
    start = file.read(12)
    version, letters = struct.unpack("<IQ", start) if len(start) == 12 else (0, 0)
    if version != VERSION or letters > MAX_NAME:
        raise FrameError(
            "decode", f"{name}: expected a .sens file of version {VERSION}; got version {version}", version
        )
    file.seek(letters, 1)
    fixed = file.read(_FIXED.size)
    if len(fixed) != _FIXED.size:
        raise FrameError("decode", f"{name}: expected a whole .sens header; the file ends after {size} bytes", size)
    values = _FIXED.unpack(fixed)
    matrices = np.array(values[:64], np.float64).reshape(4, 4, 4)
    color_kind, depth_kind, color_width, color_height, width, height, units, frames = values[64:]
    first = 12 + letters + _FIXED.size
    if frames > (size - first) // _FRAME.size:
        raise FrameError(
            "decode", f"{name}: expected room for the {frames} frames of its header; it has {size} bytes", size
        )
    if frames == 0:
        raise FrameError("decode", f"{name}: expected frames; its header says that it has none", 0)
    check_pixels(color_height, color_width, name)
    check_pixels(height, width, name)
    _check_kinds(color_kind, depth_kind, name)
    if not (np.isfinite(units) and units > 0):
        raise FrameError("scale", f"{name}: expected a positive number of depth units a metre; got {units}", units)
    return SensHeader(
        matrices[0], matrices[2], (color_height, color_width), (height, width),
        bool(np.allclose(matrices[3], np.eye(4), atol=1e-5)), color_kind, depth_kind, units, frames, first,
    )  # fmt: skip


def _check_kinds(color_kind: int, depth_kind: int, name: str) -> None:
    if color_kind not in (RAW_COLOR, PNG_COLOR, JPEG_COLOR):
        raise FrameError("type", f"{name}: expected colour as raw, PNG or JPEG (0, 1, 2); got {color_kind}", color_kind)
    if depth_kind == OCCI_DEPTH:
        wanted = "its depth has the proprietary occi compression, which has no published format"
        raise FrameError("type", f"{name}: expected raw or zlib depth; {wanted}", depth_kind)
    if depth_kind not in (RAW_DEPTH, ZLIB_DEPTH):
        raise FrameError("type", f"{name}: expected raw or zlib depth (0, 1); got {depth_kind}", depth_kind)


@functools.lru_cache(maxsize=16)
def frame_offsets(path: Path, first: int, frames: int) -> npt.NDArray[np.int64]:
    """Where each whole frame begins (n,), n below `frames` when the file is cut short; then where the last one ends.

    One pass that reads the 96 bytes before each frame and seeks over the rest; kept for the files read last.
    """
    offsets = [first]
    with answered(path), path.open("rb") as file:
        size = path.stat().st_size
        while len(offsets) <= frames:
            file.seek(offsets[-1])
            start = file.read(_FRAME.size)
            if len(start) < _FRAME.size:
                break
            end = offsets[-1] + _FRAME.size + sum(_FRAME.unpack(start)[-2:])
            if end > size:
                break
            offsets.append(end)
    return np.array(offsets, np.int64)


def read_frame(path: Path, header: SensHeader, index: int) -> SensFrame:
    """Frame `index` of the file; FrameError `missing`, `decode` or `too-large`, naming the file and the frame."""
    name = f"{path}, frame {index}"
    if not 0 <= index < header.frames:
        raise FrameError("missing", f"{name}: expected frames 0 to {header.frames - 1}", index)
    try:
        offsets = frame_offsets(path, header.first, header.frames)
        if index + 1 >= len(offsets):
            whole = len(offsets) - 1
            raise FrameError("decode", f"{name}: the file is cut short or corrupt; {whole} frames are whole", whole)
        size = int(offsets[index + 1] - offsets[index])
        if size > MAX_FILE_BYTES:
            raise FrameError("too-large", f"{name}: expected at most {MAX_FILE_BYTES} bytes; got {size}", size)
        with answered(path), path.open("rb") as file:
            file.seek(int(offsets[index]))
            data = file.read(size)
    except OSError as error:
        raise FrameError("missing", f"{path}: cannot be read ({error.strerror})") from error
    if len(data) != size:
        raise FrameError("decode", f"{name}: the file is cut short", len(data))
    *pose, _, _, colors, _ = _FRAME.unpack_from(data)
    at = _FRAME.size + colors
    return SensFrame(np.array(pose, np.float64).reshape(4, 4), data[_FRAME.size : at], data[at:])


def decode_units(data: bytes, header: SensHeader, name: str) -> npt.NDArray[np.uint16]:
    """The depth (H, W) uint16 of a frame's depth bytes; FrameError `decode` unless exactly as many as stated."""
    expected = 2 * header.depth_size[0] * header.depth_size[1]
    whole = True
    if header.depth_kind == ZLIB_DEPTH:
        inflate = zlib.decompressobj()
        try:
            data = inflate.decompress(data, expected + 1)
        except zlib.error as error:
            raise FrameError("decode", f"{name}: expected zlib depth; it is corrupt ({error})") from error
        whole = inflate.eof
    if len(data) != expected or not whole:
        raise FrameError("decode", f"{name}: expected {expected} bytes of depth; got {len(data)}", len(data))
    return np.frombuffer(data, "<u2").reshape(header.depth_size).astype(np.uint16, copy=False)
