"""Cityscapes for segmentation (Cordts et al., CVPR 2016), the 19 classes of its benchmark: name `cityscapes`.

    ROOT/leftImg8bit/SPLIT/CITY/NAME_leftImg8bit.png              train (2,975), val (500)
    ROOT/gtFine/SPLIT/CITY/NAME_gtFine_labelIds.png               0 to 33, as released; or, where a split has none,
    ROOT/gtFine/SPLIT/CITY/NAME_gtFine_labelTrainIds.png          0 to 18, 255 = ignore, as its scripts make them
    ROOT/gtFine/SPLIT/CITY/NAME_gtFine_instanceIds.png            optional: uint16, label id x 1000 + a number, or
                                                                  the label id alone for what is no single instance
    ROOT/disparity/, ROOT/camera/                                 optional: depth, see fastseg.data.cityscapes

The labels of test are not published.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from fastseg.data.checks import checked_ids, existing_folder, found, stems
from fastseg.data.cityscapes import COLOR, Cityscapes
from fastseg.data.images import Color, read_bytes
from fastseg.data.labelled import IGNORE, ClassMap, LabelledRecording, check_split, labelled_pair
from fastseg.data.png import decode_png16

CLASS_NAMES = (
    "road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign", "vegetation", "terrain",
    "sky", "person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle",
)  # fmt: skip
LABEL_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)  # of the 19, in order
MOST_LABEL_ID = 33
BY_ID = ClassMap.of(
    {value: c for c, value in enumerate(LABEL_IDS)},
    [IGNORE, *range(MOST_LABEL_ID + 1)],
    f"label ids 0 to {MOST_LABEL_ID}, or {IGNORE}",
)
BY_TRAIN_ID = ClassMap.counted(len(CLASS_NAMES))
FIRST_INSTANCE = 1000  # smaller values are stuff, or groups that nobody counted
INSTANCES = "_gtFine_instanceIds.png"
LABELS = {"_gtFine_labelIds.png": BY_ID, "_gtFine_labelTrainIds.png": BY_TRAIN_ID}


class CityscapesLabels(LabelledRecording):
    """LabelledFrames over one split of Cityscapes; an id is that of the reader, SPLIT/CITY/NAME."""

    def __init__(self, root: Path | str, split: str) -> None:
        check_split(split, ("train", "val"), "cityscapes")
        self.root, self._split = existing_folder(root), split
        images, labels = (existing_folder(self.root / kind / split) for kind in ("leftImg8bit", "gtFine"))
        listed = {ending: stems(labels, self.root, (ending.lower(),)) for ending in LABELS}
        self._ending = next((ending for ending in LABELS if listed[ending]), next(iter(LABELS)))
        names = {*stems(images, self.root, (COLOR.lower(),)), *listed[self._ending]}
        ids = checked_ids((f"{split}/{name}" for name in names), self.root, f"gtFine/{split}/CITY/NAME{self._ending}")
        super().__init__(ids, CLASS_NAMES)

    def pair(self, name: str) -> tuple[Color, Color]:
        color = found(self.root / "leftImg8bit" / name, (COLOR,), "colour")
        label = found(self.root / "gtFine" / name, (self._ending,), "label")
        return labelled_pair(color, label, name, LABELS[self._ending])

    def instances(self, index: int) -> npt.NDArray[np.uint16]:
        """The instances (H, W) uint16 for nIoU: class * 1000 + number as stored, 0 where there is none (stuff, groups).

        FrameError `missing`, `decode`, `type` or `too-large`.
        """
        path = found(self.root / "gtFine" / self._ids[index], (INSTANCES,), "instances")
        stored = decode_png16(read_bytes(path), str(path))
        return np.where(stored < FIRST_INSTANCE, np.uint16(0), stored)

    def source(self) -> Cityscapes:
        return Cityscapes(self.root, self._split)
