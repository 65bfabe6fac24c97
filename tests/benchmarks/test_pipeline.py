"""What the pipeline's benchmark is made of: the corpus, the look at a run, the arithmetic."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from benchmarks import bench_pipeline
from benchmarks.pipeline_corpus import write_corpus
from benchmarks.pipeline_parts import PARTS, parts_ms, settings
from benchmarks.pipeline_projection import projection
from benchmarks.pipeline_watch import Sample, slope, steady_rate, watched
from fastseg.data.folder import Folder
from fastseg.labels.hn import HNConfig


def seen(seconds: float, shards: int) -> Sample:
    return Sample(seconds, shards, 100.0, 200.0, 2, 300.0, (1.0, 2.0, 3.0))


def test_a_corpus_has_its_length_in_distinct_ids_and_holds_its_files_once(tmp_path: Path) -> None:
    size = write_corpus(tmp_path / "corpus", 7, 3, 60, 80, 1)
    source = Folder(tmp_path / "corpus")
    assert len(source.ids()) == 7 and source.ids()[0] == "pass-00000/room-000000/view-0000"
    files = list((tmp_path / "corpus" / "depth").rglob("*.png"))
    assert len(files) == 7 and len({path.stat().st_ino for path in files}) == 3
    assert size > 1000 and source.load(source.ids()[6]).image is not None


def test_the_parts_of_the_pipeline_are_timed_alone(tmp_path: Path) -> None:
    write_corpus(tmp_path / "corpus", 4, 4, 120, 160, 1)
    found = parts_ms(tmp_path / "corpus", Folder(tmp_path / "corpus").ids(), settings(120), 3, tmp_path, 1)
    assert tuple(found) == PARTS and all(milliseconds > 0 for milliseconds in found.values())


def test_small_frames_are_labelled_with_small_windows() -> None:
    assert settings(480) == HNConfig()
    assert (settings(48).radius, settings(48).gravity_radius, settings(48).stride) == (1, 2, 1)


def test_the_programs_short_name_is_the_program() -> None:
    short = importlib.import_module("benchmarks.pipeline")
    assert (short.main, short.Config) == (bench_pipeline.main, bench_pipeline.Config)


def test_growth_is_a_slope_over_the_later_frames() -> None:
    frames = [1000.0 * i for i in range(11)]
    assert slope(frames, [100 + 0.5 * i for i in range(11)]) == pytest.approx(5.0)
    assert slope(frames[:4], [1.0, 2.0, 3.0, 4.0]) is None


def test_the_steady_rate_leaves_start_and_end_out() -> None:
    samples = [seen(0, 0), seen(10, 0), seen(11, 1), seen(12, 1), seen(13, 3), seen(21, 11), seen(60, 11)]
    assert steady_rate(samples, 64) == pytest.approx(64.0)
    assert steady_rate(samples[:3], 64) is None


def test_a_run_is_watched_while_it_goes_on_and_its_failure_is_told(tmp_path: Path) -> None:
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "shard-00000.parquet").write_bytes(b"")
    seconds, samples = watched(["-c", "import time; time.sleep(2)"], tmp_path, 0.1)
    assert seconds >= 2 and samples and samples[-1].shards == 1
    assert 1 < max(sample.driver for sample in samples) < 100 and samples[-1].workers == 0
    with pytest.raises(ValueError, match="exit code 3: what went wrong"):
        watched(["-c", "import sys; print('what went wrong', file=sys.stderr); sys.exit(3)"], tmp_path, 0.1)


def test_a_projection_says_what_was_measured_and_what_is_arithmetic() -> None:
    row = {
        "case": "480x640 folder, 2 workers", "frames": 1000, "frames_per_second": 200.0, "verify_s": 1.0,
        "bytes_read_a_frame": 150_000, "bytes_written_a_frame": 50_000.0,
    }  # fmt: skip
    parts = {"decode": 3.0, "label": 3.0, "encode": 0.1, "write": 0.9}
    found = projection(row, parts, 2)
    assert found["minutes"]["2 cores"] == pytest.approx(407_024 / 200 / 60)
    assert found["minutes"]["16 cores"] == pytest.approx(found["minutes"]["2 cores"] / 8)
    assert found["minutes"]["2 cores and one GPU"] == pytest.approx(found["minutes"]["2 cores"] * 4.046 / 7, rel=0.01)
    assert [line.endswith("(the measured rate)") for line in found["lines"]] == [True, False, False, False, False]
    assert all("arithmetic" in line for line in found["lines"][1:])
