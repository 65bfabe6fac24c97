"""See a label run: a self-contained HTML page of its frames, figures and rejections; frames as painted point clouds.

fastseg view OUT --html report.html
fastseg view OUT --ply cloud.ply --frame room-000001/view-0002
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fastseg.charts import histogram, pyramid
from fastseg.cli import run
from fastseg.data.shards import label_of, replace_file
from fastseg.data.sources import Reader
from fastseg.frame_card import frame_card, rejected_card, tilt_deg
from fastseg.frames import Frame, FrameError, FrameSource
from fastseg.label_run import LabelRun, read_run, reopened
from fastseg.pictures import IGNORE_COLOUR, Picture, hn_palette, label_picture
from fastseg.ply import moved, ply_bytes
from fastseg.report import Markup, facts, joined, note, page, section, swatch, table, tag

LISTED = 300  # rejected frames listed by name; the rest are counted
SHOWN_REJECTED = 6


@dataclass(frozen=True)
class View:
    """What to show of a label run.

    out          the folder that make_hn_labels wrote
    html         the page to write
    ply          the point cloud to write; needs --frame
    frame        the id of the frame to show, or a list [ID, ID]; several in one cloud need poses
    frames       how many frames the page shows when none is named, evenly over the sorted ids
    reader       the source's reader, when it is not the one in run.json
    root         the source's folder, when it is not the one in run.json
    depth_scale  metres for one unit of the source's depth, when it is not the one in run.json
    width        the pictures' largest width in pixels
    """

    out: str
    html: str | None = None
    ply: str | None = None
    frame: list[str] | str = field(default_factory=list)
    frames: int = 12
    reader: Reader | None = None
    root: str | None = None
    depth_scale: float | None = None
    width: int = 320


def main(config: View) -> int:
    """0; the page and the cloud are written, each with a line that says so."""
    if config.html is None and config.ply is None:
        raise ValueError("nothing to write: give --html report.html, --ply cloud.ply with --frame ID, or both")
    if config.frames < 0 or config.width < 16:
        raise ValueError(f"frames must be at least 0 and width at least 16; got {config.frames} and {config.width}")
    named = [config.frame] if isinstance(config.frame, str) else list(config.frame)
    found = read_run(config.out)
    source, absent = reopened(found, config.reader, config.root, config.depth_scale)
    if config.html is not None:
        text = report(found, source, absent, named, config.frames, config.width)
        replace_file(Path(config.html), text.encode("utf-8"))
        print(f"{config.html}: {len(found.shards)} labelled and {len(found.rejected)} rejected frames")
    if config.ply is not None:
        if source is None:
            raise ValueError(f"a point cloud needs depth; {absent}")
        points, colours = painted_cloud(found, source, named)
        replace_file(Path(config.ply), ply_bytes(points, colours))
        print(f"{config.ply}: {np.isfinite(points).all(axis=1).sum()} points of {', '.join(named)}")
    return 0


def report(run: LabelRun, source: FrameSource | None, absent: str, named: list[str], count: int, width: int) -> str:
    """The whole page of a label run: facts, labels, figures, rejections, frames."""
    palette = hn_palette(run.hn["n_height"], run.hn["n_normal"])
    heading = [tag("h1", f"HN labels of {run.folder.name or run.folder}"), note(run.folder.absolute())]
    missing = [note(absent, class_="note warn")] if source is None else []
    cards = [
        frame_card(run.shards.row(k), palette, *loaded(source, run.shards.ids()[k], absent), run.normals, width)
        for k in chosen(run, named, count)
    ]
    return page(
        f"HN labels: {run.folder.name}",
        *heading,
        *missing,
        _facts(run),
        section("Labels", _labels(run, palette)),
        section("Figures of the labelled frames", _figures(run)),
        section(f"Frames ({len(cards)} of {len(run.shards)})", *cards),
        section(f"Rejected frames ({len(run.rejected)})", *_rejected(run, source, width)),
        section("Run", tag("pre", json.dumps(run.about, indent=2, ensure_ascii=False))),
    )


def chosen(run: LabelRun, named: list[str], count: int) -> list[int]:
    """Indices of the frames to show: the named ones, or `count` evenly over all; ValueError for an unknown id."""
    if not named:
        spread = np.linspace(0, len(run.shards) - 1, min(count, len(run.shards)))
        return sorted({round(k) for k in spread.tolist()})
    at = {frame_id: k for k, frame_id in enumerate(run.shards.ids())}
    reasons = {row["id"]: row["detail"] for row in run.rejected}
    for frame_id in named:
        if frame_id not in at:
            why = f"it was rejected: {reasons[frame_id]}" if frame_id in reasons else "the run has no such id"
            raise ValueError(f"frame {frame_id!r} has no label in {run.folder}: {why}")
    return [at[frame_id] for frame_id in named]


def loaded(source: FrameSource | None, frame_id: str, absent: str = "") -> tuple[Frame | None, str]:
    """The frame from its source, or None and a sentence why not."""
    if source is None:
        return None, absent
    try:
        return source.load(frame_id), ""
    except FrameError as error:
        return None, f"depth not available: {error.detail}"


def painted_cloud(
    run: LabelRun, source: FrameSource, named: list[str]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.uint8]]:
    """Points (N, 3) in metres of the named frames and the colours (N, 3) of their labels.

    In the world when every frame has a pose; a single frame without one in its camera's frame.
    """
    from fastseg.ops.normals import normals

    if not named:
        raise ValueError("a point cloud needs a frame: give --frame ID")
    palette = hn_palette(run.hn["n_height"], run.hn["n_normal"])
    clouds, colours = [], []
    for k in chosen(run, named, 0):
        row = run.shards.row(k)
        frame = source.load(row["id"])
        label = label_of(row)
        if frame.depth.shape != label.shape:
            sizes = f"{label.shape[1]}x{label.shape[0]} label and {frame.depth.shape[1]}x{frame.depth.shape[0]} depth"
            raise ValueError(f"frame {row['id']!r}: a point cloud needs label and depth of one size; got {sizes}")
        if frame.pose is None and len(named) > 1:
            raise ValueError(f"frame {row['id']!r} has no pose; several frames in one cloud need poses")
        points, _ = normals(frame.depth, frame.camera, depth_scale=frame.depth_scale)
        flat = np.asarray(points, np.float64).reshape(3, -1).T
        clouds.append(flat if frame.pose is None else moved(flat, frame.pose))
        colours.append(label_picture(label, palette).reshape(-1, 3))
    return np.concatenate(clouds), np.concatenate(colours)


def _facts(run: LabelRun) -> Markup:
    total = len(run.shards) + len(run.rejected)
    pixels = float((run.column("height") * run.column("width")).sum())
    pairs: list[tuple[str, object]] = [
        ("frames", f"{total:,}"),
        ("labelled", f"{len(run.shards):,}"),
        ("rejected", f"{len(run.rejected):,} ({len(run.rejected) / max(total, 1):.0%})"),
        ("pixels labelled", f"{run.bins.sum() / max(pixels, 1):.0%}"),
        ("heights x angles", f"{run.hn['n_height']} x {run.hn['n_normal']}"),
        ("fingerprint", tag("code", str(run.shards.metadata.get("fingerprint", "none"))[:12])),
    ]
    return facts(pairs)


def _labels(run: LabelRun, palette: Picture) -> Markup:
    n_height, n_normal = run.hn["n_height"], run.hn["n_normal"]
    names = [name.rpartition(" x ") for name in run.shards.class_names]
    shares = run.bins.reshape(n_normal, n_height) / max(int(run.bins.sum()), 1)
    panels, rows = [names[k * n_height][0] for k in range(n_normal)], [name[2] for name in names[:n_height]]
    chart = pyramid(shares, palette.reshape(n_normal, n_height, 3), panels, rows)
    key = table(
        ["label", "surface", "height", "pixels", "share"],
        [
            [joined([swatch(palette[k]), str(k)]), name[0], name[2], f"{run.bins[k]:,}", f"{shares.flat[k]:.1%}"]
            for k, name in enumerate(names)
        ],
        numeric=(3, 4),
    )
    how = [
        tag("p", "Each pixel's label is its height above the floor and the angle of its surface to up, in bins."),
        note("Share of labelled pixels over all frames. Colours get lighter with height; the hue tells the angle."),
        note(swatch(IGNORE_COLOUR), "Dark grey pixels carry no label (255): no depth, or no normal."),
        tag("details", tag("summary", "All labels"), key),
    ]
    return tag("div", tag("div", chart), tag("div", *how), class_="grid halves")


def _figures(run: LabelRun) -> Markup:
    charts = [
        histogram(tilt_deg(run.up), "camera tilt", "°"),
        histogram(-run.column("floor_m"), "camera above the floor", " m"),
        histogram(100 * run.column("aligned_fraction"), "floor points that face up", " %"),
        histogram(100 * run.column("valid_fraction"), "valid depth", " %"),
        histogram(run.column("disagreement_deg"), "gravity estimators apart", "°"),
    ]
    return tag("div", *(tag("div", chart, class_="card") for chart in charts), class_="grid fives")


def _rejected(run: LabelRun, source: FrameSource | None, width: int) -> list[Markup]:
    if not run.rejected:
        return [note("None.")]
    counts = Counter(row["reason"] for row in run.rejected)
    share = [[reason, f"{n:,}", f"{n / len(run.rejected):.0%}"] for reason, n in counts.most_common()]
    rows = [[row["id"], row["reason"], row["detail"], f"{row['value']:.4g}"] for row in run.rejected[:LISTED]]
    more = len(run.rejected) - len(rows)
    cards = [rejected_card(row, loaded(source, row["id"])[0], run.normals, width) for row in _varied(run.rejected)]
    return [
        table(["reason", "frames", "share"], share, numeric=(1, 2)),
        tag("div", *(cards if source is not None else []), class_="grid halves"),
        table(["frame", "reason", "detail", "figure"], rows, numeric=(3,)),
        note(f"{more:,} more are in {run.folder / 'rejected'}.") if more else Markup(""),
    ]


def _varied(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A few rejected frames, each reason before any reason twice."""
    seen: Counter[str] = Counter()
    turns = []
    for row in rows:
        turns.append((seen[row["reason"]], row["id"], row))
        seen[row["reason"]] += 1
    return [row for _, _, row in sorted(turns, key=lambda turn: turn[:2])[:SHOWN_REJECTED]]


def cli(argv: Sequence[str] | None = None) -> int:
    """The exit code of `fastseg view OUT ...`."""
    return run(View, main, argv, positional=("out",), prog="fastseg view")


if __name__ == "__main__":
    sys.exit(cli())
