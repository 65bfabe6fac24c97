"""Label shards: a writer that never leaves a partial file; the schema and the readers are at hand here too."""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import pyarrow as pa
import pyarrow.parquet as pq

from fastseg.data.hn_shards import HNShards
from fastseg.data.places import answered, is_local, made_durable
from fastseg.data.shard_reader import class_names, label_of, read_metadata, read_rows
from fastseg.data.shard_schema import (
    FORMAT,
    METADATA_KEY,
    PSSL_SCHEMA,
    REJECTED_SCHEMA,
    ROW_GROUP,
    SCHEMA,
    SUM_SCHEMA,
    Row,
    content_hash,
    label_schema,
    row_digest,
)
from fastseg.data.shard_seal import UNSEALED, sealed

# The room's front door: who writes or reads shards imports from here.
__all__ = [
    "PSSL_SCHEMA",
    "REJECTED_SCHEMA",
    "SCHEMA",
    "SUM_SCHEMA",
    "HNShards",
    "Row",
    "ShardWriter",
    "class_names",
    "content_hash",
    "label_of",
    "label_schema",
    "put_in_place",
    "put_whole",
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


def put_in_place(temp: Path, path: Path) -> None:
    """Make a finished temporary file durable and give it its name, in one step that a kill cannot split."""
    made_durable(temp)
    os.replace(temp, path)
    made_durable(path.parent)


def put_whole(path: Path, content: bytes | memoryview) -> None:
    """Put a whole object into a store in one request, under its final name: a kill leaves the old one, or the new."""
    store = cast(Any, path)
    with answered(path):
        store.fs.pipe_file(store.path, bytes(content))


def replace_file(path: Path, content: bytes) -> None:
    """Write a whole file, on any place, so that nobody sees a part of it; OSError names `path`.

    A local one is written under a temporary name in the same folder and put in place.
    """
    if not is_local(path):
        put_whole(path, content)
        return
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


class _Sink(io.RawIOBase):
    """Where a shard's bytes go one after the other, hashed on the way: a temporary file, or memory for a store."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.temp = temporary_name(path) if is_local(path) else None
        self._digest = hashlib.sha256()
        self._file: Any = self.temp.open("w+b", buffering=0) if self.temp else io.BytesIO()

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return int(self._file.tell())

    def write(self, content: Any) -> int:
        rest = memoryview(content).cast("B")
        self._digest.update(rest)
        return self._write(rest)

    def _write(self, content: memoryview | bytes) -> int:
        rest = memoryview(content)
        while len(rest):
            rest = rest[self._file.write(rest) :]
        return len(content)

    def begin_footer(self) -> None:
        """What comes now is the footer: all bytes before it stay as they are."""
        self._body, self._footer_at = self._digest.copy(), self.tell()

    def seal(self) -> str:
        """Put the seal, the hash of all bytes, into the footer; the SHA-256 (hex) of the file with it."""
        self._file.seek(self._footer_at)
        footer = sealed(self._file.read(), self._digest.hexdigest())
        self._file.seek(self._footer_at)
        self._write(footer)
        self._body.update(footer)
        return self._body.hexdigest()

    def put_in_place(self) -> None:
        if self.temp is not None:
            put_in_place(self.temp, self.path)
        else:
            put_whole(self.path, self._file.getbuffer())

    def remove(self) -> None:
        """Close the file, and remove it unless it has its final name."""
        self._file.close()
        if self.temp is not None:
            self.temp.unlink(missing_ok=True)


class ShardWriter:
    """A Parquet shard in the making: rows stream to a temporary file, `commit` puts it in place.

    Rows must come sorted by id. Memory holds at most one row group, for a store the compressed shard. Leaving the
    `with` block without `commit` leaves nothing; no reader ever sees a partial shard. After `commit`, `sha256` (hex)
    is that of the file.
    """

    def __init__(self, path: Path, metadata: Mapping[str, Any], schema: pa.Schema = SCHEMA) -> None:
        self.path, self.schema, self._metadata = path, schema, dict(metadata)
        self.sha256 = ""
        self._rows: list[Row] = []
        self._digests: dict[str, bytes] = {}
        self._writer: pq.ParquetWriter | None = None

    def __enter__(self) -> ShardWriter:
        self._sink = _Sink(self.path)
        self._writer = pq.ParquetWriter(self._sink, self.schema, **OPTIONS)
        return self

    def __exit__(self, *error: object) -> None:
        try:
            if self._writer is not None:
                with suppress(OSError):  # the footer of a shard that is given up, on a full disk
                    self._writer.close()
        finally:
            self._sink.remove()

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
        """Finish the file, make it durable, give it its name."""
        assert self._writer is not None, "commit belongs inside the with block"
        self._flush()
        facts = {"format": FORMAT, "rows": len(self._digests), "content": content_hash(self._digests), "seal": UNSEALED}
        text = json.dumps(self._metadata | facts, sort_keys=True)
        self._writer.add_key_value_metadata({METADATA_KEY: text.encode()})
        self._sink.begin_footer()
        self._writer.close()
        self._writer = None
        self.sha256 = self._sink.seal()
        self._sink.put_in_place()

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
