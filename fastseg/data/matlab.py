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

MAX_NUMBERS = 100_000
MAX_CHUNK_BYTES = 2**26
MAX_MATLAB_BYTES = 2**20  # of a file beside a data set: splits and class mappings take a few thousand
MAX_INFLATED_BYTES = 2**24
NUMERIC = ("double", "single", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64")


def read_matlab(path: Path, name: str) -> npt.NDArray[np.float64]:
    """The numbers (n,) of the variable `name` of a MATLAB 5 file; ValueError naming the file when there are none."""
    from scipy.io import loadmat, whosmat

    try:
        data = read_at_most(path, MAX_MATLAB_BYTES)
        _check_inflated(data)
        about = [(shape, kind) for found, shape, kind in whosmat(io.BytesIO(data)) if found == name]
        if not all(kind in NUMERIC and math.prod(shape) <= MAX_NUMBERS for shape, kind in about):
            raise ValueError(f"{name} is {about}")
        return np.asarray(loadmat(io.BytesIO(data), variable_names=[name])[name], np.float64).ravel()
    except Exception as error:  # scipy's reader raises many types on corrupt files
        raise ValueError(f"{path}: expected a MATLAB file with the numbers {name}; it cannot be read") from error


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


def _check_inflated(data: bytes) -> None:
    """Raise ValueError when a compressed element (type 15; sizes in the file's own byte order) inflates to too much."""
    order: Literal["little", "big"] = "little" if data[126:128] == b"IM" else "big"
    at = 128
    while at + 8 <= len(data):
        kind, size = int.from_bytes(data[at : at + 4], order), int.from_bytes(data[at + 4 : at + 8], order)
        inflate = zlib.decompressobj()
        if kind == 15:
            inflate.decompress(data[at + 8 : at + 8 + size], MAX_INFLATED_BYTES)
        if inflate.unconsumed_tail:
            raise ValueError(f"an element inflates to more than {MAX_INFLATED_BYTES} bytes")
        at += 8 + size
