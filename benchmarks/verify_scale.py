"""`fastseg verify` on runs of 400,000 and 1,200,000 ids: `python -m benchmarks.verify_scale --folder EMPTY`.

A run is synthesised in the exact form on disk (shards of 64 rows, 1x1 labels without colour, one id in 50 rejected),
then verified as from the command line, in its own process, with each number of workers. Seconds are from start to
exit, imports included; peak memory is the sum of the resident sets of the process and its workers, sampled.
"""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.record import RESULTS, stamp, write_json
from fastseg.cli import run
from fastseg.data.shard_check import file_sha256
from fastseg.data.shard_digest import table_digests
from fastseg.data.shard_schema import FORMAT, METADATA_KEY, REJECTED_SCHEMA, ROW_GROUP, SCHEMA, content_hash
from fastseg.data.shard_seal import UNSEALED, sealed
from fastseg.data.shards import OPTIONS
from pipelines import ledger

CHECKOUT = Path(__file__).parents[1]
SHARD = 64
CLASSES = 20
HN = {"n_height": 10, "n_normal": 2, "height_edges": [0.25 * i for i in range(1, 10)]}


@dataclass(frozen=True)
class Config:
    """What to verify, and where the runs are made and removed again (about 0.5 KB an id)."""

    folder: Path
    ids: tuple[int, ...] = (400_000, 1_200_000)
    workers: tuple[int, ...] = (0, 2)
    json: Path = RESULTS / "verify.json"


def write_run(out: Path, count: int) -> None:
    """Write a finished run of `count` ids, as the pipeline leaves one."""
    for folder in ("labels", "rejected"):
        (out / folder).mkdir(parents=True)
    ids = tuple(f"scene_{i // 700:04}/frame-{i:08}.color.png" for i in range(count))
    plan = ledger.Plan(ids, ("1",) * count, {}, "1.0", {"hn": HN}, SHARD)
    metadata = {"fingerprint": plan.fingerprint(), "hn": HN}
    for number, names in plan.ranges():
        kept = [name for i, name in enumerate(names) if i % 50 != 7]
        gone = [name for i, name in enumerate(names) if i % 50 == 7]
        _write_shard(out / "labels" / f"shard-{number:05}.parquet", _labels(kept), metadata)
        _write_shard(out / "rejected" / f"shard-{number:05}.parquet", _rejected(gone), metadata)
    ledger.write_manifest(out, plan)
    rejected = sum(1 for i in range(count) if i % SHARD % 50 == 7)
    counts = {"frames": count, "labels": count - rejected, "rejected": {"no-floor": rejected}}
    about = {"fingerprint": plan.fingerprint(), "parts": plan.parts(), "finished": "now", "counts": counts}
    shards = sorted((*(out / "labels").glob("*.parquet"), *(out / "rejected").glob("*.parquet")))
    ledger.write_sums(out, {path.relative_to(out).as_posix(): file_sha256(path) for path in shards})
    ledger.write_run(out, about)


def _labels(ids: Sequence[str]) -> pa.Table:
    count = len(ids)
    values = np.arange(count, dtype=np.uint8) % CLASSES
    bins = np.eye(CLASSES, dtype=np.int32)[values].tolist()
    columns = {
        "id": ids, "image": [None] * count, "label": [bytes([value]) for value in values],
        "height": [1] * count, "width": [1] * count, "up": [[0.0, -1.0, 0.0]] * count, "floor_m": [-1.0] * count,
        "aligned_fraction": [1.0] * count, "valid_fraction": [1.0] * count, "disagreement_deg": [0.5] * count,
        "bins": bins,
    }  # fmt: skip
    return pa.table(columns, schema=SCHEMA)


def _rejected(ids: Sequence[str]) -> pa.Table:
    count = len(ids)
    columns = {
        "id": ids,
        "reason": ["no-floor"] * count,
        "detail": ["no floor in view"] * count,
        "value": [0.1] * count,
    }
    return pa.table(columns, schema=REJECTED_SCHEMA)


def _write_shard(path: Path, table: pa.Table, metadata: dict[str, Any]) -> None:
    """What ShardWriter leaves, without its care for a power cut."""
    digests = dict(zip(table["id"].to_pylist(), table_digests(table), strict=True))
    facts = {"format": FORMAT, "rows": len(digests), "content": content_hash(digests), "seal": UNSEALED}
    buffer = io.BytesIO()
    with pq.ParquetWriter(buffer, table.schema, **OPTIONS) as writer:
        writer.write_table(table, row_group_size=ROW_GROUP)
        writer.add_key_value_metadata({METADATA_KEY: json.dumps(metadata | facts, sort_keys=True).encode()})
    content = buffer.getvalue()
    path.write_bytes(sealed(content, hashlib.sha256(content).hexdigest()))


def measure(out: Path, workers: int) -> dict[str, float]:
    """Seconds and peak MiB of one `fastseg verify`; RuntimeError when it finds a problem."""
    command = [sys.executable, "-m", "fastseg", "verify", str(out), "--workers", str(workers)]
    start, peak = time.perf_counter(), 0
    with subprocess.Popen(command, cwd=CHECKOUT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        while process.poll() is None:
            peak = max(peak, _resident(process.pid))
            time.sleep(0.05)
        said = process.stdout.read().decode() if process.stdout else ""
    seconds = time.perf_counter() - start
    if process.returncode:
        raise RuntimeError(f"verify found fault with the synthesised run: {said[:500]}")
    return {"seconds": round(seconds, 2), "peak_mib": round(peak / 2**20)}


def _resident(pid: int) -> int:
    """Bytes resident in a process and its children, pages that they share counted for each."""
    total = 0
    try:
        fields = Path(f"/proc/{pid}/statm").read_text().split()
        total = int(fields[1]) * 4096
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except (OSError, IndexError):
        return total
    return total + sum(_resident(int(child)) for child in children)


def main(config: Config) -> int:
    """Make, verify and remove a run of each size; write the figures."""
    rows = []
    for count in config.ids:
        out = config.folder / f"run-{count}"
        write_run(out, count)
        try:
            for workers in config.workers:
                rows.append({"ids": count, "shards": -(-count // SHARD), "workers": workers, **measure(out, workers)})
                print(rows[-1])
        finally:
            shutil.rmtree(out)
    print(write_json(config.json, {"op": "verify", **stamp(), "rows": rows}))
    return 0


if __name__ == "__main__":
    sys.exit(run(Config, main))
