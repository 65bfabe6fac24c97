"""Write the rooms of the study monodepth_rooms: `python -m benchmarks.study_rooms --out runs/study_rooms`.

OUT/video      a slide through each of some rooms, with what a Kinect measures (layout `folder`)
OUT/labelled   other rooms, one picture of each, with classes; train.txt and val.txt share no room
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fastseg.cli import run
from fastseg.data.rooms import Room, RoomFrame, Rooms, clearance, make_room, render, room_view, write_rooms

CLEAR = 0.25  # metres from the camera to the nearest surface, at least
ATTEMPTS = 100


@dataclass(frozen=True)
class StudyRooms:
    """Render a video of some rooms and labelled pictures of others.

    out       the folder to write
    seed      of the video's rooms; the labelled ones are those of seed + 1
    rooms     in the video
    views     frames of each
    labelled  pictures to train on, and as many again to score
    size      height and width
    """

    out: Path
    seed: int = 31
    rooms: int = 100
    views: int = 16
    labelled: int = 64
    size: tuple[int, int] = (128, 192)


def slide(room: Room, frames: int) -> npt.NDArray[np.float64]:
    """(frames, 4, 4) T_world_cam of a camera that moves to its right, as on a rail: 2 to 4 cm a frame, hardly turning.

    Forwards and upwards it moves by up to 5 mm a frame, and it turns by up to 0.2 degrees. ValueError: no way is free.
    """
    for attempt in range(ATTEMPTS):
        rng = np.random.default_rng([room.seed, attempt, 4])
        start = room_view(room, attempt)
        level = np.array([start[0, 0], start[1, 0], 0.0]) / math.hypot(start[0, 0], start[1, 0])
        step = rng.uniform(0.02, 0.04) * level + rng.uniform(-0.005, 0.005, 3)
        angles = math.radians(rng.uniform(-0.2, 0.2)) * np.arange(frames)
        path = np.repeat(start[None], frames, 0)
        path[:, :3, 3] += np.arange(frames)[:, None] * step
        for pose, angle in zip(path, angles, strict=True):
            c, s = math.cos(angle), math.sin(angle)
            pose[:3, :3] = np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]]) @ start[:3, :3]
        if all(clearance(room, place) >= CLEAR for place in path[:, :3, 3]):
            return path
    raise ValueError(f"room {room.seed} has no free way for a camera to slide along")


class Slides(Rooms):
    """A FrameSource of `views` frames along one slide through each room."""

    def truth(self, frame_id: str) -> RoomFrame:
        """The exact picture behind a frame."""
        number, view = self._numbers(frame_id)
        seed = int(np.random.SeedSequence([self.seed, number, 1]).generate_state(1)[0])
        room, path = _slid(seed, self.views)
        return render(room, self.camera, path[view])


@lru_cache(maxsize=4)
def _slid(seed: int, frames: int) -> tuple[Room, npt.NDArray[np.float64]]:
    room = make_room(seed)
    return room, slide(room, frames)


def main(config: StudyRooms) -> int:
    """0 once everything is written."""
    height, width = config.size
    names = write_rooms(
        config.out / "video", Slides(config.seed, config.rooms * config.views, height, width, views=config.views)
    )
    print(f"{config.out / 'video'}: {len(names)} frames of {config.rooms} rooms", flush=True)
    pictures = Rooms(config.seed + 1, 2 * config.labelled, height, width, views=1)
    names = write_rooms(config.out / "labelled", pictures)
    for split, ids in (("train", names[: config.labelled]), ("val", names[config.labelled :])):
        (config.out / "labelled" / f"{split}.txt").write_text("".join(f"{each}\n" for each in ids))
    print(f"{config.out / 'labelled'}: {config.labelled} pictures to train on, {config.labelled} to score", flush=True)
    return 0


def cli(argv: Sequence[str] | None = None) -> int:
    """The exit code of `python -m benchmarks.study_rooms ...`."""
    return run(StudyRooms, main, argv, prog="python -m benchmarks.study_rooms")


if __name__ == "__main__":
    sys.exit(cli())
