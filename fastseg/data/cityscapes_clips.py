"""Cityscapes (Cordts et al., CVPR 2016) as video and stereo: clips `cityscapes`.

    ROOT/leftImg8bit_sequence/SPLIT/CITY/CITY_RECORDING_FRAME_leftImg8bit.png      30 frames around each labelled one
    ROOT/rightImg8bit_sequence/SPLIT/CITY/CITY_RECORDING_FRAME_rightImg8bit.png    optional, for stereo
    ROOT/leftImg8bit, ROOT/rightImg8bit                                            the labelled frames alone: stereo
    ROOT/camera/SPLIT/CITY/CITY_RECORDING_FRAME_camera.json                        of the labelled frames

A frame's camera is that of the nearest frame that has one in the same recording, at most 30 frames away. A recording
ends where a frame's number is missing. The sequences are taken where there are any, else the labelled frames.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from pathlib import Path

from fastseg.data.checks import Pose, check_id, existing_folder, found, inside, is_folder, stems
from fastseg.data.cityscapes import read_camera
from fastseg.data.clip_plan import ClipPlan, runs, shifted
from fastseg.data.clips import RecordedClips
from fastseg.data.images import MAX_PICTURE_BYTES, Color, decode_color, read_bytes
from fastseg.data.places import holding
from fastseg.frames import Camera, FrameError

NAME = re.compile(r"(?P<recording>.+)_(?P<frame>\d{1,9})", re.DOTALL)
SNIPPET = 30
SEQUENCE = "_sequence"


class CityscapesClips(RecordedClips):
    """A Clips over Cityscapes; an id is SPLIT/CITY/NAME of the left picture. `split` leaves the others out."""

    def __init__(self, root: Path | str, plan: ClipPlan | None = None, split: str | None = None) -> None:
        self.root, self._split, plan = existing_folder(root), split, plan or ClipPlan()
        if split is not None:
            check_id(split, self.root)
        self._kind = SEQUENCE if is_folder(self._folder("leftImg8bit" + SEQUENCE)) else ""
        left = self._listed("leftImg8bit", "_leftImg8bit.png")
        if not left:
            wanted = f"expected leftImg8bit_sequence/{split or 'SPLIT'}/CITY/*_leftImg8bit.png of Cityscapes"
            raise ValueError(f"{self.root}: {wanted}; {holding(self.root)}")
        right = self._listed("rightImg8bit", "_rightImg8bit.png") if plan.stereo else {}
        self._cameras = {recording: sorted(frames) for recording, frames in self._listed_cameras().items()}
        recordings = [
            run for _, frames in sorted(left.items())
            for run in runs([frames[n] for n in sorted(frames)], sorted(frames))
        ]  # fmt: skip
        super().__init__(self.root, recordings, plan, {name for frames in right.values() for name in frames.values()})

    def picture(self, name: str) -> Color:
        return self._picture("leftImg8bit", name)

    def camera(self, name: str, size: tuple[int, int]) -> Camera:
        return read_camera(self._about(name), size)[0]

    def other(self, name: str) -> Pose:
        picture = self.picture(name)
        return shifted(-read_camera(self._about(name), (picture.shape[0], picture.shape[1]))[1])

    def other_picture(self, name: str) -> Color:
        return self._picture("rightImg8bit", name)

    def _picture(self, side: str, name: str) -> Color:
        path = found(self.root / f"{side}{self._kind}" / name, (f"_{side}.png",), "picture")
        return decode_color(read_bytes(path, MAX_PICTURE_BYTES), str(path))

    def _about(self, name: str) -> Path:
        """The camera.json of the nearest frame of the same recording."""
        match = NAME.fullmatch(name)
        recording, frame = (match["recording"], int(match["frame"])) if match else (name, 0)
        frames = self._cameras.get(recording, [])
        at = bisect_left(frames, (frame, ""))
        near = min(frames[max(0, at - 1) : at + 1], key=lambda one: abs(one[0] - frame), default=None)
        if near is None or abs(near[0] - frame) >= SNIPPET:
            wanted = f"expected a camera of this recording within {SNIPPET} frames"
            raise FrameError("missing", f"{self.root / 'camera' / name}_camera.json: {wanted}; there is none")
        return inside(self.root / "camera" / f"{near[1]}_camera.json", self.root)

    def _listed_cameras(self) -> dict[str, list[tuple[int, str]]]:
        cameras = _by_recording(self._stems("camera", "_camera.json"))
        return {recording: list(frames.items()) for recording, frames in cameras.items()}

    def _listed(self, side: str, ending: str) -> dict[str, dict[int, str]]:
        return _by_recording(self._stems(f"{side}{self._kind}", ending))

    def _stems(self, folder: str, ending: str) -> list[str]:
        if not is_folder(self._folder(folder)):
            return []
        below = f"{self._split}/" if self._split else ""
        return [below + name for name in stems(self._folder(folder), self.root, (ending.lower(),))]

    def _folder(self, name: str) -> Path:
        return self.root / name / (self._split or "")


def _by_recording(names: list[str]) -> dict[str, dict[int, str]]:
    """Recording -> frame number -> id, of ids SPLIT/CITY/CITY_RECORDING_FRAME; others are no frames of Cityscapes."""
    found: dict[str, dict[int, str]] = {}
    for name in names:
        match = NAME.fullmatch(name)
        if match:
            found.setdefault(match["recording"], {})[int(match["frame"])] = name
    return found
