"""Contestants in turn: `race` makes the rows of one case; `interleaved` is the bare timing underneath.

What a benchmark program needs is importable from here: Row, race, print_rows, keep_rows, earlier_rows, on_threads.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from benchmarks.record import RESULTS, machine, write_json, write_result
from benchmarks.rows import OURS, Row, earlier_rows, keep_rows, plot_rows, print_rows, write_rows
from benchmarks.threads import on_threads, one_thread

__all__ = [
    "OURS", "RESULTS", "Row", "Timing", "earlier_rows", "interleaved", "keep_rows", "machine", "on_threads",
    "one_thread", "plot_rows", "print_rows", "race", "write_json", "write_result", "write_rows",
]  # fmt: skip
FEWEST = 3  # timed calls before a contestant over its budget sits out
NONE: Mapping[str, float] = MappingProxyType({})


@dataclass(frozen=True)
class Timing:
    """Wall milliseconds of one contestant's calls; cores is processor time over wall time, of all its threads."""

    median_ms: float
    min_ms: float
    max_ms: float
    calls: int
    cores: float = 0.0


def _warm(function: Callable[[], object], times: int, budget_s: float) -> float:
    """Milliseconds spent calling `function` at most so many times, no more once a call fills a tenth of the budget."""
    spent = 0.0
    for _ in range(times):
        start = time.perf_counter()
        function()
        spent += (time.perf_counter() - start) * 1e3
        if spent > budget_s * 1e2:
            break
    return spent


def _sits_out(times: list[float], warm_ms: float, budget_s: float) -> bool:
    """Whether a contestant has had its share: its budget after FEWEST calls, or three budgets after one."""
    spent = sum(times)
    return bool(times) and (
        (len(times) >= FEWEST and spent > budget_s * 1e3) or warm_ms + spent > FEWEST * budget_s * 1e3
    )


def interleaved(
    functions: Mapping[str, Callable[[], object]],
    repeats: int,
    *,
    warm_up: int = 1,
    budget_s: float = 20.0,
    threads: int = 1,
) -> dict[str, Timing]:
    """Each function's timing, one call each in turn, so that a busy moment of the machine falls on all alike.

    repeats rounds after `warm_up` untimed calls of each (one, for a contestant that takes seconds); a contestant that
    has used `budget_s` seconds after three calls, or three times that after one, sits out the rest (the slow ones need
    few calls and would starve the fast ones).
    """
    if repeats < 1 or not functions:
        raise ValueError(f"interleaved needs functions and at least 1 repeat; got {len(functions)} and {repeats}")
    times: dict[str, list[float]] = {name: [] for name in functions}
    busy = dict.fromkeys(functions, 0.0)
    with on_threads(threads):  # libraries load and start their threads in the first calls
        warm = {name: _warm(function, warm_up, budget_s) for name, function in functions.items()}
    with on_threads(threads) as settle:
        for _ in range(repeats):
            for name, function in functions.items():
                if _sits_out(times[name], warm[name], budget_s):
                    continue
                settle()
                before, start = time.process_time(), time.perf_counter()
                function()
                times[name].append((time.perf_counter() - start) * 1e3)
                busy[name] += time.process_time() - before
    return {
        name: Timing(float(np.median(t)), min(t), max(t), len(t), busy[name] / max(sum(t) / 1e3, 1e-9))
        for name, t in times.items()
    }


def race(
    case: str,
    contestants: Mapping[str, Callable[[], object]],
    *,
    threads: int = 1,
    repeats: int,
    budget_s: float = 20.0,
    errors: Mapping[str, float] = NONE,
    extra: Mapping[str, Mapping[str, float]] = MappingProxyType({}),
) -> list[Row]:
    """One row a contestant, ours first; all on `threads` threads, called in turn (see `interleaved`).

    contestants   name -> a call without arguments; one is named "fastseg", the others by the peer and its method
    errors, extra   by contestant; a contestant that is not named there has None and nothing
    """
    unknown = (set(errors) | set(extra)) - set(contestants)
    if OURS not in contestants or unknown:
        named = f"; {', '.join(sorted(unknown))} is in errors or extra only" if unknown else ""
        raise ValueError(f"{case}: one contestant must be called {OURS!r}; got {', '.join(contestants)}{named}")
    timed = interleaved(contestants, repeats, warm_up=2, budget_s=budget_s, threads=threads)
    ours = timed[OURS].median_ms
    return [
        Row(
            case, name, threads, t.median_ms, t.min_ms, t.calls, t.median_ms / ours, errors.get(name),
            {**extra.get(name, {}), "cores_used": round(t.cores, 2)},
        )
        for name, t in sorted(timed.items(), key=lambda item: item[0] != OURS)
    ]  # fmt: skip
