"""Label maps by themselves: sets without images, and maps as the pictures that a label autoencoder looks at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from fastseg.data.augment import Normalisation
from fastseg.data.folder import FolderLabels
from fastseg.data.images import Color, decode_label
from fastseg.data.labelled import check_there
from fastseg.data.sources import Labelled, open_labelled
from fastseg.frames import LabelledImages

if TYPE_CHECKING:
    from fastseg.data.hn_shards import HNShards

LabelSource = Labelled | Literal["shards", "labels"]
AS_THEY_ARE = Normalisation((0.0, 0.0, 0.0), (1 / 255, 1 / 255, 1 / 255))


class LabelFolder(FolderLabels):
    """LabelledImages of `labels/` and `classes.txt` alone; the images are black."""

    def pair(self, name: str) -> tuple[Color, Color]:
        path = self._labels / f"{name}.png"
        check_there(path, f"the label of {name!r}")
        label = self._map.classes_of(decode_label(path), path, name)
        return np.zeros((*label.shape, 3), np.uint8), label


class LabelPictures:
    """LabelledImages whose image is the label map itself, three times, at the size that an autoencoder sees.

    size   (h, w); labels are resized to the nearest, so that the score of a reconstruction is at this size
    """

    def __init__(self, examples: LabelledImages, size: tuple[int, int]) -> None:
        self._examples, self._size = examples, size
        self.metadata: Mapping[str, Any] = getattr(examples, "metadata", {})

    @property
    def class_names(self) -> Sequence[str]:
        return self._examples.class_names

    def ids(self) -> list[str]:
        return self._examples.ids()

    def __len__(self) -> int:
        return len(self._examples)

    def __getitem__(self, index: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
        label = nearest(np.asarray(self._examples[index][1], np.uint8), self._size)
        return np.repeat(label[..., None], 3, axis=2), label


def nearest(label: npt.NDArray[np.uint8], size: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """A label map (H, W) at `size` (h, w): each pixel the one at its centre."""
    rows, columns = (
        ((np.arange(to) + 0.5) * have / to).astype(int) for have, to in zip(label.shape, size, strict=True)
    )
    found: npt.NDArray[np.uint8] = label[rows[:, None], columns]
    return found


def open_labels(source: LabelSource, root: Path | str, split: str) -> LabelledImages:
    """The labels of one split of a data set, of `shards` (HN or PSSL), or of a folder of `labels` without images.

    Raises FileNotFoundError, ValueError or FrameError with one sentence when there are none.
    """
    if source == "shards":
        return open_shards(root)
    if source == "labels":
        return LabelFolder(root, split)
    return open_labelled(source, root, split)


def open_shards(root: Path | str) -> LabelledImages:
    """The labelled images of a PSSL run, or of one or several HN-label runs; ValueError when there are none."""
    from fastseg.data.hn_runs import open_runs

    found = open_runs(root)
    return open_run(root) if "pssl" in getattr(found, "metadata", {}) else found


def open_run(root: Path | str) -> HNShards:
    """The labelled images of one label run, PSSL or HN; ValueError when it holds no shards."""
    from fastseg.data.hn_shards import HNShards
    from fastseg.data.pssl_shards import PSSLShards

    found = HNShards(root)
    return PSSLShards(root) if "pssl" in found.metadata else found
