"""NYU Depth v2's raw recordings, 407,024 depth images in 464 scenes (Silberman et al., ECCV 2012): reader `nyuv2-raw`.

    ROOT/**/SCENE/d-SECONDS-TICKS.pgm    raw disparity, 640x480; every one is a frame
    ROOT/**/SCENE/r-SECONDS-TICKS.ppm    colour, 640x480
    ROOT/**/SCENE/a-SECONDS-TICKS.dump   accelerometer
    ROOT/**/SCENE/INDEX.txt              optional: their names, one a line
    ROOT/*.zip                           archives of scene folders, read as they are; or ROOT itself is one

The sensors run unsynchronised at 20 to 30 Hz. A depth image takes the colour image and the accelerometer record that
are nearest in time (of two as near, the later), so that one of them may serve several depth images, as the toolbox's
get_synched_frames pairs them; unlike there, what is further away than a tolerance does not belong together.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from PIL import Image

from fastseg.data.checks import check_id, checked_frame, checked_ids, existing_folder
from fastseg.data.images import Color
from fastseg.data.nyuv2_raw_camera import rig
from fastseg.data.nyuv2_raw_files import decode_disparity, decode_dump, decode_ppm
from fastseg.data.nyuv2_raw_scenes import Recording, Scenes, listed, of_kind
from fastseg.data.nyuv2_raw_stores import FolderScenes, ZipScenes
from fastseg.data.places import place
from fastseg.data.sample import scene_of
from fastseg.frames import Frame, FrameError

MAX_DIFFERENCE_S = 0.05  # one interval of the slowest rate: the nearest is within half of it unless frames were lost
EXPECTED = "d-*.pgm in scene folders, or zip archives of them"
RECENT = 4  # scenes whose names are kept in memory
Encoding = Literal["jpeg", "png"]


class NyuRaw:
    """A FrameSource over the raw recordings; an id is `SCENE/d-SECONDS-TICKS`.

    A frame is what the colour camera sees through a perfect lens: colour undistorted, depth registered to it in float32
    metres, both cropped to the window of 560x425 pixels at row 45, column 41 that depth covers unless `crop` is False.
    `up_prior` is the accelerometer's, None where no record is near. The image is encoded anew, once: JPEG of quality 95
    (0.8 ms, 70 to 120 KB a frame), or lossless PNG (21 ms, 400 KB).
    """

    def __init__(
        self,
        root: Path | str,
        crop: bool = True,
        max_difference_s: float = MAX_DIFFERENCE_S,
        encoding: Encoding = "jpeg",
    ) -> None:
        if not max_difference_s >= 0:
            raise ValueError(f"max_difference_s must be 0 or more seconds; got {max_difference_s!r}")
        if encoding not in ("jpeg", "png"):
            raise ValueError(f"encoding must be jpeg or png; got {encoding!r}")
        here = place(root)
        archive = here.suffix.lower() == ".zip" and here.is_file()
        self.root = here if archive else existing_folder(here)
        self._folders = None if archive else FolderScenes(self.root)
        self._archives = [ZipScenes(path) for path in ([here] if archive else _zips(self.root))]
        self._crop, self._max_difference_s, self._encoding = crop, max_difference_s, encoding
        self._home: dict[str, ZipScenes] | None = None
        self._recent: dict[str, Recording] = {}

    def ids(self) -> list[str]:
        """The sorted ids of all depth images, listed or present; ValueError or FrameError `id` as `checked_ids`."""
        return checked_ids(self._all_ids(), self.root, EXPECTED)

    def scene(self, frame_id: str) -> str:
        """The scene of a frame: the path of its folder."""
        return scene_of(frame_id)

    def load(self, frame_id: str) -> Frame:
        """The frame; FrameError `missing` (value: seconds to the nearest colour), `decode`, `type`, `size`, ...

        The accelerometer's reasons are `decode` and `gravity`: a record that is near but broken is not passed over.
        """
        recording, depth = self._find(frame_id)
        color = self._color_of(recording, depth)
        felt = self._accelerometer_of(recording, depth)
        made = rig(self._crop)
        raw = decode_disparity(*self._file(recording, depth))
        image = _encoded(made.straightened(decode_ppm(*self._file(recording, color))), self._encoding)
        up = decode_dump(*self._file(recording, felt)) if felt else None
        frame = Frame(frame_id, made.registered(raw), 1.0, made.camera, image, up_prior=up)
        return checked_frame(frame, recording.scenes.full_name(recording.scene, depth))

    def inputs(self, frame_id: str) -> list[str]:
        """The files behind the frame: depth, colour and accelerometer record, or the archive that holds them."""
        recording, depth = self._find(frame_id)
        pairs = (recording.color, recording.accelerometer)
        try:
            near = [name for name, gap in (pair(depth) for pair in pairs) if name and gap <= self._max_difference_s]
        except FrameError:  # a name without a time, which `load` will reject
            near = []
        return recording.scenes.inputs(recording.scene, [depth, *near])

    def _all_ids(self) -> Iterator[str]:
        home: dict[str, Path] = {}
        stores: list[Scenes] = [*([self._folders] if self._folders else []), *self._archives]
        for scenes in stores:
            for scene, present in scenes.depths():
                depth = of_kind("d", listed(scenes, scene, present))
                if depth and home.setdefault(scene, scenes.where) != scenes.where:
                    both = f"{home[scene]} and in {scenes.where}"
                    raise ValueError(f"{scene}: this scene lies both in {both}; keep one of them")
                yield from (f"{scene}/{name[:-4]}" if scene else name[:-4] for name in depth)
            if isinstance(scenes, ZipScenes):
                scenes.close()

    def _find(self, frame_id: str) -> tuple[Recording, str]:
        """The frame's recording and the name of its depth image; FrameError `id` or `missing`."""
        check_id(frame_id, self.root)
        scene, name = scene_of(frame_id), frame_id.rpartition("/")[2] + ".pgm"
        if scene not in self._recent:
            while len(self._recent) >= RECENT:
                del self._recent[next(iter(self._recent))]
            self._recent[scene] = Recording(self._scenes_of(scene), scene)
        recording = self._recent[scene]
        if name not in recording.depth:
            raise FrameError("missing", f"{self.root}: expected a frame {frame_id!r} ({EXPECTED}); there is none")
        return recording, name

    def _scenes_of(self, scene: str) -> Scenes:
        """Where a scene lies: a folder, else the archive that has it; other archives are closed, for their memory."""
        if self._folders is not None and (not self._archives or (self.root / scene).is_dir()):
            return self._folders
        if self._home is None:
            self._home = {}
            for archive in self._archives:
                self._home |= {name: archive for name, _ in archive.depths()}
                archive.close()
        home = self._home.get(scene, self._archives[0])
        for archive in self._archives:
            if archive is not home:
                archive.close()
        return home

    def _color_of(self, recording: Recording, depth: str) -> str:
        name, gap = recording.color(depth)
        if name is None or gap > self._max_difference_s:
            where = recording.scenes.full_name(recording.scene, depth)
            wanted = f"expected colour within {self._max_difference_s:g} s"
            raise FrameError("missing", f"{where}: {wanted}; the nearest is {gap:.4f} s away", gap)
        return name

    def _accelerometer_of(self, recording: Recording, depth: str) -> str | None:
        name, gap = recording.accelerometer(depth)
        return name if gap <= self._max_difference_s else None

    def _file(self, recording: Recording, name: str) -> tuple[bytes, str]:
        """(bytes, full name) of one of the recording's files; FrameError `missing`, `decode` or `too-large`."""
        where = recording.scenes.full_name(recording.scene, name)
        if name not in recording.present:
            raise FrameError("missing", f"{where}: INDEX.txt lists it; there is no such file")
        return recording.scenes.read(recording.scene, name), where


def _zips(root: Path) -> list[Path]:
    return sorted(path for path in root.iterdir() if path.suffix.lower() == ".zip" and not path.name.startswith("."))


def _encoded(color: Color, encoding: Encoding) -> bytes:
    buffer = io.BytesIO()
    if encoding == "png":
        Image.fromarray(color).save(buffer, "PNG", compress_level=1)
    else:
        Image.fromarray(color).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()
