"""Times of `hn_labels`, the whole label as an op: `python -m benchmarks.bench_hn_labels [--out FILE.json]`.

First asserts that every setting with `plane` normals (the reference of the whole label knows only those) agrees with
fastseg/reference on small noisy rooms; then times one 480x640 frame on one thread: the
defaults, each gravity, each normal estimator, and a batch of 8 together. The peers' labels are in bench_labels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.posed_quality import angle_deg
from benchmarks.timing import interleaved, one_thread, write_result
from fastseg.cli import run
from fastseg.data.rooms import Rooms
from fastseg.ops import hn_labels as op
from fastseg.reference import hn_labels as reference

SETTINGS: dict[str, dict[str, Any]] = {
    "defaults": {},
    "manhattan": {"gravity": "manhattan"},
    "floor_wall": {"gravity": "floor_wall"},
    "plane R=3": {"radius": 3},
    "pca R=3": {"estimator": "pca", "radius": 3},
}
SAME_LABEL = 0.999  # float32 sums against the reference's double move single pixels over a bin's edge
SAME_UP_DEG = 0.05


@dataclass(frozen=True)
class Config:
    """What to measure."""

    seed: int = 20
    repeats: int = 31
    budget_s: float = 6.0
    out: Path | None = None


def disagreement(setting: dict[str, Any]) -> dict[str, float]:
    """The smallest share of equal labels and the largest angle between ups over three small noisy rooms."""
    rooms = Rooms(6, 3, 120, 160, views=1)
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


def check() -> dict[str, dict[str, float]]:
    """Each setting's disagreement with the reference; raises AssertionError where it is too large."""
    found = {name: disagreement(setting) for name, setting in SETTINGS.items() if "estimator" not in setting}
    for name, figures in found.items():
        assert figures["same_label"] >= SAME_LABEL and figures["up_deg"] <= SAME_UP_DEG, f"{name}: {figures}"
    return found


def main(config: Config) -> int:
    """0 after printing the times; AssertionError when ours and the reference disagree."""
    agreed = check()
    rooms = Rooms(config.seed, 8)
    frames = [rooms.load(frame_id) for frame_id in rooms.ids()]
    one = partial(op.hn_labels, frames[0].depth, rooms.camera, depth_scale=0.001)
    batch = np.stack([frame.depth for frame in frames])
    calls: dict[str, Callable[[], object]] = {name: partial(one, **setting) for name, setting in SETTINGS.items()}
    calls["batch of 8"] = partial(op.hn_labels, batch, rooms.camera, depth_scale=0.001)
    timed = interleaved(calls, config.repeats, warm_up=2, budget_s=config.budget_s)
    for name, timing in timed.items():
        print(f"{name:14}{timing.median_ms:9.2f} ms   {timing.min_ms:.2f} to {timing.max_ms:.2f}")
    if config.out is not None:
        payload = {"agreement": agreed, "times": timed}
        print(f"written to {write_result(config.out.stem, payload, config.out.parent)}")
    return 0


if __name__ == "__main__":
    one_thread()
    raise SystemExit(run(Config, main))
