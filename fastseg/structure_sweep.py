"""A study's scores over the weight of its regulariser (label-structure paper, Figure 5)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from fastseg.charts import Curve, curves
from fastseg.report import Markup, note, section, table, tag


def sweep(folder: Path) -> tuple[Markup, list[Markup]]:
    """A chart, and the parts of a page with it and a table.

    ValueError: no study's folder, or none whose variants differ in regulariser.weight.
    """
    values = read_study_json(folder)
    scores = by_weight(values, folder)
    weights = sorted(scores)
    means = np.array([np.mean(scores[weight]) for weight in weights])
    spreads = np.array([np.std(scores[weight], ddof=1) if len(scores[weight]) > 1 else 0.0 for weight in weights])
    line = Curve("with the branch", "var(--one)", np.stack([np.array(weights), means], 1), spread=spreads)
    lines = [line]
    if 0.0 in scores:
        flat = np.array([[weights[0], means[0]], [weights[-1], means[0]]])
        lines.append(Curve("without", "var(--two)", flat, dashed=True))
    rows = [
        [
            f"{weight:g}" if weight else "none",
            str(len(scores[weight])),
            f"{mean:.2f}",
            f"{spread:.2f}" if len(scores[weight]) > 1 else "-",
        ]
        for weight, mean, spread in zip(weights, means, spreads, strict=True)
    ]
    chart = curves(lines, "mIoU over the weight", "weight of the branch's loss", "mIoU %")
    heads = ["weight", "seeds", "mIoU %", "deviation"]
    return chart, [
        note(f"Study {values['protocol']['name']}; the band is one deviation over the seeds."),
        section("Curve", tag("div", chart, class_="card")),
        section("Figures", table(heads, rows, numeric=(0, 1, 2, 3))),
    ]


def read_study_json(folder: Path) -> dict[str, Any]:
    """What `fastseg compare` wrote of a study; ValueError when it did not."""
    path = folder / "study.json"
    try:
        found: dict[str, Any] = json.loads(path.read_text("utf-8"))
        found["protocol"]["variants"], found["rows"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: expected the figures of a study, which fastseg compare writes ({error})") from error
    return found


def by_weight(values: dict[str, Any], folder: Path) -> dict[float, list[float]]:
    """mIoU in per cent of each seed, by weight, on the most images; a variant without a branch has weight 0."""
    weights = {each["name"]: _weight(values["protocol"]["segment"], each) for each in values["protocol"]["variants"]}
    most = max(row["images"] for row in values["rows"])
    found: dict[float, list[float]] = {}
    for row in values["rows"]:
        if row["images"] == most:
            found.setdefault(weights[row["variant"]], []).append(100 * row["miou"])
    if len(found) < 2:
        raise ValueError(f"{folder}: its variants do not differ in regulariser.weight; there is nothing to sweep")
    return found


def _weight(shared: dict[str, Any], variant: dict[str, Any]) -> float:
    merged = {**shared.get("regulariser", {}), **variant.get("fields", {}).get("regulariser", {})}
    return float(merged.get("weight", 0.5)) if merged.get("kind", "none") != "none" else 0.0
