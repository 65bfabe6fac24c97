"""The README's table of the ops says what the results say: ratios with their goals, floors, and what was not run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import readme_ops
from benchmarks.floors import floor, measured
from benchmarks.timing import Row, write_rows

RATES = {"copy_gb_s": 20.0, "matmul_gflop_s": 100.0}


def made(case: str, impl: str, ms: float, ratio: float, threads: int = 1, error: float | None = None) -> Row:
    return Row(case, impl, threads, ms, ms, 31, ratio, error)


def results(folder: Path, fals: float = 3.5) -> Path:
    case, batch = "480x640 plane r3", "8x480x640 plane r3"
    rows = [made(case, "fastseg", 1.2, 1.0, error=9.8), made(case, "opencv_fals", 1.2 * fals, fals, error=16.0)]
    rows += [made(batch, "fastseg", 9.6, 1.0), made(batch, "fastseg", 5.0, 1.0, 2)]
    write_rows("normals", rows, folder / "normals-2026-01-02.json")
    (folder / "floors-2026-01-01.json").write_text(
        json.dumps({"date": "2026-01-01 00:00 UTC", "machine": {}, "rates": {"1": RATES}})
    )
    return folder


def line_of(folder: Path, title: str) -> str:
    (found,) = (line for line in readme_ops.lines(folder) if line.startswith(f"| {title}"))
    return found


def test_a_line_shows_time_ratios_goals_speed_up_and_floor(tmp_path: Path) -> None:
    found = line_of(results(tmp_path), "plane fit, 7x7")
    assert "| 1.20 ms |" in found
    assert "opencv_fals 3.5 (goal 3)" in found and "error 9.8 deg, opencv_fals 16.0" in found
    assert "open3d_knn not run" in found
    assert "| 1.92 |" in found
    bytes_ms = 28 * 480 * 640 / 20e6
    assert f"{1.2 / bytes_ms:.1f} x {bytes_ms:.2f} ms (bytes)" in found
    assert found.endswith("| not run (goal 3 us a frame) |")


def test_a_missed_goal_is_marked(tmp_path: Path) -> None:
    assert "opencv_fals 2.5 (goal 3, missed)" in line_of(results(tmp_path, 2.5), "plane fit, 7x7")


def test_without_results_every_line_says_not_run(tmp_path: Path) -> None:
    table = readme_ops.lines(tmp_path)
    assert len([line for line in table if "not run | not run | not run" in line]) == len(readme_ops.LINES)
    assert table[-1] == "From `benchmarks/results`: not run."


def test_the_gpu_column_shows_microseconds_and_the_share_of_the_limit(tmp_path: Path) -> None:
    extra = {"us_a_frame": 1.3, "share_of_copy": 0.72}
    row = Row("64x480x640 plane r3", "fastseg", 0, 0.083, 0.08, 30, 1.0, None, extra)
    write_rows("normals", [row], results(tmp_path) / "device-normals-2026-01-02.json")
    assert "1.30 us a frame, 72 % of copy (goal 3 us a frame) |" in line_of(tmp_path, "plane fit, 7x7")


def test_the_newest_result_counts(tmp_path: Path) -> None:
    results(tmp_path)
    write_rows("normals", [made("480x640 plane r3", "fastseg", 1.0, 1.0)], tmp_path / "normals-2026-02-01.json")
    assert "| 1.00 ms |" in line_of(tmp_path, "plane fit, 7x7")


@pytest.mark.parametrize(
    ("op", "case", "ms", "bound"),
    [
        ("normals", "480x640 cross r1 + points", 28 * 307200 / 20e6, "bytes"),
        ("normals", "8x480x640 cross r1 + points", 8 * 28 * 307200 / 20e6, "bytes"),
        ("normals", "480x640 plane r3", 28 * 307200 / 20e6, "bytes"),
        ("hn_labels", "480x640 label", (159 + 61 / 16 + 20) * 307200 / 100e6, "FLOPs"),
        ("decile_rank", "224x224", 9 * 224 * 224 / 20e6, "bytes"),
        ("decile_rank", "ensemble of 15, 4x224x224", 125 * 4 * 224 * 224 / 20e6, "bytes"),
    ],
)
def test_floors_are_counted_bytes_or_flops_over_the_machines_rates(op: str, case: str, ms: float, bound: str) -> None:
    found = floor(op, case, RATES)
    assert found is not None and found.bound == bound
    assert found.ms == pytest.approx(ms)


def test_a_case_whose_work_is_not_counted_has_no_floor() -> None:
    assert floor("normals", "480x640 by magic", RATES) is None
    assert floor("unknown", "480x640", RATES) is None


@pytest.mark.torch
def test_the_machines_rates_are_measured() -> None:
    pytest.importorskip("torch")
    found = measured(1, repeats=1)
    assert found["copy_gb_s"] > 0.1 and found["matmul_gflop_s"] > 0.1
