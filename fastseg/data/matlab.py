"""Numbers out of MATLAB files that nobody has looked at: version 5 (`read_matlab`) and 7.3, which is HDF5.

Nothing outside the file is read, and sizes are checked before anything is allocated.
"""

from __future__ import annotations

import io
import math
import zlib
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from fastseg.data.places import read_at_most
from fastseg.data.png import MAX_PIXELS
from fastseg.frames import FrameError

MAX_NUMBERS = 100_000
MAX_CHUNK_BYTES = 2**26
MAX_MATLAB_BYTES = 2**20  # of a file beside a data set: splits and class mappings take a few thousand
MAX_INFLATED_BYTES = 2**24
MAX_STRUCT_BYTES = 2**27  # of a file of cells or structs: the lists of SUN RGB-D hold its 3-D boxes too
MAX_STRUCT_INFLATED_BYTES = 2**30
NUMERIC = ("double", "single", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64")


def read_matlab(path: Path, name: str) -> npt.NDArray[np.float64]:
    """The numbers (n,) of the variable `name` of a MATLAB 5 file; ValueError naming the file when there are none."""
    return np.asarray(_numbers(path, name, MAX_NUMBERS), np.float64).ravel()


def read_strings(path: Path, name: str) -> list[str]:
    """The strings of the cell array `name` of a MATLAB 5 file; ValueError naming the file when there are none."""
    return [_text(cell, path, name) for cell in _cells(path, name, "cell").ravel()]


def read_field(path: Path, name: str, field: str) -> list[str]:
    """The strings `field` of each element of the struct array `name` of a MATLAB 5 file; ValueError as `read_strings`.

    All of the array is read, which is why the file may be as large as `MAX_STRUCT_BYTES`.
    """
    cells = _cells(path, name, "struct")
    if cells.dtype.names is None or field not in cells.dtype.names:
        raise ValueError(f"{path}: expected {name} with the field {field}; it has {cells.dtype.names}")
    return [_text(cell, path, f"{name}.{field}") for cell in cells[field].ravel()]


def _text(cell: Any, path: Path, name: str) -> str:
    if not isinstance(cell, np.ndarray) or cell.dtype.kind != "U" or cell.size != 1:
        raise ValueError(
            f"{path}: expected strings in {name}; one is {type(cell).__name__} {getattr(cell, 'shape', '')}"
        )
    return str(cell.ravel()[0])


def read_label_map(path: Path, name: str) -> npt.NDArray[np.uint16]:
    """The label map (H, W) uint16 `name` of a MATLAB 5 file.

    Raises FrameError `decode`, or `type` for what is no matrix of whole numbers 0 to 65535.
    """
    try:
        stored = _numbers(path, name, MAX_PIXELS)
    except ValueError as error:
        raise FrameError("decode", str(error)) from error
    if stored.ndim != 2 or not stored.size or not (stored.min() >= 0 and stored.max() < 65536):
        raise FrameError("type", f"{path}: expected {name} (H, W) of 0 to 65535; got {stored.dtype} {stored.shape}")
    if (stored != np.floor(stored)).any():
        raise FrameError("type", f"{path}: expected {name} of whole numbers; got {stored.dtype}")
    return stored.astype(np.uint16)


def _numbers(path: Path, name: str, most: int) -> npt.NDArray[Any]:
    return _variable(path, f"the numbers {name}", name, NUMERIC, most, (MAX_MATLAB_BYTES, MAX_INFLATED_BYTES))


def _cells(path: Path, name: str, kind: str) -> npt.NDArray[Any]:
    limits = MAX_STRUCT_BYTES, MAX_STRUCT_INFLATED_BYTES
    return _variable(path, f"the {kind} array {name}", name, (kind,), MAX_NUMBERS, limits)


def _variable(
    path: Path, what: str, name: str, kinds: tuple[str, ...], most: int, limits: tuple[int, int]
) -> npt.NDArray[Any]:
    """The variable `name` of at most `most` elements of one of MATLAB's `kinds`; ValueError when it cannot be read.

    limits: bytes of the file, and of one of its elements inflated.
    """
    from scipy.io import loadmat, whosmat

    try:
        data = read_at_most(path, limits[0])
        _check_inflated(data, limits[1])
        about = [(shape, kind) for found, shape, kind in whosmat(io.BytesIO(data)) if found == name]
        if not all(kind in kinds and math.prod(shape) <= most for shape, kind in about):
            raise ValueError(f"{name} is {about}")
        return np.asarray(loadmat(io.BytesIO(data), variable_names=[name])[name])
    except Exception as error:  # scipy's reader raises many types on corrupt files
        why = " ".join(str(error).split())
        raise ValueError(f"{path}: expected a MATLAB file with {what}; it cannot be read ({why})") from error


def checked_dataset(file: Any, key: Any, path: Path, most: int = MAX_NUMBERS) -> Any:
    """The dataset of an HDF5 file; ValueError unless it lies in this very file and reading it costs what it says.

    Refused: links and raw data in other files, virtual data sets, more than `most` elements, chunks above 64 MiB.
    """
    import h5py

    if isinstance(key, str) and not isinstance(file.get(key, getlink=True), h5py.HardLink):
        raise ValueError(f"{path}: expected a dataset {key} in this file, not a link to another; {_members(file)}")
    found = file[key]
    if not isinstance(found, h5py.Dataset) or found.is_virtual or found.external is not None:
        raise ValueError(f"{path}: expected {key} to be a dataset with its data in this file")
    chunk = math.prod(found.chunks or (1,)) * found.dtype.itemsize
    if found.size is None or found.size > most or chunk > MAX_CHUNK_BYTES:
        raise ValueError(f"{path}: {key} is too large: {found.shape} in chunks of {chunk} bytes")
    return found


def _members(file: Any) -> str:
    names = sorted(ascii(name) for name in islice(file, 20))
    return f"it holds {', '.join(names)}" if names else "it is empty"


def _check_inflated(data: bytes, most: int) -> None:
    """Raise ValueError when a compressed element (type 15; sizes in the file's own byte order) inflates to too much."""
    order: Literal["little", "big"] = "little" if data[126:128] == b"IM" else "big"
    at = 128
    while at + 8 <= len(data):
        kind, size = int.from_bytes(data[at : at + 4], order), int.from_bytes(data[at + 4 : at + 8], order)
        inflate = zlib.decompressobj()
        if kind == 15:
            inflate.decompress(data[at + 8 : at + 8 + size], most)
        if inflate.unconsumed_tail:
            raise ValueError(f"an element inflates to more than {most} bytes")
        at += 8 + size
