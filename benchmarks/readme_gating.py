"""The README's lines on depth-aware gating: what each kind of gate is worth, on rooms and on a scan."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from statistics import mean
from typing import Any

ROOMS, OFFICE = "study_gating_rooms", "gating_office"


def lines(folder: Path) -> list[str]:
    """A table of the study's variants and a line on the scan; what was not run says so."""
    rooms, office = _read(folder / f"{ROOMS}.json"), _read(folder / f"{OFFICE}.json")
    found = [f"{ROOMS}: not run."] if rooms is None else table(rooms)
    return [*found, "", f"{OFFICE}: not run." if office is None else scan(office)]


def _read(path: Path) -> Mapping[str, Any] | None:
    record: Mapping[str, Any] | None = json.loads(path.read_text("utf-8")) if path.exists() else None
    return record


def table(record: Mapping[str, Any]) -> list[str]:
    """mIoU of each variant, its gain over the baseline by distance, and whether the paper's order holds."""
    summary, config = record["summary"], record["config"]
    edges = [f"{edge:.1f}" for edge in record["results"]["baseline"][0]["edges"]]
    names = [
        f"to {edges[0]} m",
        *(f"{a} to {b} m" for a, b in pairwise(edges)),
        f"over {edges[-1]} m",
    ]
    heads = ["gates", "steps", "mIoU %", *(f"gain, {name}" for name in names)]
    rows = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for name in summary["miou"]:
        gains = (_signed(each) for each in summary["gain_by_distance"][name]["all"])
        rows.append(f"| {' | '.join([name, str(record['steps'][name]), _spread(record, name), *gains])} |")
    about = (
        f"Procedural rooms, {config['network']} at {config['size']} from {_start(config)} weights, {config['train']} "
        f"images, scored on {config['test']} of other rooms; all begin from {config['begin']} steps of a baseline, "
        f"{config['steps']} a stage follow; mean and deviation of {_seeds(record)} seeds."
    )
    told = f"{about} {best(record)} {passes(record)} {order(summary)} From `{ROOMS}` {record['date'][:10]}."
    return [*rows, "", told]


def best(record: Mapping[str, Any]) -> str:
    """The best variant of those that had as many steps as the baseline."""
    miou, results = record["summary"]["miou"], record["results"]
    alike = [name for name in miou if record["steps"][name] == record["steps"]["baseline"]]
    first = max(alike, key=lambda name: float(miou[name]))
    if first == "baseline":
        return "Of those with as many steps as the baseline none is better."
    pairs = list(zip(results[first], results["baseline"], strict=True))
    seeds = sum(ours["miou"] > base["miou"] for ours, base in pairs)
    gain = 100 * (miou[first] - miou["baseline"])
    return (
        f"Of those with as many steps as the baseline {first} is best, by {gain:.1f} points, and better in {seeds} of "
        f"{len(pairs)} seeds."
    )


def passes(record: Mapping[str, Any]) -> str:
    """The score of every pass of the network with the most loops."""
    name = max(record["results"], key=lambda name: len(record["results"][name][0]["passes"]))
    each = [
        f"{100 * mean(scores):.1f}" for scores in zip(*(run["passes"] for run in record["results"][name]), strict=True)
    ]
    return f"The passes of {name} score {', '.join(each)} %, after {record['steps'][name]} steps."


def order(summary: Mapping[str, Any]) -> str:
    """Whether the paper's order holds."""
    kept: Sequence[str] = [pair for pair, holds in summary["order"].items() if holds]
    if summary["order_holds"]:
        return "The paper's order holds."
    return (
        f"The paper's order does not hold: of its {len(summary['order'])} steps "
        f"{', '.join(kept) if kept else 'none'} {'do' if len(kept) > 1 else 'does'}."
    )


def scan(record: Mapping[str, Any]) -> str:
    """The same variants on one scanned room."""
    config, summary = record["config"], record["summary"]
    scores = ", ".join(f"{name} {_spread(record, name)}" for name in summary["miou"])
    return (
        f"A scanned office ({config['train']} frames to train on, the last {config['test']} of the same walk scored, "
        f"{record['classes']} classes, {config['size']}, seeds: {_seeds(record)}): mIoU % {scores}. From `{OFFICE}` "
        f"{record['date'][:10]}."
    )


def _seeds(record: Mapping[str, Any]) -> int:
    return min(len(runs) for runs in record["results"].values())


def _start(config: Mapping[str, Any]) -> str:
    return "trained" if config["init_from"] else "random"


def _spread(record: Mapping[str, Any], name: str) -> str:
    found = f"{100 * record['summary']['miou'][name]:.1f}"
    return found if _seeds(record) == 1 else f"{found} +- {100 * record['summary']['deviation'][name]:.1f}"


def _signed(gain: float | None) -> str:
    return "-" if gain is None else f"{100 * gain:+.1f}"
