"""SUN RGB-D for segmentation (Song, Lichtenberg, Xiao, CVPR 2015), 37 classes, train 5,285 and test 5,050: `sunrgbd`.

As released, with depth and cameras (see fastseg.data.sunrgbd):

    ROOT/SUNRGBD/**/FRAME/image/*.jpg
    ROOT/SUNRGBDtoolbox/traintestSUNRGBD/allsplit.mat     alltrain, alltest: paths of FRAME folders
    ROOT/SUNRGBDtoolbox/Metadata/SUNRGBDMeta.mat          rgbpath of each frame, in the order of the labels
    ROOT/SUNRGBDtoolbox/Metadata/SUNRGBD2Dseg.mat         HDF5: seglabel, references to (W, H), 0 = unlabelled, 1 to 37

As exported to image files, one for each frame, without depth:

    ROOT/{train,test}37.txt                               lines `image/... depth/... label37/...`, paths below ROOT; or
    ROOT/SUNRGBD-{train,test}_images/*-NNNNNN.jpg         numbered from 1 in each folder, with
    ROOT/sunrgbd_train_test_labels/*-NNNNNN.png           0 to 37: the 5,050 of test first, then those of train
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fastseg.data.checks import check_id, checked_ids, existing_folder, exists, inside, is_folder, stems
from fastseg.data.folder import read_lines
from fastseg.data.images import Color
from fastseg.data.labelled import ClassMap, LabelledRecording, LabelledSet, check_split, labelled_pair, one_of, paired
from fastseg.data.matlab import checked_dataset, read_field, read_strings
from fastseg.data.places import answered, holding, is_local
from fastseg.data.png import MAX_PIXELS
from fastseg.data.sunrgbd import COLOR_ENDINGS, COLOR_FOLDER, SunRgbd, only
from fastseg.frames import FrameError, LabelledImages

CLASS_NAMES = (
    "wall", "floor", "cabinet", "bed", "chair", "sofa", "table", "door", "window", "bookshelf", "picture", "counter",
    "blinds", "desk", "shelves", "curtain", "dresser", "pillow", "mirror", "floor mat", "clothes", "ceiling", "books",
    "fridge", "tv", "paper", "towel", "shower curtain", "box", "whiteboard", "person", "night stand", "toilet", "sink",
    "lamp", "bathtub", "bag",
)  # fmt: skip
CLASSES = ClassMap.from_one(len(CLASS_NAMES), 65536)
SPLIT_FILE = "SUNRGBDtoolbox/traintestSUNRGBD/allsplit.mat"
FRAMES_FILE = "SUNRGBDtoolbox/Metadata/SUNRGBDMeta.mat"
LABELS_FILE = "SUNRGBDtoolbox/Metadata/SUNRGBD2Dseg.mat"
TEST_IMAGES = 5050
_NUMBER = re.compile(r"(?:.*[^0-9])?([0-9]{1,9})", re.DOTALL)


def sunrgbd_labels(root: Path | str, split: str) -> LabelledImages:
    """The labelled images of `train` or `test` in whichever of the three forms lies at `root`."""
    check_split(split, ("train", "test"), "sunrgbd")
    folder = existing_folder(root)
    if exists(folder / f"{split}37.txt"):
        return SunListed(folder, split)
    if is_folder(folder / "sunrgbd_train_test_labels"):
        return SunNumbered(folder, split)
    return SunReleased(folder, split)


class SunReleased(LabelledRecording):
    """LabelledFrames over one split as released; an id is the frame's folder, such as `SUNRGBD/kv1/NYUdata/NYU0001`."""

    def __init__(self, root: Path, split: str) -> None:
        self.root = root
        forms = f"{split}37.txt, sunrgbd_train_test_labels/"
        for name in (SPLIT_FILE, FRAMES_FILE, LABELS_FILE):
            one_of(root, [name], f"the file (or {forms} of labels exported)")
        paths = read_field(root / FRAMES_FILE, "SUNRGBDMeta", "rgbpath")
        order = {frame_of(path.rpartition("/")[0].rpartition("/")[0]): k for k, path in enumerate(paths)}
        ids = checked_ids(map(frame_of, read_strings(root / SPLIT_FILE, f"all{split}")), root, "SUNRGBD/**/FRAME")
        if lost := next((name for name in ids if name not in order), None):
            raise ValueError(f"{root / FRAMES_FILE}: expected the frames of {SPLIT_FILE}; {lost} is not among them")
        self._numbers = {name: order[name] for name in ids}
        self._file = SegFile(root / LABELS_FILE, len(paths))
        super().__init__(ids, CLASS_NAMES)

    def pair(self, name: str) -> tuple[Color, Color]:
        color = only(self.root / name / COLOR_FOLDER, COLOR_ENDINGS)
        number = self._numbers[name]
        label = f"{self._file.path}, seglabel {number + 1}"
        return paired(color, self._file.read(number), label, name, CLASSES)

    def source(self) -> SunRgbd:
        return SunRgbd(self.root)


class SegFile:
    """SUNRGBD2Dseg.mat, opened anew in each process (HDF5 handles survive neither fork nor pickling)."""

    def __init__(self, path: Path, count: int) -> None:
        self.path = path
        self._owner, self._file = 0, None
        shape = tuple(self._labels().shape)
        if shape != (count, 1):
            raise ValueError(f"{path}: expected seglabel of {count} frames as in {FRAMES_FILE}; got {shape}")

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_owner": 0, "_file": None}

    def read(self, number: int) -> npt.NDArray[np.uint16]:
        """The stored label (H, W) of frame `number`, from 0; FrameError `decode`."""
        try:
            stored = checked_dataset(self._open(), self._labels()[number, 0], self.path, MAX_PIXELS)
            values = np.asarray(stored)
        except (OSError, KeyError, ValueError, RuntimeError) as error:
            raise FrameError("decode", f"{self.path}: seglabel {number + 1} cannot be read ({error})") from error
        numbers = values.ndim == 2 and values.size and values.dtype.kind in "uif"
        whole = numbers and values.min() >= 0 and values.max() < 65536
        if not whole or (values != np.floor(values)).any():
            wanted = "expected (W, H) whole numbers from 0"
            raise FrameError("type", f"{self.path}: {wanted}; seglabel {number + 1} is {values.dtype} {values.shape}")
        return np.ascontiguousarray(values.T.astype(np.uint16))

    def _labels(self) -> Any:
        import h5py

        group = self._open().get("SUNRGBD2Dseg", getlink=True)
        found = self._open()["SUNRGBD2Dseg"] if isinstance(group, h5py.HardLink) else None
        if not isinstance(found, h5py.Group):
            raise ValueError(f"{self.path}: expected SUNRGBD2Dseg, a struct with seglabel, in this file")
        return checked_dataset(found, "seglabel", self.path)

    def _open(self) -> Any:
        if self._file is None or self._owner != os.getpid():
            import h5py

            try:
                with answered(self.path):
                    self._file = h5py.File(self.path if is_local(self.path) else self.path.open("rb"), "r")
                    self._owner = os.getpid()
            except OSError as error:
                why = error.strerror or error
                raise ValueError(f"{self.path}: expected a whole MATLAB 7.3 (HDF5) file ({why})") from error
        return self._file


class SunListed(LabelledSet):
    """LabelledImages over SPLIT37.txt; an id is the image's path without its ending."""

    def __init__(self, root: Path, split: str) -> None:
        self.root, path = root, root / f"{split}37.txt"
        lines = [line.split() for line in read_lines(path, "lines `image depth label`")]
        if wrong := next((line for line in lines if len(line) < 2), None):
            raise ValueError(f"{path}: expected lines `image depth label`; got {' '.join(wrong)!r}")
        for file in {name for line in lines for name in (line[0], line[-1])}:
            check_id(file, root)
        self._files = {line[0].rpartition(".")[0]: (line[0], line[-1]) for line in lines}
        super().__init__(checked_ids((line[0].rpartition(".")[0] for line in lines), root, str(path)), CLASS_NAMES)

    def pair(self, name: str) -> tuple[Color, Color]:
        color, label = (inside(self.root / file, self.root) for file in self._files[name])
        return labelled_pair(color, label, name, CLASSES)


class SunNumbered(LabelledSet):
    """LabelledImages over files that a number pairs; an id is the image's path without its ending."""

    def __init__(self, root: Path, split: str) -> None:
        self.root, folder = root, f"SUNRGBD-{split}_images"
        images = stems(existing_folder(root / folder), root, COLOR_ENDINGS[:1])
        offset = 0 if split == "test" else TEST_IMAGES
        labels = {numbered(name): name for name in stems(root / "sunrgbd_train_test_labels", root, (".png",))}
        self._labels = {f"{folder}/{name}": labels.get(numbered(name) + offset) for name in images}
        super().__init__(checked_ids(self._labels, root, f"{folder}/img-NNNNNN.jpg"), CLASS_NAMES)

    def pair(self, name: str) -> tuple[Color, Color]:
        label, folder = self._labels[name], self.root / "sunrgbd_train_test_labels"
        if label is None:
            raise FrameError("missing", f"{folder}: expected the label of {name!r}; {holding(folder)}")
        return labelled_pair(self.root / f"{name}.jpg", folder / f"{label}.png", name, CLASSES)


def numbered(name: str) -> int:
    """The number that a file's name ends in; ValueError when it ends in none."""
    if (match := _NUMBER.fullmatch(name)) is None:
        raise ValueError(f"expected names that end in a number, such as img-000001; got {name!r}")
    return int(match[1])


def frame_of(path: str) -> str:
    """The frame's folder below ROOT of an absolute path of the authors' machine: from `SUNRGBD/` on."""
    return "SUNRGBD/" + "/".join(part for part in path.rpartition("SUNRGBD/")[2].split("/") if part)
