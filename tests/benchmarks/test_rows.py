"""A row says how many times ours a contestant takes, a result holds the agreed fields, and a picture can be drawn."""

from __future__ import annotations

import json
import math
import os
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import threads
from benchmarks.timing import Row, earlier_rows, on_threads, plot_rows, print_rows, race, write_rows

ROW_FIELDS = {"case", "impl", "threads", "ms_median", "ms_min", "runs", "ratio_to_ours", "error", "extra"}


def few_rows() -> list[Row]:
    ours = Row("480x640 r3", "fastseg", 1, 2.0, 1.9, 31, 1.0, 0.5, {"frames_per_s": 500.0})
    return [ours, Row("480x640 r3", "opencv_fals", 1, 12.0, 11.0, 31, 6.0, 1.5), Row("forward", "eager", 2, 1, 1, 3, 3)]


def test_ratio_is_the_contestants_median_over_ours_and_ours_comes_first() -> None:
    calls = {"slow": lambda: time.sleep(0.02), "fastseg": lambda: time.sleep(0.005)}
    found = race("case", calls, repeats=5, errors={"slow": 2.5}, extra={"fastseg": {"peak_mb": 3.0}})
    ours, slow = found
    assert (ours.impl, ours.ratio_to_ours, ours.error, ours.extra["peak_mb"]) == ("fastseg", 1.0, None, 3.0)
    assert slow.ratio_to_ours == slow.ms_median / ours.ms_median > 2
    assert (slow.case, slow.threads, slow.runs, slow.error) == ("case", 1, 5, 2.5)


def test_a_race_without_ours_or_with_figures_of_a_stranger_is_refused() -> None:
    with pytest.raises(ValueError, match="must be called 'fastseg'"):
        race("case", {"numpy": lambda: None}, repeats=1)
    with pytest.raises(ValueError, match="stranger is in errors"):
        race("case", {"fastseg": lambda: None}, repeats=1, errors={"stranger": 1.0})


def test_a_result_holds_the_fields_of_the_issue_and_no_path(tmp_path: Path) -> None:
    path = write_rows("normals", few_rows(), tmp_path / "here.json", {"floors": {"a": 1.0}})
    record = json.loads(path.read_text())
    assert path == tmp_path / "here.json"
    assert {"op", "machine", "versions", "date", "commit", "rows"} <= set(record)
    assert (record["op"], record["floors"]) == ("normals", {"a": 1.0})
    assert all(set(row) == ROW_FIELDS for row in record["rows"])
    assert str(tmp_path) not in path.read_text()


def test_a_figure_that_is_not_finite_is_written_as_unknown(tmp_path: Path) -> None:
    row = Row("a", "fastseg", 1, 1.0, 1.0, 3, 1.0, math.nan, {"x": math.inf})
    (read,) = json.loads(write_rows("normals", [row], tmp_path / "a.json").read_text())["rows"]
    assert read["error"] is None and read["extra"] == {"x": None}


def test_a_results_own_fields_cannot_be_given_again(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cannot be given again: op"):
        write_rows("normals", few_rows(), tmp_path / "a.json", {"op": "other"})
    assert not list(tmp_path.iterdir())


def test_rows_are_printed_by_case_and_drawn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    print_rows(few_rows())
    printed = capsys.readouterr().out
    assert printed.count("480x640 r3, 1 thread\n") == 1 and "forward, 2 threads" in printed
    assert "frames_per_s 500" in printed and "6.00" in printed
    pytest.importorskip("matplotlib")
    assert plot_rows(few_rows(), tmp_path / "deep" / "a.png").stat().st_size > 1000


@pytest.mark.torch
def test_pools_have_the_threads_asked_for_and_are_put_back() -> None:
    torch = pytest.importorskip("torch")
    cpus = os.sched_getaffinity(0)
    if len(cpus) < 2:
        pytest.skip("one processor")
    before = torch.get_num_threads()
    for count in (1, 2):
        with on_threads(count):
            assert torch.get_num_threads() == count
            assert len(os.sched_getaffinity(0)) == 1  # the caller has a processor of its own
    assert (torch.get_num_threads(), os.sched_getaffinity(0)) == (before, cpus)


def test_pythons_threads_are_spread_over_the_processors_and_freed_again() -> None:
    cpus = os.sched_getaffinity(0)
    if len(cpus) < 2:
        pytest.skip("one processor")
    stop = threading.Event()
    workers = [threading.Thread(target=stop.wait) for _ in range(2)]
    for worker in workers:
        worker.start()
    places = [worker.native_id for worker in workers]
    try:
        with on_threads(2):
            assert len(set().union(*(os.sched_getaffinity(place or 0) for place in places))) == 2
        with on_threads(1):
            assert {frozenset(os.sched_getaffinity(p or 0)) for p in places} == {frozenset(os.sched_getaffinity(0))}
        assert all(os.sched_getaffinity(place or 0) == cpus for place in places)
    finally:
        stop.set()


def test_more_threads_than_processors_are_refused() -> None:
    with pytest.raises(ValueError, match="threads must lie between 1 and"), on_threads(10_000):
        pass


@pytest.mark.torch
def test_the_pools_of_loaded_libraries_are_found() -> None:
    pytest.importorskip("torch")
    assert any("libgomp" in path or "libiomp" in path for path in threads.loaded_pools())


def test_a_benchmark_run_in_parts_gathers_its_cases_in_one_file(tmp_path: Path) -> None:
    path = write_rows("normals", few_rows(), tmp_path / "a.json")
    first = few_rows()[0].case
    write_rows("normals", [*earlier_rows(path), replace(few_rows()[2], extra={"x": math.inf})], tmp_path / "b.json")
    write_rows("normals", earlier_rows(tmp_path / "b.json"), tmp_path / "b.json")
    assert len(earlier_rows(tmp_path / "b.json")) == 4
    assert earlier_rows(path) == few_rows()
    assert earlier_rows(path, [first]) == [row for row in few_rows() if row.case != first]
    assert earlier_rows(tmp_path / "none.json") == [] == earlier_rows(None)


def test_rows_of_another_commit_are_not_gathered(tmp_path: Path) -> None:
    path = write_rows("normals", few_rows(), tmp_path / "a.json")
    record = json.loads(path.read_text())
    path.write_text(json.dumps({**record, "commit": "another"}))
    assert earlier_rows(path) == []
