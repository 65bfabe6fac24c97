"""KITTI's semantic benchmark (Alhaija et al., IJCV 2018), the 19 classes of Cityscapes: name `kitti`.

    KITTI/image_2/N_10.png           200 images, those of stereo 2015
    KITTI/semantic/N_10.png          Cityscapes' label ids 0 to 33
    KITTI/disp_occ_0/, KITTI/calib_cam_to_cam/     optional, of stereo 2015: depth, see fastseg.data.kitti

KITTI is ROOT/training or ROOT/data_semantics/training. The benchmark has no validation split and keeps its test labels:
`val` is every fifth image in the order of names (40), `train` the other 160, `all` both.
"""

from __future__ import annotations

from pathlib import Path

from fastseg.data.checks import checked_ids, existing_folder, found, stems
from fastseg.data.cityscapes_labels import BY_ID, CLASS_NAMES
from fastseg.data.images import Color
from fastseg.data.kitti import COLOR_ENDINGS, Kitti
from fastseg.data.labelled import LabelledRecording, check_split, labelled_pair, one_of

SPLITS = ("train", "val", "all")
EVERY = 5


class KittiLabels(LabelledRecording):
    """LabelledFrames over KITTI's labelled images; an id is the image's name, such as `000003_10`."""

    def __init__(self, root: Path | str, split: str) -> None:
        check_split(split, SPLITS, "kitti")
        places = ("training/semantic", "data_semantics/training/semantic")
        self.root = one_of(existing_folder(root), places, "the labels of KITTI").parent
        folders = (self.root / "semantic", existing_folder(self.root / "image_2"))
        names = {name for folder in folders for name in stems(folder, self.root, COLOR_ENDINGS)}
        names = {name for name in names if name.endswith("_10")}  # stereo 2015 has N_11 too, the next in time
        ids = checked_ids(names, self.root, "image_2/N_10.png and semantic/N_10.png")
        super().__init__(chosen(ids, split), CLASS_NAMES)

    def pair(self, name: str) -> tuple[Color, Color]:
        color = found(self.root / "image_2" / name, COLOR_ENDINGS, "colour")
        return labelled_pair(color, self.root / "semantic" / f"{name}.png", name, BY_ID)

    def source(self) -> Kitti:
        return Kitti(self.root)

    def frame_id(self, name: str) -> str:
        return f"disp_occ_0/{name}"


def chosen(ids: list[str], split: str) -> list[str]:
    """The ids of a split: `val` is ids 4, 9, 14, ... counted from 0, `train` the others, `all` both."""
    validation = ids[EVERY - 1 :: EVERY]
    return {"val": validation, "train": sorted({*ids} - {*validation}), "all": ids}[split]
