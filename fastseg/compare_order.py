"""Whether variants come in the order that a study states, on each number of labelled images."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from fastseg.compare_report import Summary, mean_and_deviation

HEADERS = ["images", "better", "worse", "mIoU gained", "seeds"]


def compared(order: Sequence[str], found: Sequence[Summary]) -> list[dict[str, Any]]:
    """For each number of images on which all of `order` are trained: images, holds, held_in, seeds, pairs.

    holds   whether the mean mIoU falls from each variant of the order to the next
    held_in in how many single seeds it does, of the `seeds` that all of them have
    pairs   of neighbours: better, worse, the gains in per cent of each seed that both have
    """
    result = []
    for images in sorted({each.images for each in found}):
        own = [each for each in found if each.images == images]
        here = {each.variant: {row["seed"]: row["miou"] for row in each.rows} for each in own}
        if len(order) < 2 or not set(order) <= here.keys():
            continue
        means = [float(np.mean(list(here[name].values()))) for name in order]
        seeds = [seed for seed in here[order[0]] if all(seed in here[name] for name in order)]
        kept = sum(_falls([here[name][seed] for name in order]) for seed in seeds)
        pairs = [
            {"better": above, "worse": below, "gains": _gains(here[above], here[below])}
            for above, below in pairwise(order)
        ]
        told = {"images": images, "holds": _falls(means), "held_in": kept, "seeds": len(seeds)}
        result.append({**told, "pairs": pairs})
    return result


def _falls(values: Sequence[float]) -> bool:
    return all(above > below for above, below in pairwise(values))


def _gains(above: dict[int, float], below: dict[int, float]) -> list[float]:
    return [100 * (above[seed] - below[seed]) for seed in above if seed in below]


def lines(orders: Sequence[dict[str, Any]]) -> list[list[str]]:
    """The table's lines: a pair of neighbours each, mean and deviation of the gain, in how many seeds it is one."""
    return [
        [str(each["images"]), pair["better"], pair["worse"], *_told(pair["gains"])]
        for each in orders
        for pair in each["pairs"]
    ]


def _told(gains: Sequence[float]) -> tuple[str, str]:
    if not gains:
        return "", "0 of 0"
    sign = "+" if np.mean(gains) > 0 else ""
    return sign + mean_and_deviation(np.array(gains)), f"{sum(gain > 0 for gain in gains)} of {len(gains)}"


def verdict(order: Sequence[str], orders: Sequence[dict[str, Any]]) -> str:
    """One sentence: on which numbers of images the order holds, and in how many single seeds of all of these."""
    held = [str(each["images"]) for each in orders if each["holds"]]
    failed = [str(each["images"]) for each in orders if not each["holds"]]
    if held and failed:
        told = f"holds with {_joined(held)} images and fails with {_joined(failed)}"
    elif orders:
        told = f"{'holds' if held else 'fails'} with {_joined(held or failed)} images"
    else:
        return f"The order {' > '.join(order)} (mean mIoU) cannot be told yet."
    kept, seeds = (sum(each[key] for each in orders) for key in ("held_in", "seeds"))
    return f"The order {' > '.join(order)} (mean mIoU) {told}; {kept} of {seeds} single seeds show it."


def _joined(numbers: Sequence[str]) -> str:
    return ", ".join(numbers[:-1]) + " and " + numbers[-1] if len(numbers) > 1 else numbers[0]
