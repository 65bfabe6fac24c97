"""Scores HN labels: `python -m benchmarks.label_quality --reader 7scenes --root DIR [--peer true] [--out FILE.json]`.

With a reader: any data with a pose for every frame, scored by agreement between frames (benchmarks/posed_quality.py
says exactly what is counted). A ROOT/gravity-direction.txt (three numbers, DOWN in the poses' world) is compared with.
With `--rooms N`: N noisy procedural rooms' frames of 480x640, scored against exact truth (benchmarks/rooms_quality.py).
`--peer true` scores the best assembled peer on the same frames in the same run (benchmarks/peers_label.py), and both
once more on what both label alone ("fastseg, common" and "peer, common": frames that both accept, pixels that both
label), because a labeller that abstains at depth edges has an easier task than one that answers everywhere.
Prints the figures; `--out` also writes them as JSON with the machine, the versions and the commit.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks import peers_label
from benchmarks.posed_quality import Labeller, score
from benchmarks.rooms_quality import score_rooms
from benchmarks.timing import one_thread, write_result
from fastseg.cli import run
from fastseg.data.rooms import Rooms
from fastseg.data.sources import Reader, open_source
from fastseg.frames import Frame, FrameError, FrameSource


@dataclass(frozen=True)
class Config:
    """What to score, and with which labels."""

    reader: Reader | None = None  # a data set's layout; or use rooms
    root: Path | None = None  # where the data set lies
    depth_scale: float | None = None  # metres for one unit of depth, instead of the data set's own
    rooms: int = 0  # this many noisy procedural frames instead of a data set
    seed: int = 0  # of the rooms
    n_height: int = 10
    n_normal: int = 2
    limit: int = 0  # only the first frames; 0 = all
    peer: bool = False  # score the best assembled peer too
    out: Path | None = None  # where to write the figures as JSON


def labellers(config: Config) -> dict[str, Labeller]:
    """The labellers to score by name; ours, and the peer when asked for."""
    from fastseg.labels.hn import HNConfig, label_frame

    settings = HNConfig(n_height=config.n_height, n_normal=config.n_normal)
    ours: dict[str, Labeller] = {"fastseg": lambda frame: label_frame(frame, settings)}
    if config.peer and (config.n_height, config.n_normal) != (10, 2):
        raise ValueError("the peer labels with 10 height bins and 2 normal bins; leave n_height and n_normal at those")
    if not config.peer:
        return ours
    first, second = ours["fastseg"], peers_label.label_frame
    common = {"fastseg, common": where_both(first, second), "peer, common": where_both(second, first)}
    return {**ours, "peer": second, **common}


@dataclass(frozen=True)
class Restricted:
    """An answer with part of its label ignored."""

    label: npt.NDArray[np.uint8]
    up: npt.NDArray[Any]
    floor_m: float


def where_both(labeller: Labeller, other: Labeller) -> Labeller:
    """`labeller` on the frames that `other` accepts too, ignoring the pixels that `other` ignores."""

    def call(frame: Frame) -> Restricted:
        mask = other(frame).label == 255
        answer = labeller(frame)
        return Restricted(np.where(mask, np.uint8(255), answer.label), answer.up, answer.floor_m)

    return call


def stated_up(root: Path) -> npt.NDArray[np.float64] | None:
    """Minus the down vector in ROOT/gravity-direction.txt, or None without that file."""
    path = root / "gravity-direction.txt"
    if not path.is_file():
        return None
    down = np.loadtxt(path).ravel()
    if down.shape != (3,) or not np.isfinite(down).all() or not down.any():
        raise ValueError(f"{path}: expected three numbers, the direction of gravity; got {down.size} values")
    return np.asarray(-down / np.linalg.norm(down), np.float64)


def loadable(source: FrameSource, ids: list[str], unread: list[str]) -> Iterator[Frame]:
    """The frames that can be read and have a pose; the ids of the others are appended to `unread`."""
    for frame_id in ids:
        try:
            frame = source.load(frame_id)
        except FrameError:
            unread.append(frame_id)
            continue
        if frame.pose is None:
            raise ValueError(f"frame {frame_id} has no pose; label quality needs a pose for every frame")
        yield frame


def score_source(config: Config) -> dict[str, Any]:
    """Each labeller's figures over the data set of the config."""
    if config.reader is None or config.root is None:
        raise ValueError("give --reader and --root, or --rooms N")
    source = open_source(config.reader, config.root, depth_scale=config.depth_scale)
    ids = source.ids()[: config.limit or None]
    out: dict[str, Any] = {}
    for name, labeller in labellers(config).items():
        unread: list[str] = []
        frames = loadable(source, ids, unread)
        figures = score(frames, labeller, stated_up=stated_up(config.root), n_height=config.n_height)
        out[name] = {**figures, "unreadable": unread}
    return out


def score_procedural(config: Config) -> dict[str, Any]:
    """Each labeller's figures over noisy procedural rooms."""
    if config.reader is not None or config.root is not None:
        raise ValueError("--rooms makes its own frames: leave --reader and --root out")
    rooms = Rooms(config.seed, config.rooms)
    return {
        name: score_rooms(rooms, labeller, n_height=config.n_height, n_normal=config.n_normal)
        for name, labeller in labellers(config).items()
    }


def lines(figures: dict[str, Any], before: str = "") -> Iterator[str]:
    """One readable line a figure."""
    for name, value in figures.items():
        if isinstance(value, dict):
            yield from lines(value, f"{before}{name}.")
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            yield from (f"  {before}{name} " + " ".join(f"{k} {_short(v)}" for k, v in row.items()) for row in value)
        else:
            yield f"  {before}{name} {_short(value)}"


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def main(config: Config) -> int:
    """0 after printing the figures of every labeller."""
    found = score_procedural(config) if config.rooms else score_source(config)
    for name, figures in found.items():
        print(name, *lines(figures), sep="\n")
    if config.out is not None:
        asked = {"reader": config.reader, "rooms": config.rooms, "seed": config.seed, "limit": config.limit}
        print(f"written to {write_result(config.out.stem, {**asked, **found}, config.out.parent)}")
    return 0


if __name__ == "__main__":
    one_thread()
    raise SystemExit(run(Config, main))
