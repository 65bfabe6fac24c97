"""A label run on an S3 server: verified, read by index and streamed by forked workers as from a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from fastseg.data import shards
from fastseg.data.places import place
from fastseg.data.shard_stream import ShardStream, StreamOrder


@pytest.fixture(scope="module")
def runs(s3: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The same shards in a folder and on the server."""
    here, there = tmp_path_factory.mktemp("run"), place(f"{s3}/labels-run")
    (here / "labels").mkdir()
    for number in range(3):
        rows = [label_row(f"{number}/{i:02}") for i in range(20)]
        name = f"labels/shard-{number:05}.parquet"
        for top in (here, there):
            shards.write_table(top / name, pa.Table.from_pylist(rows, schema=shards.SCHEMA), {"fingerprint": "f"})
    return here, str(there)


def label_row(frame_id: str) -> dict[str, Any]:
    figures = {"floor_m": -1.0, "aligned_fraction": 1.0, "valid_fraction": 1.0, "disagreement_deg": 0.0}
    sizes = {"height": 1, "width": 2, "up": [0.0, -1.0, 0.0], "bins": [2]}
    return {"id": frame_id, "image": None, "label": b"\0\0"} | figures | sizes


def test_shards_on_a_server_are_read_by_index(runs: tuple[Path, str]) -> None:
    here, there = (shards.HNShards(run) for run in runs)
    assert there.ids() == here.ids() and len(there) == 60
    assert [there.row(i) for i in (0, 59, 23, -1)] == [here.row(i) for i in (0, 59, 23, -1)]
    with pytest.raises(IndexError, match="60 labelled images"):
        there.row(60)


@pytest.mark.torch
@pytest.mark.parametrize("workers", [0, 2])
def test_workers_stream_from_a_server(runs: tuple[Path, str], workers: int) -> None:
    from torch.utils.data import DataLoader

    from fastseg.data.torch_stream import HNStream

    stream = ShardStream(runs[1], StreamOrder(batch=4))
    assert next(stream.rows())["width"] == 2  # the parent has a connection of its own before it forks
    loader: DataLoader[Any] = DataLoader(
        HNStream(stream, row_id), batch_size=4, num_workers=workers, timeout=60 * bool(workers)
    )
    expected = [row["id"] for row in ShardStream(runs[0], StreamOrder(batch=4)).rows()]
    assert [name for batch in loader for name in batch] == expected


def row_id(row: dict[str, Any]) -> str:
    return str(row["id"])
