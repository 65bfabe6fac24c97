"""`fastseg verify` finds every kind of damage in a small run and names it; it changes nothing."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fastseg.data import shards
from fastseg.verify import VerifyConfig, main, problems


def label_row(frame_id: str, value: int = 2) -> dict[str, Any]:
    figures = {"floor_m": -1.0, "aligned_fraction": 1.0, "valid_fraction": 1.0, "disagreement_deg": 0.0}
    bins = [12 if i == value else 0 for i in range(6)]
    label = np.full((3, 4), value, np.uint8).tobytes()
    sizes = {"height": 3, "width": 4, "up": [0.0, -1.0, 0.0], "bins": bins}
    return {"id": frame_id, "image": b"x", "label": label} | figures | sizes


def write_sums(out: Path) -> None:
    files = sorted(p for p in out.rglob("*.parquet"))
    lines = [f"{hashlib.sha256(p.read_bytes()).hexdigest()}  {p.relative_to(out).as_posix()}\n" for p in files]
    (out / "SHA256SUMS").write_text("".join(lines))


def write_shard(out: Path, folder: str, number: int, rows: list[dict[str, Any]], fingerprint: str = "f") -> None:
    schema = shards.SCHEMA if folder == "labels" else shards.REJECTED_SCHEMA
    metadata = {"fingerprint": fingerprint, "hn": {"n_height": 3, "n_normal": 2, "height_edges": [0.5, 1.0]}}
    path = out / folder / f"shard-{number:05}.parquet"
    shards.write_table(path, pa.Table.from_pylist(rows, schema=schema), metadata)


@pytest.fixture
def out(tmp_path: Path) -> Iterator[Path]:
    for folder in ("labels", "rejected"):
        (tmp_path / folder).mkdir()
    manifest = {"id": ["a", "b", "c"], "shard": pa.array([0, 0, 1], pa.int32()), "inputs": ["1"] * 3}
    pq.write_table(pa.table(manifest), tmp_path / "manifest.parquet")
    (tmp_path / "run.json").write_text(json.dumps({"fingerprint": "f", "finished": "now"}))
    write_shard(tmp_path, "labels", 0, [label_row("a")])
    write_shard(tmp_path, "labels", 1, [label_row("c")])
    write_shard(tmp_path, "rejected", 0, [{"id": "b", "reason": "no-floor", "detail": "", "value": 0.0}])
    write_shard(tmp_path, "rejected", 1, [])
    write_sums(tmp_path)
    assert problems(tmp_path) == []
    yield tmp_path


def check(out: Path, expected: str) -> None:
    write_sums(out)
    assert any(expected in problem for problem in problems(out)), problems(out)


def test_a_whole_run_passes_and_a_broken_one_ends_with_code_one(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(VerifyConfig(out)) == 0
    (out / "labels" / "shard-00001.parquet").unlink()
    assert main(VerifyConfig(out)) == 1
    assert "shard-00001.parquet is missing" in capsys.readouterr().err


def test_every_flipped_byte_is_found(out: Path) -> None:
    rng = np.random.default_rng(0)
    files = sorted(out.rglob("*.parquet"))
    for _ in range(60):
        path = files[rng.integers(len(files))]
        content = bytearray(path.read_bytes())
        content[rng.integers(len(content))] ^= 1 << int(rng.integers(8))
        whole = path.read_bytes()
        path.write_bytes(content)
        assert problems(out) != []
        path.write_bytes(whole)
    assert problems(out) == []


def test_missing_unknown_and_repeated_ids_are_named(out: Path) -> None:
    write_shard(out, "labels", 1, [])
    check(out, "1 ids ('c') have no row")
    write_shard(out, "labels", 1, [label_row("c"), label_row("d")])
    check(out, "1 ids ('d') are not in the manifest")
    write_shard(out, "labels", 1, [label_row("b"), label_row("c")])
    check(out, "1 ids ('b') have several rows")
    check(out, "of other shards")


def test_label_values_and_histograms_out_of_range_are_named(out: Path) -> None:
    write_shard(out, "labels", 1, [label_row("c", value=7)])
    check(out, "label of 'c' must hold 0..5 or 255; got 7")
    write_shard(out, "labels", 1, [label_row("c") | {"bins": [12, 0, 0, 0, 0, 0]}])
    check(out, "bins of 'c' do not count its label")
    write_shard(out, "labels", 1, [label_row("c") | {"height": 2}])
    check(out, "label of 'c' must be 2 x 4 bytes; got 12")


def test_shards_of_another_run_or_schema_and_unlisted_ones_are_named(out: Path) -> None:
    write_shard(out, "labels", 1, [label_row("c")], fingerprint="g")
    check(out, "another run")
    write_shard(out, "labels", 2, [])
    check(out, "belongs to no shard")
    rows = pa.table({"id": ["c"], "label": [b""]})
    shards.write_table(out / "labels" / "shard-00001.parquet", rows, {"fingerprint": "f"})
    check(out, "not the schema")


def test_an_unfinished_run_and_a_folder_that_is_none_are_named(out: Path, tmp_path: Path) -> None:
    (out / "run.json").write_text(json.dumps({"fingerprint": "f", "finished": None}))
    check(out, "is not finished")
    nothing = tmp_path / "nothing"
    missing = f"{nothing / 'run.json'}: No such file or directory"
    assert problems(nothing) == [f"{nothing} is not a readable label run: {missing}"]
