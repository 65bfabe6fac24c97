"""A study's page: the scores, the curves by epoch with their deviation, over numbers of images, the protocol."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from fastseg import compare_order
from fastseg.charts import Curve, alone, curves
from fastseg.compare_plan import Plan
from fastseg.compare_report import MEASURES, Summary, by_epoch, headers, lines
from fastseg.data.shards import replace_file
from fastseg.report import Markup, facts, note, page, section, table, tag

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c6d31", "#7f7f7f", "#882255")


def write_page(plan: Plan, content: dict[str, Any], found: list[Summary]) -> None:
    """None; the page is OUT/report.html, each of its charts OUT/<name>.svg."""
    drawn = charts(plan, found)
    for name, chart in drawn.items():
        replace_file(plan.out / f"{name}.svg", alone(chart).encode())
    protocol = content["protocol"]
    tiles = [
        ("variants", f"{len(plan.study.variants)}"),
        ("seeds", f"{len(plan.study.seeds)}"),
        ("trainings", protocol["trainings"]),
        ("labelled images", ", ".join(map(str, protocol["images"]["used"]))),
        ("images scored", f"{protocol['images']['scored']}"),
    ]
    cards = (tag("div", chart, class_="card") for chart in drawn.values())
    epochs = [_table(*by_epoch(found, measure)) for measure in MEASURES]
    text = page(
        f"study {plan.study.name}",
        tag("h1", f"Study {plan.study.name}"),
        note(
            f"{content['date']}; scored on the images of split {protocol['scored_on']}; mean and deviation over seeds."
        ),
        facts(tiles),
        section("Scores at the end", _table(headers(plan), lines(found))),
        *_order(plan, content),
        section("Curves", tag("div", *cards, class_="grid halves"), note("Bands: one deviation over the seeds.")),
        section("By epoch, on the greatest number of labelled images", *epochs),
        section("Each training", _each(found)),
        section("Protocol", tag("pre", json.dumps(protocol, indent=1)), note(_made_on(content))),
    )
    replace_file(plan.out / "report.html", text.encode("utf-8"))


def _order(plan: Plan, content: dict[str, Any]) -> list[Markup]:
    """The section on the order that the study states, none where it states none."""
    if not content.get("order"):
        return []
    said = compare_order.verdict(plan.study.order, content["order"])
    return [
        section("The stated order", note(said), _table(compare_order.HEADERS, compare_order.lines(content["order"])))
    ]


def charts(plan: Plan, found: list[Summary]) -> dict[str, Markup]:
    """The study's charts by name: each measure by epoch, and mIoU over numbers of images where there are several."""
    counts = sorted({each.images for each in found})
    most = [each for each in found if each.images == counts[-1]]
    drawn = {
        measure: curves(
            [_by_epoch(each, measure, _colour(plan, each.variant)) for each in most], f"{name}, {counts[-1]} images",
            "epoch", "%",
        )
        for measure, name in MEASURES.items()
    }  # fmt: skip
    if len(counts) > 1:
        names = list(dict.fromkeys(each.variant for each in found))
        sizes = [_by_size([each for each in found if each.variant == name], _colour(plan, name)) for name in names]
        drawn["size"] = curves(sizes, "mIoU at the end", "labelled images", "%")
    return drawn


def _colour(plan: Plan, variant: str) -> str:
    return COLOURS[[each.name for each in plan.study.variants].index(variant) % len(COLOURS)]


def _by_epoch(each: Summary, measure: str, colour: str) -> Curve:
    values = 100 * np.array([[point[measure] for point in row["curve"]] for row in each.rows], np.float64)
    epochs = [point["epoch"] for point in each.rows[0]["curve"]]
    spread = values.std(0, ddof=1) if len(values) > 1 else None
    return Curve(each.variant, colour, np.stack([epochs, values.mean(0)], 1), spread=spread)


def _by_size(found: list[Summary], colour: str) -> Curve:
    values = [each.values("miou") for each in found]
    points = np.array([[each.images, value.mean()] for each, value in zip(found, values, strict=True)])
    spread = np.array([value.std(ddof=1) if len(value) > 1 else 0.0 for value in values])
    return Curve(found[0].variant, colour, points, spread=spread)


def _each(found: list[Summary]) -> Markup:
    body = [
        [each.variant, str(each.images), str(row["seed"]), *(f"{100 * row[measure]:.2f}" for measure in MEASURES)]
        for each in found
        for row in each.rows
    ]
    return _table(["variant", "images", "seed", *(f"{name} %" for name in MEASURES.values())], body)


def _table(columns: list[str], body: list[list[str]]) -> Markup:
    return table(columns, body, numeric=tuple(range(1, len(columns))))


def _made_on(content: dict[str, Any]) -> str:
    machine, versions = content["machine"], content["versions"]
    gpu = f", {machine['gpu']}" if machine["gpu"] else ""
    return f"{machine['cpu']}, {machine['cores']} cores{gpu}; " + ", ".join(f"{k} {v}" for k, v in versions.items())
