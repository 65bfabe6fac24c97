"""`PSSLShards`: the pictures of a PSSL run with the class of each pixel, by index."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from fastseg.data.class_pictures import Picture, decoded
from fastseg.data.hn_shards import HNShards
from fastseg.data.shard_schema import Row
from fastseg.labels.pssl_config import TOP, class_map, unpacked

IGNORE = 255  # of every label, also where a picture is not seen: no class has this number
UNUSED = "(none)"


def number_of(number: int) -> int:
    """The number in labels and networks of a class: its own up to 254, one more from 255 on."""
    return number + (number >= IGNORE)


def label_names(classes: Sequence[str]) -> list[str]:
    """The names of a label's numbers: the classes, the background last, and above 254 of them one unused at 255."""
    names = [*classes, "background"]
    return names if len(names) <= IGNORE else [*names[:IGNORE], UNUSED, *names[IGNORE:]]


def pixel_classes(mask: npt.NDArray[np.bool_], number: int, classes: int) -> npt.NDArray[np.unsignedinteger]:
    """The label of a picture of class `number`: that class where the mask is, the background elsewhere.

    uint8, and above 254 classes uint16.
    """
    background = number_of(classes)
    kind = np.uint16 if background >= IGNORE else np.uint8
    return np.where(mask, kind(number_of(number)), kind(background))


class PSSLShards(HNShards):
    """The pictures of `folder/labels/*.parquet`: `self[i]` is (image, label) of the label's size.

    image   (H, W, 3) uint8 RGB, the picture stretched to the label
    label   (H, W): the picture's class where the decile is 9, else the background, the last class; uint8, above 255
            classes uint16, and then 255, which means ignore, is the number of no class

    ValueError: a folder without PSSL shards, or made without the pictures.
    """

    def __init__(self, folder: str | Path) -> None:
        super().__init__(folder)
        if "pssl" not in self.metadata:
            raise ValueError(f"{folder} holds no PSSL labels; make_pssl_labels writes them")

    @property
    def class_names(self) -> list[str]:
        return label_names(self.metadata["pssl"]["classes"])

    def __getitem__(self, index: int) -> tuple[npt.NDArray[np.uint8], Any]:
        row = self.row(index)
        if row["image"] is None:
            raise ValueError(f"{row['id']!r} has a label but no picture: label with --tuning.keep_images true")
        image = decoded(Picture(row["image"], row["class"], repr(row["id"])), row["height"])
        top = deciles_of(row) == TOP
        return np.array(image), pixel_classes(top, row["class"], len(self.metadata["pssl"]["classes"]))

    def stats(self, index: int) -> Row:
        """Every column of a row but the picture and the deciles."""
        return {key: value for key, value in self.row(index).items() if key not in ("image", "deciles")}


def deciles_of(row: Mapping[str, Any]) -> npt.NDArray[np.uint8]:
    """The deciles (height, width) uint8 of a row; ValueError, naming the row, when its bytes do not fit its size."""
    try:
        return unpacked(row["deciles"], row["height"], row["width"])
    except ValueError as error:
        raise ValueError(f"{row['id']!r}: {error}") from error


def painted(row: Mapping[str, Any], kind: str) -> Image.Image:
    """A row's deciles as a grey PNG's pixels 0..9, or its `mask`: 255 where the decile is 9, else 0."""
    deciles = deciles_of(row)
    return Image.fromarray(class_map(deciles, 255, 0).astype(np.uint8) if kind == "mask" else deciles)
