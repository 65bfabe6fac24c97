"""The README's lines on studies are the results' own figures."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks.readme_studies import DEPTH, depth, lines, study


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


def test_a_study_says_what_was_trained_and_scored() -> None:
    plan = {"data": "camvid", "network": "linknet/resnet18", "size": "96x128"}
    protocol = {"segment": plan, "images": {"train": 367, "scored": 101}, "scored_on": "val"}
    rows = [row("a", 0, 0.1) | {"curve": [{"epoch": 1.0}, {"epoch": 5.0}]}]
    told = study("study_x", {"date": "2026-01-02 10:00 UTC", "protocol": protocol, "rows": rows})[-1]
    assert told.startswith(
        "camvid, linknet/resnet18 at 96x128, 5 epochs of 367 images, scored on the 101 images of val."
    )


def test_sizes_are_compared_by_miou_and_the_order_is_judged(tmp_path: Path) -> None:
    plan = {"data": "folder", "network": "skip/resnet18", "size": "64x96", "steps": 100, "batch": 4}
    images = {"train": 64, "scored": 64, "used": [8, 16]}
    protocol = {"segment": plan, "images": images, "scored_on": "val", "order": ["b", "a"]}
    rows = [row(name, 0, miou) | {"images": size} for name, size, miou in
            (("a", 8, 0.1), ("b", 8, 0.2), ("a", 16, 0.3), ("b", 16, 0.25))]  # fmt: skip
    kept = {"seeds": 1, "pairs": []}
    order = [{"images": 8, "holds": True, "held_in": 1, **kept}, {"images": 16, "holds": False, "held_in": 0, **kept}]
    told = study("study_x", {"date": "2026-01-02", "protocol": protocol, "order": order, "rows": rows})
    assert told[0] == "| start | seeds | mIoU %, 8 images | mIoU %, 16 images | global accuracy %, 16 images |"
    assert told[2:4] == ["| a | 1 | 10.0 | 30.0 | 50.0 |", "| b | 1 | 20.0 | 25.0 | 50.0 |"]
    assert "100 steps of 4 images" in told[-1]
    assert "The order b > a (mean mIoU) holds with 8 images and fails with 16; 1 of 2 single seeds" in told[-1]
    half = study("study_x", {"date": "2026-01-02", "rows": rows[:3]})
    assert half[3] == "| b | 0 | 20.0 | not run | not run |"


def test_what_was_learned_of_depth_is_told_once_it_was_scored(tmp_path: Path) -> None:
    assert depth(tmp_path) == []
    record = {"images": 9, "result": {"constant": {"delta1": 0.5, "rel": 0.25}}}
    (tmp_path / f"{DEPTH}.json").write_text(json.dumps(record))
    assert "on 9 images" in depth(tmp_path)[1] and "constant 50.0 % and 0.250." in depth(tmp_path)[1]
