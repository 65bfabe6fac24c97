"""How cost grows: `python -m benchmarks.growth --json F.json --plot F.png`.

`normals` (plane fit) and `hn_labels`, ours and the strongest peer (`opencv_fals`, whose window is 7 pixels at most, and
`assembled`, which rests on it), one thread, uint16 or float32 depth of one procedural room:
size     240x320 to 1080x1920, one frame, radius 5
batch    1 to 64 frames of 480x640, radius 5
radius   3 to 20, one frame of 480x640; the peers have no such window and stand at their own
`ns_a_pixel` in each row's extra is what a straight line in size or batch, and a window that costs nothing, keep equal.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import peers_label
from benchmarks.peers import metres, opencv_normals
from benchmarks.timing import OURS, Row, one_thread, print_rows, race, write_rows
from fastseg.cli import run
from fastseg.data.rooms import Rooms
from fastseg.frames import Frame
from fastseg.ops.hn_labels import hn_labels
from fastseg.ops.normals import normals

SIZES = ((240, 320), (360, 480), (480, 640), (720, 1280), (1080, 1920))
BATCHES = (1, 2, 4, 8, 16, 32, 64)
RADII = (3, 5, 7, 10, 15, 20)
RADIUS = 5
Call = Callable[[], object]


@dataclass(frozen=True)
class Config:
    """What to measure."""

    seed: int = 23  # of a room whose first view is a label's frame at every size
    repeats: int = 15
    budget_s: float = 3.0  # a contestant that has used this much sits out after three calls
    peers: bool = True
    json: Path | None = None
    plot: Path | None = None


def looped(call: Callable[[Any], object], item: Any, batch: int) -> Call:
    """A peer that knows single frames, over a batch."""
    return lambda: [call(item) for _ in range(batch)]


def normals_calls(frame: Frame, batch: int, radius: int) -> dict[str, Call]:
    """Ours and FALS on `batch` times the frame's metres."""
    depth = metres(frame)
    together = np.stack([depth] * batch)
    ours: Call = partial(normals, together, frame.camera, estimator="plane", radius=radius)
    return {OURS: ours, "opencv_fals": looped(opencv_normals(frame.camera, "FALS"), depth, batch)}


def label_calls(frame: Frame, batch: int, radius: int) -> dict[str, Call]:
    """Ours and the assembled label on `batch` times the frame."""
    together = np.stack([frame.depth] * batch)
    ours: Call = partial(hn_labels, together, frame.camera, depth_scale=frame.depth_scale, radius=radius)
    return {OURS: ours, "assembled": looped(peers_label.labeller(), frame, batch)}


OPS: dict[str, Callable[[Frame, int, int], dict[str, Call]]] = {"normals": normals_calls, "hn_labels": label_calls}


def entered(op: str, axis: str, value: int, frame: Frame, config: Config, batch: int, radius: int) -> list[Row]:
    """The rows of one point of a curve."""
    calls = OPS[op](frame, batch, radius)
    if not config.peers:
        calls = {OURS: calls[OURS]}
    pixels = batch * frame.camera.height * frame.camera.width
    size = f"{frame.camera.height}x{frame.camera.width}"
    case = f"{op} {axis}: {batch}x{size} r{radius}"
    rows = race(case, calls, repeats=config.repeats, budget_s=config.budget_s)
    more = {"axis_value": float(value)}
    return [
        Row(**{**vars(r), "extra": {**r.extra, **more, "ns_a_pixel": 1e6 * r.ms_median / pixels}}) for r in rows
    ]  # fmt: skip


def frames_of(config: Config) -> dict[tuple[int, int], Frame]:
    """The same view of the same room at every size; ValueError unless it is a label's frame at all of them."""
    found = {}
    for size in SIZES:
        rooms = Rooms(config.seed, 1, *size)
        frame = rooms.load(rooms.ids()[0])
        if int(hn_labels(frame.depth, frame.camera, depth_scale=frame.depth_scale).verdict[0]):
            raise ValueError(f"the room of seed {config.seed} is rejected at {size}; choose another --seed")
        found[size] = frame
    return found


def curves(config: Config) -> list[Row]:
    """All rows: each op along each axis."""
    frames = frames_of(config)
    usual, rows = frames[(480, 640)], []
    for op in OPS:
        for height, width in SIZES:
            rows += entered(op, "size", height * width, frames[(height, width)], config, 1, RADIUS)
        for batch in BATCHES:
            rows += entered(op, "batch", batch, usual, config, batch, RADIUS)
        for radius in RADII:
            rows += entered(op, "radius", radius, usual, config, 1, radius)
    return rows


AXES = {"size": "pixels a frame", "batch": "frames of 480x640 a call", "radius": "radius of the window, pixels"}


def draw(rows: Sequence[Row], path: Path) -> Path:
    """`path`, a picture of nanoseconds a pixel along each axis; a flat line is cost in proportion to the pixels."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, grid = plt.subplots(2, 3, figsize=(11, 6), layout="constrained", sharey="row")
    for line, op in zip(grid, OPS, strict=True):
        for axes, (axis, meaning) in zip(line, AXES.items(), strict=True):
            chosen = [row for row in rows if row.case.startswith(f"{op} {axis}:")]
            for impl in dict.fromkeys(row.impl for row in chosen):
                own = [row for row in chosen if row.impl == impl]
                color = "#1b4f72" if impl == OURS else "#d68910"
                at = [row.extra["axis_value"] for row in own]
                axes.plot(at, [row.extra["ns_a_pixel"] for row in own], "o-", color=color, label=impl, ms=4)
            axes.set(
                title=f"{op}: {axis}", xlabel=meaning, yscale="log", xscale="linear" if axis == "radius" else "log"
            )
            axes.grid(True, color="#dddddd", linewidth=0.6)
            axes.legend(fontsize=8, frameon=False)
        line[0].set_ylabel("ns a pixel, one thread")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
    plt.close(figure)
    return path


def main(config: Config) -> int:
    """0 after printing, writing and drawing the curves."""
    rows = curves(config)
    print_rows(rows)
    if config.json is not None:
        print(f"written to {write_rows('growth', rows, config.json)}")
    if config.plot is not None:
        print(f"drawn in {draw(rows, config.plot)}")
    return 0


if __name__ == "__main__":
    one_thread()
    raise SystemExit(run(Config, main))
