"""OUT/consensus.parquet: what the frames of each scene voted for, made of the first run's rows, found by id."""

from __future__ import annotations

import hashlib
import io
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fastseg.data.places import place
from fastseg.data.shards import Row
from fastseg.labels.consensus import ConsensusConfig, Double, Estimates, Planes, alone, by_poses
from fastseg.labels.hn import HNConfig
from fastseg.labels.standing import while_still

Consensus = Literal["none", "poses", "sequence"]
MADE_OF = b"fastseg.consensus"
FIGURES = ("up", "floor_m", "aligned_fraction", "valid_fraction", "disagreement_deg")


@dataclass(frozen=True)
class PlaneTable:
    """The rows of OUT/consensus.parquet, found by id."""

    ids: list[str]
    table: pa.Table

    def of(self, frame_id: str) -> dict[str, Any] | None:
        """The row of a frame, None for one that has no estimate."""
        at = bisect_left(self.ids, frame_id)
        if at == len(self.ids) or self.ids[at] != frame_id:
            return None
        row: dict[str, Any] = self.table.slice(at, 1).to_pylist()[0]
        return row


@lru_cache(maxsize=1)
def planes_at(path: str, sha256: str) -> PlaneTable:
    """The planes in the file at `path`, read once in each process; OSError when they are not those of the run."""
    content = place(path).read_bytes()
    if hashlib.sha256(content).hexdigest() != sha256:
        raise OSError(f"{path} is not the file that this run began with; the same command again makes it anew")
    table = table_of(content)
    return PlaneTable(table["id"].to_pylist(), table)


def reduce_scenes(
    estimates: Path, mode: Consensus, settings: ConsensusConfig, hn: HNConfig, scene: Callable[[str], str]
) -> pa.Table:
    """One row for each estimated frame, sorted by id: its scene, its plane or the reason for none, how well it stands.

    Columns: id, scene, up (3) and floor_m (camera frame, metres), up_spread_deg and floor_spread_m (the confidence:
    weighted median departures of the votes), votes, reason (a key of `REASONS`), accepted_alone, and what the frame
    found alone of aligned_fraction and disagreement_deg.
    """
    ids, up, figures, numbers = _read(estimates)
    own = alone(up, figures, numbers[:, :16].reshape(-1, 4, 4), hn)
    scenes = np.array([scene(frame_id) for frame_id in ids], str)
    planes: dict[str, Any] = {
        "up": np.full((len(ids), 3), np.nan), "floor_m": np.full(len(ids), np.nan),
        "up_spread_deg": np.full(len(ids), np.nan), "floor_spread_m": np.full(len(ids), np.nan),
        "votes": np.zeros(len(ids), np.int32), "reason": np.full(len(ids), "", object),
    }  # fmt: skip
    for name in np.unique(scenes):
        of = np.flatnonzero(scenes == name)
        part = Estimates(**{key: value[of] for key, value in vars(own).items()})
        found: Planes = by_poses(part, settings) if mode == "poses" else while_still(part, numbers[of, 16:], settings)
        for key, column in planes.items():
            column[of] = getattr(found, key)
    up_column = pa.FixedSizeListArray.from_arrays(pa.array(planes.pop("up").ravel()), 3)
    columns = {"id": pa.array(ids, pa.string()), "scene": scenes, "up": up_column} | planes
    columns |= {"accepted_alone": own.floor > 0, "aligned_fraction": figures[:, 1], "disagreement_deg": figures[:, 3]}
    return pa.table(columns)


def _read(estimates: Path) -> tuple[list[str], Double, Double, Double]:
    """Ids, ups (N, 3), figures (N, 4) and numbers (N, 64) of the rows of the first run, sorted by id."""
    names = ["id", "image", *FIGURES]
    rows: list[Row] = []
    for path in sorted((estimates / "labels").glob("*.parquet")):  # small, and read whole: the place may be a store
        rows += table_of(path.read_bytes()).select(names).to_pylist()
    rows.sort(key=lambda row: str(row["id"]))
    numbers = np.frombuffer(b"".join(row["image"] for row in rows), "<f8").reshape(len(rows), -1 if rows else 64)
    figures = np.array([[row[name] for name in FIGURES[1:]] for row in rows], np.float64).reshape(-1, 4)
    ups = np.array([row["up"] for row in rows], np.float64).reshape(-1, 3)
    return [row["id"] for row in rows], ups, figures, numbers


def table_of(content: bytes) -> pa.Table:
    """The table in the bytes of a Parquet file; its page checksums are verified."""
    return pq.read_table(pa.BufferReader(content), page_checksum_verification=True)


def encoded(table: pa.Table, made_of: str) -> bytes:
    """The file's bytes, with the fingerprint of the run that it was made of."""
    buffer = io.BytesIO()
    described = table.replace_schema_metadata({MADE_OF: made_of.encode()})
    pq.write_table(described, buffer, compression="zstd", write_page_checksum=True)
    return buffer.getvalue()


def kept(path: Path, made_of: str) -> bytes | None:
    """The content of an earlier reduction of the same estimates, None when there is none that can be read."""
    try:
        content = path.read_bytes()
        schema = table_of(content).schema
    except (OSError, ValueError, pa.ArrowException):
        return None
    return content if (schema.metadata or {}).get(MADE_OF) == made_of.encode() else None


def summary(table: pa.Table) -> dict[str, Any]:
    """How many frames have a plane that alone have none, and how many are judged alone, by reason."""
    reasons, accepted = table["reason"].to_pylist(), table["accepted_alone"].to_pylist()
    rescued = sum(not r and not a for r, a in zip(reasons, accepted, strict=True))
    return {"rescued": rescued, "alone": dict(sorted(Counter(r for r in reasons if r).items()))}
