"""Times of `hn_labels`, the whole label: `python -m benchmarks.bench_hn_labels --json F.json --plot F.png`.

From a uint16 depth image in memory to the label map, one 480x640 frame on one thread: ours, the best assembled peer
(`assembled`: OpenCV FALS normals, floor/wall gravity at stride 4, numpy), the public HHA algorithm with its dense
window sums (`hha`) and with OpenCV's (`hha_opencv`). `8x480x640 label` is eight frames on 1 and 2 threads, the peer's
frames spread over Python threads. The reference is timed at 120x160, after asserting that every setting of ours with
`plane` normals (it knows only those) agrees with it there.
error   share of the labelled pixels of noisy procedural rooms whose label is not the exact one
extra   `frames_per_s_core`; `accepted`, frames labelled of `frames`
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import peers_hha, peers_label
from benchmarks.posed_quality import Labeller, angle_deg
from benchmarks.rooms_quality import score_rooms
from benchmarks.spread import Spread
from benchmarks.timing import OURS, Row, keep_rows, one_thread, print_rows, race
from fastseg.cli import run
from fastseg.data.rooms import Rooms
from fastseg.frames import Frame, FrameError
from fastseg.labels.hn import HNConfig, label_frame
from fastseg.ops import hn_labels as op
from fastseg.reference import hn_labels as reference

SETTINGS: Mapping[str, dict[str, Any]] = {
    "label": {},
    "label manhattan": {"gravity": "manhattan"},
    "label plane r3": {"radius": 3},
    "label plane r10": {"radius": 10},
    "label pca r3": {"estimator": "pca", "radius": 3},
    "label + points + normals": {"outputs": ("label", "points", "normals")},
}
SAME_LABEL = 0.999  # float32 sums against the reference's double move single pixels over a bin's edge
SAME_UP_DEG = 0.05
BATCH = 8


@dataclass(frozen=True)
class Config:
    """What to measure."""

    frames: int = 12  # noisy procedural frames for the errors; 0 leaves the errors out
    seed: int = 20
    repeats: int = 31
    budget_s: float = 6.0
    peers: bool = True
    json: Path | None = None
    plot: Path | None = None


def disagreement(rooms: Rooms, setting: Mapping[str, Any]) -> dict[str, float]:
    """The smallest share of equal labels and the largest angle between ups over small noisy rooms."""
    same, apart = [], []
    for frame_id in rooms.ids():
        frame = rooms.load(frame_id)
        ours = op.hn_labels(frame.depth, frame.camera, depth_scale=frame.depth_scale, **setting)
        truth = reference.hn_labels(frame.depth, frame.camera, depth_scale=frame.depth_scale, **setting)
        verdict = op.VERDICTS[int(ours.verdict[0])]
        assert verdict == truth.verdict, f"{frame_id}: {verdict}, but the reference says {truth.verdict}"
        same.append(float((ours.label == truth.label).mean()))
        apart.append(float(angle_deg(ours.up[0], truth.up)))
    return {"same_label": min(same), "up_deg": max(apart)}


def check(config: Config) -> tuple[dict[str, dict[str, float]], list[Row]]:
    """Each setting's disagreement with the reference, AssertionError where it is too large; both their times."""
    rooms = Rooms(6, 3, 120, 160, views=1)
    known = {name: s for name, s in SETTINGS.items() if not {"estimator", "outputs"} & set(s)}
    found = {name: disagreement(rooms, setting) for name, setting in known.items()}
    for name, figures in found.items():
        assert figures["same_label"] >= SAME_LABEL and figures["up_deg"] <= SAME_UP_DEG, f"{name}: {figures}"
    depth, camera = rooms.load(rooms.ids()[0]).depth, rooms.camera
    both: dict[str, Callable[[], object]] = {
        OURS: partial(op.hn_labels, depth, camera, depth_scale=0.001),
        "reference": partial(reference.hn_labels, depth, camera, depth_scale=0.001),
    }
    return found, race("120x160 label", both, repeats=5, budget_s=config.budget_s / 5)


def labellers(peers: bool) -> dict[str, Labeller]:
    """Ours (the defaults, as an op's caller gets them through `labels.hn`) and the peers."""
    found: dict[str, Labeller] = {OURS: lambda frame: label_frame(frame, HNConfig())}
    if peers:
        found["assembled"] = peers_label.label_frame
        found["hha"] = peers_hha.label_frame
        found["hha_opencv"] = partial(peers_hha.label_frame, sums=peers_hha.opencv_sums)
    return found


def first_accepted(rooms: Rooms) -> Frame:
    """The first frame that ours and the peers accept, so that all of them do all their work."""
    for frame_id in rooms.ids():
        frame = rooms.load(frame_id)
        try:
            for name, labeller in labellers(True).items():
                if name != "hha":  # the same answer as hha_opencv's, a second later
                    labeller(frame)
        except FrameError:
            continue
        return frame
    raise ValueError(f"none of {len(rooms.ids())} rooms is accepted by ours and the peers; raise --seed")


def errors(config: Config) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
    """The rows' `error` and `extra`: what `benchmarks.rooms_quality` finds in the rooms' frames."""
    error, extra = {}, {}
    for name, labeller in labellers(config.peers).items():
        if name == "hha" or not config.frames:
            continue
        scored = score_rooms(Rooms(config.seed, config.frames), labeller)
        extra[name] = {"accepted": float(scored["accepted"]), "frames": float(scored["frames"])}
        if "agreement" in scored:
            error[name] = 1 - scored["agreement"]["label"]
    return error, extra


def rated(rows: list[Row], frames: int = 1) -> list[Row]:
    """The rows with frames a second of one core."""
    return [
        Row(**{**vars(row), "extra": {**row.extra, "frames_per_s_core": 1e3 * frames / row.ms_median / row.threads}})
        for row in rows
    ]


def frame_rows(config: Config, frame: Frame) -> list[Row]:
    """One frame on one thread: the defaults among the peers, then every setting of ours alone."""
    one = partial(op.hn_labels, frame.depth, frame.camera, depth_scale=frame.depth_scale)
    calls: dict[str, Callable[[], object]] = {
        name: partial(labeller, frame) for name, labeller in labellers(config.peers).items()
    }
    error, extra = errors(config)
    times: dict[str, Any] = {"repeats": config.repeats, "budget_s": config.budget_s}
    rows = race("480x640 label", {**calls, OURS: one}, errors=error, extra=extra, **times)
    for name, setting in list(SETTINGS.items())[1:]:
        rows += race(f"480x640 {name}", {OURS: partial(one, **setting)}, **times)
    return rated(rows)


def batch_rows(config: Config, frame: Frame, threads: int) -> list[Row]:
    """Eight frames on `threads` threads: ours in one call, the assembled peer a frame a Python thread."""
    batch = np.stack([frame.depth] * BATCH)
    calls: dict[str, Callable[[], object]] = {
        OURS: partial(op.hn_labels, batch, frame.camera, depth_scale=frame.depth_scale, threads=threads)
    }
    with Spread(threads) as spread:
        if config.peers:
            calls["assembled"] = partial(spread, peers_label.labeller, [frame] * BATCH)
        rows = race(
            "8x480x640 label", calls, threads=threads, repeats=config.repeats, budget_s=config.budget_s
        )  # fmt: skip
    return rated(rows, BATCH)


def main(config: Config) -> int:
    """0 after printing the times; AssertionError when ours and the reference disagree."""
    agreed, rows = check(config)
    frame = first_accepted(Rooms(config.seed, 24))
    rows += frame_rows(config, frame)
    rows += [row for threads in (1, 2) for row in batch_rows(config, frame, threads)]
    print_rows(rows)
    keep_rows("hn_labels", rows, config.json, config.plot, {"agreement": agreed, "frames": config.frames})
    return 0


if __name__ == "__main__":
    one_thread()
    raise SystemExit(run(Config, main))
