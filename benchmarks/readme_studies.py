"""The README's lines on pre-training: what it is worth on labelled images."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from benchmarks.readme_ops import newest
from fastseg.compare_order import verdict

DEPTH = "study_monodepth_rooms_depth"
STUDIES = (
    "study_hn_camvid",
    "study_monodepth_rooms",
    "study_monodepth_camvid",
    "study_structure",
    "study_structure_weight",
    "study_pssl",
)


def lines(folder: Path) -> list[str]:
    """A paragraph on the CamVid experiment, and a table for each study that was run."""
    found = [camvid(folder)]
    for name in STUDIES:
        path = folder / f"{name}.json"
        found += ["", *(study(name, json.loads(path.read_text("utf-8"))) if path.exists() else [f"{name}: not run."])]
    return [*found, *depth(folder)]


def depth(folder: Path) -> list[str]:
    """A line on what the study's depth pre-trainings know of depth; none before they were scored."""
    path = folder / f"{DEPTH}.json"
    if not path.exists():
        return []
    record = json.loads(path.read_text("utf-8"))
    told = (
        f"{name.replace('_', ' ')} {percent(row['delta1'])} and {row['rel']:.3f}"
        for name, row in record["result"].items()
    )
    return [
        "",
        f"Depth on {record['images']} images of unseen rooms after these pre-trainings, scaled by each image's median: "
        f"pixels within a factor of 1.25, and mean relative error: {'; '.join(told)}. From `{DEPTH}`.",
    ]


def study(name: str, record: Mapping[str, Any]) -> list[str]:
    """A study's table: each variant's scores, mean and deviation over its seeds; mIoU where sizes are compared."""
    rows: Sequence[Mapping[str, Any]] = record["rows"]
    sizes = sorted({row["images"] for row in rows if "images" in row})
    told = f"{_plan(record)}Mean and deviation over seeds. {_order(record)}From `{name}` {record['date'][:10]}."
    return [*(_by_size(rows, sizes) if len(sizes) > 1 else _by_score(rows)), "", told]


def _by_score(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    scores = ("miou", "global_accuracy", "class_accuracy")
    table = ["| start | seeds | mIoU % | global accuracy % | class accuracy % |", "|---|---|---|---|---|"]
    for variant, ours in _by_variant(rows):
        cells = (_spread([row[score] for row in ours]) for score in scores)
        table.append(f"| {variant} | {len(ours)} | {' | '.join(cells)} |")
    return table


def _by_size(rows: Sequence[Mapping[str, Any]], sizes: Sequence[int]) -> list[str]:
    """The mIoU with each number of labelled images, and the global accuracy with the greatest."""
    columns = [*(f"mIoU %, {size} images" for size in sizes), f"global accuracy %, {sizes[-1]} images"]
    table = [f"| start | seeds | {' | '.join(columns)} |", "|---" * (2 + len(columns)) + "|"]
    for variant, ours in _by_variant(rows):
        here = [[row for row in ours if row["images"] == size] for size in sizes]
        cells = [*(_spread([row["miou"] for row in each]) for each in here)]
        cells.append(_spread([row["global_accuracy"] for row in here[-1]]))
        table.append(f"| {variant} | {min(map(len, here))} | {' | '.join(cells)} |")
    return table


def _by_variant(rows: Sequence[Mapping[str, Any]]) -> list[tuple[str, list[Mapping[str, Any]]]]:
    names = dict.fromkeys(row["variant"] for row in rows)
    return [(name, [row for row in rows if row["variant"] == name]) for name in names]


def _order(record: Mapping[str, Any]) -> str:
    """Whether the order that the study states holds, where it states one."""
    order = record.get("protocol", {}).get("order")
    return f"{verdict(order, record['order'])} " if order else ""


def _plan(record: Mapping[str, Any]) -> str:
    """What was trained and scored, where the record says it."""
    plan = record.get("protocol", {}).get("segment")
    if plan is None:
        return ""
    images = record["protocol"]["images"]
    scored = f"scored on the {images['scored']} images of {record['protocol']['scored_on']}"
    trained = f"{plan['data']}, {plan['network']} at {plan['size']}, {_amount(record)}"
    return f"{trained}, {scored}. Variants that lie closer than their deviations are not told apart. "


def _amount(record: Mapping[str, Any]) -> str:
    """For how long, and on how many images, a study's variants were trained."""
    plan, images = record["protocol"]["segment"], record["protocol"]["images"]
    if len(images.get("used", ())) > 1:
        return f"{plan['steps']} steps of {plan['batch']} images"
    epochs = max(point["epoch"] for row in record["rows"] for point in row["curve"])
    return f"{epochs:.0f} epochs of {images['train']} images"


def percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _spread(values: Sequence[float]) -> str:
    if not values:
        return "not run"
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
