"""Published PSSL masks: one `NAME_eiseg.npz` a picture, its `arr_0` (H, W) 1 where the object is and 0 elsewhere."""

from __future__ import annotations

import io
import zipfile
import zlib
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt

from fastseg.data.images import MAX_PICTURE_BYTES, read_bytes
from fastseg.data.png import MAX_PICTURE_PIXELS, check_pixels
from fastseg.frames import FrameError

ENTRY = "arr_0.npy"


def read_eiseg(path: Path) -> npt.NDArray[np.uint8]:
    """The mask (H, W) uint8, 0 or 1, of a published file; nothing in it can run.

    Raises FrameError `missing`, `decode` (no such archive, damaged), `type` (another shape, element type or value) or
    `too-large` (before anything is unpacked), naming the file.
    """
    data = read_bytes(path, MAX_PICTURE_BYTES)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive, archive.open(ENTRY) as entry:
            mask = _read_array(entry, str(path))
    except (KeyError, zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError) as error:
        raise FrameError("decode", f"{path}: expected a whole .npz file with {ENTRY}; {error}") from error
    if mask.max(initial=0) > 1:
        raise FrameError("type", f"{path}: expected 0 and 1 alone; got {mask.max()}", float(mask.max()))
    return mask


def _read_array(entry: IO[bytes], name: str) -> npt.NDArray[np.uint8]:
    """The array of a .npy stream, once its header promises one mask of a size that may be."""
    form = np.lib.format
    try:
        read = form.read_array_header_1_0 if form.read_magic(entry) == (1, 0) else form.read_array_header_2_0
        shape, columns_first, dtype = read(entry)
    except (ValueError, SyntaxError, TypeError, RecursionError) as error:  # the header is a Python literal
        raise FrameError("decode", f"{name}: {ENTRY} has no header that can be read") from error
    if len(shape) != 2 or dtype.kind not in "bui" or columns_first:
        raise FrameError("type", f"{name}: expected (H, W) integers, row by row; got {dtype} {shape}")
    check_pixels(*shape, name, MAX_PICTURE_PIXELS)
    expected = shape[0] * shape[1] * dtype.itemsize
    body = entry.read(expected + 1)
    if len(body) != expected:
        raise FrameError("decode", f"{name}: expected {expected} bytes of pixels; got {len(body)}", len(body))
    values = np.frombuffer(body, dtype).reshape(shape)
    return np.clip(values, 0, 255).astype(np.uint8) if values.min(initial=0) >= 0 else np.full(shape, 255, np.uint8)
