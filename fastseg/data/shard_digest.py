"""The digests of many rows at once: the same as `row_digest` of each, from Arrow's columns instead of Python's rows."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Bytes = npt.NDArray[np.uint8]
_HEAD = np.dtype([("valid", "?"), ("length", "<i8")])  # struct "<?q": what stands before every cell


def table_digests(table: pa.Table) -> list[bytes]:
    """The SHA-256 of each row of a table, 32 bytes each, as `row_digest` defines it.

    Cells of one width are laid side by side for all rows at once (N, K) uint8; only texts, bytes and lists of any
    length are cut out row by row. ValueError for an empty cell of one width: no schema of shards has one.
    """
    parts: list[Iterable[bytes]] = []
    fixed: list[Bytes] = []
    for name in table.column_names:
        column = table[name].combine_chunks()
        if pa.types.is_string(column.type) or pa.types.is_binary(column.type):
            cells = _encoded(column)
            heads = _heads([-1 if cell is None else len(cell) for cell in cells])
            parts += [_rows([*fixed, heads]), [cell or b"" for cell in cells]]
            fixed = []
        elif pa.types.is_list(column.type):
            offsets = 8 * (np.asarray(column.offsets, np.int64) - column.offsets[0].as_py())
            parts += [_rows([*fixed, _heads(np.diff(offsets))]), _cut(_cells(column.flatten()).tobytes(), offsets)]
            fixed = []
        else:
            numbers = _cells(column)
            fixed += [_heads(np.full(len(column), numbers.shape[1])), numbers]
    parts.append(_rows(fixed) if fixed else [b""] * len(table))
    return [hashlib.sha256(b"".join(row)).digest() for row in zip(*parts, strict=True)]


def _encoded(column: pa.Array) -> list[bytes | None]:
    """The cells of a text or bytes column as bytes; None for an empty one."""
    found: list[bytes | None] = column.cast(pa.binary()).to_pylist()
    return found


def _heads(lengths: Sequence[int] | npt.NDArray[np.int64]) -> Bytes:
    """What stands before cells of these lengths (N, 9); -1 is a cell that is not there."""
    heads = np.zeros(len(lengths), _HEAD)
    heads["valid"] = np.asarray(lengths, np.int64) >= 0
    heads["length"] = np.maximum(lengths, 0)
    return heads.view(np.uint8).reshape(-1, struct.calcsize("<?q"))


def _cells(column: pa.Array) -> Bytes:
    """The bytes of a column of numbers, or of lists of one length, one row each; NaN has one form."""
    if column.null_count:
        raise ValueError("a column of numbers has empty cells")
    if pa.types.is_fixed_size_list(column.type):
        items = _cells(column.flatten())
        return items.reshape(len(column), column.type.list_size * items.shape[1])
    values = column.to_numpy(zero_copy_only=False)
    if values.dtype.kind == "f":
        values = np.where(np.isnan(values), values.dtype.type(np.nan), values)
        wide = np.ascontiguousarray(values, values.dtype.newbyteorder("<"))
    else:
        wide = np.ascontiguousarray(values, "<i8")
    return wide.view(np.uint8).reshape(len(values), wide.dtype.itemsize)


def _rows(matrices: Sequence[Bytes]) -> Iterator[bytes]:
    """The rows of matrices laid side by side, as bytes."""
    joined = np.concatenate(matrices, axis=1)
    width = joined.shape[1]
    return _cut(joined.tobytes(), np.arange(0, (len(joined) + 1) * width, width))


def _cut(data: bytes, offsets: npt.NDArray[np.int64]) -> Iterator[bytes]:
    """Pieces of `data` between neighbouring offsets."""
    return (data[start:stop] for start, stop in pairwise(offsets.tolist()))
