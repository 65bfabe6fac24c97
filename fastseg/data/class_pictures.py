"""Pictures with the class of the whole, wherever they lie: class folders, tar shards or Parquet, by id.

imagefolder   ROOT/CLASS/**/NAME.{jpg,jpeg,png,webp}; id CLASS/NAME
tar           ROOT/*.tar, plain tar files of such pictures; id TAR/NAME. The class is the number in NAME.cls beside it,
              else the folder that the picture lies in, else the tar file's own name (as in ImageNet's n01440764.tar)
parquet       ROOT/**/*.parquet with a column `image` (bytes, or {bytes, path}) and a column `label` (number or name);
              id FILE/ROW
"""

from __future__ import annotations

import io
from collections.abc import Container
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Literal, Protocol, get_args

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from fastseg.data.checks import check_id, checked_ids, existing_folder, exists, found, inside
from fastseg.data.image_folder import ENDINGS
from fastseg.data.images import MAX_PICTURE_BYTES, Color, decode_color, read_bytes
from fastseg.data.places import place, walk_files
from fastseg.data.tar_index import Member, members
from fastseg.frames import FrameError

Layout = Literal["imagefolder", "tar", "parquet"]
TAR = ".tar"
MAX_GROUP_BYTES = 2**31  # of a row group of Parquet, uncompressed: it is read as a whole


@dataclass(frozen=True)
class Picture:
    """A picture file's bytes, and its class: a number, or a name."""

    data: bytes = field(repr=False)
    of: int | str
    name: str


class ClassPictures(Protocol):
    """Pictures by id. `class_names` are what the layout itself knows, sorted; empty where it has numbers alone."""

    @property
    def class_names(self) -> tuple[str, ...]: ...

    def ids(self) -> list[str]: ...

    def inputs(self, picture_id: str) -> list[str]: ...

    def load(self, picture_id: str) -> Picture: ...


def open_pictures(layout: Layout, root: Path | str) -> ClassPictures:
    """The pictures below `root`; ValueError or OSError where there are none of that layout."""
    if layout not in get_args(Layout):
        raise ValueError(f"unknown layout {layout!r}; expected one of {', '.join(get_args(Layout))}")
    folder = existing_folder(root)
    if layout == "imagefolder":
        return FolderPictures(folder)
    return TarPictures(folder) if layout == "tar" else ParquetPictures(folder)


def decoded(picture: Picture, size: int) -> Color:
    """The whole picture stretched to (size, size, 3) uint8 RGB.

    As its pixels are stored: what EXIF says of its orientation is left aside here as it is in training, so that a label
    lies on the pixels it was made from. FrameError `decode`, `type` or `too-large`, and `animated` for a file of
    several frames.
    """
    color = decode_color(picture.data, picture.name)
    with Image.open(io.BytesIO(picture.data), formats=("PNG", "WEBP", "JPEG")) as image:
        frames = int(getattr(image, "n_frames", 1)) if image.format != "MPO" else 1
    if frames > 1:
        raise FrameError("animated", f"{picture.name}: expected one picture; it has {frames} frames", frames)
    if color.shape[:2] == (size, size):
        return color
    return np.asarray(Image.fromarray(color).resize((size, size), Image.Resampling.BILINEAR))


class FolderPictures:
    """A folder for each class. Who only loads pictures does not list them: a worker of a million would take minutes."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @cached_property
    def _files(self) -> dict[str, str]:
        files: dict[str, str] = {}
        for name, full in walk_files(self.root):
            stem, dot, ending = name.rpartition(".")
            if dot and f".{ending.lower()}" in ENDINGS and "/" in name:
                _check_new(stem, files, self.root)
                files[stem] = full
        return files

    @property
    def class_names(self) -> tuple[str, ...]:
        return tuple(sorted({name.partition("/")[0] for name in self._files}))

    def ids(self) -> list[str]:
        return checked_ids(self._files, self.root, "CLASS/NAME.jpg")

    def inputs(self, picture_id: str) -> list[str]:
        return [self._files[picture_id]]

    def load(self, picture_id: str) -> Picture:
        try:
            path = found(self.root / picture_id, ENDINGS, "picture")
        except FrameError:  # an ending such as .Jpg
            path = place(self._files.get(picture_id, str(self.root / picture_id)))
        data = read_bytes(inside(path, self.root), MAX_PICTURE_BYTES)
        return Picture(data, picture_id.partition("/")[0], str(path))


class TarPictures:
    """Pictures in plain tar files, read in place: nothing is unpacked; to load one, its own file alone is indexed."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @cached_property
    def _files(self) -> dict[str, tuple[str, Member]]:
        files: dict[str, tuple[str, Member]] = {}
        for name, full in sorted(walk_files(self.root)):
            if name.endswith(TAR):
                for member in members(full):
                    picture_id = f"{name.removesuffix(TAR)}/{member.name.rpartition('.')[0]}"
                    _check_new(picture_id, files, self.root)
                    files[picture_id] = (full, member)
        return files

    @property
    def class_names(self) -> tuple[str, ...]:
        named = {member.of for _, member in self._files.values()}
        return tuple(sorted(of for of in named if isinstance(of, str)))

    def ids(self) -> list[str]:
        return checked_ids(self._files, self.root, "FILE.tar with NAME.jpg inside")

    def inputs(self, picture_id: str) -> list[str]:
        return [self._files[picture_id][0]]

    def load(self, picture_id: str) -> Picture:
        path, member = self._found(picture_id)
        name = f"{path}: {member.name}"
        if member.size > MAX_PICTURE_BYTES:
            detail = f"{name} must have at most {MAX_PICTURE_BYTES} bytes; got {member.size}"
            raise FrameError("too-large", detail, member.size)
        with path.open("rb") as file:
            file.seek(member.start)
            data = file.read(member.size)
        return Picture(data, member.of, name)

    def _found(self, picture_id: str) -> tuple[Path, Member]:
        """The tar file of a picture, and where it lies in it; FrameError `missing`."""
        parts = picture_id.split("/")
        for cut in range(1, len(parts)):
            path = self.root / f"{'/'.join(parts[:cut])}{TAR}"
            if exists(path) and (member := _stems(str(path)).get("/".join(parts[cut:]))) is not None:
                return inside(path, self.root), member
        raise FrameError("missing", f"{self.root}: no tar file holds the picture {picture_id!r}")


@lru_cache(maxsize=4)
def _stems(full: str) -> dict[str, Member]:
    """The pictures of a tar file by their names without ending."""
    return {member.name.rpartition(".")[0]: member for member in members(full)}


def _check_new(picture_id: str, files: Container[str], root: Path) -> None:
    if picture_id in files:
        raise FrameError("id", f"{root}: ids must be unique; two files have the id {picture_id!r}")


class ParquetPictures:
    """Pictures in the rows of Parquet files, as data sets on the web have them."""

    class_names: tuple[str, ...] = ()

    def __init__(self, root: Path) -> None:
        self._files: dict[str, tuple[str, list[int]]] = {}  # the rows before each row group, and all
        for name, full in sorted(walk_files(root)):
            if name.lower().endswith(".parquet"):
                check_id(name, root)
                self._files[name[:-8]] = (full, _group_ends(full))
        if not any(ends[-1] for _, ends in self._files.values()):
            raise ValueError(f"{root}: holds no pictures; expected FILE.parquet with columns image and label")
        self._group: tuple[tuple[str, int], pa.Table] | None = None

    def ids(self) -> list[str]:
        return sorted(f"{stem}/{row:08}" for stem, (_, ends) in self._files.items() for row in range(ends[-1]))

    def inputs(self, picture_id: str) -> list[str]:
        return [self._files[picture_id.rpartition("/")[0]][0]]

    def load(self, picture_id: str) -> Picture:
        stem, _, number = picture_id.rpartition("/")
        full, ends = self._files[stem]
        group = int(np.searchsorted(ends, int(number), "right")) - 1
        if self._group is None or self._group[0] != (full, group):
            self._group = (full, group), _read_group(full, group)
        row = self._group[1].slice(int(number) - ends[group], 1).to_pylist()[0]
        data = row["image"].get("bytes") if isinstance(row["image"], dict) else row["image"]
        name = f"{full}: row {int(number)}"
        if not isinstance(data, bytes):
            raise FrameError("missing", f"{name}: expected the bytes of a picture in its column image")
        if not isinstance(row["label"], int | str):
            raise FrameError("class", f"{name}: expected a class number or name in its column label")
        return Picture(data, row["label"], name)


def _group_ends(full: str) -> list[int]:
    """0 and the rows up to the end of each row group; ValueError for a file without the columns."""
    try:
        with place(full).open("rb") as file:
            footer = pq.read_metadata(file)
    except pa.ArrowException as error:
        raise ValueError(f"{full}: expected a Parquet file; {str(error).splitlines()[0]}") from error
    names = set(footer.schema.to_arrow_schema().names)
    if not {"image", "label"} <= names:
        raise ValueError(f"{full}: expected columns image and label; it has {', '.join(sorted(names)[:8])}")
    rows = [footer.row_group(number).num_rows for number in range(footer.num_row_groups)]
    return [0, *np.cumsum(rows).tolist()]


def _read_group(full: str, number: int) -> pa.Table:
    try:
        with place(full).open("rb") as file, pq.ParquetFile(file) as parquet:
            size = parquet.metadata.row_group(number).total_byte_size
            if size > MAX_GROUP_BYTES:
                raise FrameError("too-large", f"{full}: row group {number} takes {size} bytes", size)
            return parquet.read_row_group(number, columns=["image", "label"], use_threads=False)
    except pa.ArrowException as error:
        raise FrameError("decode", f"{full}: row group {number} is damaged: {str(error).splitlines()[0]}") from error
