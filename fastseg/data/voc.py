"""PASCAL VOC 2012 for segmentation (Everingham et al., IJCV 2010), 21 classes with background: name `voc`.

    VOC/JPEGImages/NAME.jpg
    VOC/SegmentationClass/NAME.png                 palette PNG: class 0 to 20, 255 = border
    VOC/SegmentationClassAug/NAME.png              the same for the 10,582 of Hariharan et al., ICCV 2011, as exported
    VOC/ImageSets/Segmentation/SPLIT.txt           train (1,464), val (1,449), trainval: names, one a line
    VOC/ImageSets/Segmentation/train_aug.txt       or trainaug.txt: names, or lines `/JPEGImages/NAME.jpg /...png`

VOC is ROOT, ROOT/VOC2012 or ROOT/VOCdevkit/VOC2012. Labels of train_aug lie in SegmentationClassAug; those of the other
splits in SegmentationClass, or in SegmentationClassAug where there is no such folder.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fastseg.data.checks import checked_ids, existing_folder, found
from fastseg.data.folder import read_lines
from fastseg.data.images import Color
from fastseg.data.labelled import ClassMap, LabelledSet, check_split, labelled_pair, one_of

CLASS_NAMES = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "dining table",
    "dog", "horse", "motorbike", "person", "potted plant", "sheep", "sofa", "train", "tv/monitor",
)  # fmt: skip
CLASSES = ClassMap.counted(len(CLASS_NAMES))
LISTS = {
    "train": ("train.txt",), "val": ("val.txt",), "trainval": ("trainval.txt",),
    "train_aug": ("train_aug.txt", "trainaug.txt"),
}  # fmt: skip
PLAIN, AUGMENTED = "SegmentationClass", "SegmentationClassAug"


class Voc(LabelledSet):
    """LabelledImages over one split of VOC 2012; an id is the image's name, such as `2007_000032`."""

    def __init__(self, root: Path | str, split: str) -> None:
        check_split(split, LISTS, "voc")
        self.root = voc_folder(root, "VOC2012")
        path = one_of(self.root / "ImageSets" / "Segmentation", LISTS[split], f"the names of {split}")
        folders = (AUGMENTED,) if split == "train_aug" else (PLAIN, AUGMENTED)
        self._labels = one_of(self.root, folders, f"the labels of {split}")
        super().__init__(checked_ids(listed_names(path), self.root, "names of images"), CLASS_NAMES)

    def pair(self, name: str) -> tuple[Color, Color]:
        color = found(self.root / "JPEGImages" / name, (".jpg",), "colour")
        return labelled_pair(color, self._labels / f"{name}.png", name, CLASSES)


def voc_folder(root: Path | str, year: str) -> Path:
    """The folder of a year of VOC, which holds JPEGImages/; FileNotFoundError saying where it was looked for."""
    places = [f"{above}JPEGImages" for above in ("", f"{year}/", f"VOCdevkit/{year}/")]
    return one_of(existing_folder(root), places, f"the images of {year}").parent


def listed_names(path: Path) -> Sequence[str]:
    """The names of images in a split's list: the first column, its folder and ending cut off."""
    lines = read_lines(path, "names of images, one a line")
    return [line.split()[0].rpartition("/")[2].removesuffix(".jpg") for line in lines]
