"""What the depth pre-trainings of the study monodepth_rooms know of other rooms: `python -m benchmarks.study_depth`.

    python -m benchmarks.study_rooms --out runs/unseen_rooms --seed 41 --views 2
    python -m benchmarks.study_depth --study runs/monodepth_rooms --root runs/unseen_rooms/video

Each prediction is scaled by its image's medians, as depth from video is known up to a factor; `constant` is one depth
for every pixel, scaled alike.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.record import RESULTS, stamp, write_json
from fastseg.cli import run
from fastseg.data.measured import open_measured
from fastseg.data.unlabelled import MeasuredImages
from fastseg.metrics_depth import DepthSums

NAME = "study_monodepth_rooms_depth"


@dataclass(frozen=True)
class StudyDepth:
    """Score the depth that was learned.

    study   the folder of the study
    root    RGB-D frames of rooms that are not in it (layout `folder`)
    names   of the pre-trainings
    out     the JSON file
    """

    study: Path
    root: Path
    names: tuple[str, ...] = ("depth_video", "depth_sensor")
    out: Path = RESULTS / f"{NAME}.json"


def main(config: StudyDepth) -> int:
    """0 once the scores are written."""
    images = open_measured("folder", config.root)
    found = {"constant": constant(images)}
    for name in config.names:
        found[name] = learned(config.study / "pretrain" / name / "run", images)
    rows: dict[str, Any] = {name: asdict(sums.scores()) for name, sums in found.items()}
    for name, row in rows.items():
        print(f"{name:>14}: delta < 1.25 {row['delta1']:.3f}, relative error {row['rel']:.3f}", flush=True)
    print(write_json(config.out, {"name": NAME, **stamp(), "images": len(images), "result": rows}))
    return 0


def constant(images: MeasuredImages) -> DepthSums:
    """The scores of one depth for all pixels of an image, its median."""
    sums = DepthSums(median_scaling=True)
    for index in range(len(images)):
        truth = images.depth(index)
        sums.add(truth, np.ones_like(truth))
    return sums


def learned(folder: Path, images: MeasuredImages) -> DepthSums:
    """The scores of the depth network trained in a folder."""
    from fastseg.checkpoint import load
    from fastseg.evaluate_depth import measured_depth
    from fastseg.inference import restored
    from fastseg.inference_depth import depth_alone, depth_limits

    found = load(folder)
    sums = DepthSums(median_scaling=True)
    net = restored(depth_alone(found))
    return measured_depth(net, images, found.record.size, found.record.normalisation, depth_limits(found), sums)


def cli(argv: Sequence[str] | None = None) -> int:
    """The exit code of `python -m benchmarks.study_depth ...`."""
    return run(StudyDepth, main, argv, prog="python -m benchmarks.study_depth")


if __name__ == "__main__":
    sys.exit(cli())
