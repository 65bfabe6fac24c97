"""Some of a labelled set's classes: their pixels keep a label, all others are ignored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import numpy.typing as npt

from fastseg.data.labelled import IGNORE
from fastseg.frames import Camera, LabelledFrames, LabelledImages


def with_classes(examples: LabelledImages, chosen: Sequence[str]) -> LabelledImages:
    """The set with the chosen classes alone, numbered in the order given; the set as it is for none or all in order.

    A pixel of any other class becomes 255 = ignore. Depth and cameras go along where the set has them.
    ValueError: a class that the set does not have, or one named twice.
    """
    names, wanted = tuple(examples.class_names), tuple(chosen)
    if not wanted or wanted == names:
        return examples
    for name in wanted:
        if name not in names:
            raise ValueError(f"--classes names {name!r}; the classes are {', '.join(names)}")
        if wanted.count(name) > 1:
            raise ValueError(f"--classes names {name!r} twice")
    return (ChosenFrames if hasattr(examples, "depth") else Chosen)(examples, wanted)


@dataclass(frozen=True)
class Chosen:
    """A labelled set whose classes are some of another's, see `with_classes`."""

    whole: LabelledImages
    class_names: Sequence[str]

    def ids(self) -> list[str]:
        return self.whole.ids()

    def __len__(self) -> int:
        return len(self.whole)

    def __getitem__(self, index: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.unsignedinteger]]:
        image, label = self.whole[index]
        names = list(self.whole.class_names)
        beyond = label[(label >= len(names)) & (label != IGNORE)]
        if beyond.size:
            raise ValueError(
                f"the label of {self.ids()[index]!r} holds class {beyond[0]}; there are {len(names)} classes "
                f"(0 to {len(names) - 1}, 255 = ignore)"
            )
        numbers = np.full(max(len(names), IGNORE + 1), IGNORE, label.dtype)
        numbers[[names.index(name) for name in self.class_names]] = np.arange(len(self.class_names))
        return image, numbers[label]


@dataclass(frozen=True)
class ChosenFrames(Chosen):
    """The same of a set that has depth beside its images (LabelledFrames)."""

    def depth(self, index: int) -> npt.NDArray[np.float32]:
        return cast(LabelledFrames, self.whole).depth(index)

    def camera(self, index: int) -> Camera | None:
        return cast(LabelledFrames, self.whole).camera(index)
