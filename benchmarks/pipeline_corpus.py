"""A corpus of any length in the `folder` layout, from a few hundred rendered room frames under distinct ids."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from fastseg.data.rooms import Rooms, write_rooms

KINDS = (("color", ".jpg"), ("depth", ".png"))


def write_corpus(root: Path, frames: int, distinct: int, height: int, width: int, seed: int) -> int:
    """Bytes of colour and depth of a frame, on average; `frames` frames then lie under `root`.

    `distinct` room frames (JPEG colour, 16-bit PNG depth, Kinect-like noise) are rendered; every pass over them is a
    folder `pass-00000/` of hard links to the same files, so the disk holds them once. Reading a pass therefore finds
    its files in the page cache: the corpus measures processors and not a disk's reading.
    """
    once = root.with_name(f"{root.name}-once")
    ids = write_rooms(once, Rooms(seed, min(distinct, frames), height, width))
    root.mkdir(parents=True)
    shutil.copyfile(once / "intrinsics.json", root / "intrinsics.json")
    for number in range(-(-frames // len(ids))):
        for frame_id in ids[: frames - number * len(ids)]:
            _link(once, root, frame_id, f"pass-{number:05d}")
    return sum(_size(once, frame_id) for frame_id in ids) // len(ids)


def _link(once: Path, root: Path, frame_id: str, folder: str) -> None:
    for kind, ending in KINDS:
        path = root / kind / folder / f"{frame_id}{ending}"
        path.parent.mkdir(parents=True, exist_ok=True)
        os.link(once / kind / f"{frame_id}{ending}", path)


def _size(once: Path, frame_id: str) -> int:
    return sum((once / kind / f"{frame_id}{ending}").stat().st_size for kind, ending in KINDS)
