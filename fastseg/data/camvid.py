"""CamVid for segmentation (Brostow et al., 2009) in the 11-class 480x360 layout of SegNet: name `camvid`.

ROOT/{train,val,test}/NAME.{png,jpg}   colour
ROOT/{train,val,test}annot/NAME.png    uint8 class 0 to 10, 11 = void
ROOT/{train,val,test}.txt              optional: names, or the original `image label` path lines
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fastseg.data.checks import checked_ids, existing_folder, found, stems
from fastseg.data.folder import labelled_pair, read_lines
from fastseg.data.images import Color

CLASS_NAMES = (
    "sky",
    "building",
    "pole",
    "road",
    "pavement",
    "tree",
    "sign",
    "fence",
    "car",
    "pedestrian",
    "bicyclist",
)
VOID = 11
COLOR_ENDINGS = (".png", ".jpg")


class CamVid:
    """LabelledImages over one split of CamVid; an id is `SPLIT/NAME`, a label 0 to 10 or 255 (void)."""

    def __init__(self, root: Path | str, split: str) -> None:
        if split not in ("train", "val", "test"):
            raise ValueError(f"split of camvid must be train, val or test; got {split!r}")
        self.root = existing_folder(root)
        existing_folder(self.root / split)
        self._ids = checked_ids((f"{split}/{name}" for name in self._names(split)), self.root, f"{split}/NAME.png")

    def _names(self, split: str) -> list[str]:
        """Base names of the list's first column, or of the images and labels on disk when there is no list."""
        path = self.root / f"{split}.txt"
        if path.exists():
            return [
                Path(line.split()[0]).name.removesuffix(".png").removesuffix(".jpg")
                for line in read_lines(path, "names")
            ]
        folders = (self.root / split, existing_folder(self.root / f"{split}annot"))
        return list({name for folder in folders for name in stems(folder, self.root, COLOR_ENDINGS)})

    @property
    def class_names(self) -> Sequence[str]:
        return CLASS_NAMES

    def ids(self) -> list[str]:
        return list(self._ids)

    def __len__(self) -> int:
        return len(self._ids)

    def __getitem__(self, index: int) -> tuple[Color, Color]:
        name = self._ids[index]
        split, base = name.split("/", 1)
        color = found(self.root / name, COLOR_ENDINGS, "colour")
        return labelled_pair(color, self.root / f"{split}annot" / f"{base}.png", name, len(CLASS_NAMES), VOID)
