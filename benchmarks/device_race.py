"""Races on a GPU: rows by CUDA events, beside the rates that `benchmarks.device_rates` measured on it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from benchmarks.rows import OURS, Row

AHEAD_CYCLES = 4_000_000  # the GPU waits about 2 ms before each timed call, so that its launches are queued by then
Call = Callable[[int], object]


def over(call: Callable[[Any], object], inputs: Sequence[Any]) -> Call:
    """`call` on the i-th of the inputs, in turn."""
    return lambda number: call(inputs[number % len(inputs)])


def limits(folder: Path) -> dict[str, float]:
    """The GPU's measured rates {copy_gb_s, bf16_tflop_s, tf32_tflop_s, fp32_tflop_s}; ValueError before they are."""
    found = sorted(folder.glob("device-rates-20*.json"))
    if not found:
        raise ValueError("the rates of this GPU are not measured yet: run the stage `rates` first")
    rates: dict[str, float] = json.loads(found[-1].read_text("utf-8"))["rates"]
    return rates


def peak_mb(call: Call) -> float:
    """Megabytes that a call needs at its peak above what is held before it."""
    import torch

    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    held = torch.cuda.memory_allocated()
    call(0)
    torch.cuda.synchronize()
    return (torch.cuda.max_memory_allocated() - held) / 1e6


def event_ms(call: Call, number: int) -> float:
    """Milliseconds the GPU takes for call(number), its launches queued ahead of it where it does not wait itself."""
    import torch

    event: Any = torch.cuda.Event
    start, end = event(enable_timing=True), event(enable_timing=True)
    sleep: Any = torch.cuda._sleep
    sleep(AHEAD_CYCLES)
    start.record()
    call(number)
    end.record()
    end.synchronize()
    return float(start.elapsed_time(end))


def gpu_race(
    case: str,
    contestants: Mapping[str, Call],
    rates: Mapping[str, float],
    *,
    repeats: int = 25,
    budget_s: float = 4.0,
    frames: int = 0,
    moved: float = 0.0,
    flops: float = 0.0,
    matmul: str = "bf16_tflop_s",
    errors: Mapping[str, float] = MappingProxyType({}),
) -> list[Row]:
    """One row a contestant, ours first, threads 0; call(i) works on the i-th of several inputs, so that none is cached.

    moved, flops   bytes and operations that the task needs at least; give `gb_s`, `share_of_copy`, `tflop_s`,
                   `share_of_matmul` (of the rate named by `matmul`) in extra
    frames         of a call; gives `us_a_frame`
    budget_s       wall seconds after which a contestant sits out
    """
    peaks: dict[str, float] = {}
    times: dict[str, list[float]] = {name: [] for name in contestants}
    spent = dict.fromkeys(contestants, 0.0)
    for name, call in contestants.items():
        for number in range(3):
            call(number)
        peaks[name] = peak_mb(call)
    for number in range(repeats):
        for name, call in contestants.items():
            if spent[name] < budget_s:
                began = time.monotonic()
                times[name].append(event_ms(call, number))
                spent[name] += time.monotonic() - began
    medians = {name: float(np.median(found)) for name, found in times.items()}
    rows = []
    for name in sorted(contestants, key=lambda name: name != OURS):
        ms = medians[name]
        extra = {"peak_mb": peaks[name], **shares(ms, rates, frames, moved, flops, matmul)}
        own = times[name]
        rows.append(Row(case, name, 0, ms, min(own), len(own), ms / medians[OURS], errors.get(name), extra))
    return rows


def shares(
    ms: float, rates: Mapping[str, float], frames: int, moved: float, flops: float, matmul: str
) -> dict[str, float]:
    """A time against the GPU's limits, where the task's bytes or operations are counted."""
    found = {}
    if frames:
        found["us_a_frame"] = 1e3 * ms / frames
    if moved:
        found["gb_s"] = moved / ms / 1e6
        found["share_of_copy"] = found["gb_s"] / rates["copy_gb_s"]
    if flops:
        found["tflop_s"] = flops / ms / 1e9
        found["share_of_matmul"] = found["tflop_s"] / rates[matmul]
    return found
