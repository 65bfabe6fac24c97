"""Stanford 2D-3D-S (Armeni et al., 2017), 13 classes: names `stanford-2d3d` and `stanford-2d3d-pano`.

    ROOT/AREA/data/{rgb,semantic,depth,pose}/NAME_domain_{rgb,semantic,depth}.png, ..._pose.json      1080x1080 views
    ROOT/AREA/pano/{rgb,semantic,depth}/NAME_domain_{rgb,semantic,depth}.png                          4096x2048
    ROOT/assets/semantic_labels.json     or ROOT/semantic_labels.json: names such as `chair_1_office_12_1`

AREA is area_1 to area_6; area 5 comes as area_5a and area_5b. A semantic pixel (r, g, b) is the name number
r 2^16 + g 2^8 + b, and its class the first word of that name; `<UNK>` and #0D0D0D (nothing there) are ignored. Depth is
v / 512 metres, 65535 = none: along z in a view, from the camera's centre in a panorama. Splits are those published:
`train` and `test` of fold 1 (areas 1, 2, 3, 4, 6 and 5), `fold2-train` (1, 3, 5, 6), `fold2-test` (2, 4),
`fold3-train` (2, 4, 5), `fold3-test` (1, 3, 6); or one area, as `area_3`.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fastseg.data.checks import check_size, checked_ids, existing_folder, found, is_folder, stems
from fastseg.data.images import MAX_PICTURE_BYTES, Color, color_size, decode_color, read_bytes
from fastseg.data.intrinsics import pinhole, read_json
from fastseg.data.labelled import IGNORE, LabelledSet, check_split, metres, one_of
from fastseg.data.places import holding, read_at_most
from fastseg.data.png import MAX_PICTURE_PIXELS, decode_png16, read_png
from fastseg.frames import Camera, FrameError

CLASS_NAMES = (
    "beam", "board", "bookcase", "ceiling", "chair", "clutter", "column", "door", "floor", "sofa", "table", "wall",
    "window",
)  # fmt: skip
UNKNOWN = "<UNK>"
NOTHING = 0x0D0D0D
FOLDS = {
    "train": "12346", "test": "5", "fold2-train": "1356", "fold2-test": "24", "fold3-train": "245", "fold3-test": "136",
}  # fmt: skip
AREAS = ("area_1", "area_2", "area_3", "area_4", "area_5a", "area_5b", "area_6")
ENDINGS = {kind: f"_domain_{kind}.png" for kind in ("rgb", "semantic", "depth")}
UNITS = 512  # stored values a metre
NO_DEPTH = 65535
TOP, BOTTOM = 160 / 1024, 864 / 1024  # of the rows of a panorama that its cameras saw
MAX_NAMES_BYTES = 2**24
Classes = npt.NDArray[np.uint8]


class Stanford2d3d(LabelledSet):
    """LabelledFrames over one split of the views; an id is AREA/data/NAME, NAME without `_domain_...`."""

    kind = "data"

    def __init__(self, root: Path | str, split: str) -> None:
        check_split(split, (*FOLDS, *AREAS), "stanford-2d3d")
        self.root = existing_folder(root)
        names = one_of(self.root, ("assets/semantic_labels.json", "semantic_labels.json"), "the names of the labels")
        self._classes = read_classes(names)
        ids = {name for area in self._areas(split) for name in self._listed(area)}
        super().__init__(checked_ids(ids, self.root, f"AREA/{self.kind}/rgb/NAME{ENDINGS['rgb']}"), CLASS_NAMES)

    def pair(self, name: str) -> tuple[Color, Color]:
        color, path = self._file(name, "rgb"), self._file(name, "semantic")
        image = decode_color(read_bytes(color, MAX_PICTURE_BYTES), str(color))
        numbers = decode_numbers(path)
        size = (image.shape[0], image.shape[1])
        check_size((numbers.shape[0], numbers.shape[1]), size, f"{path}: labels", f"colour {color}")
        return image, classes_of(numbers, self._classes, path)

    def depth(self, index: int) -> npt.NDArray[np.float32]:
        """(H, W) float32 metres along z, 0 = none; FrameError `missing`, `decode`, `type` or `too-large`."""
        path = self._file(self._ids[index], "depth")
        stored = decode_png16(read_bytes(path), str(path))
        return metres(np.where(stored == NO_DEPTH, np.uint16(0), stored), 1 / UNITS)

    def camera(self, index: int) -> Camera | None:
        """The view's pinhole camera; FrameError `missing` or `intrinsics`."""
        area, kind, name = self._ids[index].split("/", 2)
        color = self._file(self._ids[index], "rgb")
        size = color_size(read_bytes(color), str(color))
        path = self.root / area / kind / "pose" / f"{name}_domain_pose.json"
        matrix = read_json(path, "a pose with camera_k_matrix").get("camera_k_matrix")
        try:
            return pinhole(np.array(matrix, np.float64).reshape(3, 3), size, path)
        except (TypeError, ValueError) as error:
            if isinstance(error, FrameError):
                raise
            raise FrameError("intrinsics", f"{path}: expected camera_k_matrix, 3x3 numbers; got {matrix!r}") from error

    def _areas(self, split: str) -> list[str]:
        """The areas of a split; FileNotFoundError listing those that are not there."""
        wanted = [area for area in AREAS if area == split or area[5] in FOLDS.get(split, "")]
        missing = [area for area in wanted if not is_folder(self.root / area / self.kind)]
        if missing:
            sentence = f"expected {', '.join(f'{area}/{self.kind}' for area in missing)} for the split {split}"
            raise FileNotFoundError(f"{self.root}: {sentence}; {holding(self.root)}")
        return wanted

    def _listed(self, area: str) -> set[str]:
        """The ids of every image and label of an area."""
        top = self.root / area / self.kind
        kinds = [(existing_folder(top / kind), ENDINGS[kind]) for kind in ("rgb", "semantic")]
        return {f"{area}/{self.kind}/{name}" for folder, end in kinds for name in stems(folder, self.root, (end,))}

    def _file(self, name: str, kind: str) -> Path:
        area, above, stem = name.split("/", 2)
        return found(self.root / area / above / kind / stem, (ENDINGS[kind],), kind)


class Stanford2d3dPano(Stanford2d3d):
    """LabelledFrames over one split of the panoramas, cut to the rows that were seen: 320 to 1727 of 2048.

    Depth is the distance from the camera's centre; a panorama has no pinhole camera.
    """

    kind = "pano"

    def pair(self, name: str) -> tuple[Color, Color]:
        image, label = super().pair(name)
        rows = seen_rows(label.shape[0])
        return image[rows], label[rows]

    def depth(self, index: int) -> npt.NDArray[np.float32]:
        depth = super().depth(index)
        return depth[seen_rows(depth.shape[0])]

    def camera(self, index: int) -> Camera | None:
        return None


def seen_rows(height: int) -> slice:
    """The rows of a panorama of that height between the two caps that no camera saw."""
    return slice(round(TOP * height), round(BOTTOM * height))


def read_classes(path: Path) -> Classes:
    """Class (N,) uint8 of each of the file's names, 255 for `<UNK>`; ValueError naming what is none of the classes."""
    try:
        names = json.loads(read_at_most(path, MAX_NAMES_BYTES).decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: expected a JSON list of names such as chair_1_office_12_1 ({error})") from error
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise ValueError(f"{path}: expected a JSON list of names such as chair_1_office_12_1")
    known = {UNKNOWN: IGNORE} | {name: c for c, name in enumerate(CLASS_NAMES)}
    words = [name.partition("_")[0] for name in names]
    if other := next((name for name, word in zip(names, words, strict=True) if word not in known), None):
        raise ValueError(f"{path}: expected names that begin with {UNKNOWN} or a class of the 13; got {other!r}")
    return np.array([known[word] for word in words], np.uint8)


def decode_numbers(path: Path) -> npt.NDArray[np.int32]:
    """The numbers (H, W) int32 r 2^16 + g 2^8 + b of a PNG; FrameError `missing`, `decode`, `type`, `too-large`."""
    data = read_bytes(path, MAX_PICTURE_BYTES)
    header, _ = read_png(data, str(path), MAX_PICTURE_PIXELS)
    if header.bits != 8 or header.color_type not in (2, 6):
        found = f"{header.bits} bits, colour type {header.color_type}"
        raise FrameError("type", f"{path}: expected an RGB PNG of 8 bits a channel, numbers of labels; got {found}")
    channels = decode_color(data, str(path)).astype(np.int32)
    numbers: npt.NDArray[np.int32] = channels[..., 0] << 16 | channels[..., 1] << 8 | channels[..., 2]
    return numbers


def classes_of(numbers: npt.NDArray[np.int32], classes: Classes, path: Path) -> Color:
    """The label (H, W) uint8 of label numbers; FrameError `type` for a number that names nothing."""
    nothing = numbers == NOTHING
    beyond = (numbers >= len(classes)) & ~nothing
    if beyond.any():
        worst, most = int(numbers[beyond].max()), len(classes) - 1
        raise FrameError("type", f"{path}: expected numbers 0 to {most} of labels, or #0D0D0D; it has {worst}", worst)
    label: Color = np.where(nothing, np.uint8(IGNORE), classes[np.minimum(numbers, len(classes) - 1)])
    return label
