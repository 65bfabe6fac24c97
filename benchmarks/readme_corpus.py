"""The README's lines on a whole corpus: the label pipeline over many frames, and the check of what it wrote."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Record = Mapping[str, Any]


def lines(newest: Callable[[str], Record | None]) -> list[str]:
    """One Markdown bullet for each result that there is; "not run" for one that there is not."""
    shown = {"pipeline": corpus, "pipeline-tiny": tiny, "verify": checked}
    return ["A corpus, on the same machine:", "", *bullets(shown, newest)]


def bullets(shown: Mapping[str, Callable[[Record], str]], newest: Callable[[str], Record | None]) -> list[str]:
    """A Markdown bullet for each name: what it shows of its newest result and where that is from, or "not run"."""
    found = {name: newest(name) for name in shown}
    return [
        f"- {name}: not run" if record is None else f"- {shown[name](record)} From `{name}` {record['date'][:10]}."
        for name, record in found.items()
    ]


def corpus(record: Record) -> str:
    """Full-size frames: the rate, what bounds it, and the projection to NYUv2's raw frames."""
    row, parts = record["rows"][0], record["parts_ms"]
    stages = ", ".join(f"{name} {ms:.1f}" for name, ms in parts.items())
    projected = record["projection"]
    minutes = "; ".join(f"{name} {least:.0f} min" for name, least in projected["minutes"].items())
    return (
        f"{row['frames']:,} rendered 640x480 frames (JPEG colour, 16-bit PNG depth), files to label shards, 2 workers: "
        f"{row['frames_per_second']:.0f} frames/s, {row['frames_per_second_verified']:.0f} with `fastseg verify` after "
        f"it; {percent(row['share_of_parts'])} of what the parts make alone ({stages} ms a frame), start-up included, "
        f"{_steady(row)} between the first and the last shard. {_growth(row)} "
        f"Projected to NYUv2's {projected['frames']:,} raw frames: {minutes}; only the first is a measured rate, the "
        "others are arithmetic, and no GPU was there."
    )


def tiny(record: Record) -> str:
    """Small frames in numbers: what grows."""
    row = record["rows"][0]
    size = row["case"].split()[0]
    return f"{row['frames']:,} frames of {size}: {row['frames_per_second']:.0f} frames/s. {_growth(row)}"


def checked(record: Record) -> str:
    """`fastseg verify` of many ids."""
    rows = [row for row in record["rows"] if "peak_mib" in row]
    most = max(row["ids"] for row in rows)
    best = min((row for row in rows if row["ids"] == most), key=lambda row: row["seconds"])
    by = f"{best['workers']} workers" if best["workers"] else "one process"
    return f"`fastseg verify` of {most:,} ids: {best['seconds']:.0f} s, {best['peak_mib']:.0f} MiB ({by})."


def _steady(row: Record) -> str:
    rate = row["frames_per_second_steady"]
    return "unknown" if rate is None else percent(rate / row["parts_frames_per_second"])


def _growth(row: Record) -> str:
    grown = {name: slope for name, slope in row["mb_per_10k_frames"].items() if slope is not None}
    each = ", ".join(f"{name} {slope:+.2f}" for name, slope in grown.items())
    return f"Memory, MB a 10,000 frames: {each}." if grown else "Memory's growth: the run was too short to tell."


def percent(share: float) -> str:
    """A share as the README shows it."""
    return f"{100 * share:.0f} %"
