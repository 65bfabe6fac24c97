"""An analysis's charts: curves by initialisation, mIoU over labelled images and sizes, accuracy against mIoU."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from fastseg.analyse_runs import Points, Trained, grouped, mean_curve, smoothed
from fastseg.analyse_scores import Row
from fastseg.charts import Curve, curves, scatter
from fastseg.compare_page import COLOURS
from fastseg.report import Markup


def charts(runs: Sequence[Trained], rows: Sequence[Row]) -> list[Markup]:
    """Loss, accuracy and mIoU by step; mIoU by labelled images and by size of the input; mIoU against accuracy."""
    colours = _colours(runs)
    labelled = {row["name"] for row in rows}
    segmenting = [run for run in runs if run.name in labelled]
    counts = sorted({run.images for run in segmenting})
    most = f", {counts[-1]} labelled images" if counts and counts[-1] else ""
    drawn = []
    for kind, some in ((most, segmenting), (" of depth", [run for run in runs if run.name not in labelled])):
        if some:
            drawn.append(_by_step(some, "loss", f"Training loss{kind}", "", 1, colours))
    if rows:
        drawn.append(_by_step(runs, "global_accuracy", f"Accuracy while training{most}", "%", 100, colours))
        drawn.append(_by_step(runs, "miou", f"mIoU while training{most}", "%", 100, colours))
        drawn.append(_over(greatest(rows), _scaled, "mIoU by size of the input", "times the training size", colours))
        if len(counts) > 1:
            drawn.append(_over(rows, _sized, "mIoU by labelled images", "labelled images", colours))
        clouds = [Curve(name, colours[name], _accuracies(group)) for name, group in by_name(rows).items()]
        drawn.append(scatter(clouds, "mIoU against accuracy, a network each", "accuracy %", "mIoU %"))
    return drawn


def _by_step(
    runs: Sequence[Trained], key: str, title: str, unit: str, factor: float, colours: Mapping[str, str]
) -> Markup:
    lines = []
    for group in largest(runs):
        points, spread = mean_curve([run.points(key) * (1, factor) for run in group])
        band = smoothed(spread[:, None])[:, 0] if spread is not None else None
        lines.append(Curve(group[0].name, colours[group[0].name], smoothed(points), spread=band))
    return curves(lines, title, "step", unit)


def _over(
    rows: Sequence[Row], points: Callable[[Row], Points], title: str, x_name: str, colours: Mapping[str, str]
) -> Markup:
    """A line for each name of the mean over its rows' points of the same x."""
    lines = []
    for name, group in by_name(rows).items():
        every = np.concatenate([points(row) for row in group])
        places = np.unique(every[:, 0])
        values = [100 * every[every[:, 0] == place, 1] for place in places]
        spread = np.array([each.std(ddof=1) if len(each) > 1 else 0.0 for each in values])
        mean = np.stack([places, [each.mean() for each in values]], 1)
        lines.append(Curve(name, colours[name], mean, spread=spread if spread.any() else None))
    return curves(lines, title, x_name, "%")


def _scaled(row: Row) -> Points:
    return np.array([[each["scale"], each["miou"]] for each in row["scales"]], np.float64)


def _sized(row: Row) -> Points:
    return np.array([[row["images"], at_one(row)["miou"]]], np.float64)


def _accuracies(rows: Iterable[Row]) -> Points:
    found = [at_one(row) for row in rows]
    return 100 * np.array([[each["global_accuracy"], each["miou"]] for each in found], np.float64)


def at_one(row: Row) -> Row:
    """The scores at the training size."""
    found: Row = next(each for each in row["scales"] if each["scale"] == 1)
    return found


def _colours(runs: Sequence[Trained]) -> dict[str, str]:
    names = dict.fromkeys(run.name for run in runs)
    return {name: COLOURS[place % len(COLOURS)] for place, name in enumerate(names)}


def largest(runs: Sequence[Trained]) -> list[list[Trained]]:
    """The seeds of each name on its greatest number of images."""
    groups = grouped(runs)
    most = {name: max(images for other, images in groups if other == name) for name, _ in groups}
    return [groups[name, images] for name, images in most.items()]


def greatest(rows: Sequence[Row]) -> list[Row]:
    most = max((row["images"] for row in rows), default=0)
    return [row for row in rows if row["images"] == most]


def by_name(rows: Sequence[Row]) -> dict[str, list[Row]]:
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row["name"], []).append(row)
    return groups


def by_name_and_images(rows: Sequence[Row]) -> dict[tuple[str, int], list[Row]]:
    groups: dict[tuple[str, int], list[Row]] = {}
    for row in rows:
        groups.setdefault((row["name"], row["images"]), []).append(row)
    return groups
