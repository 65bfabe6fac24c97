"""Compare trained networks in one page: `python -m fastseg.analyse --data camvid --root R --study S --out DIR`.

DIR/report.html holds scores, curves by initialisation, mIoU over labelled images and over sizes of the input, accuracy
against mIoU, and strips of depth, Grad-CAM, prediction and truth; DIR/analysis.json the figures behind it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fastseg.cli import run
from fastseg.data.sources import Labelled

if TYPE_CHECKING:
    from fastseg.analyse_runs import Trained
    from fastseg.frames import LabelledImages


@dataclass(frozen=True)
class Analyse:
    """Compare trained networks on a segmentation set: one page of curves, scores and pictures.

    data        the data set
    root        where it lies: a folder, or a place in a store
    out         the folder for report.html and analysis.json
    split       of the data set that networks are scored on
    study       the folder of `fastseg compare --out`: its finished trainings
    runs        networks, NAME=FOLDER or FOLDER: a run or a checkpoint; those of one name differ in seed or images. Of
                depth too: they are shown, and scored where the set has depth
    classes     give the mean IoU of these classes as well
    scales      of the training size, at which each network sees the images
    layers      for Grad-CAM: a block of the encoder by number, or a module by name, from shallow to deep
    pictures    images in the strips
    most        images scored, spread evenly over the split; 0 = all
    batch       images at a time
    device      cpu, cuda, cuda:1, ...; auto = cuda where there is one
    threads     of torch on the CPU, 0 = torch's own choice
    """

    data: Labelled
    root: str
    out: Path
    split: str = "val"
    study: Path | None = None
    runs: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    scales: tuple[float, ...] = (0.5, 1.0, 1.5)
    layers: tuple[str, ...] = ("1", "-1")
    pictures: int = 3
    most: int = 0
    batch: int = 4
    device: str = "auto"
    threads: int = 0

    def __post_init__(self) -> None:
        if self.study is None and not self.runs:
            raise ValueError("nothing to analyse: give --study FOLDER, --runs NAME=FOLDER,..., or both")
        if self.batch < 1 or self.pictures < 0 or self.most < 0:
            raise ValueError("--batch must be at least 1, --pictures and --most at least 0")
        if 1.0 not in self.scales or not all(0.05 <= scale <= 20 for scale in self.scales):
            raise ValueError(f"--scales are numbers between 0.05 and 20, 1 among them; got {list(self.scales)}")


def main(config: Analyse) -> int:
    """0; the page and its figures are written."""
    import torch

    from fastseg.analyse_page import write_page
    from fastseg.analyse_runs import named_runs, study_runs
    from fastseg.analyse_scores import score
    from fastseg.data.shards import replace_file
    from fastseg.metrics import check_chosen

    if config.threads:
        torch.set_num_threads(config.threads)
    runs = [*(study_runs(config.study) if config.study else []), *named_runs(config.runs)]
    examples = _examples(config)
    check_chosen(config.classes, examples.class_names)
    config.out.mkdir(parents=True, exist_ok=True)
    rows = []
    for trained in runs:
        rows.append(score(trained, examples, config.scales, config.classes, config.batch, config.device))
        print(f"{trained.name}, {trained.images} images, seed {trained.seed}: scored", flush=True)
    protocol = _protocol(config, examples, runs)
    content = {"protocol": protocol, "rows": rows}
    replace_file(config.out / "analysis.json", (json.dumps(content, indent=1) + "\n").encode())
    write_page(config, examples, runs, rows, protocol)
    print(f"{config.out / 'report.html'} and analysis.json are written", flush=True)
    return 0


def _examples(config: Analyse) -> LabelledImages:
    """The images to score on, or as many of them as asked for, spread over the set."""
    import numpy as np

    from fastseg.data.sources import open_labelled
    from fastseg.methods.segment import Few, FewFrames

    whole = open_labelled(config.data, config.root, config.split)
    if not len(whole):
        raise ValueError(f"{config.root}: split {config.split} holds no labelled image")
    if not 0 < config.most < len(whole):
        return whole
    kept = tuple(int(index) for index in np.linspace(0, len(whole) - 1, config.most).round())
    return FewFrames(whole, kept) if hasattr(whole, "depth") else Few(whole, kept)


def _protocol(config: Analyse, examples: LabelledImages, runs: Sequence[Trained]) -> dict[str, object]:
    from fastseg.compare_report import machine, versions

    asked = json.loads(json.dumps(asdict(config), default=str))
    counted = {"scored": len(examples), "networks": len(runs)}
    return {"asked": asked, **counted, "machine": machine(), "versions": versions()}


def cli(argv: Sequence[str] | None = None) -> int:
    """The exit code of `fastseg analyse ...`."""
    return run(Analyse, main, argv, prog="fastseg analyse")


if __name__ == "__main__":
    sys.exit(cli())
