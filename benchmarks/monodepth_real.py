"""Monodepth pre-training on real pixels and on procedural rooms: what is learned in a stated number of steps.

`python -m benchmarks.monodepth_real --part kitti --data DATA --runs RUNS` trains (or goes on with what RUNS holds),
measures on frames that were not trained on, before and after, and writes benchmarks/results/monodepth-PART-<date>.json
and RUNS/monodepth-PART.png: the frames are not ours to hand on, so pictures stay with the runs. Another network or
start stands in these names. Nothing was chosen on the frames that are measured.

kitti     video, KITTI odometry 00 at 416x128: trained on frames 0-319, measured on 320-399, then on sequence 06
rooms     video of procedural rooms, other rooms measured against exact depth and poses
sensor    a depth camera in a kitchen (7-Scenes): trained on frames 0-99 of 125, measured on the last 20
stereo    nothing trained: a true disparity against SGBM's, by what each makes of the right picture
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from benchmarks.monodepth_runs import variant
from benchmarks.monodepth_sensor import sensor
from benchmarks.monodepth_video import kitti, rooms
from benchmarks.record import RESULTS, write_result
from benchmarks.stereo_warp import stereo_scores
from fastseg.cli import run
from fastseg.pictures import Picture, encoded

Part = Literal["kitti", "rooms", "sensor", "stereo"]
Found = tuple[dict[str, Any], Sequence[Picture]]


@dataclass(frozen=True)
class MonodepthReal:
    """What to measure.

    part        which of them
    data        the folder with kitti00_a, kitti06, rgbd_redkitchen and stereo_motorcycle
    runs        where frames are copied and networks trained; a run that is there is gone on with
    steps       of training
    init_from   weights that the encoder starts from, see fastseg.weights; empty = random
    network     decoder/encoder
    results     where the result goes
    """

    part: Part
    data: Path
    runs: Path
    steps: int = 400
    init_from: str = ""
    network: str = "skip/resnet18"
    results: Path = RESULTS


def main(config: MonodepthReal) -> int:
    """0, once the result and its pictures are written."""
    config.runs.mkdir(parents=True, exist_ok=True)
    parts: dict[Part, Callable[[], Found]] = {
        "kitti": lambda: kitti(config.data, config.runs, config.network, config.steps, config.init_from),
        "rooms": lambda: rooms(config.runs, config.network, config.steps, config.init_from),
        "sensor": lambda: sensor(config.data, config.runs, config.network, config.steps, config.init_from),
        "stereo": lambda: stereo(config.data),
    }
    result, pictures = parts[config.part]()
    name = f"monodepth-{config.part}{variant(config.network, config.init_from)}"
    path = write_result(name, result, config.results)
    picture = config.runs / f"{name}.png"
    picture.write_bytes(encoded(np.concatenate(pictures)))
    print(path, picture, sep="\n")
    return 0


def stereo(data: Path) -> Found:
    """Errors and pictures of the Motorcycle pair."""
    result, pictures = stereo_scores(data / "stereo_motorcycle")
    return result, [picture[::2, ::2] for picture in pictures.values()]


def cli(argv: Sequence[str] | None = None) -> int:
    """The exit code of `python -m benchmarks.monodepth_real ...`."""
    return run(MonodepthReal, main, argv, prog="python -m benchmarks.monodepth_real")


if __name__ == "__main__":
    sys.exit(cli())
