"""Label shards read back: their footers, rows and labels, and `HNShards`, the labelled images of a folder."""

from __future__ import annotations

import io
import json
import os
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from fastseg.data.shard_schema import FORMAT, METADATA_KEY, ROW_GROUP, Row


def read_metadata(path: Path) -> dict[str, Any]:
    """What a shard says of itself: format, fingerprint, rows, content hash, the label's bins and edges.

    ValueError names a file that is not a complete Parquet shard.
    """
    try:
        with path.open("rb") as file:
            return footer_facts(pq.read_metadata(file), path)
    except FileNotFoundError:
        raise
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{path} is not a complete Parquet file: {str(error).splitlines()[0]}") from error


def footer_facts(footer: pq.FileMetaData, path: Path) -> dict[str, Any]:
    """What `read_metadata` gives, from a footer that is read already; ValueError where it is no shard's."""
    try:
        metadata = json.loads((footer.metadata or {}).get(METADATA_KEY, b"null"))
    except ValueError as error:
        raise ValueError(f"{path} is not a complete Parquet file: {str(error).splitlines()[0]}") from error
    if not isinstance(metadata, dict) or metadata.get("format") != FORMAT:
        raise ValueError(f"{path} is not a fastseg shard of format {FORMAT}")
    return metadata


def read_rows(path: Path, columns: Sequence[str] | None = None) -> Iterator[Row]:
    """The rows of a shard, in order, one row group in memory at a time; page checksums are verified."""
    with pq.ParquetFile(path, page_checksum_verification=True) as file:
        for group in range(file.num_row_groups):
            yield from file.read_row_group(group, columns=columns).to_pylist()


def label_of(row: Mapping[str, Any]) -> npt.NDArray[np.uint8]:
    """The label map of a row: (height, width) uint8, 255 = ignore; ValueError when its bytes do not fit its size."""
    height, width, raw = row["height"], row["width"], row["label"]
    if len(raw) != height * width:
        raise ValueError(f"label of {row['id']!r} must be {height} x {width} bytes; got {len(raw)}")
    return np.frombuffer(raw, np.uint8).reshape(height, width).copy()


def class_names(n_height: int, n_normal: int, height_edges: Sequence[float]) -> list[str]:
    """Names of the HN classes in label order `normal_bin * n_height + height_bin`, "surface x height range"."""
    if len(height_edges) != n_height - 1:
        raise ValueError(f"{n_height} height bins need {n_height - 1} inner edges; got {len(height_edges)}")
    edges = [f"{edge:.2f}" for edge in height_edges]
    between = [f"{low}-{high} m" for low, high in pairwise(edges)]
    heights = [f"below {edges[0]} m", *between, f"above {edges[-1]} m"] if edges else ["any height"]
    step = 90 / n_normal
    surfaces = [f"{i * step:.0f}-{(i + 1) * step:.0f} deg from floor" for i in range(n_normal)]
    if n_normal <= 2:
        surfaces = ["any surface"] if n_normal == 1 else ["parallel to floor", "perpendicular to floor"]
    return [f"{surface} x {height}" for surface in surfaces for height in heights]


class HNShards:
    """The labelled images of `folder/labels/*.parquet` (or `folder/*.parquet`): a `LabelledImages`.

    `self[i]` is (image (H, W, 3) uint8 RGB, label (H, W) uint8), `stats(i)` the rest of the row. Random
    access reads one row group; files open lazily and again in each process. ValueError for a folder
    without shards, shards of different runs, and a row without colour.
    """

    def __init__(self, folder: str | Path) -> None:
        root = Path(folder)
        self.paths = sorted((root / "labels" if (root / "labels").is_dir() else root).glob("*.parquet"))
        if not self.paths:
            raise ValueError(f"no label shards (labels/*.parquet) in {root}; make_hn_labels writes them")
        self.metadata = read_metadata(self.paths[0])
        self._ids: list[str] = []
        self._where: list[tuple[int, int]] = []
        for shard, path in enumerate(self.paths):
            if read_metadata(path).get("fingerprint") != self.metadata.get("fingerprint"):
                raise ValueError(f"{path} and {self.paths[0]} come from different runs; give each its own folder")
            ids = [row["id"] for row in read_rows(path, ["id"])]
            self._ids += ids
            self._where += [(shard, i) for i in range(len(ids))]
        self._groups: OrderedDict[tuple[int, int], list[Row]] = OrderedDict()
        self._files: OrderedDict[int, pq.ParquetFile] = OrderedDict()
        self._pid = os.getpid()

    @property
    def class_names(self) -> list[str]:
        hn = self.metadata["hn"]
        return class_names(hn["n_height"], hn["n_normal"], hn["height_edges"])

    def ids(self) -> list[str]:
        return list(self._ids)

    def __len__(self) -> int:
        return len(self._ids)

    def __getitem__(self, index: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
        row = self.row(index)
        if row["image"] is None:
            raise ValueError(f"frame {row['id']!r} has a label but no colour image; it cannot be trained on")
        with Image.open(io.BytesIO(row["image"])) as image:
            return np.array(image.convert("RGB")), label_of(row)

    def stats(self, index: int) -> Row:
        """Every column of a row but the image and the label."""
        return {key: value for key, value in self.row(index).items() if key not in ("image", "label")}

    def row(self, index: int) -> Row:
        """One row of `SCHEMA` as it is stored."""
        shard, at = self._where[index]
        if self._pid != os.getpid():  # a forked worker must not share file positions with its parent
            self._files, self._groups, self._pid = OrderedDict(), OrderedDict(), os.getpid()
        key = (shard, at // ROW_GROUP)
        if key not in self._groups:
            self._groups[key] = self._file(shard).read_row_group(key[1]).to_pylist()
            while len(self._groups) > 2:
                self._groups.popitem(last=False)
        return self._groups[key][at % ROW_GROUP]

    def _file(self, shard: int) -> pq.ParquetFile:
        if shard not in self._files:
            self._files[shard] = pq.ParquetFile(self.paths[shard], page_checksum_verification=True)
            while len(self._files) > 32:
                self._files.popitem(last=False)[1].close()
        return self._files[shard]

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_files": OrderedDict(), "_groups": OrderedDict()}
