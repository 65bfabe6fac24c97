"""The gating study's first variants on a real scan: `python -m benchmarks.gating_office --root FOLDER --runs FOLDER`.

ROOT is a scene as the reader `replica` takes it, one camera's walk through one room: its first frames are trained on,
its last ones scored, so that both show the same room and most of its things. Variants, recipe and scores are those of
benchmarks.gating_rooms, of which this is a check: is depth of a scan as good a gate as a renderer's? A run that was
stopped goes on where it was. Results: gating_office.json.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks import gating_rooms
from benchmarks.gating_rooms import OPTIM, images_of, scored, summary, trained
from benchmarks.record import RESULTS, stamp, write_json
from benchmarks.timing import one_thread
from fastseg.cli import run
from fastseg.data.replica import Replica, ReplicaLabels
from fastseg.methods import OptimConfig

NAMES = ("baseline", "gt_tied", "gt_untied", "gated_predicted")
IGNORE = 255


@dataclass(frozen=True)
class Config:
    """What is trained, and on what.

    root    the scene
    runs    the folder for runs and images
    out     the file for the results
    seeds   0 .. seeds - 1, of weights and order
    train   frames to train on, the first; the last as many as `test` are scored, those between are in neither
    size    HEIGHTxWIDTH
    begin   steps of the baseline that all begin from
    steps   of each stage after it
    """

    root: Path
    runs: Path
    out: Path = RESULTS / "gating_office.json"
    seeds: int = 3
    train: int = 56
    test: int = 20
    size: str = "96x168"
    begin: int = 200
    steps: int = 60
    batch: int = 4
    optim: OptimConfig = OPTIM


def frames(config: Config) -> Path:
    """The folder of the scene's frames with the classes that occur in it, listed in train.txt and test.txt."""
    target = images_of(config.runs)
    if (target / "test.txt").exists():
        return target
    labelled, source = ReplicaLabels(config.root), Replica(config.root)
    names = labelled.ids()
    if len(names) < config.train + config.test:
        raise ValueError(f"{config.root}: expected {config.train + config.test} labelled frames; got {len(names)}")
    kept = sorted({int(value) for name in names for value in np.unique(labelled.pair(name)[1])} - {IGNORE})
    table = np.full(256, IGNORE, np.uint8)
    table[kept] = np.arange(len(kept))
    for name in names:
        image, label = labelled.pair(name)
        millimetres = np.asarray(source.load(name).depth)
        for folder, pixels in (("color", image), ("labels", table[label]), ("depth", millimetres)):
            (target / folder).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(target / folder / f"{name}.png", compress_level=1)
    camera = source.load(names[0]).camera
    about = {key: getattr(camera, key) for key in ("fx", "fy", "cx", "cy", "width", "height")}
    (target / "intrinsics.json").write_text(json.dumps({**about, "depth_scale": source.depth_scale}) + "\n")
    (target / "classes.txt").write_text("\n".join(labelled.class_names[each] for each in kept) + "\n")
    _listed(target / "train.txt", names[: config.train])
    _listed(target / "test.txt", names[-config.test :])
    return target


def _listed(path: Path, names: Sequence[str]) -> None:
    path.write_text("\n".join(names) + "\n")


def main(config: Config) -> int:
    """0 after training and scoring every variant of every seed; the results are written after each seed."""
    classes = len((frames(config) / "classes.txt").read_text().split())
    study = gating_rooms.Config(
        config.runs, seeds=config.seeds, train=config.train, test=config.test, size=config.size, begin=config.begin,
        steps=config.steps, batch=config.batch, optim=config.optim,
    )  # fmt: skip
    results: dict[str, list[dict[str, Any]]] = {name: [] for name in NAMES}
    for seed in range(config.seeds):
        for name in NAMES:
            results[name].append(scored(study, trained(study, name, seed)))
            print(f"seed {seed}, {name}: mIoU {results[name][-1]['miou']:.4f}", flush=True)
        plain = {key: value for key, value in asdict(study).items() if key not in ("runs", "out", "rooms")}
        about = {"config": plain, "classes": classes, "split": "one room, by time"}
        record = {"name": "gating_office", **stamp(), **about, "summary": summary(results), "results": results}
        write_json(config.out, record)
    return 0


if __name__ == "__main__":
    one_thread()
    raise SystemExit(run(Config, main))
