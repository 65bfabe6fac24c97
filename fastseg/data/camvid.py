"""CamVid for segmentation (Brostow et al., 2009) in the 11-class 480x360 layout of SegNet: name `camvid`.

ROOT/{train,val,test}/NAME.{png,jpg}   colour
ROOT/{train,val,test}annot/NAME.png    uint8 class 0 to 10, 11 = void
ROOT/{train,val,test}.txt              optional: names, or the original `image label` path lines
"""

from __future__ import annotations

from pathlib import Path

from fastseg.data.checks import checked_ids, existing_folder, found, stems
from fastseg.data.folder import read_lines
from fastseg.data.images import Color
from fastseg.data.labelled import ClassMap, LabelledSet, check_split, labelled_pair

CLASS_NAMES = (
    "sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car", "pedestrian", "bicyclist",
)  # fmt: skip
CLASSES = ClassMap.counted(len(CLASS_NAMES), void=11)
COLOR_ENDINGS = (".png", ".jpg")


class CamVid(LabelledSet):
    """LabelledImages over one split of CamVid; an id is `SPLIT/NAME`, a label 0 to 10 or 255 (void)."""

    def __init__(self, root: Path | str, split: str) -> None:
        check_split(split, ("train", "val", "test"), "camvid")
        self.root = existing_folder(root)
        existing_folder(self.root / split)
        ids = (f"{split}/{name}" for name in self._names(split))
        super().__init__(checked_ids(ids, self.root, f"{split}/NAME.png"), CLASS_NAMES)

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

    def pair(self, name: str) -> tuple[Color, Color]:
        split, base = name.split("/", 1)
        color = found(self.root / name, COLOR_ENDINGS, "colour")
        return labelled_pair(color, self.root / f"{split}annot" / f"{base}.png", name, CLASSES)
