"""What a study found: its rows, study.json, the table for the terminal and in markdown."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fastseg.compare_plan import Plan, curve
from fastseg.compare_study import amounts, is_searched, plain

if TYPE_CHECKING:
    from rich.table import Table

MEASURES = {"miou": "mIoU", "global_accuracy": "global accuracy", "class_accuracy": "class accuracy"}
PACKAGES = ("fastseg", "torch", "torchvision", "timm", "segmentation-models-pytorch", "numpy", "opencv-python-headless")
Row = dict[str, Any]


@dataclass(frozen=True)
class Summary:
    """A variant on a number of images: rows of its seeds in order, and of the first variant's same seeds."""

    variant: str
    images: int
    rows: list[Row]
    first: list[Row]

    def values(self, measure: str) -> npt.NDArray[np.float64]:
        """The final score of each seed, in per cent."""
        return 100 * np.array([row[measure] for row in self.rows], np.float64)

    def shown(self, measure: str) -> str:
        """Mean and, of several seeds, deviation, in per cent."""
        return mean_and_deviation(self.values(measure))

    def against(self, measure: str) -> str:
        """The mean difference from the first variant, seed against the same seed, and in how many seeds it is ahead."""
        own = {row["seed"]: row[measure] for row in self.rows}
        gains = [100 * (own[row["seed"]] - row[measure]) for row in self.first if row["seed"] in own]
        if self.rows == self.first or not gains:
            return ""
        return f"{np.mean(gains):+.1f} ({sum(gain > 0 for gain in gains)} of {len(gains)} seeds)"


def mean_and_deviation(values: npt.NDArray[np.float64]) -> str:
    """`12.3 +- 0.4`, the deviation of a sample; of one value it alone."""
    return f"{values.mean():.1f}" + (f" +- {values.std(ddof=1):.1f}" if len(values) > 1 else "")


def rows_of(plan: Plan) -> list[Row]:
    """A row for each training that is done: variant, seed, images, fraction, the final scores, the curve by epoch.

    ValueError: none is done, or one that is has lost its scores.
    """
    done = {task.name for task in plan.tasks() if task.name.startswith("cell-") and plan.is_done(task)}
    found = []
    for cell in plan.cells:
        if f"cell-{cell.name}" in done:
            per_epoch = cell.images // cell.segment.batch
            points = [{"epoch": line["step"] / per_epoch, **_scores(line)} for line in curve(cell.segment.out)]
            if not points:
                again = f"delete {plan.path(f'cell-{cell.name}')} and {cell.segment.out} to run it again"
                raise ValueError(f"{cell.segment.out / 'metrics.jsonl'}: expected the training's scores; {again}")
            share = {"images": cell.images, "fraction": cell.images / plan.images}
            row = {"variant": cell.variant, "seed": cell.seed, **share}
            found.append({**row, **_scores(points[-1]), "curve": points})
    if not found:
        raise ValueError(f"{plan.out}: no training of the study is done yet")
    return found


def _scores(line: dict[str, Any]) -> dict[str, float]:
    return {measure: line[measure] for measure in MEASURES}


def record(plan: Plan, rows: list[Row], order: list[dict[str, Any]]) -> dict[str, Any]:
    """study.json: protocol, machine, versions, date, whether the stated order holds (`compared`), rows."""
    first = plan.cells[0].segment
    protocol = {
        **plain(plan.study),
        "images": {"train": plan.images, "used": amounts(plan.study, plan.images), "scored": _scored(plan)},
        "scored_on": first.loop.eval_split,
        "found_rates": found_rates(plan),
        "trainings": f"{len(rows)} of {len(plan.cells)}",
    }
    date = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    made = {"protocol": protocol, "machine": machine(), "versions": versions(), "date": date}
    return {**made, **({"order": order} if plan.study.order else {}), "rows": rows}


def _scored(plan: Plan) -> int:
    images = plan.cells[0].segment.validation()
    return 0 if images is None else len(images)


def found_rates(plan: Plan) -> dict[str, float]:
    """The learning rate that each searched variant got, as far as the searches have come."""
    found = {each.name: plan.choice(each).rate for each in plan.study.variants if is_searched(plan.study, each)}
    return {name: rate for name, rate in found.items() if rate is not None}


def say_searches(plan: Plan) -> None:
    """None; one line for each rate that was found."""
    for name, rate in found_rates(plan).items():
        print(f"{name}: learning rate {rate:g}", flush=True)


def machine() -> dict[str, Any]:
    """Processor, usable cores, GPU and Python; names neither the host nor a path."""
    import torch

    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    cpu = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {"cpu": cpu, "cores": len(os.sched_getaffinity(0)), "gpu": gpu, "python": platform.python_version()}


def versions() -> dict[str, str]:
    """The installed version of every library that takes part."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def summaries(plan: Plan, rows: list[Row]) -> list[Summary]:
    """A summary for each number of images and each variant that has a row, in the study's order."""
    found = []
    for count in amounts(plan.study, plan.images):
        here = [row for row in rows if row["images"] == count]
        first = [row for row in here if row["variant"] == plan.study.variants[0].name]
        for variant in plan.study.variants:
            own = [row for row in here if row["variant"] == variant.name]
            if own:
                found.append(Summary(variant.name, count, own, first))
    return found


def headers(plan: Plan) -> list[str]:
    """The columns of the table."""
    measures = [f"{name} %" for name in MEASURES.values()]
    return ["variant", "images", "seeds", *measures, f"mIoU against {plan.study.variants[0].name}"]


def lines(found: list[Summary]) -> list[list[str]]:
    """The table's lines: mean and deviation over the seeds."""
    return [
        [each.variant, str(each.images), str(len(each.rows)), *(each.shown(m) for m in MEASURES), each.against("miou")]
        for each in found
    ]


def by_epoch(found: list[Summary], measure: str) -> tuple[list[str], list[list[str]]]:
    """Columns and lines of one measure by epoch, mean and deviation of the seeds, on the greatest number of images."""
    most = [each for each in found if each.images == max(each.images for each in found)]
    epochs = [point["epoch"] for point in most[0].rows[0]["curve"]]
    table = []
    for each in most:
        values = 100 * np.array([[point[measure] for point in row["curve"]] for row in each.rows], np.float64)
        table.append([each.variant, *(mean_and_deviation(column) for column in values.T)])
    return [f"{MEASURES[measure]} %, epoch", *(f"{epoch:g}" for epoch in epochs)], table


def terminal(title: str, columns: list[str], body: list[list[str]]) -> Table:
    """The table for the terminal: in 80 columns, too, headers and the last column are broken before a number is."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    found = Table(
        title=title, title_justify="left", box=SIMPLE_HEAD, show_edge=False, pad_edge=False, collapse_padding=True
    )
    for index, name in enumerate(columns):
        widest = max((len(line[index]) for line in body), default=0) if index < len(columns) - 1 else 0
        found.add_column(name, justify="right" if index else "left", no_wrap=not index, min_width=widest)
    for line in body:
        found.add_row(*line)
    return found


def markdown(columns: list[str], body: list[list[str]]) -> str:
    """The table in markdown."""
    rule = ["---", *("---:" for _ in columns[1:])]
    return "".join("| " + " | ".join(line) + " |\n" for line in [columns, rule, *body])


def report(plan: Plan) -> None:
    """None; OUT/study.json, study.md, report.html and the curves' SVG files are written, the table printed."""
    from rich.console import Console

    from fastseg import compare_order
    from fastseg.compare_page import write_page
    from fastseg.data.shards import replace_file

    rows = rows_of(plan)
    found = summaries(plan, rows)
    order = compare_order.compared(plan.study.order, found)
    content = record(plan, rows, order)
    title = f"{plan.study.name}: {content['protocol']['trainings']} trainings, mean and deviation over the seeds"
    replace_file(plan.out / "study.json", (json.dumps(content, indent=1) + "\n").encode())
    tables = [(headers(plan), lines(found)), *(by_epoch(found, measure) for measure in MEASURES)]
    said = [compare_order.verdict(plan.study.order, order) + "\n"] if plan.study.order else []
    if order:
        tables.append((compare_order.HEADERS, compare_order.lines(order)))
    text = "\n".join([f"{title}\n", *said, *(markdown(*table) for table in tables)])
    replace_file(plan.out / "study.md", text.encode())
    write_page(plan, content, found)
    Console().print(terminal(title, *tables[0]))
    print("".join(said), end="")
    print(f"{plan.out / 'report.html'}, study.md and study.json are written", flush=True)
