"""Video files as clips: clips `video`.

    ROOT                     a video file (MP4, MOV, MKV, WebM, AVI, MPEG, ...), or a folder with some, each a recording
    ROOT/intrinsics.json     of all of them (beside the file, when ROOT is one), see fastseg.data.intrinsics; or the
                             camera is given or learned instead

Every video is decoded once when it is opened, so that what is corrupt, cut off or of a varying rate is said before a
run. A clip then costs decoding from the key frame before it: for shuffled epochs over long videos, frames in a folder
(clips `folder`) are faster. Videos lie on this machine, not in a store.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from pathlib import Path
from typing import Any

from fastseg.data.checks import check_size, existing_folder, is_folder
from fastseg.data.clip_camera import read_lens
from fastseg.data.clip_plan import ClipPlan
from fastseg.data.clips import RecordedClips
from fastseg.data.film import Film, FilmIndex, indexed
from fastseg.data.folder_clips import in_order
from fastseg.data.images import Color
from fastseg.data.places import holding, is_local, place, walk_files
from fastseg.frames import Camera, FrameError

ENDINGS = (".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".mts", ".ogv", ".wmv", ".flv")
OPEN_FILMS = 4


class VideoClips(RecordedClips):
    """A Clips over one video or a folder of them; an id is FILE/NNNNNN, the frame's number in the file.

    intrinsics: see `read_lens`. It has no poses. A copy in another process, a forked one too, opens the files for
    itself.
    """

    def __init__(self, root: Path | str, plan: ClipPlan | None = None, intrinsics: Path | str | None = None) -> None:
        path = place(root)
        if not is_local(path):
            raise ValueError(f"{path}: expected a video on this machine; copy it here, or give frames in a folder")
        self.root = existing_folder(path if is_folder(path) else path.parent)
        lens = read_lens(intrinsics, self.root / "intrinsics.json")
        names = [path.name] if path != self.root else sorted(_listed(self.root), key=in_order)
        if not names or (len(names) == 1 and not (self.root / names[0]).is_file()):
            raise FileNotFoundError(f"{path}: expected a video file, or a folder of them; {holding(self.root)}")
        self._films: dict[str, FilmIndex] = {name: indexed(self.root / name) for name in names}
        self._open: OrderedDict[str, Film] = OrderedDict()
        self._inherited, self._process = self._open, os.getpid()
        self._lens = lens
        first = self._films[names[0]].size
        for name, film in self._films.items():
            lens.camera(film.size, str(self.root / name))
            check_size(film.size, first, f"{self.root / name}: video", f"first one, {names[0]}")
        recordings = [[f"{name}/{k:06d}" for k in range(len(film.times))] for name, film in self._films.items()]
        super().__init__(self.root, recordings, plan or ClipPlan())

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_open": OrderedDict(), "_inherited": OrderedDict()}

    def picture(self, name: str) -> Color:
        file, _, number = name.rpartition("/")
        if self._process != os.getpid():  # forked: the decoders' threads stayed behind, and closing would wait for them
            self._inherited, self._open, self._process = self._open, OrderedDict(), os.getpid()
        if file not in self._open:
            try:
                self._open[file] = Film(self.root / file)
            except ValueError as error:
                raise FrameError("missing", str(error)) from error
        self._open.move_to_end(file)
        while len(self._open) > OPEN_FILMS:
            self._open.popitem(last=False)[1].close()
        return self._open[file].frame(self._films[file], int(number))

    def camera(self, name: str, size: tuple[int, int]) -> Camera | None:
        return self._lens.camera(size, str(self.root / name))


def _listed(root: Path) -> list[str]:
    return [name for name, _ in walk_files(root, root) if name.lower().endswith(ENDINGS)]
