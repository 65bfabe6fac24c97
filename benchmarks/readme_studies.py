"""The README's lines on pre-training: what it is worth on labelled images."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from benchmarks.readme_ops import newest

STUDIES = ("study_hn_camvid",)


def lines(folder: Path) -> list[str]:
    """A paragraph on the CamVid experiment, and a table for each study that was run."""
    found = [camvid(folder)]
    for name in STUDIES:
        path = folder / f"{name}.json"
        found += ["", *(study(name, json.loads(path.read_text("utf-8"))) if path.exists() else [f"{name}: not run."])]
    return found


def study(name: str, record: Mapping[str, Any]) -> list[str]:
    """A study's table: each variant's scores, mean and deviation over its seeds."""
    rows: Sequence[Mapping[str, Any]] = record["rows"]
    scores = ("miou", "global_accuracy", "class_accuracy")
    table = ["| start | seeds | mIoU % | global accuracy % | class accuracy % |", "|---|---|---|---|---|"]
    for variant in dict.fromkeys(row["variant"] for row in rows):
        ours = [row for row in rows if row["variant"] == variant]
        cells = (_spread([row[score] for row in ours]) for score in scores)
        table.append(f"| {variant} | {len(ours)} | {' | '.join(cells)} |")
    return [*table, "", f"{_plan(record)}Mean and deviation over seeds. From `{name}` {record['date'][:10]}."]


def _plan(record: Mapping[str, Any]) -> str:
    """What was trained and scored, where the record says it."""
    plan = record.get("protocol", {}).get("segment")
    if plan is None:
        return ""
    images = record["protocol"]["images"]
    epochs = max(point["epoch"] for row in record["rows"] for point in row["curve"])
    scored = f"scored on the {images['scored']} images of {record['protocol']['scored_on']}"
    trained = f"{plan['data']}, {plan['network']} at {plan['size']}, {epochs:.0f} epochs of {images['train']} images"
    return f"{trained}, {scored}. Variants that lie closer than their deviations are not told apart. "


def percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _spread(values: Sequence[float]) -> str:
    spread = f" +- {100 * stdev(values):.1f}" if len(values) > 1 else ""
    return f"{100 * mean(values):.1f}{spread}"


def camvid(folder: Path) -> str:
    """One paragraph on the CamVid experiment."""
    record = newest("camvid-cpu", folder)
    if record is None:
        return "CamVid from random weights and from HN pre-training: not run."
    result = record["result"]
    last = max(result["protocol"]["epochs"])

    def score(start: str, key: str) -> str:
        found = [
            epoch[key]
            for run_ in result["runs"]
            for epoch in run_["epochs"]
            if run_["start"] == start and epoch["epoch"] == last
        ]
        return percent(sum(found) / len(found))

    plan = result["protocol"]
    seeds = len({run_["seed"] for run_ in result["runs"]})
    return (
        f"CamVid ({result['images']['train']} training images, scores on {result['images']['validation']} validation "
        f"images), {plan['network']} at {plan['size']}, {last} epochs, mean of {seeds} seeds: mIoU "
        f"{score('none', 'miou')} from random weights, {score('hn', 'miou')} from HN pre-training on "
        f"{sum(result['pretraining']['images'])} unlabelled RGB-D frames (global accuracy "
        f"{score('none', 'global_accuracy')} and {score('hn', 'global_accuracy')}). The paper's own protocol "
        f"needs a GPU and was not run (`python -m benchmarks.reproduce.camvid --protocol paper`). From `camvid-cpu`."
    )
