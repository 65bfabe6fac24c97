"""The README's lines on training and heads: what an op or a regulariser changes in a whole step."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from benchmarks.readme_corpus import bullets

Record = Mapping[str, Any]
OURS = "fastseg"


def lines(newest: Callable[[str], Record | None]) -> list[str]:
    """One Markdown bullet for each result that there is; "not run" for one that there is not."""
    return [
        "In training, on the same machine:",
        "",
        *bullets({"train_photometric": photometric, "gating_head": head}, newest),
    ]


def photometric(record: Record) -> str:
    """A step of depth from video: time and memory with the fused op, against eager and compiled torch."""
    found = record["result"]
    given, others = found["protocol"], [name for name in found["time_ratio"] if name != OURS]
    times = ", ".join(f"{name} {found['time_ratio'][name]:.2f}" for name in others)
    peaks = ", ".join(f"{name} {found['peak_mb'][name]:,.0f}" for name in others)
    goal = "" if found["reached"] else f" (goal {found['goal_mb']:,.0f}, missed)"
    return (
        f"A step of depth from video, {given['network']}, {given['batch']} clips of {given['size']}, "
        f"{given['threads']} threads: {found['median_s'][OURS]:.1f} s with the fused photometric error, {times} times "
        f"as long; peak {found['peak_mb'][OURS]:,.0f} MB{goal}, {peaks}."
    )


def head(record: Record) -> str:
    """Gated heads and networks: time and memory beside five dense branches."""
    cases = list(dict.fromkeys(row["case"] for row in record["rows"]))
    return (
        f"Depth-aware gates beside five dense branches, one thread: {'; '.join(_case(record, name) for name in cases)}."
    )


def _case(record: Record, name: str) -> str:
    rows = {row["impl"]: row for row in record["rows"] if row["case"] == name}
    own, peers = rows[OURS], [row for impl, row in rows.items() if impl != OURS]
    ratios = sorted(row["ratio_to_ours"] for row in peers)
    memory = sorted(own["extra"]["peak_mb"] / row["extra"]["peak_mb"] for row in peers if "peak_mb" in row["extra"])
    told = f"{name} {_span(ratios)} times as fast"
    return f"{told}, {_span(memory)} of the memory" if memory else told


def _span(values: list[float]) -> str:
    low, high = f"{values[0]:.2f}", f"{values[-1]:.2f}"
    return low if low == high else f"{low}-{high}"
