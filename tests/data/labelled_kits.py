"""Each labelled set as the files of two images in its form on disk, for what every set must answer alike."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from recorded import encoded, put
from scipy.io import savemat

from fastseg.data.sources import open_labelled
from fastseg.data.voc_context import CLASSES_459
from fastseg.frames import LabelledImages

HEIGHT, WIDTH = 32, 48
RNG = np.random.default_rng(5)
COLOR = RNG.integers(0, 256, (HEIGHT, WIDTH, 3)).astype(np.uint8)
CITY_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
NAMES_2D3D = [
    "<UNK>_0_<UNK>_0_0",
    "wall_1_hallway_2_1",
    "beam_3_office_1_1",
    "chair_12_office_1_1",
    "wall_7_office_9_6",
]
Encode = Callable[[np.ndarray], bytes]


@dataclass(frozen=True)
class Kit:
    """Two images of a set: `colors[0]` and `labels[0]` are the files of id 0, whose label stores `stored`.

    wanted: the label that must come of it; beyond: a stored value that the set has no class for.
    """

    name: str
    split: str
    colors: tuple[str, str]
    labels: tuple[str, str]
    stored: np.ndarray
    wanted: np.ndarray
    beyond: int
    encode: Encode = encoded
    files: tuple[tuple[str, str], ...] = ()
    classes: int = 0

    def write(self, root: Path) -> Path:
        for color, label in zip(self.colors, self.labels, strict=True):
            put(root / color, picture(color))
            put(root / label, self.encode(self.stored))
        for name, text in self.files:
            put(root / name, text)
        return root

    def open(self, root: Path) -> LabelledImages:
        return open_labelled(self.name, root, self.split)  # type: ignore[arg-type]


def picture(name: str, color: np.ndarray = COLOR) -> bytes:
    """The colour in the file format that the name ends in."""
    buffer = io.BytesIO()
    Image.fromarray(color).save(buffer, "JPEG" if name.endswith(".jpg") else "PNG")
    return buffer.getvalue()


def palette(label: np.ndarray) -> bytes:
    """The label as VOC has it: a palette PNG whose indices are the classes."""
    buffer = io.BytesIO()
    image = Image.fromarray(label)
    if label.dtype == np.uint8 and label.ndim == 2:
        image = Image.frombytes("P", (label.shape[1], label.shape[0]), label.tobytes())
        image.putpalette([value for k in range(256) for value in (k, 255 - k, 7 * k % 256)])
    image.save(buffer, "PNG")
    return buffer.getvalue()


def matrix(label: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    savemat(buffer, {"LabelMap": label.astype(np.uint16)}, do_compression=True)
    return buffer.getvalue()


def numbers(label: np.ndarray) -> bytes:
    """The label as 2D-3D-S has it: 24 bits in the channels of an RGB PNG."""
    value = label.astype(np.int64)
    return encoded(np.stack([value >> 16 & 255, value >> 8 & 255, value & 255], -1).astype(np.uint8))


def drawn(values: Any, dtype: type = np.uint8) -> np.ndarray:
    """A label (H, W) in which every one of the values occurs."""
    flat = np.resize(np.asarray(list(values)), HEIGHT * WIDTH)
    return np.random.default_rng(len(flat)).permutation(flat).reshape(HEIGHT, WIDTH).astype(dtype)


def mapped(stored: np.ndarray, classes: dict[int, int]) -> np.ndarray:
    """The label with 255 for every stored value that has no class."""
    return np.vectorize(lambda value: classes.get(int(value), 255), otypes=[np.uint8])(stored)


def voc(split: str, folder: str, listed: str, lines: str) -> Kit:
    stored = drawn([*range(21), 255])
    files = ((f"VOCdevkit/VOC2012/ImageSets/Segmentation/{listed}", lines),)
    colors, labels = (
        tuple(f"VOCdevkit/VOC2012/{above}/2007_00003{k}.{ending}" for k in (2, 9))
        for above, ending in (("JPEGImages", "jpg"), (folder, "png"))
    )
    return Kit("voc", split, colors, labels, stored, stored, 21, palette, files, 21)  # type: ignore[arg-type]


def context(name: str, released: bool) -> Kit:
    background = name == "voc-context"
    values = list(CLASSES_459.values()) if released else list(range(1, 60))
    others = [0, 1, 3, 459] if released else [0]
    stored = drawn(values + others, np.uint16 if released else np.uint8)
    classes = {value: c + background for c, value in enumerate(values)}
    wanted = mapped(stored, classes | (dict.fromkeys(others, 0) if background else {}))
    folder, ending = ("trainval", "mat") if released else ("SegmentationClassContext", "png")
    listed = "Main" if released else "SegmentationContext"
    files = ((f"ImageSets/{listed}/val.txt", "2008_000002\n2008_000003\n"),)
    colors, labels = ("JPEGImages/2008_000002.jpg", "JPEGImages/2008_000003.jpg"), (f"{folder}/2008_000002.{ending}",)
    both = (*labels, f"{folder}/2008_000003.{ending}")
    encode = matrix if released else encoded
    beyond = 460 if released else 60
    return Kit(name, "val", colors, both, stored, wanted, beyond, encode, files, 59 + background)


def cityscapes(ending: str) -> Kit:
    by_id = ending.endswith("labelIds.png")
    stored = drawn([*range(34), 255] if by_id else [*range(19), 255])
    wanted = mapped(stored, {value: c for c, value in enumerate(CITY_IDS)}) if by_id else stored
    names = ("frankfurt/frankfurt_000000_000294", "lindau/lindau_000000_000019")
    colors, labels = ("val/" + names[0], "val/" + names[1]), [f"gtFine/val/{name}{ending}" for name in names]
    return Kit(
        "cityscapes", "val", tuple(f"leftImg8bit/{name}_leftImg8bit.png" for name in colors), tuple(labels),  # type: ignore[arg-type]
        stored, wanted, 34 if by_id else 19, classes=19,
    )  # fmt: skip


def stanford(kind: str) -> Kit:
    stored = drawn([0, 1, 2, 3, 4, 0x0D0D0D], np.int32)
    wanted = mapped(stored, {1: 11, 2: 0, 3: 4, 4: 11})
    names = [f"area_2/{kind}/{{0}}/camera_00d1_office_{k}_frame_3_domain_{{0}}.png" for k in (1, 2)]
    colors, labels = ([name.format(what) for name in names] for what in ("rgb", "semantic"))
    name = "stanford-2d3d" if kind == "data" else "stanford-2d3d-pano"
    files = (("assets/semantic_labels.json", json.dumps(NAMES_2D3D)),)
    cut = wanted if kind == "data" else wanted[5:27]
    return Kit(name, "area_2", tuple(colors), tuple(labels), stored, cut, 5, numbers, files, 13)  # type: ignore[arg-type]


def sunrgbd(listed: bool) -> Kit:
    stored = drawn(range(38))
    wanted = mapped(stored, {value: value - 1 for value in range(1, 38)})
    if listed:
        colors = ("image/train/img-000001.jpg", "image/train/img-000002.jpg")
        labels = ("label37/train/img37labels-000001.png", "label37/train/img37labels-000002.png")
        lines = (f"{c} depth/train/0000000{k}.png {x}\n" for k, (c, x) in enumerate(zip(colors, labels, strict=True)))
        return Kit(
            "sunrgbd", "train", colors, labels, stored, wanted, 38, encoded, (("train37.txt", "".join(lines)),), 37
        )
    colors = ("SUNRGBD-train_images/img-000001.jpg", "SUNRGBD-train_images/img-000002.jpg")
    labels = ("sunrgbd_train_test_labels/img-005051.png", "sunrgbd_train_test_labels/img-005052.png")
    return Kit("sunrgbd", "train", colors, labels, stored, wanted, 38, classes=37)


def ade20k() -> Kit:
    stored = drawn(range(151))
    wanted = mapped(stored, {value: value - 1 for value in range(1, 151)})
    colors, labels = (
        tuple(f"ADEChallengeData2016/{kind}/validation/ADE_val_0000000{k}.{ending}" for k in (1, 2))
        for kind, ending in (("images", "jpg"), ("annotations", "png"))
    )
    return Kit("ade20k", "val", colors, labels, stored, wanted, 151, classes=150)  # type: ignore[arg-type]


def kitti() -> Kit:
    stored = drawn(range(34))
    wanted = mapped(stored, {value: c for c, value in enumerate(CITY_IDS)})
    colors, labels = (tuple(f"training/{kind}/00000{k}_10.png" for k in (0, 1)) for kind in ("image_2", "semantic"))
    return Kit("kitti", "all", colors, labels, stored, wanted, 34, classes=19)  # type: ignore[arg-type]


def camvid() -> Kit:
    stored = drawn(range(12))
    colors, labels = ("train/a.png", "train/b.png"), ("trainannot/a.png", "trainannot/b.png")
    return Kit("camvid", "train", colors, labels, stored, mapped(stored, {k: k for k in range(11)}), 12, classes=11)


def folder() -> Kit:
    stored = drawn([0, 1, 2, 255])
    colors, labels = ("color/a.jpg", "color/b.jpg"), ("labels/a.png", "labels/b.png")
    return Kit("folder", "all", colors, labels, stored, stored, 3, encoded, (("classes.txt", "x\ny\nz\n"),), 3)


def replica() -> Kit:
    stored = drawn([0, 1, 2])
    colors, labels = ("rgb/0000.jpg", "rgb/0001.jpg"), ("class/0000.png", "class/0001.png")
    files = (("classes.tsv", "class_id\tname\n0\tnone\n1\trug\n2\twall\n"),)
    return Kit("replica", "all", colors, labels, stored, mapped(stored, {1: 0, 2: 1}), 3, encoded, files, 2)


AUG_LINES = "".join(f"/JPEGImages/2007_00003{k}.jpg /SegmentationClassAug/2007_00003{k}.png\n" for k in (2, 9))
NAME_LINES = "2007_000032\n2007_000039\n"
KITS = {
    "voc train": voc("train", "SegmentationClass", "train.txt", NAME_LINES),
    "voc val": voc("val", "SegmentationClassAug", "val.txt", NAME_LINES),
    "voc train_aug": voc("train_aug", "SegmentationClassAug", "train_aug.txt", AUG_LINES),
    "voc trainaug": voc("train_aug", "SegmentationClassAug", "trainaug.txt", NAME_LINES),
    "context exported": context("voc-context", False),
    "context released": context("voc-context", True),
    "context 59 exported": context("voc-context-59", False),
    "context 59 released": context("voc-context-59", True),
    "ade20k": ade20k(),
    "cityscapes ids": cityscapes("_gtFine_labelIds.png"),
    "cityscapes train ids": cityscapes("_gtFine_labelTrainIds.png"),
    "kitti": kitti(),
    "2d3d views": stanford("data"),
    "2d3d panoramas": stanford("pano"),
    "sunrgbd listed": sunrgbd(True),
    "sunrgbd numbered": sunrgbd(False),
    "camvid": camvid(),
    "folder": folder(),
    "replica": replica(),
}
