"""The README's lines on label structure say what the results say, and what was not run."""

from __future__ import annotations

from typing import Any

from benchmarks.readme_structure import lines

SCORES = {"miou": 0.5, "global_accuracy": 0.9}
RECORDS: dict[str, dict[str, Any]] = {
    "label-autoencoders": {
        "size": "64x96", "steps": 600, "batch": 8,
        "sets": {"nyu13": {"held_back": 27, "majority": SCORES, "32": {**SCORES, "miou": 0.456}, "128": SCORES}},
    },
    "clean-quality-rooms": {
        "rooms": [9, 3, 6], "before": {"agreement": 0.9, "labelled_share": 0.8},
        "class": {"doubt": 0.05, "agreement": 0.91, "labelled_share": 0.8},
        "void": {"doubt": 0.1, "agreement": 0.923, "labelled_share": 0.75},
    },
    "structure-cost": {
        "network": "hypercolumn/vgg16", "size": "256x256", "batch": 2,
        "rows": [
            {"regulariser": "none", "share": 0.0, "within_15_percent": True},
            {"regulariser": "decoder 32", "share": 0.021, "within_15_percent": True},
            {"regulariser": "encoder 128", "share": 0.2, "within_15_percent": False},
        ],
    },
}  # fmt: skip


def _newest(name: str) -> dict[str, Any] | None:
    return {"date": "2026-01-02 10:00 UTC", "result": RECORDS[name]}


def test_autoencoders_are_told_by_width_beside_the_simplest_code() -> None:
    assert "nyu13 (27 maps) 32: 45.6 %, 128: 50.0 %, cells 50.0 %." in lines(_newest)[2]


def test_cleaning_is_told_before_and_after() -> None:
    told = lines(_newest)[3]
    assert "HN-labels of 6 noisy rooms" in told and "90.0 % of the labels are the exact ones before; 91.0 %" in told
    assert "92.3 % with them left out (below 0.1; 75.0 % of the pixels keep a label, 80.0 % before)" in told


def test_a_missed_goal_is_told() -> None:
    told = lines(_newest)[4]
    assert "decoder 32 +2.1%, encoder 128 +20.0% (the goal of 15 % is missed by encoder 128)" in told


def test_what_was_not_run_says_so() -> None:
    assert lines(lambda name: None)[2:] == [f"- {name}: not run" for name in RECORDS]
