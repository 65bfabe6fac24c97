"""Contestants take turns, and a result says what was run on what."""

from __future__ import annotations

import json
import socket
import time
from pathlib import Path

import numpy as np
import pytest

from benchmarks.timing import interleaved, write_result


def test_contestants_take_turns_after_the_warm_up() -> None:
    order: list[str] = []
    found = interleaved({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, 3, warm_up=2)
    assert order == ["a", "a", "b", "b"] + ["a", "b"] * 3
    assert found["a"].calls == 3


def test_a_slow_contestant_sits_out_after_three_calls() -> None:
    found = interleaved({"slow": lambda: time.sleep(0.02), "fast": lambda: None}, 6, budget_s=0.05)
    assert (found["slow"].calls, found["fast"].calls) == (3, 6)
    assert found["slow"].min_ms >= 20 > found["fast"].median_ms
    assert found["slow"].min_ms <= found["slow"].median_ms <= found["slow"].max_ms


def test_a_contestant_that_takes_three_budgets_a_call_is_timed_once() -> None:
    found = interleaved({"glacial": lambda: time.sleep(0.02), "fast": lambda: None}, 6, warm_up=2, budget_s=0.005)
    assert (found["glacial"].calls, found["fast"].calls) == (1, 6)


def test_nothing_to_time_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1 repeat"):
        interleaved({"a": lambda: None}, 0)


def test_a_result_names_machine_versions_and_date_but_no_host_and_no_path(tmp_path: Path) -> None:
    timed = interleaved({"a": lambda: None}, 1)
    path = write_result("trial", {"times": timed, "array": np.arange(2), "share": np.float32(0.5)}, tmp_path)
    record = json.loads(path.read_text())
    assert path.name == f"trial-{record['date'][:10]}.json"
    assert record["result"]["times"]["a"]["calls"] == 1
    assert (record["result"]["array"], record["result"]["share"]) == ([0, 1], 0.5)
    assert record["machine"]["cpu"] and record["versions"]["numpy"] == np.__version__
    assert socket.gethostname() not in path.read_text()
    assert str(Path(__file__).parents[2]) not in path.read_text()


def test_a_result_of_an_unknown_type_is_refused_and_leaves_no_result(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="cannot write a object"):
        write_result("trial", {"x": object()}, tmp_path)
    assert list(tmp_path.glob("*.json")) == []


def test_a_pipeline_rate_needs_runs_that_differ() -> None:
    from benchmarks.bench_labels import steady_rate

    assert steady_rate(500, 10) == 50
    assert steady_rate(500, 0.5) is None
    assert steady_rate(500, -1) is None
