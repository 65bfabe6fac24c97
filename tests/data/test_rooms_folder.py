"""Rooms written to disk come back through the plain layout's reader."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fastseg.data.folder import Folder, FolderLabels
from fastseg.data.rooms import ROOM_CLASSES, RoomImages, Rooms, write_rooms
from fastseg.methods.segment import Few


def test_written_rooms_are_read_back_by_the_folder_reader(tmp_path: Path) -> None:
    rooms = Rooms(2, 3, 60, 80, views=2)
    write_rooms(tmp_path, rooms)
    source = Folder(tmp_path)
    assert source.ids() == rooms.ids()
    for frame_id in rooms.ids():
        read, made = source.load(frame_id), rooms.load(frame_id)
        assert (read.depth == made.depth).all() and read.depth_scale == made.depth_scale and read.camera == made.camera
        assert read.image == made.image and read.pose is not None and made.pose is not None
        assert np.allclose(read.pose, made.pose, atol=1e-7)
    labels = FolderLabels(tmp_path)
    assert tuple(labels.class_names) == ROOM_CLASSES and labels.ids() == rooms.ids()
    assert (labels[1][1] == rooms.truth(rooms.ids()[1]).label).all()


def test_labels_of_a_folder_and_of_rooms_have_the_depth_of_their_frames(tmp_path: Path) -> None:
    rooms = Rooms(2, 3, 60, 80, views=2)
    write_rooms(tmp_path, rooms)
    labels, exact = FolderLabels(tmp_path), RoomImages(2, 3, 60, 80, views=2)
    np.testing.assert_allclose(labels.depth(1), rooms.load(rooms.ids()[1]).depth * np.float32(0.001))
    np.testing.assert_array_equal(exact.depth(1), np.nan_to_num(rooms.truth(rooms.ids()[1]).depth))
    assert labels.camera(1) == exact.camera(1) == rooms.camera
    (tmp_path / "intrinsics.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"intrinsics\.json: expected"):
        FolderLabels(tmp_path).depth(0)


def test_some_of_a_set_have_the_depth_of_the_whole(tmp_path: Path) -> None:
    write_rooms(tmp_path, Rooms(2, 3, 60, 80, views=2))
    whole = FolderLabels(tmp_path)
    few = Few.chosen(whole, "1", seed=0)
    index = whole.ids().index(few.ids()[0])
    np.testing.assert_array_equal(few.depth(0), whole.depth(index))  # type: ignore[attr-defined]
    assert few.camera(0) == whole.camera(index)  # type: ignore[attr-defined]
