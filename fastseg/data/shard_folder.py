"""The label shards of one run, opened by their footers: how many rows each holds, and any row group of any of them."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from fastseg.data.places import answered, is_local, place
from fastseg.data.shard_reader import read_columns, read_metadata
from fastseg.data.shard_schema import ROW_GROUP

OPEN_FILES = 32
STORE_THREADS = 16  # a store answers slowly and many at once
Result = TypeVar("Result")


class ShardFolder:
    """`folder/labels/*.parquet` (or `folder/*.parquet`), local or in a store; nothing but footers is read to open it.

    paths     the shards, sorted
    metadata  what the first footer says; all say the same of the labels
    rows      rows of each shard

    Files open lazily and again in each process. ValueError for a folder without shards or with those of several runs.
    """

    def __init__(self, folder: str | Path) -> None:
        root = place(folder)
        with answered(root):
            top = root / "labels" if (root / "labels").is_dir() else root
            self.paths = sorted((p for p in top.glob("*.parquet") if not p.name.startswith(".")), key=lambda p: p.name)
        if not self.paths:
            raise ValueError(f"no label shards (labels/*.parquet) in {root}; make_hn_labels writes them")
        self.metadata: dict[str, Any] = {}
        self.rows: list[int] = []
        for path, metadata in zip(self.paths, self.each(read_metadata), strict=True):
            self.metadata = self.metadata or metadata
            if metadata.get("fingerprint") != self.metadata.get("fingerprint"):
                raise ValueError(f"{path} and {self.paths[0]} come from different runs; give each its own folder")
            self.rows.append(int(metadata["rows"]))
        self._files: OrderedDict[int, pq.ParquetFile] = OrderedDict()
        self._pid = os.getpid()

    def each(self, read: Callable[[Path], Result]) -> Iterator[Result]:
        """`read(path)` of every shard, in order; of many at once where they lie in a store."""
        if is_local(self.paths[0]):
            yield from map(read, self.paths)
            return
        with ThreadPoolExecutor(STORE_THREADS) as pool:
            yield from pool.map(read, self.paths)

    def ids(self) -> list[str]:
        """The ids of all rows, in order."""
        return [i for found in self.each(_ids) for i in found]

    def group(self, shard: int, number: int) -> pa.Table:
        """One row group of a shard: rows number * ROW_GROUP and on; ValueError where the file is damaged."""
        path = self.paths[shard]
        expected = min(ROW_GROUP, self.rows[shard] - number * ROW_GROUP)
        try:
            with answered(path):
                table = self._file(shard).read_row_group(number, use_threads=False)
        except (pa.ArrowException, OSError, ValueError) as error:
            raise ValueError(f"{path} cannot be read: {(str(error).splitlines() or [''])[0]}") from error
        if len(table) != expected:
            raise ValueError(f"{path}: row group {number} must hold {expected} rows; got {len(table)}")
        return table

    def _file(self, shard: int) -> pq.ParquetFile:
        if self._pid != os.getpid():  # a forked worker must not share file positions or connections with its parent
            self._files, self._pid = OrderedDict(), os.getpid()
        if shard not in self._files:
            self._files[shard] = _opened(self.paths[shard])
            while len(self._files) > OPEN_FILES:
                self._files.popitem(last=False)[1].close(force=True)
        self._files.move_to_end(shard)
        return self._files[shard]

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_files": OrderedDict()}


def _opened(path: Path) -> pq.ParquetFile:
    if is_local(path):
        return pq.ParquetFile(path, page_checksum_verification=True)
    file = place(str(path)).open("rb")  # a path keeps its connection, which does not survive a fork
    return pq.ParquetFile(file, page_checksum_verification=True, pre_buffer=True)


def _ids(path: Path) -> list[str]:
    with answered(path):
        ids: list[str] = read_columns(path, ["id"])["id"].to_pylist()
    return ids
