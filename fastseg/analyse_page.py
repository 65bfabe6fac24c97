"""An analysis's page: scores, curves by initialisation, labelled images, sizes of the input, accuracy, pictures."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fastseg.analyse_charts import at_one, by_name, by_name_and_images, charts, greatest, largest
from fastseg.analyse_runs import Trained
from fastseg.analyse_scores import Row
from fastseg.analyse_strips import strips
from fastseg.compare_report import mean_and_deviation
from fastseg.data.shards import replace_file
from fastseg.evaluate_depth import COLUMNS
from fastseg.frames import LabelledImages
from fastseg.report import Markup, facts, note, page, section, table, tag

if TYPE_CHECKING:
    from fastseg.analyse import Analyse

MEASURES = {
    "miou": "mIoU",
    "classes_miou": "mIoU of chosen",
    "global_accuracy": "accuracy",
    "class_accuracy": "class accuracy",
}


def write_page(
    config: Analyse, examples: LabelledImages, runs: Sequence[Trained], rows: Sequence[Row], protocol: Mapping[str, Any]
) -> None:
    """None; the page is OUT/report.html."""
    labels, depth = [row for row in rows if "scales" in row], [row for row in rows if "scales" not in row]
    shown = [group[0] for group in largest(runs)]
    where = f"{config.data} {config.split}, {len(examples)} images"
    tiles = [
        ("networks", str(len(runs))), ("ways to begin", str(len({run.name for run in runs}))),
        ("images scored", str(len(examples))), ("classes", str(len(examples.class_names))),
    ]  # fmt: skip
    parts = [
        tag("h1", "Analysis of trained networks"),
        note(f"Scored on {where}; mean and deviation over seeds."),
        facts(tiles),
    ]
    if labels:
        chosen = f"Chosen classes: {', '.join(config.classes)}." if config.classes else ""
        notes = [note(each) for each in (chosen, _partly(labels, len(examples.class_names))) if each]
        parts.append(section("Scores at the training size", _scores(labels), *notes))
    if any(row["depth"] for row in depth):
        parts.append(section("Depth", _depths(depth), note("Mean over images; metres.")))
    cards = (tag("div", chart, class_="card") for chart in charts(runs, labels))
    parts.append(
        section("Curves", tag("div", *cards, class_="grid halves"), note("Bands: one deviation over the seeds."))
    )
    seen = strips(shown, examples, config.pictures, config.layers, config.device)
    if seen:
        explained = note(
            "Grad-CAM: what a layer contributes to the summed logits of the classes predicted, light where it is most, "
            "dark all over where it speaks against them; blocks of the encoder count from 0. Depth: light near, dark "
            "far, each picture over its own range."
        )
        parts.append(section("Pictures", explained, *seen))
    if labels:
        parts.append(section("IoU of each class", _classes(labels, examples.class_names)))
    parts.append(section("Protocol", tag("pre", json.dumps(protocol, indent=1))))
    replace_file(config.out / "report.html", page("analysis of trained networks", *parts).encode("utf-8"))


def _scores(rows: Sequence[Row]) -> Markup:
    measures = {key: name for key, name in MEASURES.items() if key in at_one(rows[0])}
    body = []
    for (name, images), group in by_name_and_images(rows).items():
        values = [_mean([at_one(row)[key] for row in group]) for key in measures]
        body.append([name, str(images or "-"), str(len(group)), group[0]["network"], *values])
    heads = ["name", "images", "seeds", "network", *(f"{name} %" for name in measures.values())]
    return table(heads, body, numeric=(1, 2, *range(4, len(heads))))


def _partly(rows: Sequence[Row], classes: int) -> str:
    """Which networks know some of the classes alone."""
    few = {row["name"]: len(at_one(row)["iou"]) for row in rows if len(at_one(row)["iou"]) < classes}
    return " ".join(
        f"{name} knows {known} of {classes} classes: pixels of the others left out." for name, known in few.items()
    )


def _depths(rows: Sequence[Row]) -> Markup:
    body = [
        [row["name"], row["network"], "median" if row["depth"]["median_scaling"] else "none"]
        + [f"{row['depth'][field]:.3f}" for field in COLUMNS.values()]
        for row in rows
        if row["depth"]
    ]
    heads = ["name", "network", "scaling", *COLUMNS]
    return table(heads, body, numeric=tuple(range(3, len(heads))))


def _classes(rows: Sequence[Row], names: Sequence[str]) -> Markup:
    groups = {name: greatest(group) for name, group in by_name(rows).items()}
    body = []
    for name in names:
        body.append([name, *(_mean([at_one(row)["iou"].get(name) for row in group]) for group in groups.values())])
    return table(["IoU %", *groups], body, numeric=tuple(range(1, len(groups) + 1)))


def _mean(fractions: Sequence[float | None]) -> str:
    """Mean and deviation in per cent, a dash where one is not known."""
    return "-" if None in fractions else mean_and_deviation(100 * np.array(fractions, np.float64))
