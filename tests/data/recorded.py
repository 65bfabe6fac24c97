"""Rooms as frames to be written in the form of other data sets, and what the `folder` reader makes of the same."""

from __future__ import annotations

import functools
import io
import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
from PIL import Image

from fastseg.data.folder import Folder
from fastseg.data.rooms import Rooms
from fastseg.frames import Frame
from fastseg.labels.hn import HNConfig, HNLabel, label_frame

IDS = ("room-000000/view-0000", "room-000001/view-0001")  # both have a label


@functools.cache
def room_frames() -> tuple[Frame, Frame]:
    """Two frames of 320x240, depth uint16 millimetres, colour JPEG, with poses."""
    rooms = Rooms(3, 4, 240, 320, views=2)
    return rooms.load(IDS[0]), rooms.load(IDS[1])


@functools.cache
def room_up(index: int) -> np.ndarray:
    """The true up (3,) of a frame of `room_frames`."""
    return np.asarray(Rooms(3, 4, 240, 320, views=2).truth(IDS[index]).up, np.float64)


def encoded(array: np.ndarray) -> bytes:
    """A PNG file of the array."""
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def put(path: Path, data: bytes | str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


def by_folder(root: Path, frame: Frame) -> Frame:
    """`frame` written in the plain layout (uint16 as PNG, float32 as NPY) and read back by its reader."""
    put(root / "intrinsics.json", json.dumps({**asdict(frame.camera), "depth_scale": frame.depth_scale}))
    put(root / "color" / "a.jpg", frame.image or b"")
    if frame.depth.dtype == np.uint16:
        put(root / "depth" / "a.png", encoded(frame.depth))
    else:
        (root / "depth").mkdir(parents=True)
        np.save(root / "depth" / "a.npy", frame.depth)
    return Folder(root).load("a")


def label(frame: Frame) -> HNLabel:
    return label_frame(frame, HNConfig())
