"""Every op's benchmark runs under its stem as well, and the small parts of the depth benchmarks do what they say."""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path

import pytest

from benchmarks.rows import OURS, Row

ROOT = Path(__file__).parents[2]
STEMS = sorted(path.stem.removeprefix("bench_") for path in (ROOT / "benchmarks").glob("bench_*.py"))


@pytest.mark.parametrize("stem", [stem for stem in STEMS if stem not in ("labels", "pipeline", "train")])
def test_an_ops_benchmark_runs_under_its_stem(stem: str) -> None:
    short, long = (importlib.import_module(f"benchmarks.{name}") for name in (stem, f"bench_{stem}"))
    assert (short.main, short.Config) == (long.main, long.Config)
    assert {"repeats", "budget_s", "json", "plot"} <= set(long.Config.__dataclass_fields__)


def test_ours_agrees_with_the_reference_where_the_benchmark_asserts_it() -> None:
    from benchmarks.bench_normals import SETTINGS, disagreement
    from benchmarks.peers import metres
    from fastseg.data.rooms import Rooms

    rooms = Rooms(5, 1, 24, 32)
    depth = metres(rooms.load(rooms.ids()[0]))
    for name in ("cross r1 + points", "plane r3"):
        assert disagreement(SETTINGS[name], depth, rooms.camera)["p999_deg"] < 0.05


def test_errors_become_figures_of_the_rows() -> None:
    from benchmarks.bench_normals import figures

    region = {"median": 1.0, "mean": 2.0, "defined": 0.5}
    error, extra = figures({OURS: {"smooth": region, "near_edges": {"defined": 0.0}}})
    assert error == {OURS: 2.0}
    assert extra[OURS]["smooth_defined"] == 0.5 and extra[OURS]["edges_deg"] != extra[OURS]["edges_deg"]  # NaN


def test_frames_a_second_are_of_one_core() -> None:
    from benchmarks.bench_hn_labels import rated

    (row,) = rated([Row("8x480x640 label", OURS, 2, 16.0, 15.0, 3, 1.0, None, {"a": 1.0})], frames=8)
    assert row.extra == {"a": 1.0, "frames_per_s_core": 250.0}


def test_growth_is_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from benchmarks.growth import AXES, OPS, draw

    rows = [
        Row(f"{op} {axis}: 1x2x2 r5", impl, 1, 1.0, 1.0, 3, 1.0, None, {"axis_value": at, "ns_a_pixel": at})
        for op in OPS
        for axis in AXES
        for impl in (OURS, "peer")
        for at in (1.0, 2.0)
    ]
    assert draw(rows, tmp_path / "growth.png").stat().st_size > 1000
