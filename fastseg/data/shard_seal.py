"""The seal of a shard: the SHA-256 of the whole file, kept in the file's own footer, so that any flipped byte shows."""

from __future__ import annotations

import hashlib
import os
from typing import IO, Any

UNSEALED = "0" * 64  # what stands in the seal's place while the file is hashed
_KEY = b'"seal": "'  # as json.dumps writes it; inside a JSON string the quotes would be escaped
_CHUNK = 1 << 20


def sealed(footer: bytes, seal: str) -> bytes:
    """The last bytes of a Parquet file whose metadata holds `"seal": UNSEALED`, with the seal in its place."""
    before, key, after = footer.rpartition(_KEY)
    return before + key + seal.encode() + after[64:]


def file_digests(file: IO[bytes] | Any) -> tuple[str, bool]:
    """The SHA-256 (hex) of a shard's bytes, and whether its seal is that of the file with the seal's place cleared.

    Any open file that reads and seeks. ValueError when the footer holds no seal.
    """
    at = _place(file)
    file.seek(at)
    seal = file.read(64)
    cleared, whole = _digests(file, at)
    return whole, seal == cleared.encode()


def _place(file: IO[bytes] | Any) -> int:
    """Where the 64 characters of the seal stand: after the last key of that name in the footer."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(size - 8, 0))
    tail = file.read(8)
    length = int.from_bytes(tail[:4], "little")
    if tail[4:] != b"PAR1" or not 0 < length <= size - 12:
        raise ValueError("it does not end as a Parquet file does")
    file.seek(size - 8 - length)
    footer = file.read(length)
    found = footer.rfind(_KEY)
    if found < 0 or found + len(_KEY) + 64 > length:
        raise ValueError("its footer holds no seal")
    return int(size - 8 - length + found + len(_KEY))


def _digests(file: IO[bytes] | Any, at: int) -> tuple[str, str]:
    """The SHA-256 of the file with the 64 bytes at `at` cleared, and as it is; one pass over all before the footer."""
    digest, left = hashlib.sha256(), at
    file.seek(0)
    while left and (chunk := file.read(min(left, _CHUNK))):
        digest.update(chunk)
        left -= len(chunk)
    whole, seal, rest = digest.copy(), file.read(64), file.read()
    digest.update(UNSEALED.encode() + rest)
    whole.update(seal + rest)
    return digest.hexdigest(), whole.hexdigest()
