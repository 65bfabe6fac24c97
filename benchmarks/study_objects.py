"""Write the pictures of the study of PSSL: `python -m benchmarks.study_objects --out runs/study_objects`.

OUT/classified   train/CLASS/NAME.png and val/CLASS/NAME.png: one object each, its class alone known (`imagefolder`)
OUT/labelled     color, labels, classes.txt, train.txt, val.txt: one to three objects each, every pixel known (`folder`)

No picture is in two of them. A picture follows from the seed, where it goes and its number alone.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.objects import CLASSES, NAMES, Picture, draw
from fastseg.cli import run
from fastseg.pictures import encoded

WHERE = ("classified/train", "classified/val", "labelled/train", "labelled/val")


@dataclass(frozen=True)
class StudyObjects:
    """Draw classified and labelled pictures.

    out         the folder to write
    seed        of all pictures
    classified  pictures with one object, to train on; equally many of each of 8 classes
    val         such pictures to score
    labelled    pictures with labels to train on
    test        such pictures to score
    size        pixels of a side
    """

    out: Path
    seed: int = 5
    classified: int = 4000
    val: int = 400
    labelled: int = 64
    test: int = 128
    size: int = 64

    def __post_init__(self) -> None:
        if self.size < 16 or min(self.classified, self.val, self.labelled, self.test) < 0:
            raise ValueError("--size must be at least 16, and the numbers of pictures must not be negative")


def one_object(config: StudyObjects, where: int, number: int) -> tuple[Picture, Picture]:
    """The picture and label of a place of WHERE with one object, of class number % 8."""
    return draw((config.seed, where, number), [number % len(CLASSES)], config.size)


def some_objects(config: StudyObjects, where: int, number: int) -> tuple[Picture, Picture]:
    """The picture and label of a place of WHERE with one to three objects of different classes."""
    rng = np.random.default_rng([config.seed, where, number, 1])
    kinds = rng.permutation(len(CLASSES))[: rng.integers(1, 4)]
    return draw((config.seed, where, number), [int(kind) for kind in kinds], config.size)


def main(config: StudyObjects) -> int:
    """0 once everything is written."""
    for where, count in ((0, config.classified), (1, config.val)):
        for number in range(count):
            name = f"{WHERE[where]}/{CLASSES[number % len(CLASSES)]}/{number:06}.png"
            _write(config.out / name, one_object(config, where, number)[0])
        print(f"{config.out / WHERE[where]}: {count} pictures", flush=True)
    folder = config.out / "labelled"
    for where, count in ((2, config.labelled), (3, config.test)):
        split = WHERE[where].partition("/")[2]
        ids = [f"{split}/{number:06}" for number in range(count)]
        for number, name in enumerate(ids):
            image, label = some_objects(config, where, number)
            _write(folder / "color" / f"{name}.png", image)
            _write(folder / "labels" / f"{name}.png", label)
        _write_lines(folder / f"{split}.txt", ids)
    _write_lines(folder / "classes.txt", NAMES)
    print(f"{folder}: {config.labelled} pictures to train on, {config.test} to score", flush=True)
    return 0


def _write(path: Path, picture: Picture) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encoded(picture))


def _write_lines(path: Path, lines: Iterable[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))


def cli(argv: Sequence[str] | None = None) -> int:
    """The exit code of `python -m benchmarks.study_objects ...`."""
    return run(StudyObjects, main, argv, prog="python -m benchmarks.study_objects")


if __name__ == "__main__":
    sys.exit(cli())
