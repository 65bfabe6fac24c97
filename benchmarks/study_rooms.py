"""Write the rooms of the study monodepth_rooms: `python -m benchmarks.study_rooms --out runs/study_rooms`.

OUT/video      walks through rooms, a folder each, with what a Kinect measures (layout `folder`)
OUT/labelled   other rooms, one picture of each, with classes; train.txt and val.txt share no room
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fastseg.cli import run
from fastseg.data.rooms import Rooms, write_rooms


@dataclass(frozen=True)
class StudyRooms:
    """Render a video of some rooms and labelled pictures of others.

    out       the folder to write
    seed      of the video's rooms; the labelled ones are those of seed + 1
    rooms     walked through
    views     frames of each walk
    labelled  pictures to train on, and as many again to score
    size      height and width
    """

    out: Path
    seed: int = 31
    rooms: int = 40
    views: int = 40
    labelled: int = 64
    size: tuple[int, int] = (128, 192)


def main(config: StudyRooms) -> int:
    """0 once everything is written."""
    height, width = config.size
    walks = Rooms(config.seed, config.rooms * config.views, height, width, views=config.views, path=True)
    names = write_rooms(config.out / "video", walks)
    print(f"{config.out / 'video'}: {len(names)} frames of {config.rooms} rooms", flush=True)
    pictures = Rooms(config.seed + 1, 2 * config.labelled, height, width, views=1)
    names = write_rooms(config.out / "labelled", pictures)
    for split, ids in (("train", names[: config.labelled]), ("val", names[config.labelled :])):
        (config.out / "labelled" / f"{split}.txt").write_text("".join(f"{each}\n" for each in ids))
    print(f"{config.out / 'labelled'}: {config.labelled} pictures to train on, {config.labelled} to score", flush=True)
    return 0


def cli(argv: Sequence[str] | None = None) -> int:
    """The exit code of `python -m benchmarks.study_rooms ...`."""
    return run(StudyRooms, main, argv, prog="python -m benchmarks.study_rooms")


if __name__ == "__main__":
    sys.exit(cli())
