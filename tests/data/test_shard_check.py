"""Checking a shard: fast digests are the slow ones, the seal sees every byte, wrong values are named."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from fastseg.data import shard_check, shards
from fastseg.data.shard_check import check_shard
from fastseg.data.shard_digest import table_digests
from fastseg.data.shard_schema import REJECTED_SCHEMA, SCHEMA, row_digest
from fastseg.data.shard_seal import UNSEALED, file_digests, sealed

HN = {"n_height": 3, "n_normal": 2, "height_edges": [0.5, 1.0]}


def row(seed: int, **changes: Any) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 6, (3, 4)).astype(np.uint8)
    figures = {"floor_m": -0.0, "aligned_fraction": 1.0, "valid_fraction": 1.0, "disagreement_deg": math.nan}
    bins = np.bincount(label.ravel(), minlength=6).tolist()
    sizes = {"height": 3, "width": 4, "up": [0.0, -1.0, 0.0], "bins": bins}
    image = rng.bytes(seed % 5) if seed % 3 else None
    return {"id": f"scene/{seed:04}", "image": image, "label": label.tobytes()} | figures | sizes | changes


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    shards.write_table(path, pa.Table.from_pylist(rows, schema=SCHEMA), {"hn": HN})
    return path


def test_the_digests_of_a_table_are_those_of_its_rows() -> None:
    changes: list[dict[str, Any]] = [{"bins": []}, {"image": b""}, {"id": "Küche"}, {"up": [math.nan, 0.0, 1.0]}]
    rows = [row(seed) for seed in range(20)] + [row(20 + i, **change) for i, change in enumerate(changes)]
    table = pa.Table.from_pylist(rows, schema=SCHEMA)
    expected = [row_digest(item) for item in table.to_pylist()]
    assert table_digests(table) == expected
    assert table_digests(table.slice(3, 9)) == expected[3:12]
    assert table_digests(pa.concat_tables([table.slice(5), table.slice(0, 5)])) == expected[5:] + expected[:5]
    assert table_digests(SCHEMA.empty_table()) == []


def test_the_digests_of_rejected_rows_are_those_of_each() -> None:
    rows = [{"id": i, "reason": "scale", "detail": 'far "away"', "value": v} for i, v in (("a", math.nan), ("b", -0.0))]
    table = pa.Table.from_pylist(rows, schema=REJECTED_SCHEMA)
    assert table_digests(table) == [row_digest(item, REJECTED_SCHEMA) for item in rows]


def test_a_column_of_numbers_with_an_empty_cell_has_no_digest() -> None:
    with pytest.raises(ValueError, match="empty cells"):
        table_digests(pa.table({"height": pa.array([1, None], pa.int32())}))


def test_every_flipped_bit_of_a_shard_is_found_without_any_other_file(tmp_path: Path) -> None:
    path = write(tmp_path / "labels" / "a.parquet", [row(seed, id=f'"seal": "{seed:04}') for seed in range(3)])
    assert check_shard(path).problems == []
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    for at in rng.choice(len(whole), 200, replace=False):
        flipped = bytearray(whole)
        flipped[at] ^= 1 << int(rng.integers(8))
        path.write_bytes(flipped)
        problems = check_shard(path).problems
        assert problems and all(str(path) in problem and "\n" not in problem for problem in problems), at


def test_a_seal_can_be_made_again_and_says_the_bytes(tmp_path: Path) -> None:
    path = write(tmp_path / "labels" / "a.parquet", [row(1)])
    with path.open("rb") as file:
        assert file_digests(file) == (shard_check.file_sha256(path), True)
    whole = path.read_bytes()
    path.write_bytes(sealed(whole, UNSEALED))
    assert any("seal" in problem for problem in check_shard(path).problems)
    path.write_bytes(sealed(whole, shard_check.file_sha256(path)))
    assert path.read_bytes() == whole and check_shard(path).problems == []


@pytest.mark.parametrize(
    "content", [b"", b"PAR1", b"PAR1\0\0\0\0PAR1", b"PAR1xx\2\0\0\0PAR1", b"PAR1\xff\xff\xff\xffPAR1"]
)
def test_what_is_no_parquet_file_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "shard-00000.parquet"
    path.write_bytes(content)
    (problem,) = check_shard(path).problems
    assert "shard-00000.parquet is damaged" in problem


def test_wrong_values_are_named(tmp_path: Path) -> None:
    wrong: dict[str, dict[str, Any]] = {
        "label of 'scene/0000' must be 2 x 4 bytes; got 12": {"height": 2},
        "label of 'scene/0000' must be -3 x -4 bytes; got 12": {"height": -3, "width": -4},
        "label of 'scene/0000' must hold 0..5 or 255; got 254": {"label": bytes([6, 254]) + bytes(10)},
        "bins of 'scene/0000' do not count its label": {"bins": [12]},
        "up of 1 rows must have length 1": {"up": [0.0, 0.5, 0.0]},
        "valid_fraction of 1 rows must lie in 0..1": {"valid_fraction": math.nan},
        "aligned_fraction of 1 rows must lie in 0..1": {"aligned_fraction": 1.5},
    }
    for problem, change in wrong.items():
        path = write(tmp_path / "labels" / "a.parquet", [row(0, **change), row(1)])
        assert any(problem in found for found in check_shard(path).problems), (problem, check_shard(path).problems)
        path.unlink()


def test_a_shard_too_large_for_memory_is_checked_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "labels" / "a.parquet", [row(seed) for seed in range(30)])
    expected = check_shard(path)
    monkeypatch.setattr(shard_check, "WHOLE", 0)
    monkeypatch.setattr(shard_check, "AT_ONCE", 1)
    assert check_shard(path) == expected and expected.problems == [] and len(expected.ids) == 30
