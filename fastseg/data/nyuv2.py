"""NYU Depth v2, the 1,449 labelled frames (Silberman et al., ECCV 2012): reader and labelled sets `nyuv2`, `nyuv2-13`.

    ROOT/nyu_depth_v2_labeled.mat             HDF5: images (N, 3, 640, 480) uint8, depths (N, 640, 480) float32 metres,
                                              labels (N, 640, 480) uint16 0 to 894, names (1, 894) references
    ROOT/splits.mat                           trainNdxs, testNdxs, counted from 1; or
    ROOT/trainNdxs.txt, ROOT/testNdxs.txt     the same, one a line
    ROOT/classMapping40.mat                   mapClass: 894 numbers 1 to 40 (Gupta et al., CVPR 2013)

Nothing is downloaded. Arrays are transposed on disk, as MATLAB writes them. Where the colour camera sees valid depth is
the window of 560x425 pixels at row 45, column 41: frames and labels are cropped to it unless `crop` is False.
"""

from __future__ import annotations

import io
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from fastseg.data.checks import checked_frame, exists
from fastseg.data.folder import read_lines
from fastseg.data.images import Color
from fastseg.data.labelled import IGNORE, ClassMap, LabelledSet, metres
from fastseg.data.matlab import checked_dataset, read_matlab
from fastseg.data.places import answered, holding, is_local, place
from fastseg.frames import Camera, Frame, FrameError

FILE = "nyu_depth_v2_labeled.mat"
CAMERA = Camera(518.85790, 519.46961, 325.58245, 253.73617, 480, 640)
TOP, LEFT, HEIGHT, WIDTH = 45, 41, 425, 560
CLASS_NAMES = (
    "wall", "floor", "cabinet", "bed", "chair", "sofa", "table", "door", "window", "bookshelf", "picture",
    "counter", "blinds", "desk", "shelves", "curtain", "dresser", "pillow", "mirror", "floor mat", "clothes",
    "ceiling", "books", "refrigerator", "television", "paper", "towel", "shower curtain", "box", "whiteboard",
    "person", "night stand", "toilet", "sink", "lamp", "bathtub", "bag", "other structure", "other furniture",
    "other prop",
)  # fmt: skip
CLASS_NAMES_13 = (
    "bed", "books", "ceiling", "chair", "floor", "furniture", "objects", "picture", "sofa", "table", "tv", "wall",
    "window",
)  # fmt: skip
TO_13 = (  # the class of 13 for each of the 40
    11, 4, 5, 0, 3, 8, 9, 11, 12, 5, 7, 5, 12, 9, 5, 12, 5, 6, 6, 4, 6, 2, 1, 5, 10, 6, 6, 6, 6, 6, 6, 5, 6, 6, 6, 6, 6,
    6, 5, 6,
)  # fmt: skip
MAX_FRAMES = 100_000


class NyuFile:
    """The .mat, opened anew in each process (HDF5 handles survive neither fork nor pickling)."""

    def __init__(self, root: Path | str) -> None:
        path = place(root)
        with answered(path):
            self.path = path / FILE if path.is_dir() else path
            there = self.path.is_file()
        if not there:
            raise FileNotFoundError(f"{self.path}: expected the labelled NYUv2 file; {holding(self.path.parent)}")
        self._owner, self._file = 0, None
        self.count = self._checked_count()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_owner": 0, "_file": None}

    def read(self, name: str, number: int) -> npt.NDArray[Any]:
        """Frame `number` (from 1) of the dataset `name` as rows by columns (by channels); FrameError `decode`."""
        try:
            return np.ascontiguousarray(np.asarray(self._open()[name][number - 1]).T)
        except (OSError, KeyError, RuntimeError) as error:
            raise FrameError("decode", f"{self.path}: {name} of frame {number} cannot be read ({error})") from error

    def names(self) -> list[str]:
        """The names of the file's own classes 1, 2, ...: a MATLAB cell array, references to arrays of UTF-16 codes."""
        file = self._open()
        try:
            names = checked_dataset(file, "names", self.path)
            codes = [checked_dataset(file, reference, self.path) for reference in np.asarray(names).ravel()]
            return ["".join(map(chr, map(int, np.asarray(text).ravel()))) for text in codes]
        except (OSError, KeyError, RuntimeError, TypeError) as error:
            raise ValueError(f"{self.path}: the names of its classes cannot be read ({error})") from error

    def _open(self) -> Any:
        if self._file is None or self._owner != os.getpid():
            import h5py

            try:
                with answered(self.path):
                    local = is_local(self.path)
                    self._file = h5py.File(self.path if local else self.path.open("rb"), "r")
                    self._owner = os.getpid()
            except OSError as error:
                why = error.strerror or error
                raise ValueError(f"{self.path}: expected a whole MATLAB 7.3 (HDF5) file ({why})") from error
        return self._file

    def _checked_count(self) -> int:
        file = self._open()
        shapes = {
            "images": ((3, 640, 480), "uint8"),
            "depths": ((640, 480), "float32"),
            "labels": ((640, 480), "uint16"),
        }
        counts = set()
        for name, (shape, dtype) in shapes.items():
            stored = checked_dataset(file, name, self.path, MAX_FRAMES * math.prod(shape))
            if stored.shape[1:] != shape or stored.dtype != dtype:
                raise ValueError(f"{self.path}: expected {name} of {dtype} (N, {', '.join(map(str, shape))})")
            counts.add(int(stored.shape[0]))
        if len(counts) != 1 or counts == {0}:
            raise ValueError(
                f"{self.path}: expected as many images, depths and labels, at least one; got {sorted(counts)}"
            )
        return counts.pop()


class NyuFrames:
    """A FrameSource over the labelled frames; an id is `nyu_depth_v2_labeled/0001`, counted from 1 as in the splits.

    Depth is float32 metres (in-painted by the data set's authors), the image a lossless PNG of the stored pixels.
    """

    def __init__(self, root: Path | str, split: str = "all", crop: bool = True) -> None:
        self._file = NyuFile(root)
        self._crop = crop
        self._numbers = read_split(self._file, split)

    def ids(self) -> list[str]:
        return [_id(number) for number in self._numbers]

    def load(self, frame_id: str) -> Frame:
        """The frame; FrameError `missing`, `decode` or `scale`."""
        number = self._number(frame_id)
        depth = self._file.read("depths", number)
        color = self._file.read("images", number)
        camera = CAMERA
        if self._crop:
            depth, color, camera = cropped(depth), cropped(color), CAMERA.cropped(TOP, LEFT, HEIGHT, WIDTH)
        return checked_frame(Frame(frame_id, depth, 1.0, camera, _png(color)), f"{self._file.path}, frame {number}")

    def inputs(self, frame_id: str) -> list[str]:
        """The .mat, which holds every frame."""
        self._number(frame_id)
        return [str(self._file.path)]

    def _number(self, frame_id: str) -> int:
        number = frame_id.rpartition("/")[2]
        if not number.isdecimal() or frame_id != _id(int(number)) or int(number) not in self._numbers:
            raise FrameError("missing", f"{self._file.path}: expected a frame {frame_id!r} of the split; there is none")
        return int(number)


class NyuLabels(LabelledSet):
    """LabelledFrames of the 40-class task, where class c of the mapping is label c - 1, or of the 13-class task.

    Unlabelled pixels are 255. classes: 40, or 13 (Couprie et al., ICLR 2013), each a union of some of the 40.
    """

    def __init__(self, root: Path | str, split: str, crop: bool = True, classes: int = 40) -> None:
        if classes not in (13, 40):
            raise ValueError(f"classes of nyuv2 must be 13 or 40; got {classes}")
        self._file = NyuFile(root)
        self._crop = crop
        numbers = read_split(self._file, split)
        to40 = read_mapping(self._file).tolist()
        names = CLASS_NAMES if classes == 40 else CLASS_NAMES_13
        kept = {raw: c if classes == 40 else TO_13[c] for raw, c in enumerate(to40) if c != IGNORE}
        self._map = ClassMap.of(kept, [0], f"labels 0 to {len(to40) - 1}", 65536)
        super().__init__([_id(number) for number in numbers], names)

    def pair(self, name: str) -> tuple[Color, Color]:
        image, raw = (self._file.read(key, _number(name)) for key in ("images", "labels"))
        label = self._map.classes_of(raw, self._file.path, name)
        return (cropped(image), cropped(label)) if self._crop else (image, label)

    def depth(self, index: int) -> npt.NDArray[np.float32]:
        """(H, W) float32 metres, in-painted by the data set's authors; 0 = none. FrameError `decode`."""
        depth = metres(self._file.read("depths", _number(self._ids[index])))
        return cropped(depth) if self._crop else depth

    def camera(self, index: int) -> Camera:
        """The colour camera, cropped with the image."""
        return CAMERA.cropped(TOP, LEFT, HEIGHT, WIDTH) if self._crop else CAMERA


def read_split(file: NyuFile, split: str) -> list[int]:
    """The sorted frame numbers (from 1) of a split, of `splits.mat` or `{train,test}Ndxs.txt` beside the .mat."""
    if split == "all":
        return list(range(1, file.count + 1))
    if split not in ("train", "test"):
        raise ValueError(f"split of nyuv2 must be all, train or test; got {split!r}")
    folder, name = file.path.parent, f"{split}Ndxs"
    path = folder / "splits.mat" if exists(folder / "splits.mat") else folder / f"{name}.txt"
    if not exists(path):
        wanted = "expected splits.mat, or trainNdxs.txt and testNdxs.txt,"
        raise FileNotFoundError(f"{folder}: {wanted} beside {file.path.name}; {holding(folder)}")
    try:
        values = (
            read_matlab(path, name)
            if path.suffix == ".mat"
            else np.array(read_lines(path, "frame numbers"), np.float64)
        )
    except ValueError as error:
        raise ValueError(f"{path}: expected {name}, whole numbers from 1 ({error})") from error
    numbers = sorted({int(v) for v in values if np.isfinite(v) and v == int(v)})
    if len(numbers) != len(values) or not numbers or numbers[0] < 1 or numbers[-1] > file.count:
        raise ValueError(f"{path}: expected {name}, each once, from 1 to {file.count}, the frames in {file.path.name}")
    return numbers


def read_mapping(file: NyuFile) -> Color:
    """Label of each of the file's own classes 0, 1, ...: 0 to 39, and 255 for 0 (unlabelled)."""
    path, classes = file.path.parent / "classMapping40.mat", len(file.names())
    if not exists(path):
        wanted = f"expected the published class mapping (mapClass) beside {file.path.name}"
        raise FileNotFoundError(f"{path}: {wanted}; {holding(path.parent)}")
    values = read_matlab(path, "mapClass")
    if len(values) != classes or not np.isin(values, np.arange(1, 41)).all():
        raise ValueError(f"{path}: expected mapClass of {classes} numbers 1 to 40, one a class; got {len(values)}")
    return np.concatenate([[IGNORE], values - 1]).astype(np.uint8)


def cropped(image: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The window (425, 560, ...) of valid depth of an image (480, 640, ...)."""
    return np.ascontiguousarray(image[TOP : TOP + HEIGHT, LEFT : LEFT + WIDTH])


def _id(number: int) -> str:
    return f"{FILE.removesuffix('.mat')}/{number:04d}"


def _number(frame_id: str) -> int:
    return int(frame_id.rpartition("/")[2])


def _png(color: Color) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(color).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()
