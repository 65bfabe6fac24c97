"""Shards: rows come back exactly, partial files never appear, damage is found, random access reads the right row."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from fastseg.data import shards

EDGES = [0.5, 1.0]


def jpeg(seed: int, size: tuple[int, int] = (9, 13)) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def row(seed: int) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 6, (9, 13)).astype(np.uint8)
    return {
        "id": f"scene/{seed:04}",
        "image": jpeg(seed),
        "label": label.tobytes(),
        "height": 9,
        "width": 13,
        "up": [0.0, -1.0, 0.0],
        "floor_m": float(np.float32(-1.1)),
        "aligned_fraction": 0.5,
        "valid_fraction": 1.0,
        "disagreement_deg": float(np.float32(0.3)),
        "bins": np.bincount(label.ravel(), minlength=6).tolist(),
    }


def write(folder: Path, seeds: range, number: int = 0, fingerprint: str = "a") -> Path:
    (folder / "labels").mkdir(exist_ok=True, parents=True)
    path = folder / "labels" / f"shard-{number:05}.parquet"
    metadata = {"fingerprint": fingerprint, "hn": {"n_height": 3, "n_normal": 2, "height_edges": EDGES}}
    with shards.ShardWriter(path, metadata) as writer:
        for seed in seeds:
            writer.add(row(seed))
        writer.commit()
    return path


def test_rows_come_back_as_they_were_written(tmp_path: Path) -> None:
    path = write(tmp_path, range(20))
    assert list(shards.read_rows(path)) == [row(seed) for seed in range(20)]
    assert pq.read_schema(path).remove_metadata() == shards.SCHEMA
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_the_content_hash_in_the_metadata_is_that_of_the_rows(tmp_path: Path) -> None:
    path = write(tmp_path, range(20))
    metadata = shards.read_metadata(path)
    digests = {r["id"]: shards.row_digest(r) for r in shards.read_rows(path)}
    assert metadata["rows"] == 20 and metadata["content"] == shards.content_hash(digests)
    assert metadata["content"] != shards.read_metadata(write(tmp_path, range(19), 1))["content"]


def test_the_digest_of_a_row_sees_every_column() -> None:
    changes = {"id": "x", "image": None, "label": b"", "height": 10, "width": 1, "up": [0.0, 0.0, 0.0], "floor_m": 0.0}
    changes |= {"aligned_fraction": 0.0, "valid_fraction": float("nan"), "disagreement_deg": 0.0, "bins": [1]}
    assert set(changes) == set(shards.SCHEMA.names)
    digests = {shards.row_digest(row(0) | {name: value}) for name, value in changes.items()}
    assert len(digests | {shards.row_digest(row(0))}) == len(changes) + 1


def test_a_shard_written_twice_has_the_same_bytes(tmp_path: Path) -> None:
    assert write(tmp_path / "a", range(9)).read_bytes() == write(tmp_path / "b", range(9)).read_bytes()


def test_an_error_while_writing_leaves_no_file(tmp_path: Path) -> None:
    path = tmp_path / "shard-00000.parquet"
    with pytest.raises(ZeroDivisionError), shards.ShardWriter(path, {}) as writer:
        writer.add(row(0))
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_cannot_be_written_is_named_and_not_its_temporary(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(NotADirectoryError) as error:
        shards.replace_file(tmp_path / "file" / "run.json", b"{}")
    assert error.value.filename == str(tmp_path / "file" / "run.json")


def test_rows_out_of_order_or_twice_are_refused(tmp_path: Path) -> None:
    for second in (0, 1):
        with (
            pytest.raises(ValueError, match="sorted by id"),
            shards.ShardWriter(tmp_path / "x.parquet", {}) as writer,
        ):
            writer.add(row(1))
            writer.add(row(second))


def test_an_empty_shard_is_a_complete_file(tmp_path: Path) -> None:
    path = write(tmp_path, range(0))
    assert list(shards.read_rows(path)) == [] and shards.read_metadata(path)["rows"] == 0


def test_a_table_is_written_sorted(tmp_path: Path) -> None:
    rows = [{"id": i, "reason": "no-floor", "detail": "", "value": 0.5} for i in "bca"]
    shards.write_table(tmp_path / "r.parquet", pa.Table.from_pylist(rows, schema=shards.REJECTED_SCHEMA), {})
    assert [r["id"] for r in shards.read_rows(tmp_path / "r.parquet")] == ["a", "b", "c"]


@pytest.mark.parametrize("keep", [0.0, 0.01, 0.5, 0.99])
def test_a_truncated_shard_is_named(tmp_path: Path, keep: float) -> None:
    path = write(tmp_path, range(9))
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * keep)])
    with pytest.raises(ValueError, match="shard-00000"):
        shards.read_metadata(path)


def test_a_foreign_parquet_file_is_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"id": ["a"]}), tmp_path / "x.parquet")
    with pytest.raises(ValueError, match="not a fastseg shard"):
        shards.read_metadata(tmp_path / "x.parquet")


def test_hn_shards_give_image_and_label_in_any_order(tmp_path: Path) -> None:
    write(tmp_path, range(0, 20), 0)
    write(tmp_path, range(20, 31), 1)
    data = shards.HNShards(tmp_path)
    assert len(data) == 31 and data.ids() == [f"scene/{seed:04}" for seed in range(31)]
    for i in np.random.default_rng(0).permutation(31):
        image, label = data[int(i)]
        with Image.open(io.BytesIO(row(int(i))["image"])) as expected:
            np.testing.assert_array_equal(image, np.asarray(expected))
        assert label.tobytes() == row(int(i))["label"] and label.shape == (9, 13) and label.flags.writeable
    assert data.stats(30)["bins"] == row(30)["bins"] and "label" not in data.stats(30)


def test_hn_shards_name_their_classes_in_label_order(tmp_path: Path) -> None:
    write(tmp_path, range(1))
    ranges = ["below 0.50 m", "0.50-1.00 m", "above 1.00 m"]
    surfaces = ["parallel to floor", "perpendicular to floor"]
    assert shards.HNShards(tmp_path).class_names == [f"{s} x {r}" for s in surfaces for r in ranges]
    assert shards.class_names(1, 3, []) == [f"{a}-{a + 30} deg from floor x any height" for a in (0, 30, 60)]
    with pytest.raises(ValueError, match="9 inner edges"):
        shards.class_names(10, 2, EDGES)


def test_hn_shards_refuse_an_empty_folder_and_mixed_runs(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no label shards"):
        shards.HNShards(tmp_path)
    write(tmp_path, range(3), 0)
    write(tmp_path, range(3, 5), 1, fingerprint="b")
    with pytest.raises(ValueError, match="different runs"):
        shards.HNShards(tmp_path)


def test_a_label_that_does_not_fit_its_size_is_refused() -> None:
    with pytest.raises(ValueError, match="scene/0000"):
        shards.label_of(row(0) | {"height": 10})
