"""The gating head and a whole gated ResNet-50 on a GPU: the cases and peers of `benchmarks.gating_head`, in bf16.

All run under autocast, which gives each contestant its weights in bf16 anew in every call. Agreement is asserted with
the dense branches in float32: the head's output, and in training the gradient of its input; a network's gates choose
by its own features, which in bf16 are others.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from benchmarks.bench_gated_conv import difference
from benchmarks.device_race import gpu_race
from benchmarks.gating_head import CASES, Call, Case, contestants, made
from benchmarks.rows import OURS, Row

WIDTH, SIDE, SIZE = 512, 90, (480, 640)
TOLERANCE = 0.03  # of the largest value: bf16 keeps 8 bits, and batch-norm divides by what it measured


def moved(case: Case, device: str) -> Case:
    """The case with its module and inputs on a device."""
    return replace(case, module=case.module.to(device), inputs=tuple(each.to(device) for each in case.inputs))


def in_bf16(call: Call, device: str) -> Call:
    """The call under autocast."""

    def cast() -> Any:
        import torch

        with torch.autocast(device, dtype=torch.bfloat16):
            return call()

    return cast


def agreement(name: str, case: Case, device: str) -> float:
    """The largest difference of ours in bf16 from the dense branches in float32, over the largest value."""
    ours, exact = in_bf16(case.call(False, True), device)(), case.call(True, False)()
    worst = max(difference(x.float(), y.float()) for x, y in zip(ours, exact, strict=True))
    assert worst <= TOLERANCE, f"{name}: ours in bf16 and the dense branches in float32 differ by {worst:.2%}"
    return worst


def gating_head_rows(rates: Mapping[str, float], device: str = "cuda") -> list[Row]:
    """The rows of every case; AssertionError where ours does not agree with the dense branches."""
    rows = []
    for name in CASES:
        case = moved(made(name, WIDTH, SIDE, SIZE), device)
        whole = name.startswith("network")
        errors = {} if whole else {OURS: agreement(name, case, device)}
        calls = {impl: in_bf16(call, device) for impl, call in contestants(name, case).items()}
        timed = {impl: lambda _, call=call: call() for impl, call in calls.items()}
        title = f"{SIZE[0]}x{SIZE[1]} {name}" if whole else f"{WIDTH}x{SIDE}x{SIDE} {name}"
        rows += gpu_race(title, timed, rates, repeats=15, budget_s=2.0, errors=errors)
    return rows
