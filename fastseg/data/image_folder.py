"""Whole images in a folder for each class, as ImageNet is kept: name `imagefolder`.

ROOT/SPLIT/CLASS/**/NAME.{jpg,jpeg,png,webp}    SPLIT is train, val, ... or the empty name for ROOT itself

Classes are the folders of ROOT/train in the order of their names (of the split's own where there is no ROOT/train), so
that a class has the same number in every split.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fastseg.data.checks import check_id, checked_ids, existing_folder, inside, is_folder
from fastseg.data.images import MAX_PICTURE_BYTES, Color, decode_color, read_bytes
from fastseg.data.places import answered, holding, walk_files

ENDINGS = (".jpg", ".jpeg", ".png", ".webp")
MAX_CLASSES = 65_535


class ImageFolder:
    """LabelledImages over one split; an id is `SPLIT/CLASS/NAME`, a label the class of the whole image, () uint16."""

    def __init__(self, root: Path | str, split: str) -> None:
        self.root = existing_folder(root)
        if split:
            check_id(split, self.root)
        folder = existing_folder(self.root / split)
        whole = self.root / "train" if is_folder(self.root / "train") else folder
        self._classes = _class_folders(whole)
        self._numbers = {name: number for number, name in enumerate(self._classes)}
        prefix = f"{split}/" if split else ""
        names, files = [], {}
        for name, _ in walk_files(folder, self.root):
            stem, dot, ending = name.rpartition(".")
            if f".{ending.lower()}" in ENDINGS and dot and "/" in name:
                names.append(prefix + stem)
                files[prefix + stem] = f".{ending}"
        self._ids = checked_ids(names, self.root, f"{prefix}CLASS/NAME.jpg")
        self._endings, self._skip = files, len(prefix)
        for name in self._ids:
            if self._class(name) not in self._numbers:
                raise ValueError(f"{self.root / name}: its folder is no class; {whole} has {_few(self._classes)}")

    def _class(self, name: str) -> str:
        return name[self._skip :].partition("/")[0]

    @property
    def class_names(self) -> Sequence[str]:
        return self._classes

    def ids(self) -> list[str]:
        return list(self._ids)

    def __len__(self) -> int:
        return len(self._ids)

    def __getitem__(self, index: int) -> tuple[Color, npt.NDArray[np.uint16]]:
        name = self._ids[index]
        path = inside(self.root / (name + self._endings[name]), self.root)
        image = decode_color(read_bytes(path, MAX_PICTURE_BYTES), str(path))
        return image, np.array(self._numbers[self._class(name)], np.uint16)


def _class_folders(folder: Path) -> tuple[str, ...]:
    """The names of the folders in one, sorted; ValueError when there are none, or too many."""
    with answered(folder):
        names = sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    if not 0 < len(names) <= MAX_CLASSES:
        raise ValueError(f"{folder}: expected a folder for each class, at most {MAX_CLASSES}; {holding(folder)}")
    return tuple(names)


def _few(names: tuple[str, ...]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
