"""Label shards read back: what a footer says, the rows, and the image and label of a row."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from fastseg.data.images import decode_color
from fastseg.data.shard_schema import FORMAT, METADATA_KEY, Row


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
    with path.open("rb") as opened, pq.ParquetFile(opened, page_checksum_verification=True) as file:
        for group in range(file.num_row_groups):
            yield from file.read_row_group(group, columns=columns).to_pylist()


def read_columns(path: Path, columns: Sequence[str]) -> pa.Table:
    """Some columns of a whole shard; page checksums are verified."""
    with path.open("rb") as file:
        return pq.read_table(file, columns=list(columns), use_threads=False, page_checksum_verification=True)


def label_of(row: Mapping[str, Any]) -> npt.NDArray[np.uint8]:
    """The label map of a row: (height, width) uint8, 255 = ignore; ValueError when its bytes do not fit its size."""
    height, width, raw = row["height"], row["width"], row["label"]
    if len(raw) != height * width:
        raise ValueError(f"label of {row['id']!r} must be {height} x {width} bytes; got {len(raw)}")
    return np.frombuffer(raw, np.uint8).reshape(height, width).copy()


def pair_of(row: Mapping[str, Any]) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """The image (H, W, 3) uint8 RGB and the label (H, W) uint8 of a row.

    ValueError names a row without colour, or whose image is no whole PNG, JPEG or WebP file.
    """
    if row["image"] is None:
        raise ValueError(f"frame {row['id']!r} has a label but no colour image; it cannot be trained on")
    return np.array(decode_color(row["image"], repr(row["id"]))), label_of(row)


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
