"""The examples of docs/reading.md, run as they stand: every reader decodes the label that was written."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from PIL import Image

from fastseg.data import shards

GUIDE = Path(__file__).parents[2] / "docs" / "reading.md"
EXAMPLES = dict(re.findall(r"^## ([^\n]+)\n(?:(?!^## ).)*?```python\n(.*?)```", GUIDE.read_text("utf-8"), re.M | re.S))
Label = npt.NDArray[np.uint8]


def truth(index: int) -> Label:
    return np.random.default_rng(index).integers(0, 6, (5, 7)).astype(np.uint8)


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    top = tmp_path_factory.mktemp("run")
    (top / "labels").mkdir()
    (top / "rejected").mkdir()
    for number in range(3):
        rows = [label_row(index) for index in range(number * 10, number * 10 + 10)]
        metadata = {"fingerprint": "f", "hn": {"n_height": 3, "n_normal": 2, "height_edges": [0.5, 1.0]}}
        name = f"shard-{number:05}.parquet"
        shards.write_table(top / "labels" / name, pa.Table.from_pylist(rows, schema=shards.SCHEMA), metadata)
        shards.write_table(top / "rejected" / name, shards.REJECTED_SCHEMA.empty_table(), metadata)
    return top


def label_row(index: int) -> dict[str, Any]:
    buffer = io.BytesIO()
    Image.new("RGB", (7, 5), (index, 0, 0)).save(buffer, "PNG")
    label = truth(index)
    figures = {"floor_m": -1.0, "aligned_fraction": 0.9, "valid_fraction": 1.0, "disagreement_deg": 0.0}
    sizes = {"height": 5, "width": 7, "up": [0.0, -1.0, 0.0], "bins": np.bincount(label.ravel(), minlength=6).tolist()}
    return {"id": f"scene/{index:04}", "image": buffer.getvalue(), "label": label.tobytes()} | figures | sizes


def run_example(title: str, out: Path) -> dict[str, Any]:
    """What an example leaves behind, once its label is found to be that of its frame."""
    names: dict[str, Any] = {"out": str(out), "__name__": "example"}
    exec(compile(EXAMPLES[title], f"docs/reading.md: {title}", "exec"), names)
    np.testing.assert_array_equal(names["label"], truth(int(names["frame_id"].rpartition("/")[2])))
    assert names["label"].dtype == np.uint8
    return names


def test_the_guide_has_an_example_for_every_reader() -> None:
    readers = {"PyTorch, by index", "PyTorch, as a stream", "pyarrow", "DuckDB", "Ray Data", "Hugging Face datasets"}
    assert set(EXAMPLES) == readers


def test_the_guide_names_every_column() -> None:
    told = re.findall(r"`(\w+)`", " ".join(re.findall(r"^\| (`.*?) \|", GUIDE.read_text("utf-8"), re.M)))
    assert told == shards.SCHEMA.names


def test_torch_reads_by_index(out: Path) -> None:
    assert run_example("PyTorch, by index", out)["image"].shape == (5, 7, 3)


@pytest.mark.torch
def test_torch_reads_a_stream(out: Path) -> None:
    found = run_example("PyTorch, as a stream", out)
    assert tuple(found["images"].shape) == (2, 5, 7, 3)
    assert int(found["images"][0, 0, 0, 0]) == int(found["frame_id"].rpartition("/")[2])


def test_pyarrow_reads_the_run(out: Path) -> None:
    assert run_example("pyarrow", out)["frames"].count_rows() == 30


def test_duckdb_reads_the_run(out: Path) -> None:
    duckdb = pytest.importorskip("duckdb", reason="duckdb is not installed")
    run_example("DuckDB", out)
    count = f"select count(*), sum(len(bins)) from read_parquet('{out}/labels/*.parquet')"
    assert duckdb.sql(count).fetchall() == [(30, 180)]
    rejected = f"select reason, count(*) from read_parquet('{out}/rejected/*.parquet') group by reason"
    assert duckdb.sql(rejected).fetchall() == []


@pytest.mark.slow
def test_ray_data_reads_the_run(out: Path) -> None:
    ray = pytest.importorskip("ray", reason="Ray is not installed")
    ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False)
    try:
        assert run_example("Ray Data", out)["frames"].count() == 30
    finally:
        ray.shutdown()


def test_hugging_face_datasets_read_the_run(out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("HF_HOME", str(tmp_path)), ("HF_HUB_OFFLINE", "1"), ("HF_HUB_DISABLE_TELEMETRY", "1")):
        monkeypatch.setenv(name, value)
    pytest.importorskip("datasets", reason="Hugging Face's datasets are not installed")
    rows = list(run_example("Hugging Face datasets", out)["frames"])
    assert [row["id"] for row in rows] == shards.HNShards(out).ids()
    assert rows[0]["up"] == [0.0, -1.0, 0.0]
