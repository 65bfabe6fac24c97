"""Label shards: a writer that never leaves a partial file; the schema and the readers are at hand here too."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from fastseg.data.hn_shards import HNShards
from fastseg.data.shard_reader import class_names, label_of, read_metadata, read_rows
from fastseg.data.shard_schema import (
    FORMAT,
    METADATA_KEY,
    REJECTED_SCHEMA,
    ROW_GROUP,
    SCHEMA,
    Row,
    content_hash,
    row_digest,
)
from fastseg.data.shard_seal import UNSEALED, seal_file

# The room's front door: who writes or reads shards imports from here.
__all__ = [
    "REJECTED_SCHEMA",
    "SCHEMA",
    "HNShards",
    "Row",
    "ShardWriter",
    "class_names",
    "content_hash",
    "label_of",
    "put_in_place",
    "read_metadata",
    "read_rows",
    "replace_file",
    "row_digest",
    "temporary_name",
    "write_table",
]

# Colour is compressed already; zstd at level 1 makes a label as small as a PNG, ten times faster both ways.
OPTIONS: dict[str, Any] = {
    "compression": {"label": "zstd"},
    "compression_level": {"label": 1},
    "use_dictionary": False,
    "write_statistics": ["id"],
    "write_page_checksum": True,
}


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
        self._writer = pq.ParquetWriter(self._temp, self.schema, **OPTIONS)
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
        facts = {"format": FORMAT, "rows": len(self._digests), "content": content_hash(self._digests), "seal": UNSEALED}
        text = json.dumps(self._metadata | facts, sort_keys=True)
        self._writer.add_key_value_metadata({METADATA_KEY: text.encode()})
        self._writer.close()
        self._writer = None
        seal_file(self._temp)
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
