from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fastseg.data.camvid import CamVid
from fastseg.frames import FrameError

LABEL = (np.arange(12 * 16).reshape(12, 16) % 12).astype(np.uint8)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for folder in ("train", "trainannot"):
        (tmp_path / folder).mkdir()
    for name, ending in (("0001TP_1", "png"), ("0001TP_2", "jpg")):
        Image.fromarray(np.full((12, 16, 3), 200, np.uint8)).save(tmp_path / "train" / f"{name}.{ending}")
        Image.fromarray(LABEL).save(tmp_path / "trainannot" / f"{name}.png")
    return tmp_path


def test_void_becomes_ignore_and_classes_stay(root: Path) -> None:
    images = CamVid(root, "train")
    assert images.ids() == ["train/0001TP_1", "train/0001TP_2"] and len(images) == 2 and len(images.class_names) == 11
    image, label = images[1]
    assert image.shape == (12, 16, 3) and image.dtype == label.dtype == np.uint8
    np.testing.assert_array_equal(label, np.where(LABEL == 11, 255, LABEL))


@pytest.mark.parametrize(
    "text", ["0001TP_2\n", "/SegNet/CamVid/train/0001TP_2.png /SegNet/CamVid/trainannot/0001TP_2.png\n"]
)
def test_a_list_of_names_or_of_the_original_paths_chooses_the_images(root: Path, text: str) -> None:
    (root / "train.txt").write_text(text)
    assert CamVid(root, "train").ids() == ["train/0001TP_2"]
    assert CamVid(root, "train")[0][0].shape == (12, 16, 3)


def test_a_label_above_void_is_rejected_naming_the_id(root: Path) -> None:
    Image.fromarray(np.full((12, 16), 12, np.uint8)).save(root / "trainannot" / "0001TP_1.png")
    with pytest.raises(FrameError, match="'train/0001TP_1' has 12 at 192 pixels"):
        CamVid(root, "train")[0]


@pytest.mark.parametrize("gone", ["train/0001TP_1.png", "trainannot/0001TP_1.png"])
def test_an_image_without_label_or_a_label_without_image_is_missing(root: Path, gone: str) -> None:
    (root / gone).unlink()
    images = CamVid(root, "train")
    assert len(images) == 2
    with pytest.raises(FrameError) as caught:
        images[0]
    assert caught.value.reason == "missing"


def test_an_image_of_another_size_than_its_label_is_rejected(root: Path) -> None:
    Image.fromarray(np.zeros((12, 15, 3), np.uint8)).save(root / "train" / "0001TP_1.png")
    with pytest.raises(FrameError) as caught:
        CamVid(root, "train")[0]
    assert caught.value.reason == "size"


def test_an_unknown_or_absent_split_is_one_sentence(root: Path) -> None:
    with pytest.raises(ValueError, match="must be train, val or test"):
        CamVid(root, "trainval")
    with pytest.raises(FileNotFoundError, match="val: expected a folder"):
        CamVid(root, "val")


def test_the_published_split_sizes(shared_data: Path) -> None:
    root = shared_data / "camvid"
    assert (len(CamVid(root, "train")), len(CamVid(root, "val"))) == (367, 101)
    image, label = CamVid(root, "val")[3]
    assert image.shape == (360, 480, 3) and set(np.unique(label)) <= {*range(11), 255}
