"""The learning-rate search: short trainings over {5, 2, 1} x 10^-n, the peak of validation mIoU picked."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

HIGHEST, LOWEST = 1.0, 1e-8
DIGITS = (1, 2, 5)


def grid(lowest: float, highest: float) -> list[float]:
    """The numbers {5, 2, 1} x 10^-n from lowest to highest, ascending; both ends count when they are such numbers."""
    first, last = math.floor(math.log10(lowest)), math.ceil(math.log10(highest))
    found = [float(f"{digit}e{power}") for power in range(first, last + 1) for digit in DIGITS]
    return [rate for rate in found if lowest * (1 - 1e-9) <= rate <= highest * (1 + 1e-9)]


@dataclass(frozen=True)
class Choice:
    """Where a search stands: the rate picked, or the rates that are still to be tried."""

    rate: float | None
    to_try: tuple[float, ...]


def choose(scores: Mapping[float, float], lowest: float, highest: float) -> Choice:
    """The peak of the mIoU by rate (NaN or below every other for a training that diverged), or what to try next.

    A best rate at the edge of what was tried is no peak: the range grows there by one rate. Of equals the smallest.
    ValueError: nothing was learned at any rate, or the edge of 1e-8 to 1 is reached.
    """
    wanted = grid(lowest, highest)
    if not wanted:
        raise ValueError(f"no number of {{5, 2, 1}} x 10^-n lies between {lowest:g} and {highest:g}")
    missing = tuple(rate for rate in wanted if rate not in scores)
    if missing:
        return Choice(None, missing)
    tried = sorted(scores)
    finite = [rate for rate in tried if not math.isnan(scores[rate])]
    if not finite:
        raise ValueError(f"every rate from {tried[0]:g} to {tried[-1]:g} diverged; search from a lower one")
    best = max(finite, key=lambda rate: (scores[rate], -rate))
    if tried[0] < best < tried[-1]:
        return Choice(best, ())
    return Choice(None, (_beyond(best, best == tried[-1]),))


def _beyond(edge: float, upwards: bool) -> float:
    """The next rate of the grid above or below."""
    near = grid(edge / 10, edge * 10)
    following = [rate for rate in near if rate > edge * (1 + 1e-9)] if upwards else []
    before = [rate for rate in near if rate < edge * (1 - 1e-9)]
    rate = following[0] if upwards else before[-1]
    if not LOWEST <= rate <= HIGHEST:
        raise ValueError(f"the best rate is {edge:g}, at the edge of every range from {LOWEST:g} to {HIGHEST:g}")
    return rate
