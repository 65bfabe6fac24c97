"""Procedural rooms with exact truth: pictures and camera paths from seeds; sources of frames and labelled images.

    room = make_room(7)
    frame = render(room, room_camera(), room_view(room, 0))
    depth_mm = kinect_noise(frame.depth, frame.camera, 0, frame.normals, returned_light(frame))

World frame: metres, z up, floor at z = 0. Everything is a pure function of its seeds.
"""

from __future__ import annotations

import functools
import io
import json
import re
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from fastseg.data.labelled import LabelledSet, metres
from fastseg.data.rooms_layout import Room, make_room
from fastseg.data.rooms_materials import ROOM_CLASSES
from fastseg.data.rooms_noise import kinect_noise, returned_light
from fastseg.data.rooms_render import RoomFrame, clearance, look, render, room_camera, room_path, room_view
from fastseg.frames import Camera, Frame, FrameError

__all__ = [
    "ROOM_CLASSES", "Room", "RoomFrame", "RoomImages", "Rooms", "clearance", "kinect_noise", "look", "make_room",
    "render", "returned_light", "room_camera", "room_path", "room_view", "write_rooms",
]  # fmt: skip

_ID = re.compile(r"room-(\d{6})/view-(\d{4})")
_cached_room = functools.lru_cache(maxsize=4)(make_room)


def _room_seed(seed: int, number: int) -> int:
    """Rooms of different corpora differ: one number from the corpus's seed and the room's number."""
    return int(np.random.SeedSequence([seed, number]).generate_state(1)[0])


def _jpeg(color: npt.NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(color).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


class Rooms:
    """A FrameSource of `count` frames, `views` of each room, ids `room-000012/view-0003`.

    noise=True gives Kinect-like depth in millimetres (uint16); noise=False exact depth in metres (float32).
    path=True takes the views of a room along one smooth camera path, as a video.
    """

    def __init__(
        self, seed: int, count: int, height: int = 480, width: int = 640, *, noise: bool = True, views: int = 4,
        path: bool = False,
    ) -> None:  # fmt: skip
        if count < 1 or views < 1:
            raise ValueError(f"count and views must be at least 1; got {count} and {views}")
        self.seed, self.count, self.views, self.noise, self.path = seed, count, views, noise, path
        self.camera = room_camera(height, width)

    def ids(self) -> list[str]:
        return [f"room-{i // self.views:06d}/view-{i % self.views:04d}" for i in range(self.count)]

    def inputs(self, frame_id: str) -> list[str]:
        """No files: a frame is a function of the seed and its id."""
        return []

    def _numbers(self, frame_id: str) -> tuple[int, int]:
        match = _ID.fullmatch(frame_id)
        room, view = (int(match[1]), int(match[2])) if match else (-1, -1)
        if match is None or view >= self.views or room * self.views + view >= self.count:
            raise FrameError("id", f"{frame_id!r} is not one of this source's {self.count} frames")
        return room, view

    def truth(self, frame_id: str) -> RoomFrame:
        """The exact picture behind a frame: colour, depth, normals, label, up, floor, pose."""
        number, view = self._numbers(frame_id)
        room = _cached_room(_room_seed(self.seed, number))
        pose = _cached_path(room.seed, self.views)[view] if self.path else room_view(room, view)
        return render(room, self.camera, pose)

    def load(self, frame_id: str) -> Frame:
        """The frame as a sensor would record it; raises FrameError("id") for an id that is not in the source."""
        return self.record(frame_id, self.truth(frame_id))

    def record(self, frame_id: str, exact: RoomFrame) -> Frame:
        """The frame that a sensor would record of an exact picture made by `truth(frame_id)`."""
        number, view = self._numbers(frame_id)
        image = _jpeg(exact.color)
        if not self.noise:
            return Frame(frame_id, exact.depth, 1.0, exact.camera, image, exact.pose)
        noise_seed = _room_seed(self.seed, number) * 10_000 + view
        depth = kinect_noise(exact.depth, exact.camera, noise_seed, exact.normals, returned_light(exact))
        return Frame(frame_id, depth, 0.001, exact.camera, image, exact.pose)


@functools.lru_cache(maxsize=4)
def _cached_path(room_seed: int, frames: int) -> npt.NDArray[np.float64]:
    return room_path(_cached_room(room_seed), 0, frames)


class RoomImages(LabelledSet):
    """LabelledFrames over procedural rooms: (image uint8 (H, W, 3), label uint8 (H, W) into ROOM_CLASSES)."""

    def __init__(self, seed: int, count: int, height: int = 240, width: int = 320, *, views: int = 4) -> None:
        self._rooms = Rooms(seed, count, height, width, noise=False, views=views)
        super().__init__(self._rooms.ids(), ROOM_CLASSES)
        self._last: tuple[str, RoomFrame] | None = None

    def pair(self, name: str) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
        frame = self._truth(name)
        return frame.color, frame.label

    def depth(self, index: int) -> npt.NDArray[np.float32]:
        """The exact depth (H, W) float32 metres, 0 where there is none."""
        return metres(self._truth(self._ids[index]).depth)

    def camera(self, index: int) -> Camera:
        """The camera, the same for every image."""
        return self._rooms.camera

    def _truth(self, name: str) -> RoomFrame:
        """The exact picture; the last one is kept, since its depth is asked for after it."""
        if self._last is None or self._last[0] != name:
            self._last = name, self._rooms.truth(name)
        return self._last[1]


def _write_frame(root: Path, rooms: Rooms, frame_id: str) -> None:
    exact = rooms.truth(frame_id)
    frame = rooms.record(frame_id, exact)
    for folder in ("color", "depth", "poses", "labels"):
        (root / folder / frame_id).parent.mkdir(parents=True, exist_ok=True)
    (root / "color" / f"{frame_id}.jpg").write_bytes(frame.image or b"")
    depth = frame.depth if frame.depth.dtype == np.uint16 else np.round(frame.depth * 1000).astype(np.uint16)
    Image.fromarray(depth).save(root / "depth" / f"{frame_id}.png", compress_level=1)
    Image.fromarray(exact.label).save(root / "labels" / f"{frame_id}.png", compress_level=1)
    np.savetxt(root / "poses" / f"{frame_id}.txt", exact.pose, "%.9g")


def write_rooms(root: Path, rooms: Rooms) -> list[str]:
    """The ids written: every frame of the source in the `folder` layout under root.

    color/ID.jpg, depth/ID.png (uint16 millimetres), poses/ID.txt (4x4 T_world_cam), labels/ID.png (uint8 classes),
    classes.txt (their names) and intrinsics.json (fx, fy, cx, cy, width, height, depth_scale = 0.001).
    """
    root.mkdir(parents=True, exist_ok=True)
    camera = rooms.camera
    intrinsics = {name: getattr(camera, name) for name in ("fx", "fy", "cx", "cy", "width", "height")}
    (root / "intrinsics.json").write_text(json.dumps({**intrinsics, "depth_scale": 0.001}, indent=1) + "\n")
    (root / "classes.txt").write_text("\n".join(ROOM_CLASSES) + "\n")
    for frame_id in rooms.ids():
        _write_frame(root, rooms, frame_id)
    return rooms.ids()
