"""`PSSLMasks`: published PSSL masks, one `NAME_eiseg.npz` a picture, beside the pictures in their class folders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from fastseg.data.checks import existing_folder, inside
from fastseg.data.class_pictures import FolderPictures
from fastseg.data.eiseg import read_eiseg
from fastseg.data.images import decode_color
from fastseg.data.places import place, walk_files
from fastseg.data.pssl_shards import label_names, pixel_classes

ENDING = "_eiseg.npz"


class PSSLMasks:
    """The pictures of PICTURES/CLASS/NAME.jpg that have a mask MASKS/**/NAME_eiseg.npz, by index.

    `self[i]` is (image, label) of the mask's size, as `PSSLShards` has them: the picture stretched to it, its class
    where the mask is 1 and the last class, background, elsewhere. Classes are the folders of PICTURES in the order of
    their names. A mask belongs to the picture of the same CLASS/NAME, else to that of the same NAME.

    ValueError: no picture has a mask, a mask that no picture, or more than one, can have.
    """

    def __init__(self, masks: str | Path, pictures: str | Path) -> None:
        self.root = existing_folder(masks)
        self._pictures = FolderPictures(existing_folder(pictures))
        self._classes = self._pictures.class_names
        known = self._pictures.ids()
        self._files = _matched(self.root, known, str(pictures))
        self._ids = sorted(self._files)
        self._numbers = {name: number for number, name in enumerate(self._classes)}

    @property
    def class_names(self) -> list[str]:
        return label_names(self._classes)

    def ids(self) -> list[str]:
        return list(self._ids)

    def __len__(self) -> int:
        return len(self._ids)

    def __getitem__(self, index: int) -> tuple[npt.NDArray[np.uint8], Any]:
        name = self._ids[index]
        mask = read_eiseg(inside(place(self._files[name]), self.root))
        picture = self._pictures.load(name)
        image = decode_color(picture.data, picture.name)
        if image.shape[:2] != mask.shape:
            size = (mask.shape[1], mask.shape[0])
            image = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR))
        number = self._numbers[name.partition("/")[0]]
        return image, pixel_classes(mask == 1, number, len(self._classes))


def _matched(root: Path, known: list[str], pictures: str) -> dict[str, str]:
    """The mask file of each picture that has one."""
    whole = set(known)
    by_name: dict[str, list[str]] = {}
    for name in known:
        by_name.setdefault(name.rpartition("/")[2], []).append(name)
    found: dict[str, str] = {}
    for name, full in walk_files(root):
        if not name.endswith(ENDING):
            continue
        stem = name.removesuffix(ENDING)
        ways = [stem] if stem in whole else by_name.get(stem.rpartition("/")[2], [])
        if len(ways) != 1 or ways[0] in found:
            said = "no picture" if not ways else "another mask's picture" if len(ways) == 1 else f"{len(ways)} pictures"
            raise ValueError(f"{full}: expected the mask of one CLASS/NAME of {pictures}; it is of {said}")
        found[ways[0]] = full
    if not found:
        raise ValueError(f"{root}: expected masks NAME{ENDING}; there is none")
    return found
