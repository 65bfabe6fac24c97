"""The camera of video that comes with none: from a file, from four numbers, or to be learned."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, astuple, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fastseg.data.checks import check_size, exists, is_folder
from fastseg.data.intrinsics import Intrinsics, named, read_intrinsics
from fastseg.data.places import place
from fastseg.frames import Camera, Clips

LEARN = "learn"
START_DEGREES = 60.0


@dataclass(frozen=True)
class Lens:
    """What is known of a camera before its pictures are seen: a file's camera, numbers for any size, or neither.

    source    the file, or what was given
    about     what the file says, None without one
    numbers   fx, fy, cx, cy in pixels of the pictures as they are, None when not given
    """

    source: str
    about: Intrinsics | None = None
    numbers: tuple[float, float, float, float] | None = None

    def camera(self, size: tuple[int, int], name: str) -> Camera | None:
        """The camera of a picture of `size` (height, width), None when it is to be learned.

        Raises FrameError `size` when the file is about pictures of another size, `intrinsics` for absurd numbers.
        """
        if self.about is not None:
            camera = self.about.camera
            check_size(size, (camera.height, camera.width), f"{name}: picture", f"camera in {self.source}")
            return camera
        if self.numbers is None:
            return None
        numbers = self.numbers
        return named(Path(f"intrinsics {self.source}"), lambda: Camera(*numbers, *size))


def read_lens(intrinsics: Path | str | None, beside: Path) -> Lens:
    """The camera that `intrinsics` states: a file, `fx,fy,cx,cy`, or `learn`; None: the file `beside` the pictures.

    Raises FileNotFoundError naming the three ways when nothing is given and no file lies there, ValueError or
    FrameError `intrinsics` for what cannot be read.
    """
    if intrinsics is None:
        if not exists(beside):
            raise FileNotFoundError(
                f"{beside}: the camera is not known; put its fx, fy, cx, cy, width and height in this file or name "
                f"another (intrinsics: FILE), give the four numbers (intrinsics: fx,fy,cx,cy), or have it learned "
                f"(intrinsics: {LEARN})"
            )
        return Lens(str(beside), read_intrinsics(beside))
    text = str(intrinsics)
    if text == LEARN:
        return Lens(text)
    if "," in text and not exists(place(intrinsics)):
        return Lens(text, numbers=_numbers(text))
    path = place(intrinsics)
    path = path / "intrinsics.json" if is_folder(path) else path
    return Lens(str(path), read_intrinsics(path))


def to_learn(intrinsics: str) -> bool:
    """Whether the camera is to be learned: `learn`, or `learn:START`, START as `read_lens` takes it."""
    return intrinsics.partition(":")[0] == LEARN


def start_lens(intrinsics: str) -> Lens:
    """The START of `learn:START`, a Lens of nothing known for `learn` alone; ValueError for no START after the colon.

    Raises as `read_lens` for what cannot be read.
    """
    _, colon, start = intrinsics.partition(":")
    if colon and start in ("", LEARN):
        raise ValueError(f"intrinsics {LEARN}:START starts from a file or fx,fy,cx,cy; got {intrinsics!r}")
    return read_lens(start or LEARN, Path())


def wide(height: int, width: int, degrees: float = START_DEGREES) -> Camera:
    """A camera of square pixels that looks at the middle of its picture and sees `degrees` along the longer side."""
    focal = max(height, width) / 2 / math.tan(math.radians(degrees / 2))
    return Camera(focal, focal, (width - 1) / 2, (height - 1) / 2, height, width)


@dataclass(frozen=True)
class StartedClips:
    """A Clips whose one camera is to be learned: where that begins, whatever the clips know of their cameras."""

    clips: Clips
    lens: Lens

    def ids(self) -> list[str]:
        return self.clips.ids()

    def __len__(self) -> int:
        return len(self.clips)

    def clip(
        self, index: int
    ) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8], Camera, npt.NDArray[np.float32] | None]:
        """The clip as it is, with the camera that learning begins with."""
        target, sources, _, poses = self.clips.clip(index)
        height, width = target.shape[:2]
        return target, sources, self.lens.camera((height, width), f"clip {index}") or wide(height, width), poses

    @cached_property
    def start(self) -> Camera:
        """The camera of the first clip."""
        return self.clip(0)[2]

    @property
    def metadata(self) -> Mapping[str, Any]:
        """The clips' own, their fingerprint with the camera in it."""
        own = getattr(self.clips, "metadata", {})
        return {**own, "fingerprint": json.dumps([own.get("fingerprint", ""), *astuple(self.start)])}


def write_intrinsics(path: Path, camera: Camera) -> None:
    """None; the file holds the camera as `read_intrinsics` takes it."""
    path.write_text(json.dumps(asdict(camera), indent=1) + "\n")


def _numbers(text: str) -> tuple[float, float, float, float]:
    try:
        fx, fy, cx, cy = (float(field) for field in text.split(","))
    except ValueError as error:
        raise ValueError(f"intrinsics must be a file, fx,fy,cx,cy or {LEARN}; got {text!r}") from error
    return fx, fy, cx, cy
