"""The README's lines on a corpus say what the results say, and what was not run."""

from __future__ import annotations

from typing import Any

from benchmarks.readme_corpus import lines

ROW = {
    "case": "480x640 folder, 2 workers", "frames": 40_000, "frames_per_second": 200.4,
    "frames_per_second_verified": 190.2, "share_of_parts": 0.874,
    "frames_per_second_steady": 206.4, "parts_frames_per_second": 229.3,
    "mb_per_10k_frames": {"driver": 0.25, "worker": None},
}  # fmt: skip
RECORDS: dict[str, dict[str, Any]] = {
    "pipeline": {
        "date": "2026-01-02 10:00 UTC", "rows": [ROW], "parts_ms": {"read": 5.21, "label": 3.4},
        "projection": {"frames": 407_024, "minutes": {"2 cores": 33.8, "16 cores": 4.2}},
    },
    "verify": {
        "date": "2026-01-02 10:00 UTC",
        "rows": [
            {"ids": 1_200_000, "workers": 0, "seconds": 50.1, "peak_mib": 700},
            {"ids": 1_200_000, "workers": 2, "seconds": 31.6, "peak_mib": 1100},
            {"ids": 1_200_000, "open_s": 1.0},
        ],
    },
}  # fmt: skip


def test_a_corpus_is_told_by_rate_share_growth_and_projection() -> None:
    told = "\n".join(lines(RECORDS.get))
    assert "40,000 rendered" in told and "200 frames/s, 190 with" in told and "87 % of what the parts" in told
    assert "start-up included, 90 % between the first and the last shard" in told
    assert "driver +0.25." in told and "worker" not in told.split("10,000 frames:")[1].split(".")[0]
    assert "2 cores 34 min; 16 cores 4 min; only the first is a measured rate" in told


def test_the_quicker_check_of_the_most_ids_is_told() -> None:
    assert "`fastseg verify` of 1,200,000 ids: 32 s, 1100 MiB (2 workers)." in "\n".join(lines(RECORDS.get))


def test_what_was_not_run_says_so() -> None:
    assert "- pipeline-tiny: not run" in lines(RECORDS.get)
