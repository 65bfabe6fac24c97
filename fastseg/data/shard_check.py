"""What is wrong with one shard on disk: bytes, footer, schema, row count, content hash, values. Repairs nothing."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from fastseg.data import shards
from fastseg.data.places import answered
from fastseg.data.pssl_check import decile_problems, sum_problems
from fastseg.data.shard_digest import table_digests
from fastseg.data.shard_reader import footer_facts
from fastseg.data.shard_seal import file_digests

WHOLE = 2**28  # bytes; a shard up to this size is read once, into memory, to be hashed and parsed there
AT_ONCE = 2**26  # bytes of row groups, uncompressed, that are checked together
FRACTIONS = ("aligned_fraction", "valid_fraction")
UNIT = 1e-3  # an up vector in float32 is this close to length 1


@dataclass
class ShardReport:
    """A shard's ids, its metadata, its rejection reasons counted, the SHA-256 of its file, and every problem found."""

    ids: list[str] = field(default_factory=list)
    metadata: dict[str, Any] = field(default_factory=dict)
    reasons: dict[str, int] = field(default_factory=dict)
    sha256: str = ""
    problems: list[str] = field(default_factory=list)


def file_sha256(path: Path) -> str:
    """The SHA-256 (hex) of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_shard(path: Path, schema: pa.Schema | None = None) -> ShardReport:
    """The ids of a shard and every problem found by reading the whole of it.

    schema   of its columns; None = that of the label shards of its kind, see `label_schema`
    """
    report = ShardReport()
    try:
        with _opened(path) as file:
            report.problems += (f"{path}{problem}" for problem in _file_problems(file, path, schema, report))
    except FileNotFoundError:
        report.problems.append(f"{path} is missing")
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        text = str(error).splitlines() or [type(error).__name__]
        report.problems.append(f"{path} cannot be read: {text[0]}")
    return report


def _opened(path: Path) -> Any:
    with answered(path):
        size = path.stat().st_size
        return pa.BufferReader(path.read_bytes()) if size <= WHOLE else path.open("rb")


def _file_problems(file: Any, path: Path, schema: pa.Schema | None, report: ShardReport) -> Iterator[str]:
    try:
        report.sha256, sealed = file_digests(file)
    except ValueError as error:
        file.seek(0)
        report.sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        yield f" is damaged: {error}"
        return
    if not sealed:
        yield " is damaged: its bytes are not those that its seal was made of"
    file.seek(0)
    with pq.ParquetFile(file, page_checksum_verification=True) as parquet:
        report.metadata = footer_facts(parquet.metadata, path)
        expected = shards.label_schema(report.metadata) if schema is None else schema
        if not parquet.schema_arrow.remove_metadata().equals(expected):
            yield f": its columns are not the schema of {path.parent.name} shards"
            return
        digests: list[bytes] = []
        for table in _tables(parquet):
            digests += table_digests(table)
            yield from _row_problems(table, report)
    if len(report.ids) != report.metadata["rows"]:
        yield f" holds {len(report.ids)} rows; its footer says {report.metadata['rows']}"
    if shards.content_hash(dict(zip(report.ids, digests, strict=True))) != report.metadata["content"]:
        yield ": the rows do not match the content hash in the footer"
    if report.ids != sorted(report.ids):
        yield ": its rows are not sorted by id"


def _tables(parquet: pq.ParquetFile) -> Iterator[pa.Table]:
    """All rows, several row groups at a time, as many as fit `AT_ONCE`."""
    groups: list[int] = []
    room = AT_ONCE
    for number in range(parquet.num_row_groups):
        size = parquet.metadata.row_group(number).total_byte_size
        if groups and size > room:
            yield parquet.read_row_groups(groups, use_threads=False)
            groups, room = [], AT_ONCE
        groups.append(number)
        room -= size
    if groups:
        yield parquet.read_row_groups(groups, use_threads=False)


def _row_problems(table: pa.Table, report: ShardReport) -> Iterator[str]:
    """What is wrong with the values of a table's rows; their ids and reasons go into the report."""
    ids = table["id"].to_pylist()
    report.ids += ids
    if "reason" in table.column_names:
        counted = Counter(report.reasons) + Counter(table["reason"].to_pylist())
        report.reasons = dict(counted)
        return
    if "deciles" in table.column_names:
        yield from (f": {problem}" for problem in decile_problems(table, report.metadata["pssl"]))
        return
    if "total" in table.column_names:
        yield from (f": {problem}" for problem in sum_problems(table))
        return
    hn = report.metadata.get("hn", {})
    classes = int(hn.get("n_height", 15)) * int(hn.get("n_normal", 17))
    sizes = [np.asarray(table[name].combine_chunks(), np.int64) for name in ("height", "width")]
    rows = zip(ids, table["label"].to_pylist(), *sizes, table["bins"].to_pylist(), strict=True)
    for frame_id, label, height, width, bins in rows:
        if problem := _label_problem(frame_id, label, (int(height), int(width)), bins, classes):
            yield f": {problem}"
    yield from (f": {problem}" for problem in _figure_problems(table, ids))


def _label_problem(frame_id: str, label: bytes, size: tuple[int, int], bins: list[int], classes: int) -> str | None:
    """What is wrong with one label, or None: its bytes, its values, its histogram."""
    if min(size) < 1 or len(label) != size[0] * size[1]:
        return f"label of {frame_id!r} must be {size[0]} x {size[1]} bytes; got {len(label)}"
    counts = np.bincount(np.frombuffer(label, np.uint8), minlength=256)
    known = counts[:classes].tolist()
    if sum(known) + int(counts[255]) != len(label):
        worst = int(np.flatnonzero(counts[:255])[-1])
        return f"label of {frame_id!r} must hold 0..{classes - 1} or 255; got {worst}"
    if bins != known:
        return f"bins of {frame_id!r} do not count its label"
    return None


def _figure_problems(table: pa.Table, ids: list[str]) -> Iterator[str]:
    """Up vectors that have not length 1 and fractions outside 0..1, by the first such frame."""
    up = np.asarray(table["up"].combine_chunks().flatten(), np.float64).reshape(-1, 3)
    checks: dict[str, npt.NDArray[np.bool_]] = {"up": np.abs(np.linalg.norm(up, axis=1) - 1) <= UNIT}
    for name in FRACTIONS:
        values = np.asarray(table[name].combine_chunks(), np.float64)
        checks[name] = (values >= 0) & (values <= 1)
    for name, good in checks.items():
        if not good.all():
            wrong = np.flatnonzero(~good)
            expected = "have length 1" if name == "up" else "lie in 0..1"
            yield f"{name} of {len(wrong)} rows must {expected}; {ids[wrong[0]]!r} the first"
