"""The README's lines on training say what the results say, and what was not run."""

from __future__ import annotations

from typing import Any

from benchmarks.readme_training import lines

RECORDS: dict[str, dict[str, Any]] = {
    "train_photometric": {
        "date": "2026-01-02 10:00 UTC",
        "result": {
            "protocol": {"network": "skip/resnet18", "batch": 12, "size": "192x640", "threads": 2},
            "time_ratio": {"fastseg": 1.0, "eager": 1.271}, "median_s": {"fastseg": 10.04, "eager": 12.76},
            "peak_mb": {"fastseg": 3200.4, "eager": 7523.5}, "goal_mb": 3000.0, "reached": False,
        },
    },
}  # fmt: skip


def test_a_step_is_told_by_time_memory_and_a_missed_goal() -> None:
    told = "\n".join(lines(RECORDS.get))
    assert "10.0 s with the fused photometric error, eager 1.27 times as long" in told
    assert "peak 3,200 MB (goal 3,000, missed), eager 7,524." in told


def test_what_was_not_run_says_so() -> None:
    assert "- train_photometric: not run" in lines(lambda name: None)
