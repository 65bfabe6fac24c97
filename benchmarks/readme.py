"""Writes the figures of the README and docs/gating.md: `python -m benchmarks.readme` (`--check true` only compares).

Each row names the result in `benchmarks/results` that it comes from; a result that is not there says "not run".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import (
    readme_corpus,
    readme_gating,
    readme_ops,
    readme_pssl,
    readme_structure,
    readme_studies,
    readme_training,
)
from benchmarks.record import RESULTS
from fastseg.cli import run

README = Path(__file__).parents[1] / "README.md"
BEGIN, END = "<!-- figures: written by `python -m benchmarks.readme` -->", "<!-- /figures -->"
Result = Mapping[str, Any]
Cells = tuple[str, str, str]  # what, fastseg, the strongest peer in the same run


@dataclass(frozen=True)
class Config:
    """What to do with the pages."""

    check: bool = False  # exit code 1 instead of writing when the figures differ


def newest(name: str) -> Result | None:
    """The newest committed result of that name, None when there is none."""
    return readme_ops.newest(name, RESULTS)


def percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def kitchen(result: Result) -> list[Cells]:
    """Real Kinect frames, scored by their poses."""
    ours, peer = result["fastseg"], result["peer"]
    own, common = result["fastseg, common"]["agreement"], result["peer, common"]["agreement"]
    return [
        (
            "frames accepted, of 125 real Kinect frames (7-Scenes red kitchen)",
            f"{ours['accepted']}",
            f"{peer['accepted']}",
        ),
        (
            "same label for the same 3-D point in successive frames (same frames and pixels)",
            f"{percent(ours['agreement']['label'])} ({percent(own['label'])})",
            f"{percent(peer['agreement']['label'])} ({percent(common['label'])})",
        ),
        (
            "of pixels seen in both frames, those labelled in both (edges and bad fits are ignored)",
            percent(ours["agreement"]["labelled_share"]),
            percent(peer["agreement"]["labelled_share"]),
        ),
        (
            "floor within 5 cm of its median in the world",
            percent(ours["floor_offset_m"]["within_5cm"]),
            percent(peer["floor_offset_m"]["within_5cm"]),
        ),
        (
            "up, degrees from its mean in the world: median / 95 %",
            f"{ours['up_spread_deg']['median']:.2f} / {ours['up_spread_deg']['p95']:.2f}",
            f"{peer['up_spread_deg']['median']:.2f} / {peer['up_spread_deg']['p95']:.2f}",
        ),
    ]


def rooms(result: Result) -> list[Cells]:
    """Noisy procedural rooms, scored by their truth."""
    ours, peer = result["fastseg"], result["peer"]
    frames = f"{ours['frames']} noisy procedural frames"

    def both(shown: Callable[[Result], str]) -> tuple[str, str]:
        return shown(ours), shown(peer)

    return [
        (f"label equal to the exact one, {frames}", *both(lambda r: percent(r["agreement"]["label"]))),
        (
            "up, degrees from the truth: median / 95 %",
            *both(lambda r: f"{r['up_error_deg']['median']:.2f} / {r['up_error_deg']['p95']:.2f}"),
        ),
        ("floor, cm from the truth: median", *both(lambda r: f"{100 * r['floor_error_m']['median']:.1f}")),
    ]


def speed(result: Result) -> list[Cells]:
    """A whole label on one thread."""
    timed, over = result["label"]["times"], result["label"]["times_ours"]
    peers = f"{over['assembled peer']:.1f} times (assembled from OpenCV), {over['HHA']:.0f} times (HHA)"
    return [("a 640x480 label on one CPU thread", f"{timed['fastseg']['median_ms']:.1f} ms", f"{peers} as long")]


TABLES: Mapping[str, Callable[[Result], list[Cells]]] = {
    "label-quality-redkitchen": kitchen,
    "label-quality-rooms": rooms,
    "bench-labels": speed,
}


def figures() -> str:
    """The README's table, as Markdown."""
    lines = ["## Measured", "", "| | fastseg | best assembled peer |", "|---|---|---|"]
    notes = []
    for name, rows in TABLES.items():
        record = newest(name)
        if record is None:
            lines.append(f"| {name} | not run | |")
            continue
        lines += [f"| {' | '.join(cells)} |" for cells in rows(record["result"])]
        notes.append(f"`{name}` {record['date'][:10]}")
    machine = (newest("bench-labels") or {}).get("machine", {})
    where = f"CPU {machine['cpu']}, {machine['cores']} cores. " if machine else ""
    drift = newest("pose-drift-redkitchen")
    if drift is not None:
        apart, turn = drift["result"]["gap"], drift["result"]["rotation_deg"]["median"]
        notes.append(f"`pose-drift-redkitchen` (its own poses drift by {turn:.1f} degrees over {apart} frames, median)")
    tail = "CUDA kernels: compiled and emulated; not run on a GPU." if newest("device-stages") is None else ""
    return "\n".join(
        [
            *lines,
            "",
            f"{where}From `benchmarks/results`: {', '.join(notes)}. {tail}".strip(),
            "",
            *readme_corpus.lines(newest),
            "",
            *readme_ops.lines(RESULTS),
            "",
            *readme_training.lines(newest),
            "",
            *readme_pssl.lines(newest),
            "",
            *readme_structure.lines(newest),
            "",
            *readme_studies.lines(RESULTS),
            "",
            *readme_gating.lines(RESULTS),
        ]
    )


PAGES: Mapping[Path, Callable[[], str]] = {
    README: figures,
    README.parent / "docs/gating.md": lambda: "\n".join(readme_gating.lines(RESULTS)),
}


def main(config: Config) -> int:
    """0 when the README and the guides hold the figures of the newest results; 1 with `check` when one does not."""
    return max(page(path, shown(), config.check) for path, shown in PAGES.items())


def page(path: Path, shown: str, check: bool) -> int:
    """0 once a page holds these figures between its two marks; 1 with `check` when it does not."""
    text = path.read_text("utf-8")
    if BEGIN not in text or END not in text:
        raise ValueError(f"{path.name} must hold the lines {BEGIN} and {END}")
    head, tail = text.split(BEGIN)[0], text.split(END)[1]
    wanted = f"{head}{BEGIN}\n{shown}\n{END}{tail}"
    if text == wanted:
        return 0
    if check:
        print(f"{path.name}'s figures are not those of benchmarks/results: run `python -m benchmarks.readme`")
        return 1
    path.write_text(wanted, "utf-8")
    print(f"{path.name}'s figures are written")
    return 0


if __name__ == "__main__":
    raise SystemExit(run(Config, main))
