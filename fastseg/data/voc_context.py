"""PASCAL-Context (Mottaghi et al., CVPR 2014): name `voc-context` with 60 classes, `voc-context-59` without background.

    VOC/JPEGImages/NAME.jpg                               of VOC 2010
    VOC/SegmentationClassContext/NAME.png                 as exported: 0 = background, 1 to 59; or
    VOC/trainval/NAME.mat                                 as released: LabelMap (H, W), 0 to 459
    VOC/ImageSets/SegmentationContext/SPLIT.txt           train (4,998) or val (5,105): names, one a line; or
    VOC/ImageSets/Main/SPLIT.txt                          those of VOC 2010, which are the same

VOC is ROOT, ROOT/VOC2010 or ROOT/VOCdevkit/VOC2010. Classes are in alphabetical order, as in both forms. What is none
of the 59 is `background`: class 0 of 60, ignored in `voc-context-59`.
"""

from __future__ import annotations

from pathlib import Path

from fastseg.data.checks import checked_ids, found
from fastseg.data.images import Color, decode_label
from fastseg.data.labelled import ClassMap, LabelledSet, check_split, check_there, one_of, paired
from fastseg.data.matlab import read_label_map
from fastseg.data.voc import listed_names, voc_folder

CLASSES_459 = {  # the number of each of the 59 among the 459 of the release
    "aeroplane": 2, "bag": 9, "bed": 18, "bedclothes": 19, "bench": 22, "bicycle": 23, "bird": 25, "boat": 31,
    "book": 33, "bottle": 34, "building": 44, "bus": 45, "cabinet": 46, "car": 59, "cat": 65, "ceiling": 68,
    "chair": 72, "cloth": 80, "computer": 85, "cow": 98, "cup": 104, "curtain": 105, "dog": 113, "door": 115,
    "fence": 144, "floor": 158, "flower": 159, "food": 162, "grass": 187, "ground": 189, "horse": 207, "keyboard": 220,
    "light": 232, "motorbike": 258, "mountain": 259, "mouse": 260, "person": 284, "plate": 295, "platform": 296,
    "pottedplant": 308, "road": 324, "rock": 326, "sheep": 347, "shelves": 349, "sidewalk": 354, "sign": 355,
    "sky": 360, "snow": 366, "sofa": 368, "table": 397, "track": 415, "train": 416, "tree": 420, "truck": 424,
    "tvmonitor": 427, "wall": 440, "water": 445, "window": 454, "wood": 458,
}  # fmt: skip
MOST_459 = 459
EXPORTED, RELEASED = "SegmentationClassContext", "trainval"


class VocContext(LabelledSet):
    """LabelledImages over one split of PASCAL-Context; an id is the image's name. `background`: 60 classes, else 59."""

    def __init__(self, root: Path | str, split: str, background: bool = True) -> None:
        check_split(split, ("train", "val"), "voc-context")
        self.root = voc_folder(root, "VOC2010")
        places = [f"{folder}/{split}.txt" for folder in ("SegmentationContext", "Main")]
        path = one_of(self.root / "ImageSets", places, f"the names of {split}")
        self._labels = one_of(self.root, (EXPORTED, RELEASED), "the labels")
        self._released = self._labels.name == RELEASED
        self._map = class_map(self._released, background)
        names = ("background", *CLASSES_459) if background else tuple(CLASSES_459)
        super().__init__(checked_ids(listed_names(path), self.root, "names of images"), names)

    def pair(self, name: str) -> tuple[Color, Color]:
        color = found(self.root / "JPEGImages" / name, (".jpg",), "colour")
        label = self._labels / f"{name}{'.mat' if self._released else '.png'}"
        check_there(label, f"the label of {name!r}")
        stored = read_label_map(label, "LabelMap") if self._released else decode_label(label)
        return paired(color, stored, label, name, self._map)


def class_map(released: bool, background: bool) -> ClassMap:
    """The map of the release's values 0 to 459, or of the export's 0 to 59, to the 60 or 59 classes."""
    numbers = list(CLASSES_459.values()) if released else range(1, len(CLASSES_459) + 1)
    classes = {number: c + background for c, number in enumerate(numbers)}
    most, size = (MOST_459, 65536) if released else (len(CLASSES_459), 256)
    others = [value for value in range(most + 1) if value not in classes]
    if background:
        classes |= dict.fromkeys(others, 0)
    return ClassMap.of(classes, others, f"labels 0 to {most}", size)
