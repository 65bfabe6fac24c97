"""Published PSSL masks beside their pictures: matched by name, refused when they cannot be, trained on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fastseg.data.pssl_masks import PSSLMasks
from fastseg.frames import FrameError


def pictures(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((20, 30, 3), 90, np.uint8)).save(root / f"{name}.png")
    return root


def mask(root: Path, name: str, shape: tuple[int, int] = (20, 30)) -> Path:
    path = root / f"{name}_eiseg.npz"
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.zeros(shape, np.uint8)
    values[:, shape[1] // 2 :] = 1
    np.savez_compressed(path, values)
    return path


def test_a_pictures_class_is_where_its_mask_is(tmp_path: Path) -> None:
    pictures(tmp_path / "train", "n01/a", "n02/b", "n02/without")
    mask(tmp_path / "masks", "n01/a")
    mask(tmp_path / "masks", "b", (10, 14))  # flat, and smaller than its picture
    found = PSSLMasks(tmp_path / "masks", tmp_path / "train")
    assert found.ids() == ["n01/a", "n02/b"] and found.class_names == ["n01", "n02", "background"]
    image, label = found[0]
    assert image.shape == (20, 30, 3) and (label[:, 15:] == 0).all() and (label[:, :15] == 2).all()
    image, label = found[1]
    assert image.shape == (10, 14, 3) and (label[:, 7:] == 1).all() and label.dtype == np.uint8


def test_a_thousand_classes_leave_out_the_number_that_means_not_seen(tmp_path: Path) -> None:
    pictures(tmp_path / "train", *(f"n{number:04}/x{number}" for number in (*range(256), 999)))
    mask(tmp_path / "masks", "n0255/x255")
    label = PSSLMasks(tmp_path / "masks", tmp_path / "train")[0][1]
    assert label.dtype == np.uint16 and set(np.unique(label).tolist()) == {256, 258}


@pytest.mark.parametrize(
    ("names", "masks", "said"),
    [
        (["a/x"], ["a/y"], "it is of no picture"),
        (["a/x", "b/x"], ["x"], "it is of 2 pictures"),
        (["a/x"], ["a/x", "x"], "it is of another mask's picture"),
        (["a/x"], [], "expected masks NAME_eiseg.npz; there is none"),
    ],
)
def test_a_mask_of_no_one_picture_is_refused(tmp_path: Path, names: list[str], masks: list[str], said: str) -> None:
    pictures(tmp_path / "train", *names)
    (tmp_path / "masks").mkdir()
    for name in masks:
        mask(tmp_path / "masks", name)
    with pytest.raises(ValueError, match=said):
        PSSLMasks(tmp_path / "masks", tmp_path / "train")


def test_a_damaged_mask_is_named_when_it_is_read(tmp_path: Path) -> None:
    pictures(tmp_path / "train", "a/x")
    path = mask(tmp_path / "masks", "x")
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(FrameError, match="expected a whole"):
        PSSLMasks(tmp_path / "masks", tmp_path / "train")[0]
