"""What a label shard is: its Arrow schemas, its format number, and the digests that say what its rows are."""

from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

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
PSSL_SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("image", pa.binary()),  # the original file's bytes; null where only the label was to be kept
        pa.field("class", pa.int32(), nullable=False),  # of the whole image
        pa.field("deciles", pa.binary(), nullable=False),  # height x width, 4 bits each (`labels.pssl_config.packed`)
        pa.field("height", pa.int32(), nullable=False),
        pa.field("width", pa.int32(), nullable=False),
        pa.field("samples", pa.int32(), nullable=False),  # noisy copies that each model saw
        pa.field("changed", pa.float32(), nullable=False),  # share of deciles changed at the last look; NaN = no look
        pa.field("probability", pa.float32(), nullable=False),  # of the class, mean over models and copies
        pa.field("right", pa.float32(), nullable=False),  # share of models and copies that name the class first
    ]
)
SUM_SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("class", pa.int32(), nullable=False),
        pa.field("total", pa.binary(), nullable=False),  # height x width raw float32, sum of the models' unit maps
        pa.field("height", pa.int32(), nullable=False),
        pa.field("width", pa.int32(), nullable=False),
        pa.field("models", pa.int32(), nullable=False),  # that were added up
        pa.field("probability", pa.float32(), nullable=False),  # sums over models of what PSSL_SCHEMA has the mean of
        pa.field("right", pa.float32(), nullable=False),
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
FORMAT = 2  # 2 put a seal into the footer
# A random reader decodes a whole row group to get one row: few rows keep that near the cost of the row itself.
ROW_GROUP = 8


def label_schema(metadata: Mapping[str, Any]) -> pa.Schema:
    """The schema of the label shards whose footer says so: of PSSL labels, of their partial sums, else of HN-labels."""
    if "pssl_sum" in metadata:
        return SUM_SCHEMA
    return PSSL_SCHEMA if "pssl" in metadata else SCHEMA


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
