"""The README's lines on studies are the results' own figures."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks.readme_studies import lines, study


def row(variant: str, seed: int, miou: float) -> dict[str, object]:
    return {"variant": variant, "seed": seed, "miou": miou, "global_accuracy": 0.5, "class_accuracy": 0.25}


def test_a_study_shows_mean_and_deviation_of_each_variant(tmp_path: Path) -> None:
    record = {"date": "2026-01-02 10:00 UTC", "rows": [row("a", 0, 0.1), row("a", 1, 0.3), row("b", 0, 0.25)]}
    told = study("study_x", record)
    assert "| a | 2 | 20.0 +- 14.1 | 50.0 +- 0.0 | 25.0 +- 0.0 |" in told
    assert "| b | 1 | 25.0 | 50.0 | 25.0 |" in told
    (tmp_path / "study_hn_camvid.json").write_text(json.dumps(record))
    assert any("From `study_hn_camvid` 2026-01-02" in line for line in lines(tmp_path))


def test_what_was_not_run_says_so(tmp_path: Path) -> None:
    assert lines(tmp_path)[0].endswith("not run.") and "study_hn_camvid: not run." in lines(tmp_path)
