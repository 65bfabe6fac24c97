from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from labelled_kits import KITS, palette
from recorded import put

from fastseg.data.voc import CLASS_NAMES, Voc

LISTS = "VOCdevkit/VOC2012/ImageSets/Segmentation"


def write(root: Path) -> Path:
    """Plain labels for 2007_000032 and 2007_000039, and augmented labels of another class for both."""
    kit = KITS["voc train"]
    kit.write(root)
    for name in ("2007_000032", "2007_000039"):
        put(root / f"VOCdevkit/VOC2012/SegmentationClassAug/{name}.png", palette(np.full((32, 48), 20, np.uint8)))
    put(root / LISTS / "val.txt", "2007_000039\n")
    put(root / LISTS / "trainval.txt", "2007_000032\n2007_000039\n")
    put(root / LISTS / "trainaug.txt", "2007_000032\n")
    return root


def test_only_train_aug_takes_the_augmented_labels_when_there_are_both(tmp_path: Path) -> None:
    root = write(tmp_path)
    for split, count in (("train", 2), ("val", 1), ("trainval", 2)):
        images = Voc(root, split)
        assert len(images) == count and 15 in np.unique(images[0][1])
    augmented = Voc(root, "train_aug")
    assert augmented.ids() == ["2007_000032"] and (augmented[0][1] == 20).all()
    assert augmented.class_names[20] == "tv/monitor" and len(CLASS_NAMES) == 21


@pytest.mark.parametrize("above", ["", "VOCdevkit", "VOCdevkit/VOC2012"])
def test_the_root_may_be_any_folder_above(tmp_path: Path, above: str) -> None:
    assert len(Voc(write(tmp_path) / above, "train")) == 2


def test_what_is_missing_is_said_with_where_it_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="JPEGImages or VOC2012/JPEGImages or VOCdevkit/VOC2012/JPEGImages"):
        Voc(tmp_path, "train")
    root = write(tmp_path)
    (root / LISTS / "trainaug.txt").unlink()
    with pytest.raises(
        FileNotFoundError, match=r"names of train_aug at train_aug\.txt or trainaug\.txt; .* 'val\.txt'"
    ):
        Voc(root, "train_aug")
    (root / LISTS / "train.txt").write_text(" \n")
    with pytest.raises(ValueError, match=r"train\.txt: expected names of images, one a line; it is empty"):
        Voc(root, "train")
    with pytest.raises(ValueError, match="must be train, val, trainval or train_aug; got 'test'"):
        Voc(root, "test")


def test_augmented_labels_that_are_absent_are_never_replaced_by_the_plain_ones(tmp_path: Path) -> None:
    root = KITS["voc train"].write(tmp_path)
    put(root / LISTS / "train_aug.txt", "2007_000032\n")
    with pytest.raises(FileNotFoundError, match="the labels of train_aug at SegmentationClassAug"):
        Voc(root, "train_aug")


def test_a_name_in_a_list_cannot_leave_the_set(tmp_path: Path) -> None:
    root = write(tmp_path)
    put(root / LISTS / "train.txt", "..\n")
    with pytest.raises(ValueError, match="no frame id"):
        Voc(root, "train")
