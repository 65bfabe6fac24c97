"""Rooms written to disk come back through the plain layout's reader."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fastseg.data.folder import Folder, FolderLabels
from fastseg.data.rooms import ROOM_CLASSES, Rooms, write_rooms


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
