"""CIFAR-100 (Krizhevsky, 2009), whole images of 32x32 pixels in 100 classes: name `cifar100`, its binary version.

ROOT/cifar-100-binary/{train,test}.bin        50,000 and 10,000 records of 3,074 bytes: the coarse class, the fine
                                              class, 1,024 bytes of red, then green, then blue, row by row
ROOT/cifar-100-binary/fine_label_names.txt    the 100 fine classes, one a line
ROOT may be the folder cifar-100-binary itself, or the published cifar-100-binary.tar.gz, which is read as it is.

The version for Python is a pickle, which runs code when it is read: it is refused.
"""

from __future__ import annotations

import io
import tarfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fastseg.data.checks import exists, is_folder
from fastseg.data.images import Color
from fastseg.data.places import holding, place, read_at_most
from fastseg.frames import FrameError

SIDE, CLASSES = 32, 100
RECORD = 2 + 3 * SIDE * SIDE
FOLDER, NAMES = "cifar-100-binary", "fine_label_names.txt"
MAX_BYTES = 2**28  # of a file, of the archive and of each member: the training records are 154 MB
MAX_MEMBERS = 64
PICKLES = ("meta", "train", "test")  # the Python version's files
WANTED = "the binary version of CIFAR-100, cifar-100-binary.tar.gz or the folder in it"


class Cifar100:
    """LabelledImages over one split; an id is `SPLIT/NUMBER`, a label the fine class of the whole image, () uint16."""

    def __init__(self, root: Path | str, split: str) -> None:
        if split not in ("train", "test"):
            raise ValueError(f"split of cifar100 must be train or test; got {split!r}")
        self.split = split
        where = place(root)
        names, records = _from_folder(where, split) if is_folder(where) else _from_archive(where, split)
        self._classes = _class_names(names, where)
        self._records = _checked(records, where, split)

    @property
    def class_names(self) -> Sequence[str]:
        return self._classes

    def ids(self) -> list[str]:
        return [f"{self.split}/{number:05d}" for number in range(len(self))]

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int) -> tuple[Color, npt.NDArray[np.uint16]]:
        record = self._records[index]
        planes = record[2:].reshape(3, SIDE, SIDE)
        return np.ascontiguousarray(planes.transpose(1, 2, 0)), np.array(record[1], np.uint16)


def _from_folder(root: Path, split: str) -> tuple[bytes, bytes]:
    """The bytes of the class names and of the split's records."""
    inner = root if exists(root / f"{split}.bin") else root / FOLDER
    if exists(inner / f"{split}.bin"):
        return _whole(inner / NAMES), _whole(inner / f"{split}.bin")
    for folder in (root, root / "cifar-100-python"):
        if all(exists(folder / name) for name in PICKLES):
            raise ValueError(_pickled(folder))
    raise FileNotFoundError(f"{inner / f'{split}.bin'}: expected {WANTED}; {holding(inner)}")


def _from_archive(path: Path, split: str) -> tuple[bytes, bytes]:
    """The same two members of the .tar.gz, unpacked in memory, each once its stated size was checked."""
    if not exists(path):
        raise FileNotFoundError(f"{path}: expected {WANTED}; {holding(path.parent)}")
    wanted, found = {NAMES, f"{split}.bin"}, {}
    try:
        with tarfile.open(fileobj=io.BytesIO(_whole(path)), mode="r|gz") as archive:
            for number, member in enumerate(archive):
                name = member.name.rpartition("/")[2]
                if member.name.startswith("cifar-100-python/"):
                    raise ValueError(_pickled(path))
                if number >= MAX_MEMBERS or member.size > MAX_BYTES:
                    raise FrameError("too-large", f"{path}: expected {WANTED}; it holds more than that does")
                if name in wanted and (content := archive.extractfile(member)) is not None:
                    found[name] = content.read()
                if wanted == found.keys():
                    break
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        if isinstance(error, OSError) and error.filename is not None:
            raise
        raise ValueError(f"{path}: expected {WANTED}; it is truncated, or no such archive ({error})") from error
    if missing := sorted(wanted - found.keys()):
        raise FileNotFoundError(f"{path}: expected {WANTED}; it holds no {missing[0]}")
    return found[NAMES], found[f"{split}.bin"]


def _whole(path: Path) -> bytes:
    try:
        return read_at_most(path, MAX_BYTES)
    except OSError as error:
        raise FileNotFoundError(f"{path}: expected {WANTED} ({error.strerror}); {holding(path.parent)}") from error


def _pickled(where: Path) -> str:
    return f"{where}: is CIFAR-100's version for Python, a pickle, which runs code when it is read; expected {WANTED}"


def _class_names(content: bytes, where: Path) -> tuple[str, ...]:
    names = tuple(content.decode("utf-8", "replace").split())
    if len(names) != CLASSES:
        raise ValueError(f"{where}: {NAMES} must name the {CLASSES} fine classes, one a line; got {len(names)}")
    return names


def _checked(content: bytes, where: Path, split: str) -> npt.NDArray[np.uint8]:
    """The records (N, 3074) uint8; ValueError when the size is no multiple of a record's, or a class is not one."""
    if not content or len(content) % RECORD:
        raise ValueError(f"{where}: {split}.bin must hold records of {RECORD} bytes; got {len(content)} bytes")
    records = np.frombuffer(content, np.uint8).reshape(-1, RECORD)
    wrong = np.flatnonzero(records[:, 1] >= CLASSES)
    if wrong.size:
        value = int(records[wrong[0], 1])
        raise ValueError(f"{where}: {split}.bin, record {int(wrong[0])}: the fine class is {value}, beyond {CLASSES}")
    return records
