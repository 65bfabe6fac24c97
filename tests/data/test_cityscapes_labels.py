from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from labelled_kits import KITS, mapped
from recorded import encoded, put, room_frames
from test_cityscapes import write as write_frame

from fastseg.data.cityscapes import Cityscapes
from fastseg.data.cityscapes_labels import BY_ID, CLASS_NAMES, LABEL_IDS, CityscapesLabels
from fastseg.data.images import decode_label
from fastseg.frames import FrameError

NAME = "frankfurt_000000_000294"


def test_label_ids_come_before_train_ids(tmp_path: Path) -> None:
    root = KITS["cityscapes train ids"].write(tmp_path)
    assert len(CityscapesLabels(root, "val")) == 2
    KITS["cityscapes ids"].write(tmp_path)
    np.testing.assert_array_equal(CityscapesLabels(root, "val")[0][1], KITS["cityscapes ids"].wanted)


def test_depth_and_camera_are_those_of_the_reader(tmp_path: Path) -> None:
    frame = room_frames()[0]
    root = write_frame(tmp_path)
    put(root / f"gtFine/val/frankfurt/{NAME}_gtFine_labelIds.png", encoded(np.full(frame.depth.shape, 7, np.uint8)))
    images, read = CityscapesLabels(root, "val"), Cityscapes(root, "val").load(f"val/frankfurt/{NAME}")
    assert images.ids() == [read.id]
    np.testing.assert_array_equal(images.depth(0), read.depth)
    assert images.camera(0) == read.camera and images.depth(0).shape == images[0][1].shape


def test_without_disparity_there_are_labels_and_the_depth_is_said_to_be_missing(tmp_path: Path) -> None:
    images = CityscapesLabels(KITS["cityscapes ids"].write(tmp_path), "val")
    assert images[0][1].shape == (32, 48)
    with pytest.raises(FileNotFoundError, match="expected the folder disparity/val of Cityscapes"):
        images.depth(0)


def test_instances_are_as_stored_and_their_absence_is_named(tmp_path: Path) -> None:
    images = CityscapesLabels(KITS["cityscapes ids"].write(tmp_path), "val")
    stored = np.arange(32 * 48, dtype=np.uint16).reshape(32, 48) + 26000
    stored[0] = 26  # a group of cars
    put(tmp_path / f"gtFine/val/frankfurt/{NAME}_gtFine_instanceIds.png", encoded(stored))
    np.testing.assert_array_equal(images.instances(0)[1:], stored[1:])
    assert not images.instances(0)[0].any()
    with pytest.raises(
        FrameError, match=r"lindau_000000_000019_gtFine_instanceIds\.png: expected the frame's instances"
    ):
        images.instances(1)


def test_the_labels_of_test_are_not_published(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="split of cityscapes must be train or val; got 'test'"):
        CityscapesLabels(tmp_path, "test")
    KITS["cityscapes ids"].write(tmp_path)
    with pytest.raises(FileNotFoundError, match="leftImg8bit/train: expected a folder"):
        CityscapesLabels(tmp_path, "train")


def test_the_released_train_ids_are_what_the_map_makes_of_the_label_ids(shared_data: Path, tmp_path: Path) -> None:
    tiny = shared_data / "cityscapes_tiny"
    put(tmp_path / f"leftImg8bit/val/frankfurt/{NAME}_leftImg8bit.png",
        (tiny / f"leftImg8bit/{NAME}_leftImg8bit.png").read_bytes())  # fmt: skip
    for kind in ("labelIds", "labelTrainIds", "instanceIds"):
        name = f"{NAME}_gtFine_{kind}.png"
        put(tmp_path / f"gtFine/val/frankfurt/{name}", (tiny / "gtFine" / name).read_bytes())
    images = CityscapesLabels(tmp_path, "val")
    image, label = images[0]
    stored, trained = (decode_label(tiny / "gtFine" / f"{NAME}_gtFine_{k}.png") for k in ("labelIds", "labelTrainIds"))
    assert image.shape == (128, 256, 3) and label.shape == trained.shape
    for value in np.unique(stored):  # the two files were reduced one by one: some pixels on borders differ
        assert BY_ID.table[value] == np.bincount(trained[stored == value]).argmax()
    assert (label == trained).mean() > 0.997
    instances = images.instances(0)
    cars = np.unique(instances[label == CLASS_NAMES.index("car")])
    assert instances.shape == label.shape and {26000, 26001, 26002} <= set(cars.tolist())


def test_the_map_has_19_classes_and_refuses_what_is_beyond_the_ids() -> None:
    assert len(LABEL_IDS) == len(CLASS_NAMES) == 19 and CLASS_NAMES[LABEL_IDS.index(26)] == "car"
    stored = np.arange(34, dtype=np.uint8)[None]
    np.testing.assert_array_equal(
        BY_ID.classes_of(stored, "f", "a"), mapped(stored, {v: c for c, v in enumerate(LABEL_IDS)})
    )
    with pytest.raises(FrameError, match="expected label ids 0 to 33, or 255; 'a' has 200"):
        BY_ID.classes_of(np.array([[200]], np.uint8), "f", "a")
