"""What is wrong with the rows of a PSSL shard: sizes, classes, and deciles that cannot be decile ranks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from fastseg.labels.pssl_config import unpacked


def decile_problems(table: pa.Table, about: Mapping[str, Any]) -> Iterator[str]:
    """One sentence for each row whose values cannot be, and for each column of shares outside 0..1.

    about   what the footer says under `pssl`
    """
    classes, columns = len(about["classes"]), ("id", "class", "deciles", "height", "width")
    for row in table.select(columns).to_pylist():
        if not 0 <= row["class"] < classes:
            yield f"class of {row['id']!r} must lie in 0..{classes - 1}; got {row['class']}"
        if problem := _rank_problem(row):
            yield problem
    for name in ("changed", "probability", "right"):
        values = np.asarray(table[name].combine_chunks(), np.float64)
        good = (values >= 0) & (values <= 1 + 1e-5) | ((name == "changed") & np.isnan(values))
        if not good.all():
            wrong = np.flatnonzero(~good)
            yield f"{name} of {len(wrong)} rows must lie in 0..1; {table['id'][int(wrong[0])].as_py()!r} the first"


def sum_problems(table: pa.Table) -> Iterator[str]:
    """One sentence for each partial sum that no models' maps between 0 and 1 add up to."""
    for row in table.select(("id", "total", "height", "width", "models")).to_pylist():
        size = row["height"] * row["width"]
        if min(row["height"], row["width"], row["models"]) < 1 or len(row["total"]) != 4 * size:
            expected = f"{row['height']} x {row['width']} float32 of a model or more"
            yield f"total of {row['id']!r} must be {expected}; got {len(row['total'])} bytes"
            continue
        total = np.frombuffer(row["total"], np.float32)
        if not ((total >= 0) & (total <= row["models"] * (1 + 1e-5))).all():
            yield f"total of {row['id']!r} must lie in 0..{row['models']}"


def _rank_problem(row: Mapping[str, Any]) -> str | None:
    """Why these are no decile ranks: a decile of at least d has at least d N / 10 pixels below it."""
    try:
        deciles = unpacked(row["deciles"], row["height"], row["width"])
    except ValueError as error:
        return f"{row['id']!r}: {error}"
    if int(deciles.max()) > 9:
        return f"deciles of {row['id']!r} must lie in 0..9; got {int(deciles.max())}"
    counts = np.bincount(deciles.ravel(), minlength=10)
    below = np.cumsum(counts) - counts
    if (below[counts > 0] * 10 < np.flatnonzero(counts) * deciles.size).any() or counts[0] == deciles.size:
        return f"deciles of {row['id']!r} are no decile ranks: too many pixels rank too high"
    return None
