"""Label shards: the one Arrow schema, a writer that never leaves a partial file, readers, and `HNShards`."""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import struct
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

Row = dict[str, Any]

SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("image", pa.binary()),  # the original colour file's bytes; null where there was no colour
        pa.field("label", pa.binary(), nullable=False),  # height x width raw uint8, 255 = ignore
        pa.field("height", pa.int32(), nullable=False),
        pa.field("width", pa.int32(), nullable=False),
        pa.field("up", pa.list_(pa.float32(), 3), nullable=False),
        pa.field("floor_m", pa.float32(), nullable=False),  # up . p = floor_m on the floor
        pa.field("aligned_fraction", pa.float32(), nullable=False),
        pa.field("valid_fraction", pa.float32(), nullable=False),
        pa.field("disagreement_deg", pa.float32(), nullable=False),
        pa.field("bins", pa.list_(pa.int32()), nullable=False),  # pixels of each class
    ]
)
REJECTED_SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("detail", pa.string(), nullable=False),
        pa.field("value", pa.float64(), nullable=False),
    ]
)
METADATA_KEY = b"fastseg"
FORMAT = 1
# A random reader decodes a whole row group to get one row: few rows keep that near the cost of the row itself.
ROW_GROUP = 8
# Colour is compressed already; zstd at level 1 makes a label as small as a PNG, ten times faster both ways.
CODECS: dict[str, Any] = {"compression": {"label": "zstd"}, "compression_level": {"label": 1}}


def _payload(value: Any, kind: pa.DataType) -> bytes:
    """One cell as bytes that depend on its value alone (NaN has one form)."""
    if pa.types.is_string(kind):
        return str(value).encode()
    if pa.types.is_binary(kind):
        return bytes(value)
    if pa.types.is_integer(kind):
        return struct.pack("<q", value)
    if pa.types.is_floating(kind):
        return struct.pack("<f" if kind == pa.float32() else "<d", math.nan if value != value else value)
    return b"".join(_payload(item, kind.value_type) for item in value)


def row_digest(row: Mapping[str, Any], schema: pa.Schema = SCHEMA) -> bytes:
    """The SHA-256 of one row: every cell of `schema` in order, each with its length; 32 bytes."""
    digest = hashlib.sha256()
    for column in schema:
        value = row[column.name]
        cell = b"" if value is None else _payload(value, column.type)
        digest.update(struct.pack("<?q", value is not None, len(cell)))
        digest.update(cell)
    return digest.digest()


def content_hash(rows: Mapping[str, bytes]) -> str:
    """The SHA-256 (hex) of a set of rows given as id -> `row_digest`, whatever their order and shards."""
    digest = hashlib.sha256()
    for row_id in sorted(rows):
        digest.update(rows[row_id])
    return digest.hexdigest()


def _sync(path: Path) -> None:
    """Make a file's bytes, or the names in a folder, durable (a rename lives in memory until its folder is synced)."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def put_in_place(temp: Path, path: Path) -> None:
    """Make a finished temporary file durable and give it its name, in one step that a kill cannot split."""
    _sync(temp)
    os.replace(temp, path)
    _sync(path.parent)


def replace_file(path: Path, content: bytes) -> None:
    """Write a whole file under a temporary name in the same folder and put it in place; OSError names `path`."""
    temp = temporary_name(path)
    try:
        temp.write_bytes(content)
        put_in_place(temp, path)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        with suppress(OSError):  # where the folder is none, neither is the temporary file
            temp.unlink(missing_ok=True)


def temporary_name(path: Path) -> Path:
    """The hidden name under which this process writes `path`; a start-up sweep knows it by its `.tmp`."""
    return path.with_name(f".{path.name}.{os.uname().nodename}.{os.getpid()}.tmp")


class ShardWriter:
    """A Parquet shard in the making: rows stream to a temporary file, `commit` puts it in place.

    Rows must come sorted by id. Memory holds at most one row group. Leaving the `with` block without
    `commit` removes the temporary file; no reader ever sees a partial shard.
    """

    def __init__(self, path: Path, metadata: Mapping[str, Any], schema: pa.Schema = SCHEMA) -> None:
        self.path, self.schema, self._metadata = path, schema, dict(metadata)
        self._temp = temporary_name(path)
        self._rows: list[Row] = []
        self._digests: dict[str, bytes] = {}
        self._writer: pq.ParquetWriter | None = None

    def __enter__(self) -> ShardWriter:
        self._writer = pq.ParquetWriter(
            self._temp, self.schema, use_dictionary=False, write_statistics=["id"], write_page_checksum=True, **CODECS
        )
        return self

    def __exit__(self, *error: object) -> None:
        try:
            if self._writer is not None:
                self._writer.close()
        finally:
            self._temp.unlink(missing_ok=True)

    def add(self, row: Row) -> None:
        """Append one row; ids must rise."""
        last = next(reversed(self._digests), None)
        if last is not None and row["id"] <= last:
            raise ValueError(f"rows of {self.path} must come sorted by id; got {row['id']!r} after {last!r}")
        self._digests[row["id"]] = row_digest(row, self.schema)
        self._rows.append(row)
        if len(self._rows) == ROW_GROUP:
            self._flush()

    def commit(self) -> None:
        """Finish the file, make it durable, rename it to `path`."""
        assert self._writer is not None, "commit belongs inside the with block"
        self._flush()
        facts = {"format": FORMAT, "rows": len(self._digests), "content": content_hash(self._digests)}
        text = json.dumps(self._metadata | facts, sort_keys=True)
        self._writer.add_key_value_metadata({METADATA_KEY: text.encode()})
        self._writer.close()
        self._writer = None
        put_in_place(self._temp, self.path)

    def _flush(self) -> None:
        assert self._writer is not None, "rows are added inside the with block"
        if self._rows:
            self._writer.write_table(pa.Table.from_pylist(self._rows, schema=self.schema))
            self._rows = []


def write_table(path: Path, table: pa.Table, metadata: Mapping[str, Any]) -> None:
    """Write a table of either schema as one shard (sorted by id; temporary name, fsync, rename)."""
    with ShardWriter(path, metadata, table.schema.remove_metadata()) as writer:
        for row in table.sort_by("id").to_pylist():
            writer.add(row)
        writer.commit()


def read_metadata(path: Path) -> dict[str, Any]:
    """What a shard says of itself: format, fingerprint, rows, content hash, the label's bins and edges.

    ValueError names a file that is not a complete Parquet shard.
    """
    try:
        found = (pq.read_metadata(path).metadata or {}).get(METADATA_KEY)
        metadata = json.loads(found) if found is not None else None
    except FileNotFoundError:
        raise
    except (pa.ArrowException, OSError, ValueError) as error:
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
