"""The camera of video that comes with none: from a file, from four numbers, or to be learned."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fastseg.data.checks import check_size, exists, is_folder
from fastseg.data.intrinsics import Intrinsics, named, read_intrinsics
from fastseg.data.places import place
from fastseg.frames import Camera

LEARN = "learn"


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


def _numbers(text: str) -> tuple[float, float, float, float]:
    try:
        fx, fy, cx, cy = (float(field) for field in text.split(","))
    except ValueError as error:
        raise ValueError(f"intrinsics must be a file, fx,fy,cx,cy or {LEARN}; got {text!r}") from error
    return fx, fy, cx, cy
