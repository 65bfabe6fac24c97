"""Look at label structure: `fastseg structure pictures|nearest|sweep SOURCE --out DIR`.

DIR/structure.html is one self-contained page.
pictures   of a label autoencoder: maps and their reconstruction; of a network trained with --regulariser decoder:
           image, truth, prediction and the prediction of its auxiliary branch
nearest    regions of one split and those of another that lie nearest in the bottleneck's space: by label for a label
           autoencoder, by image for a regularised network
sweep      of a study of `fastseg compare` whose variants differ in regulariser.weight: its scores over the weight, as
           DIR/sweep.svg too
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fastseg.cli import run
from fastseg.data.label_maps import LabelSource


@dataclass(frozen=True)
class Structure:
    """Look at what a label autoencoder, or a network that one regularised, has learned.

    command    pictures, nearest or sweep
    source     a run or a checkpoint; of sweep the folder of a study
    out        the folder for structure.html
    data       the data set; shards = a label run; labels = maps without images
    root       where it lies: a folder, or a place in a store
    split      whose maps are shown, or searched
    queries    of nearest: the split that regions are taken from
    count      maps shown, or regions asked for
    most       of nearest: maps searched, spread evenly over the split
    seed       of the choice of maps and regions
    """

    command: Literal["pictures", "nearest", "sweep"]
    source: Path
    out: Path
    data: LabelSource | None = None
    root: str = ""
    split: str = "val"
    queries: str = "train"
    count: int = 6
    most: int = 500
    seed: int = 0

    def __post_init__(self) -> None:
        if self.count < 1 or self.most < 1:
            raise ValueError(f"--count and --most must be at least 1; got {self.count} and {self.most}")
        if self.command != "sweep" and (self.data is None or not self.root):
            raise ValueError(f"{self.command} needs labels to look at: give --data and --root")


def main(config: Structure) -> int:
    """0; the page is written."""
    from fastseg.data.shards import replace_file
    from fastseg.report import page, tag

    if config.command == "sweep":
        from fastseg.charts import alone
        from fastseg.structure_sweep import sweep

        title, (chart, parts) = "scores by the weight of a regulariser", sweep(config.source)
        config.out.mkdir(parents=True, exist_ok=True)
        replace_file(config.out / "sweep.svg", alone(chart).encode("utf-8"))
    else:
        from fastseg.structure_page import looked_at

        title, parts = looked_at(config)
    config.out.mkdir(parents=True, exist_ok=True)
    content = page(title, tag("h1", title[0].upper() + title[1:]), *parts)
    replace_file(config.out / "structure.html", content.encode("utf-8"))
    print(f"{config.out / 'structure.html'} written")
    return 0


def cli(argv: Sequence[str] | None = None) -> int:
    """The exit code of `fastseg structure COMMAND SOURCE --out DIR`."""
    return run(Structure, main, argv, positional=("command", "source"), prog="fastseg structure")


if __name__ == "__main__":
    sys.exit(cli())
