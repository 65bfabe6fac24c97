"""What is wrong with one shard on disk: footer, schema, row count, content hash, label values. Repairs nothing."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fastseg.data import shards


@dataclass
class ShardReport:
    """The ids a shard holds, what its metadata says, its rejection reasons counted, and every problem found."""

    ids: list[str] = field(default_factory=list)
    metadata: dict[str, Any] = field(default_factory=dict)
    reasons: dict[str, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def file_sha256(path: Path) -> str:
    """The SHA-256 (hex) of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _row_problem(row: Mapping[str, Any], classes: int) -> str | None:
    """What is wrong with one label row, or None: its bytes, its values, its histogram."""
    try:
        label = shards.label_of(row)
    except ValueError as error:
        return str(error)
    counts = np.bincount(label.ravel(), minlength=256)
    if counts[classes:255].any():
        worst = int(np.flatnonzero(counts[:255])[-1])
        return f"label of {row['id']!r} must hold 0..{classes - 1} or 255; got {worst}"
    if row["bins"] != counts[:classes].tolist():
        return f"bins of {row['id']!r} do not count its label"
    return None


def check_shard(path: Path, schema: pa.Schema = shards.SCHEMA) -> ShardReport:
    """The ids of a shard and every problem found by reading the whole of it."""
    report = ShardReport()
    try:
        report.metadata = shards.read_metadata(path)
        if not pq.read_schema(path).remove_metadata().equals(schema):
            report.problems.append(f"{path}: its columns are not the schema of {path.parent.name} shards")
            return report
        digests = _read(path, schema, report)
        if len(report.ids) != report.metadata["rows"]:
            report.problems.append(f"{path} holds {len(report.ids)} rows; its footer says {report.metadata['rows']}")
        if shards.content_hash(digests) != report.metadata["content"]:
            report.problems.append(f"{path}: the rows do not match the content hash in the footer")
    except FileNotFoundError:
        report.problems.append(f"{path} is missing")
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        report.problems.append(f"{path} cannot be read: {str(error).splitlines()[0]}")
    return report


def _read(path: Path, schema: pa.Schema, report: ShardReport) -> dict[str, bytes]:
    """Read every row into `report`; the digest of each by id."""
    digests: dict[str, bytes] = {}
    hn = report.metadata.get("hn", {})
    classes = int(hn.get("n_height", 15)) * int(hn.get("n_normal", 17))
    for row in shards.read_rows(path):
        report.ids.append(row["id"])
        digests[row["id"]] = shards.row_digest(row, schema)
        if "reason" in row:
            report.reasons[row["reason"]] = report.reasons.get(row["reason"], 0) + 1
        elif problem := _row_problem(row, classes):
            report.problems.append(f"{path}: {problem}")
    return digests
