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
    config = {"network": "resnet10t", "size": "64x96", "init_from": "", "train": 8, "test": 4, "seeds": 2}
    return {"date": "2026-01-02 10:00 UTC", "config": config, "steps": {"baseline": 5, "average": 9}, "classes": 3,
            "summary": summary, "results": {"baseline": [{"edges": [1.23]}]}}  # fmt: skip


def test_every_variant_shows_its_score_and_its_gain_by_distance(tmp_path: Path) -> None:
    (tmp_path / f"{ROOMS}.json").write_text(json.dumps(_record(True)))
    (tmp_path / f"{OFFICE}.json").write_text(json.dumps(_record(False)))
    told = lines(tmp_path)
    assert told[0] == "| gates | steps | mIoU % | gain, to 1.2 m | gain, over 1.2 m |"
    assert told[3] == "| average | 9 | 30.0 +- 0.0 | +6.2 | - |"
    assert "from random weights" in told[-3] and "The paper's order holds." in told[-3]
    assert "3 classes" in told[-1] and "mIoU % baseline 25.0 +- 1.0, average 30.0 +- 0.0." in told[-1]


def test_an_order_that_fails_and_what_was_not_run_say_so(tmp_path: Path) -> None:
    assert lines(tmp_path) == [f"{ROOMS}: not run.", "", f"{OFFICE}: not run."]
    (tmp_path / f"{ROOMS}.json").write_text(json.dumps(_record(False)))
    assert "does not hold: of its 1 steps none does." in lines(tmp_path)[-3]
