"""The README's line on training: what an op changes in a whole step."""

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
        *bullets({"train_photometric": photometric}, newest),
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
