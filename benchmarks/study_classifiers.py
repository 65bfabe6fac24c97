"""Trains the classifiers of the study of PSSL: `python -m benchmarks.study_classifiers --root DIR --out RUNS`.

OUT/0-NET, 1-NET, ...   runs of `fastseg train classify`; the first is the study's classification-only start
OUT/models.json         the list of them for `pipelines.make_pssl_labels`
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fastseg import train
from fastseg.classifiers import OWN
from fastseg.cli import run
from fastseg.data.augment import AugmentConfig
from fastseg.methods import LoopConfig, OptimConfig
from fastseg.methods.classify import Classify

FLIPPED = AugmentConfig(min_scale=1.0, max_scale=1.0, jitter=0.0)  # more would take longer than the steps


@dataclass(frozen=True)
class StudyClassifiers:
    """Train one classifier after the other.

    root      an `imagefolder` with the splits train and val
    out       the folder to write; runs that are there already go on, or are left as they are
    nets      encoders, by timm's names; the same one again begins from other weights and sees another order
    decoder   of the segmentation network whose encoders they are
    size      pixels of a side that pictures are resized to
    steps     of each
    batch     pictures a step
    lr        greatest learning rate
    """

    root: Path
    out: Path
    nets: tuple[str, ...] = ("test_resnet", "test_resnet", "test_resnet")
    decoder: str = "linknet"
    size: int = 64
    steps: int = 600
    batch: int = 32
    lr: float = 3e-3


def names(config: StudyClassifiers) -> list[str]:
    """The folders of the runs, which are the classifiers' names as well."""
    return [f"{number}-{net}" for number, net in enumerate(config.nets)]


def method(config: StudyClassifiers, seed: int) -> Classify:
    """The training of encoder number `seed`."""
    optim = OptimConfig(config.lr, "adamw", weight_decay=0.01, schedule="cosine", warmup=config.steps // 10)
    loop = LoopConfig(
        precision="bf16", workers=0, threads=1, log_every=20, save_every=config.steps, eval_every=config.steps,
        eval_split="val",
    )  # fmt: skip
    out, size = config.out / names(config)[seed], f"{config.size}x{config.size}"
    return Classify(
        "imagefolder", str(config.root), out, "train", f"{config.decoder}/{config.nets[seed]}", size, config.steps,
        config.batch, resume=out.is_dir(), seed=seed, augment=FLIPPED, optim=optim, loop=loop,
    )  # fmt: skip


def main(config: StudyClassifiers) -> int:
    """0 once all are trained and listed; the exit code of the training that failed."""
    for seed, name in enumerate(names(config)):
        print(f"-- {name}", flush=True)
        code = train.main(method(config, seed))
        if code:
            return code
    listed = [{"arch": OWN, "weights": name, "name": name} for name in names(config)]
    (config.out / "models.json").write_text(json.dumps(listed, indent=1) + "\n")
    print(config.out / "models.json")
    return 0


def cli(argv: Sequence[str] | None = None) -> int:
    """The exit code of `python -m benchmarks.study_classifiers ...`."""
    return run(StudyClassifiers, main, argv, prog="python -m benchmarks.study_classifiers")


if __name__ == "__main__":
    sys.exit(cli())
