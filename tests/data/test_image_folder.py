from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fastseg.data.image_folder import ImageFolder


def picture(path: Path, value: int, size: tuple[int, int] = (40, 50)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((*size, 3), value, np.uint8)).save(path)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for number, name in enumerate(("cat", "dog", "eel")):
        for index in range(3):
            picture(tmp_path / "train" / name / f"{index}.png", 50 * number)
    picture(tmp_path / "val" / "eel" / "far" / "9.JPEG", 100)
    (tmp_path / "train" / "cat" / "notes.txt").write_text("no image")
    return tmp_path


def test_a_class_has_the_same_number_in_every_split(root: Path) -> None:
    train, val = ImageFolder(root, "train"), ImageFolder(root, "val")
    assert list(train.class_names) == list(val.class_names) == ["cat", "dog", "eel"]
    assert len(train) == 9 and train.ids()[3] == "train/dog/0" and val.ids() == ["val/eel/far/9"]
    image, label = train[3]
    assert image.shape == (40, 50, 3) and int(image[0, 0, 0]) == 50 and label.shape == () and int(label) == 1
    assert int(val[0][1]) == 2


def test_a_set_without_splits_is_the_folder_itself(root: Path) -> None:
    found = ImageFolder(root / "train", "")
    assert len(found) == 9 and found.ids()[0] == "cat/0" and int(found[8][1]) == 2


def test_more_classes_than_a_byte_counts_are_kept_apart(tmp_path: Path) -> None:
    for number in range(300):
        picture(tmp_path / "train" / f"c{number:03d}" / "a.png", 7, (2, 2))
    assert [int(ImageFolder(tmp_path, "train")[index][1]) for index in (254, 255, 256, 299)] == [254, 255, 256, 299]


def test_two_images_of_one_name_are_refused_and_none_is_lost(root: Path) -> None:
    picture(root / "train" / "cat" / "1.jpg", 3)
    with pytest.raises(ValueError, match="two files have the id 'train/cat/1'"):
        ImageFolder(root, "train")


def test_what_is_missing_is_one_sentence(root: Path) -> None:
    picture(root / "val" / "fox" / "1.png", 0)
    (root / "empty" / "cat").mkdir(parents=True)
    (root / "none" / "train").mkdir(parents=True)
    cases = [
        ("val", root, r"its folder is no class; .*train has cat, dog, eel"),
        ("test", root, "expected a folder with the data set"),
        ("empty", root, "holds no frames"),
        ("train", root / "none", "expected a folder for each class"),
        ("../train", root, "no frame id"),
    ]
    for split, where, sentence in cases:
        with pytest.raises((ValueError, OSError), match=sentence) as caught:
            ImageFolder(where, split)
        assert "\n" not in str(caught.value)
