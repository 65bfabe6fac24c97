"""Safe reading of colour, depth and label files: what cannot be read whole is a FrameError that names the file.

Sizes are read from headers and checked before anything is allocated. PNG files pass fastseg.data.png first.
"""

from __future__ import annotations

import io
import re
import warnings
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from fastseg.data.places import read_at_most
from fastseg.data.png import MAX_PICTURE_PIXELS, MAX_PIXELS, SIGNATURE, check_pixels, decode_png16, inflated, read_png
from fastseg.frames import FrameError

MAX_FILE_BYTES = 36 * 2**20  # of one file of a frame: float32 depth of MAX_PIXELS as it is fits
MAX_PICTURE_BYTES = 2**28  # of a picture that is trained on

Color = npt.NDArray[np.uint8]
Depth = npt.NDArray[np.float32] | npt.NDArray[np.uint16]

COMPRESSION, STRIP_OFFSETS, STRIP_BYTES, TILES = 259, 273, 279, 51  # tags of TIFF 6.0; a tile's are TILES above
DEFLATE = (8, 32946)

UNCOMPRESSED = (".ppm", ".bmp", ".tif", ".tiff", ".npy")  # endings of `encoded_color`
_COLOR_FORMATS = ("PNG", "JPEG", "WEBP")
_COLOR_MODES = ("RGB", "RGBA", "L", "P", "CMYK")


def read_bytes(path: Path, most: int = MAX_FILE_BYTES) -> bytes:
    """The file's bytes; FrameError `missing` when it cannot be opened, `too-large` above `most` bytes."""
    try:
        return read_at_most(path, most)
    except OSError as error:
        raise FrameError("missing", f"{path}: cannot be read ({error.strerror})") from error


def color_size(data: bytes, name: str) -> tuple[int, int]:
    """(height, width) of a colour file given its bytes, from its header, checked to be whole but not decoded.

    PNG: every chunk's checksum; WebP: the stated length; JPEG: the end marker (where it is absent, a full decode).
    Raises FrameError `decode`, `type` or `too-large`, naming the file `name`.
    """
    with _opened(data, name, _COLOR_FORMATS) as image:
        _check_mode(image, name)
        if image.format == "WEBP" and len(data) < 8 + int.from_bytes(data[4:8], "little"):
            raise FrameError("decode", f"{name}: expected a whole WebP file; it is truncated at {len(data)} bytes")
        if image.format == "JPEG" and not data.rstrip(b"\0").endswith(b"\xff\xd9"):
            _loaded(image, name)
        return image.height, image.width


def decode_color(data: bytes, name: str, at_least: tuple[int, int] | None = None) -> Color:
    """The colour image (H, W, 3) uint8 RGB of a JPEG, PNG or WebP file's bytes; an alpha channel is dropped.

    at_least: a (height, width) that is enough. A JPEG, of sides that eight divides, is then decoded at a half, a
    quarter or an eighth of its size, each pixel the mean of those it stands for, which takes half the time or less.
    Raises FrameError `decode` (truncated or corrupt), `type` (not 8 bits a channel) or `too-large`, naming `name`.
    """
    with _opened(data, name, _COLOR_FORMATS, MAX_PICTURE_PIXELS) as image:
        _check_mode(image, name)
        if at_least is not None and image.height % 8 == 0 and image.width % 8 == 0:
            image.draft(None, at_least[::-1])
        _loaded(image, name)
        return np.asarray(image.convert("RGB"))


def encoded_color(data: bytes, name: str) -> tuple[bytes, tuple[int, int]]:
    """A PNG of an uncompressed colour file's pixels, and its (height, width): what is not encoded is encoded once.

    PPM, BMP, TIFF (8 bits a channel) and NPY ((H, W, 3) uint8 RGB). PNG, at zlib's level 1, since they lost nothing.
    Raises FrameError `decode` (truncated or corrupt), `type` or `too-large`, naming `name`.
    """
    if data.startswith(b"\x93NUMPY"):
        color = _npy_color(data, name)
    else:
        with _opened(data, name, ("PPM", "BMP", "TIFF")) as image:
            _check_mode(image, name)
            _check_strips(image, data, name)
            color = np.asarray(_loaded(image, name).convert("RGB"))
    buffer = io.BytesIO()
    Image.fromarray(color).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue(), (color.shape[0], color.shape[1])


def decode_depth(path: Path) -> Depth:
    """The depth image (H, W), uint16 or float32 as stored, of a .png, .pgm, .npy or .tiff file.

    PNG and PGM: 16 bits, one channel (PGM big-endian, as netpbm has it); TIFF and NPY: uint16 or float32.
    Raises FrameError `missing`, `decode`, `type` or `too-large`, naming the file.
    """
    data = read_bytes(path)
    match path.suffix.lower():
        case ".pgm":
            return _decode_pgm(data, str(path))
        case ".npy":
            return _decode_npy(data, str(path))
        case ".png":
            return decode_png16(data, str(path))
        case ".tif" | ".tiff":
            return _decode_tiff(data, str(path))
    raise FrameError("type", f"{path}: expected a depth file .png, .pgm, .npy or .tiff")


def decode_label(path: Path) -> Color:
    """The label map (H, W) uint8 of an 8-bit grey or palette PNG (the palette's indices are the labels).

    Raises FrameError `missing`, `decode`, `type` or `too-large`, naming the file.
    """
    data, name = read_bytes(path, MAX_PICTURE_BYTES), str(path)
    header, pixels = read_png(data, name, MAX_PICTURE_PIXELS)
    if header.color_type not in (0, 3) or (header.color_type == 0 and header.bits != 8):
        found = f"{header.bits} bits, colour type {header.color_type}"
        raise FrameError("type", f"{name}: expected an 8-bit grey or palette PNG of class indices; got {found}")
    if not header.interlaced:
        inflated(header, pixels, name)
    with _opened(data, name, ("PNG",), MAX_PICTURE_PIXELS) as image:
        return np.asarray(_loaded(image, name))


def _opened(data: bytes, name: str, formats: tuple[str, ...], most: int = MAX_PIXELS) -> Image.Image:
    """The image with its header read and its size checked; pixels not yet decoded."""
    if data.startswith(SIGNATURE):
        read_png(data, name, most)
    if data[8:12] == b"WEBP" and (canvas := _webp_size(data)) is not None:
        check_pixels(*canvas, name, most)  # Pillow's reader sets up the whole canvas on opening
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of corrupt metadata: whether the pixels are whole is what counts
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(data), formats=formats)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise FrameError("too-large", f"{name}: expected at most {most} pixels") from error
    except Exception as error:  # Pillow's plugins raise many types on hostile headers
        raise FrameError("decode", f"{name}: expected a {', '.join(formats)} file; it cannot be identified") from error
    check_pixels(image.height, image.width, name, most)
    return image


def _webp_size(data: bytes) -> tuple[int, int] | None:
    """(height, width) that the first chunk of a WebP file states (RFC 9649, section 2); None when it is none."""
    body = data[20:30]
    match data[12:16]:
        case b"VP8X" if len(body) == 10:
            return 1 + int.from_bytes(body[7:10], "little"), 1 + int.from_bytes(body[4:7], "little")
        case b"VP8L" if len(body) >= 5:
            bits = int.from_bytes(body[1:5], "little")
            return 1 + (bits >> 14 & 0x3FFF), 1 + (bits & 0x3FFF)
        case b"VP8 " if len(body) == 10:
            return int.from_bytes(body[8:10], "little") & 0x3FFF, int.from_bytes(body[6:8], "little") & 0x3FFF
    return None


def _loaded(image: Image.Image, name: str) -> Image.Image:
    try:
        image.load()
    except MemoryError:
        raise
    except Exception as error:  # as above: OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error, ...
        raise FrameError(
            "decode", f"{name}: expected a whole {image.format} file; it is truncated or corrupt"
        ) from error
    return image


def _check_mode(image: Image.Image, name: str) -> None:
    if image.mode not in _COLOR_MODES:
        raise FrameError("type", f"{name}: expected colour of 8 bits a channel; got mode {image.mode}")


def _decode_tiff(data: bytes, name: str) -> Depth:
    with _opened(data, name, ("TIFF",)) as image:
        if image.mode not in ("I;16", "I;16B", "F"):
            raise FrameError("type", f"{name}: expected one channel of uint16 or float32 depth; got mode {image.mode}")
        _check_strips(image, data, name)
        _loaded(image, name)
        return _native(np.asarray(image))


def _check_strips(image: Image.Image, data: bytes, name: str) -> None:
    """Check the checksum of each deflated strip or tile of a TIFF: the decoder stops before it is reached."""
    tags = getattr(image, "tag_v2", {})
    if tags.get(COMPRESSION) not in DEFLATE:
        return
    offsets, counts = (tags.get(key, tags.get(key + TILES, ())) for key in (STRIP_OFFSETS, STRIP_BYTES))
    most = 4 * (image.height + 256) * (image.width + 256)  # tiles may stand out by less than one
    try:
        for offset, count in zip(offsets, counts, strict=True):
            inflate = zlib.decompressobj()
            inflate.decompress(data[offset : offset + count], most)
            if not inflate.eof:
                raise ValueError("a strip ends early or inflates to more than the picture")
    except (zlib.error, ValueError, TypeError) as error:
        raise FrameError("decode", f"{name}: expected a whole TIFF file; its pixels are corrupt ({error})") from error


def _decode_pgm(data: bytes, name: str) -> npt.NDArray[np.uint16]:
    header = re.match(
        rb"P5(?:\s+|\s*#[^\n]*\n\s*)(\d+)(?:\s+|\s*#[^\n]*\n\s*)(\d+)(?:\s+|\s*#[^\n]*\n\s*)(\d+)\s", data
    )
    if header is None or any(len(field) > 9 for field in header.groups()):
        raise FrameError("decode", f"{name}: expected a binary PGM header (P5, width, height, maximum)")
    width, height, maximum = (int(field) for field in header.groups())
    if not 255 < maximum < 65536:
        raise FrameError("type", f"{name}: expected a 16-bit PGM (maximum above 255); got maximum {maximum}", maximum)
    check_pixels(height, width, name)
    return _raster(data, header.end(), (height, width), np.dtype(">u2"), name).astype(np.uint16)


def _npy_header(data: bytes, name: str) -> tuple[tuple[int, ...], bool, np.dtype[np.generic], int]:
    """(shape, whether columns come first, element type, where the elements begin) of a NumPy file's bytes."""
    stream, form = io.BytesIO(data), np.lib.format
    try:
        version = form.read_magic(stream)
        read = form.read_array_header_1_0 if version == (1, 0) else form.read_array_header_2_0
        shape, columns_first, dtype = read(stream)
    except (
        Exception
    ) as error:  # the header is a Python literal: ValueError, SyntaxError, TypeError, RecursionError, ...
        raise FrameError("decode", f"{name}: expected a NumPy .npy file; its header cannot be read") from error
    return shape, columns_first, dtype, stream.tell()


def _npy_color(data: bytes, name: str) -> Color:
    shape, columns_first, dtype, start = _npy_header(data, name)
    if len(shape) != 3 or shape[2] != 3 or dtype != np.uint8 or columns_first:
        raise FrameError("type", f"{name}: expected (H, W, 3) uint8 colour, row by row; got {dtype} {shape}")
    check_pixels(shape[0], shape[1], name)
    return _raster(data, start, (shape[0], shape[1] * 3), dtype, name).reshape(shape).astype(np.uint8)


def _decode_npy(data: bytes, name: str) -> Depth:
    shape, columns_first, dtype, start = _npy_header(data, name)
    if len(shape) != 2 or dtype.kind + str(dtype.itemsize) not in ("f4", "u2"):
        raise FrameError("type", f"{name}: expected (H, W) float32 or uint16 depth; got {dtype} {shape}")
    height, width = shape
    check_pixels(height, width, name)
    if columns_first:
        return _native(_raster(data, start, (width, height), dtype, name).T)
    return _native(_raster(data, start, (height, width), dtype, name))


def _raster(
    data: bytes, offset: int, shape: tuple[int, int], dtype: np.dtype[np.generic], name: str
) -> npt.NDArray[np.generic]:
    expected = shape[0] * shape[1] * dtype.itemsize
    if len(data) - offset != expected:
        found = len(data) - offset
        raise FrameError("decode", f"{name}: expected {expected} bytes of pixels; got {found}", found)
    return np.frombuffer(data, dtype, offset=offset).reshape(shape)


def _native(depth: npt.NDArray[np.generic]) -> Depth:
    if depth.dtype.kind == "f":
        return np.ascontiguousarray(depth, np.float32)
    return np.ascontiguousarray(depth, np.uint16)
