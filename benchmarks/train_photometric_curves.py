"""The loss of learning depth from video, step by step, with the fused photometric error and with eager torch's.

    python -m benchmarks.train_photometric_curves [--steps 200] [--size 96x320] [--batch 2] [--out FOLDER]

Both start from the same weights and see the same batches of walks through procedural rooms. They differ by rounding,
which training magnifies: how far the two curves lie apart is written beside them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.record import RESULTS, write_result
from benchmarks.threads import on_threads, one_thread
from benchmarks.timing import OURS
from benchmarks.train_photometric import begun, compares, method_of
from fastseg.cli import run
from fastseg.data.clip_plan import ClipPlan
from fastseg.data.clips import Clip
from fastseg.data.room_clips import RoomClips
from fastseg.data.unlabelled import ClipImages
from fastseg.methods import parse_size

LAST = 20  # steps whose mean is the end of a curve


@dataclass(frozen=True)
class Config:
    """What is trained.

    network     as fastseg.train takes it; size HEIGHTxWIDTH; batch images a step, each with two source frames
    steps       of each run
    views       pictures of the one walk
    threads     of torch
    out         the folder for the result
    """

    network: str = "skip/resnet18"
    size: str = "96x320"
    batch: int = 2
    steps: int = 200
    views: int = 40
    threads: int = 1
    out: Path = field(default_factory=lambda: RESULTS)


class Kept:
    """Clips that are made once and kept."""

    def __init__(self, clips: RoomClips) -> None:
        self._ids, self._clips = clips.ids(), [clips.clip(index) for index in range(len(clips))]

    def ids(self) -> list[str]:
        return self._ids

    def __len__(self) -> int:
        return len(self._ids)

    def clip(self, index: int) -> Clip:
        return self._clips[index]


def curves(config: Config) -> dict[str, list[float]]:
    """The losses of both runs, a step each."""
    from fastseg.loop import take_step

    walk = RoomClips(3, config.views, *parse_size(config.size), views=config.views, plan=ClipPlan((-5, 5)))
    method = method_of(config.network, config.size, config.batch, config.steps)
    runs = {name: begun(method, compare) for name, compare in compares((OURS, "eager")).items()}
    losses: dict[str, list[float]] = {name: [] for name in runs}
    with on_threads(config.threads):
        for batch in method.batches(ClipImages(Kept(walk)), 0):
            for name, state in runs.items():
                losses[name].append(take_step(state, batch)["loss"])
    return losses


def compared(losses: dict[str, list[float]]) -> dict[str, Any]:
    """How far the curves lie apart, relative to eager's, and where each begins and ends."""
    ours, eager = (np.array(losses[name]) for name in (OURS, "eager"))
    apart = np.abs(ours / eager - 1)
    return {
        "apart_first": float(apart[0]), "apart_median": float(np.median(apart)), "apart_max": float(apart.max()),
        "ends": {name: [float(np.mean(each[:LAST])), float(np.mean(each[-LAST:]))] for name, each in losses.items()},
    }  # fmt: skip


def main(config: Config) -> int:
    """0 once the curves are written."""
    losses = curves(config)
    found = compared(losses)
    print(", ".join(f"{name} {value:.3g}" for name, value in found.items() if name != "ends"))
    print(", ".join(f"{name}: {first:.4f} to {last:.4f}" for name, (first, last) in found["ends"].items()))
    protocol = {key: value for key, value in vars(config).items() if key != "out"}
    payload = {"protocol": protocol, **found, "loss": losses}
    print(f"written to {write_result('train_photometric_curves', payload, config.out)}")
    return 0


if __name__ == "__main__":
    one_thread()
    raise SystemExit(run(Config, main))
