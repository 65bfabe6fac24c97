"""The README's lines on gating are the results' own figures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks.readme_gating import OFFICE, ROOMS, lines


def _record(holds: bool) -> dict[str, Any]:
    summary = {
        "miou": {"baseline": 0.25, "average": 0.3}, "deviation": {"baseline": 0.01, "average": 0.0},
        "order": {"baseline < average": holds}, "order_holds": holds,
        "gain_by_distance": {"baseline": {"all": [0.0, None]}, "average": {"all": [0.0625, None]}},
    }  # fmt: skip
    config = {"network": "resnet10t", "size": "64x96", "init_from": "", "train": 8, "test": 4, "begin": 2, "steps": 3}
    results = {
        "baseline": [{"edges": [1.23], "miou": 0.25, "passes": [0.25]}],
        "average": [{"edges": [1.23], "miou": 0.3, "passes": [0.2, 0.3]}],
    }
    return {"date": "2026-01-02 10:00 UTC", "config": config, "steps": {"baseline": 5, "average": 5 if holds else 9},
            "classes": 3, "summary": summary, "results": results}  # fmt: skip


def test_every_variant_shows_its_score_and_its_gain_by_distance(tmp_path: Path) -> None:
    (tmp_path / f"{ROOMS}.json").write_text(json.dumps(_record(True)))
    (tmp_path / f"{OFFICE}.json").write_text(json.dumps(_record(False)))
    told = lines(tmp_path)
    assert told[0] == "| gates | steps | mIoU % | gain, to 1.2 m | gain, over 1.2 m |"
    assert told[3] == "| average | 5 | 30.0 | +6.2 | - |"
    assert "from random weights" in told[-3] and "The paper's order holds." in told[-3]
    assert "average is best, by 5.0 points, and better in 1 of 1 seeds" in told[-3]
    assert "The passes of average score 20.0, 30.0 %, after 5 steps." in told[-3]
    assert "3 classes" in told[-1] and "mIoU % baseline 25.0, average 30.0." in told[-1]


def test_an_order_that_fails_and_what_was_not_run_say_so(tmp_path: Path) -> None:
    assert lines(tmp_path) == [f"{ROOMS}: not run.", "", f"{OFFICE}: not run."]
    (tmp_path / f"{ROOMS}.json").write_text(json.dumps(_record(False)))
    assert "does not hold: of its 1 steps none does." in lines(tmp_path)[-3]
    assert "with as many steps as the baseline none is better" in lines(tmp_path)[-3]
