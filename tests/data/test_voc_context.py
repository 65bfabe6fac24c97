from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from labelled_kits import KITS
from recorded import put
from scipy.io import savemat

from fastseg.data.voc_context import CLASSES_459, VocContext, class_map
from fastseg.frames import FrameError


def test_the_59_are_in_the_alphabetical_order_of_the_459() -> None:
    assert len(CLASSES_459) == 59 and list(CLASSES_459) == sorted(CLASSES_459)
    assert list(CLASSES_459.values()) == sorted(set(CLASSES_459.values())) and max(CLASSES_459.values()) == 458


@pytest.mark.parametrize("background", [True, False])
def test_both_forms_give_the_same_label(background: bool) -> None:
    released, exported = class_map(True, background), class_map(False, background)
    for number, value in enumerate(CLASSES_459.values(), 1):
        assert released.table[value] == exported.table[number] == number - (not background)
    assert released.table[0] == exported.table[0] == released.table[3] == (0 if background else 255)
    assert released.table[460] == exported.table[60] == -1


def test_the_background_is_the_first_class_of_60_and_none_of_59(tmp_path: Path) -> None:
    root = KITS["context released"].write(tmp_path)
    sixty, most = VocContext(root, "val"), VocContext(root, "val", background=False)
    assert sixty.class_names[0] == "background" and tuple(sixty.class_names[1:]) == tuple(most.class_names)
    a, b = sixty[0][1], most[0][1]
    np.testing.assert_array_equal(b, np.where(a == 0, 255, a - 1))


def test_the_split_of_the_set_comes_before_that_of_voc(tmp_path: Path) -> None:
    root = KITS["context exported"].write(tmp_path)
    put(root / "ImageSets/Main/val.txt", "2008_000002\n")
    assert len(VocContext(root, "val")) == 2
    (root / "ImageSets/SegmentationContext/val.txt").unlink()
    assert len(VocContext(root, "val")) == 1
    with pytest.raises(FileNotFoundError, match=r"names of train at SegmentationContext/train\.txt or Main/train\.txt"):
        VocContext(root, "train")


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"Other": np.zeros((32, 48))}, "decode"),
        ({"LabelMap": np.zeros((2, 32, 48))}, "type"),
        ({"LabelMap": np.full((32, 48), -1.0)}, "type"),
        ({"LabelMap": np.full((32, 48), 0.5)}, "type"),
        ({"LabelMap": np.full((32, 48), np.nan)}, "type"),
        ({"LabelMap": np.full((32, 48), 70000)}, "type"),
        ({"LabelMap": np.zeros((0, 0))}, "type"),
        ({"LabelMap": "text"}, "decode"),
    ],
)
def test_a_file_without_a_label_map_is_named(tmp_path: Path, values: dict[str, object], reason: str) -> None:
    root = KITS["context released"].write(tmp_path)
    buffer = io.BytesIO()
    savemat(buffer, values)
    put(root / "trainval/2008_000002.mat", buffer.getvalue())
    with pytest.raises(FrameError, match=r"2008_000002\.mat: expected") as caught:
        VocContext(root, "val")[0]
    assert caught.value.reason == reason


def test_labels_in_neither_form_are_said(tmp_path: Path) -> None:
    put(tmp_path / "JPEGImages/a.jpg", "")
    put(tmp_path / "ImageSets/Main/val.txt", "a\n")
    with pytest.raises(FileNotFoundError, match="expected the labels at SegmentationClassContext or trainval"):
        VocContext(tmp_path, "val")
