"""ADE20K as the scene parsing benchmark has it (Zhou et al., CVPR 2017), 150 classes: name `ade20k`.

    ADE/images/{training,validation}/NAME.jpg             20,210 and 2,000
    ADE/annotations/{training,validation}/NAME.png        uint8: 0 = something else (ignored), 1 to 150

ADE is ROOT or ROOT/ADEChallengeData2016. The splits train and val are the folders training and validation.
"""

from __future__ import annotations

from pathlib import Path

from fastseg.data.checks import checked_ids, existing_folder, found, stems
from fastseg.data.images import Color
from fastseg.data.labelled import ClassMap, LabelledSet, check_split, labelled_pair, one_of

CLASS_NAMES = (
    "wall", "building", "sky", "floor", "tree", "ceiling", "road", "bed", "windowpane", "grass", "cabinet", "sidewalk",
    "person", "earth", "door", "table", "mountain", "plant", "curtain", "chair", "car", "water", "painting", "sofa",
    "shelf", "house", "sea", "mirror", "rug", "field", "armchair", "seat", "fence", "desk", "rock", "wardrobe", "lamp",
    "bathtub", "railing", "cushion", "base", "box", "column", "signboard", "chest of drawers", "counter", "sand",
    "sink", "skyscraper", "fireplace", "refrigerator", "grandstand", "path", "stairs", "runway", "case", "pool table",
    "pillow", "screen door", "stairway", "river", "bridge", "bookcase", "blind", "coffee table", "toilet", "flower",
    "book", "hill", "bench", "countertop", "stove", "palm", "kitchen island", "computer", "swivel chair", "boat", "bar",
    "arcade machine", "hovel", "bus", "towel", "light", "truck", "tower", "chandelier", "awning", "streetlight",
    "booth", "television receiver", "airplane", "dirt track", "apparel", "pole", "land", "bannister", "escalator",
    "ottoman", "bottle", "buffet", "poster", "stage", "van", "ship", "fountain", "conveyer belt", "canopy", "washer",
    "plaything", "swimming pool", "stool", "barrel", "basket", "waterfall", "tent", "bag", "minibike", "cradle", "oven",
    "ball", "food", "step", "tank", "trade name", "microwave", "pot", "animal", "bicycle", "lake", "dishwasher",
    "screen", "blanket", "sculpture", "hood", "sconce", "vase", "traffic light", "tray", "ashcan", "fan", "pier",
    "crt screen", "plate", "monitor", "bulletin board", "shower", "radiator", "glass", "clock", "flag",
)  # fmt: skip
CLASSES = ClassMap.from_one(len(CLASS_NAMES))
FOLDERS = {"train": "training", "val": "validation"}


class Ade20k(LabelledSet):
    """LabelledImages over one split of ADE20K; an id is FOLDER/NAME, such as `validation/ADE_val_00000001`."""

    def __init__(self, root: Path | str, split: str) -> None:
        check_split(split, FOLDERS, "ade20k")
        places = ("annotations", "ADEChallengeData2016/annotations")
        self.root = one_of(existing_folder(root), places, "the labels of ADE20K").parent
        self._folder = FOLDERS[split]
        images, labels = (existing_folder(self.root / kind / self._folder) for kind in ("images", "annotations"))
        names = {*stems(images, self.root, (".jpg",)), *stems(labels, self.root, (".png",))}
        ids = (f"{self._folder}/{name}" for name in names)
        super().__init__(checked_ids(ids, self.root, f"images/{self._folder}/NAME.jpg"), CLASS_NAMES)

    def pair(self, name: str) -> tuple[Color, Color]:
        color = found(self.root / "images" / name, (".jpg",), "colour")
        return labelled_pair(color, self.root / "annotations" / f"{name}.png", name, CLASSES)
