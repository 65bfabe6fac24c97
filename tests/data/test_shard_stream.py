"""Streaming shards: every row once over ranks and workers, the same order with any workers, resumable anywhere."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastseg.data import shards
from fastseg.data.places import place
from fastseg.data.shard_stream import ShardStream, StreamOrder

ROWS = (20, 0, 7, 33, 8, 1)
TOTAL = sum(ROWS)


def label_row(frame_id: str) -> dict[str, Any]:
    figures = {"floor_m": -1.0, "aligned_fraction": 1.0, "valid_fraction": 1.0, "disagreement_deg": 0.0}
    sizes = {"height": 1, "width": 1, "up": [0.0, -1.0, 0.0], "bins": [1]}
    return {"id": frame_id, "image": None, "label": b"\0"} | figures | sizes


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    top = tmp_path_factory.mktemp("run")
    (top / "labels").mkdir()
    for number, count in enumerate(ROWS):
        rows = [label_row(f"{number:02}/{i:03}") for i in range(count)]
        path = top / "labels" / f"shard-{number:05}.parquet"
        shards.write_table(path, pa.Table.from_pylist(rows, schema=shards.SCHEMA), {"fingerprint": "f"})
    return top


def ids(stream: ShardStream, **how: Any) -> list[str]:
    return [row["id"] for row in stream.rows(**how)]


def test_an_epoch_holds_every_row_once_in_the_order_of_its_places(out: Path) -> None:
    stream = ShardStream(out, StreamOrder(batch=3, window=16))
    first, second = ids(stream, epoch=0), ids(stream, epoch=1)
    assert len(stream) == TOTAL and first == [f"{shard:02}/{row:03}" for shard, row in stream.places(0)]
    assert sorted(first) == sorted(second) == shards.HNShards(out).ids()
    assert first != second and first == ids(ShardStream(out, StreamOrder(batch=3, window=16)))
    assert first != ids(ShardStream(out, StreamOrder(batch=3, window=16, seed=1)))


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 5), st.integers(1, 9), st.integers(1, 40), st.sampled_from([1, 2, 4, 6]), st.booleans())
def test_ranks_share_the_rows(out: Path, ranks: int, batch: int, window: int, lanes: int, equal: bool) -> None:
    streams = [
        ShardStream(out, StreamOrder(3, batch, window, lanes, rank, ranks, equal)) for rank in range(ranks)
    ]  # fmt: skip
    found = [tuple(at) for stream in streams for at in stream.places(2).tolist()]
    counts = [len(stream) for stream in streams]
    assert len(set(found)) == TOTAL and len(found) == sum(counts) and max(counts) - min(counts) <= (0 if equal else 1)
    assert len(found) - TOTAL < ranks if equal else len(found) == TOTAL


@settings(max_examples=40, deadline=None)
@given(st.sampled_from([1, 2, 3, 6]), st.integers(1, 9), st.integers(1, 40), st.data())
def test_workers_take_turns_at_the_same_batches(
    out: Path, workers: int, batch: int, window: int, data: st.DataObject
) -> None:
    stream = ShardStream(out, StreamOrder(1, batch, window, lanes=6, rank=1, ranks=2, equal=True))
    whole = [f"{shard:02}/{row:03}" for shard, row in stream.places(4)]
    position = min(len(whole), batch * data.draw(st.integers(0, len(whole) // batch + 1)))
    parts = [ids(stream, epoch=4, position=position, worker=w, workers=workers) for w in range(workers)]
    merged: list[str] = []
    while any(parts):  # what a DataLoader does: a batch of each worker in turn
        for part in parts:
            merged += part[:batch]
            del part[:batch]
    assert merged == whole[position:]


def test_a_batch_mixes_places_of_the_corpus(tmp_path: Path) -> None:
    stream = ShardStream(write_many(tmp_path, 40), StreamOrder(batch=16, window=512))
    batches = stream.places(0)[: 40 * 64 // 16 * 16].reshape(-1, 16, 2)
    assert np.mean([len(np.unique(batch[:, 0])) for batch in batches]) > 6


def write_many(top: Path, count: int) -> Path:
    for number in range(count):
        rows = [label_row(f"{number:02}/{i:03}") for i in range(64)]
        table = pa.Table.from_pylist(rows, schema=shards.SCHEMA)
        shards.write_table(top / f"shard-{number:05}.parquet", table, {"fingerprint": "f"})
    return top


@pytest.mark.parametrize(
    ("how", "said"),
    [({"workers": 3}, "4 lanes"), ({"position": 2}, "multiple of 3"), ({"position": 72}, "at most 69"),
     ({"position": -3}, "at most"), ({"worker": 2, "workers": 2}, "4 lanes")],
)  # fmt: skip
def test_a_wrong_start_is_refused(out: Path, how: dict[str, int], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        ShardStream(out, StreamOrder(batch=3)).rows(**how)


def test_a_wrong_order_and_an_empty_run_are_refused(tmp_path: Path) -> None:
    cases: tuple[dict[str, Any], ...] = ({"batch": 0}, {"lanes": 0}, {"rank": 2, "ranks": 2}, {"rank": -1})
    for wrong in cases:
        with pytest.raises(ValueError, match="at least 1"):
            StreamOrder(**wrong)
    shards.write_table(tmp_path / "shard-00000.parquet", shards.SCHEMA.empty_table(), {})
    with pytest.raises(ValueError, match="hold no rows"):
        ShardStream(tmp_path)


def test_a_damaged_shard_is_named(tmp_path: Path) -> None:
    top = write_many(tmp_path, 1)
    path = top / "shard-00000.parquet"
    content = bytearray(path.read_bytes())
    content[60] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"shard-00000\.parquet cannot be read"):
        list(ShardStream(top).rows())


def test_a_stream_of_a_store_is_that_of_the_folder(out: Path) -> None:
    store = place("memory://stream-test")
    for path in out.rglob("*.parquet"):
        target = store / path.relative_to(out).as_posix()
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    assert ids(ShardStream("memory://stream-test")) == ids(ShardStream(out))
    assert shards.HNShards("memory://stream-test").ids() == shards.HNShards(out).ids()
    assert shards.HNShards("memory://stream-test").stats(40)["id"] == shards.HNShards(out).stats(40)["id"]


def test_streams_and_shards_are_read_without_torch() -> None:
    code = "import sys, fastseg.data.shard_stream, fastseg.data.shards; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.torch
@pytest.mark.parametrize("workers", [0, 1, 2])
def test_a_data_loader_gives_the_same_batches_with_any_workers_and_resumes(out: Path, workers: int) -> None:
    from torch.utils.data import DataLoader

    from fastseg.data.torch_stream import HNStream

    stream = ShardStream(out, StreamOrder(seed=5, batch=4, window=32, lanes=2))
    data = HNStream(stream, row_id)
    whole = [f"{shard:02}/{row:03}" for shard, row in stream.places(3)]
    for position in (0, 8, len(whole)):
        data.start(3, position)
        loader: DataLoader[Any] = DataLoader(data, batch_size=4, num_workers=workers)
        batches = [list(batch) for batch in loader]
        assert [name for batch in batches for name in batch] == whole[position:] and len(data) == len(whole) - position
        assert all(len(batch) == 4 for batch in batches[:-1])


def row_id(row: dict[str, Any]) -> str:
    return str(row["id"])
