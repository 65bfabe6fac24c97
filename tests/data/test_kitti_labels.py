from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from labelled_kits import KITS, picture
from recorded import encoded, put, room_frames
from test_kitti import write_stereo

from fastseg.data.kitti import Kitti
from fastseg.data.kitti_labels import KittiLabels
from fastseg.frames import FrameError


def write(root: Path, count: int) -> Path:
    for k in range(count):
        put(root / f"training/image_2/{k:06d}_10.png", picture("a.png", np.zeros((2, 3, 3), np.uint8)))
        put(root / f"training/semantic/{k:06d}_10.png", encoded(np.full((2, 3), 26, np.uint8)))
    return root


def test_every_fifth_image_is_the_validation_split(tmp_path: Path) -> None:
    root = write(tmp_path, 200)
    train, val, every = (KittiLabels(root, split).ids() for split in ("train", "val", "all"))
    assert (len(train), len(val), len(every)) == (160, 40, 200)
    assert val[:2] == ["000004_10", "000009_10"] and sorted(train + val) == every
    assert (KittiLabels(root, "val")[0][1] == 13).all()


def test_the_next_images_in_time_have_no_labels_and_are_none_of_the_set(tmp_path: Path) -> None:
    root = write(tmp_path, 5)
    put(root / "training/image_2/000000_11.png", b"")
    assert len(KittiLabels(root, "all")) == 5


def test_depth_is_that_of_stereo_2015_where_it_lies_beside(tmp_path: Path) -> None:
    write_stereo(tmp_path)
    frame = room_frames()[0]
    put(tmp_path / "training/semantic/000003_10.png", encoded(np.full(frame.depth.shape, 7, np.uint8)))
    images, read = KittiLabels(tmp_path, "all"), Kitti(tmp_path / "training").load("disp_occ_0/000003_10")
    np.testing.assert_array_equal(images.depth(0), read.depth)
    assert images.camera(0) == read.camera


def test_without_disparity_the_depth_is_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(FrameError, match=r"disp_occ_0/000000_10\.png: expected") as caught:
        KittiLabels(write(tmp_path, 1), "all").depth(0)
    assert caught.value.reason == "missing"


def test_the_folder_may_be_named_as_the_archive(tmp_path: Path) -> None:
    KITS["kitti"].write(tmp_path / "data_semantics")
    assert len(KittiLabels(tmp_path, "all")) == 2
