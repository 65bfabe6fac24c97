"""What labelled sets share: images by index, classes for stored label values, and the depth of sets that are frames."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fastseg.data.checks import check_size, exists
from fastseg.data.images import MAX_PICTURE_BYTES, Color, Depth, decode_color, decode_label, read_bytes
from fastseg.data.places import holding
from fastseg.frames import Camera, Frame, FrameError, FrameSource

IGNORE = 255
REFUSED = -1


@dataclass(frozen=True)
class ClassMap:
    """Classes for stored label values.

    table     (256,) or (65536,) int16: the class of each value, 255 = ignore, -1 = no value of this set
    expected  the values in words, such as `labels 0 to 10, or 11 = void`
    """

    table: npt.NDArray[np.int16]
    expected: str

    @classmethod
    def of(cls, classes: Mapping[int, int], ignored: Iterable[int], expected: str, size: int = 256) -> ClassMap:
        """The map of the values `classes` (value -> class) and `ignored`; `size` is 65536 for uint16 labels."""
        table = np.full(size, REFUSED, np.int16)
        table[list(ignored)] = IGNORE
        table[list(classes)] = list(classes.values())
        return cls(table, expected)

    @classmethod
    def counted(cls, n_classes: int, void: int = IGNORE) -> ClassMap:
        """The map of labels that are the classes 0 to n_classes - 1 already, and `void`."""
        expected = f"labels 0 to {n_classes - 1}, or {void} = void"
        return cls.of({value: value for value in range(n_classes)}, [void], expected)

    @classmethod
    def from_one(cls, n_classes: int, size: int = 256) -> ClassMap:
        """The map of labels 1 to n_classes, 0 = unlabelled, to the classes 0 to n_classes - 1 and 255."""
        expected = f"labels 0 (unlabelled) to {n_classes}"
        return cls.of({value: value - 1 for value in range(1, n_classes + 1)}, [0], expected, size)

    def classes_of(self, stored: npt.NDArray[Any], where: object, name: str) -> Color:
        """The label (H, W) uint8 of stored values (H, W); FrameError `type`, naming the file and the id, for others."""
        found = self.table[stored]
        wrong = stored[found == REFUSED]
        if wrong.size:
            worst = int(wrong.max())
            sentence = f"expected {self.expected}; {name!r} has {worst} at {wrong.size} pixels"
            raise FrameError("type", f"{where}: {sentence}", worst)
        label: Color = found.astype(np.uint8)
        return label


class LabelledSet(ABC):
    """A LabelledImages over ids; what a set has of its own is `pair`."""

    def __init__(self, ids: Sequence[str], class_names: Sequence[str]) -> None:
        self._ids = list(ids)
        self._class_names = class_names

    @property
    def class_names(self) -> Sequence[str]:
        return self._class_names

    def ids(self) -> list[str]:
        return list(self._ids)

    def __len__(self) -> int:
        return len(self._ids)

    def __getitem__(self, index: int) -> tuple[Color, Color]:
        return self.pair(self._ids[index])

    @abstractmethod
    def pair(self, name: str) -> tuple[Color, Color]:
        """(image (H, W, 3) uint8 RGB, label (H, W) uint8, 255 = ignore) of an id; FrameError naming the file."""


class LabelledRecording(LabelledSet):
    """A LabelledFrames whose depth and cameras are those of a FrameSource, opened when they are first asked for."""

    _last: Frame | None = None

    @abstractmethod
    def source(self) -> FrameSource:
        """The frames behind the labels; FileNotFoundError or ValueError when they are not there."""

    def frame_id(self, name: str) -> str:
        """The id in `source` of a labelled id."""
        return name

    def depth(self, index: int) -> npt.NDArray[np.float32]:
        """(H, W) float32 metres, 0 = no measurement; FrameError as the source's `load`."""
        frame = self._frame(index)
        return metres(frame.depth, frame.depth_scale)

    def camera(self, index: int) -> Camera | None:
        """The pinhole camera of image and depth; FrameError as the source's `load`."""
        return self._frame(index).camera

    @cached_property
    def _frames(self) -> FrameSource:
        return self.source()

    def _frame(self, index: int) -> Frame:
        """The frame; the last one is kept, since depth and camera are asked for one after the other."""
        wanted = self.frame_id(self._ids[index])
        if self._last is None or self._last.id != wanted:
            self._last = self._frames.load(wanted)
        return self._last


def metres(depth: Depth, scale: float = 1.0) -> npt.NDArray[np.float32]:
    """Depth (H, W) float32 metres of depth in units of `scale` metres, 0 where there is no measurement."""
    valid = np.isfinite(depth) & (depth > 0)
    return np.where(valid, depth * np.float32(scale), np.float32(0)).astype(np.float32)


def labelled_pair(color: Path, label: Path, name: str, classes: ClassMap) -> tuple[Color, Color]:
    """(image (H, W, 3) uint8 RGB, label (H, W) uint8) of two files, the label an 8-bit grey or palette PNG.

    Raises FrameError `missing`, `decode`, `size`, or `type`, naming the id, for a value that the map has no class for.
    """
    check_there(color, f"the image of {name!r}")
    check_there(label, f"the label of {name!r}")
    return paired(color, decode_label(label), label, name, classes)


def paired(color: Path, stored: npt.NDArray[Any], label: object, name: str, classes: ClassMap) -> tuple[Color, Color]:
    """(image, label) of a colour file and the stored values (H, W) of what `label` names; FrameError as above."""
    image = decode_color(read_bytes(color, MAX_PICTURE_BYTES), str(color))
    size = (image.shape[0], image.shape[1])
    check_size(size, (stored.shape[0], stored.shape[1]), f"{color}: colour", f"label {label}")
    return image, classes.classes_of(stored, label, name)


def check_there(path: Path, what: str) -> None:
    """None; FrameError `missing`, naming the file and what it should be, when there is none."""
    if not exists(path):
        raise FrameError("missing", f"{path}: expected {what}; there is none")


def one_of(root: Path, names: Sequence[str], what: str) -> Path:
    """The first of `root`/name that exists; FileNotFoundError saying `what` it is and everywhere it was looked for."""
    for name in names:
        if exists(root / name):
            return root / name
    raise FileNotFoundError(f"{root}: expected {what} at {' or '.join(names)}; {holding(root)}")


def check_split(split: str, known: Iterable[str], of: str) -> None:
    """None; ValueError naming the splits of the set `of` when there is no such one."""
    names = list(known)
    if split not in names:
        listed = ", ".join(names[:-1]) + " or " * (len(names) > 1) + names[-1]
        raise ValueError(f"split of {of} must be {listed}; got {split!r}")
