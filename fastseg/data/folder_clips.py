"""Folders of frames as video: clips `folder`.

    ROOT/**/NAME.{jpg,jpeg,png,webp}    consecutive frames of one size; each folder that holds some is a recording
    ROOT/intrinsics.json                see fastseg.data.intrinsics; where it names a folder `color` (default `color`)
                                        that exists, frames lie below it. Or the camera is given or learned instead
    ROOT/poses/**/NAME.txt              optional: 4x4 camera-to-world, metres
    FOLDER/poses.txt                    or: the 3x4 or 4x4 pose of the folder's k-th frame in row k; of a single
                                        recording it may lie in the folder above, too

Frames follow each other in the order of their names, numbers in them by value: frame2 comes before frame10.
"""

from __future__ import annotations

import re
from pathlib import Path

from fastseg.data.checks import Pose, existing_folder, exists, found, inside, is_folder, read_pose, stems
from fastseg.data.clip_camera import read_lens
from fastseg.data.clip_plan import ClipPlan
from fastseg.data.clips import RecordedClips
from fastseg.data.folder import COLOR_ENDINGS, read_lines
from fastseg.data.images import MAX_PICTURE_BYTES, Color, color_size, decode_color, read_bytes
from fastseg.data.kitti_clips import row_pose
from fastseg.data.places import holding
from fastseg.data.sample import scene_of
from fastseg.frames import Camera, FrameError


class FolderClips(RecordedClips):
    """A Clips over folders of frames; an id is a frame's path below the frames' folder, without its ending.

    intrinsics: see `read_lens`. Raises FrameError `size` when the recordings' first frames differ in size.
    """

    def __init__(self, root: Path | str, plan: ClipPlan | None = None, intrinsics: Path | str | None = None) -> None:
        self.root = existing_folder(root)
        self._lens = read_lens(intrinsics, inside(self.root / "intrinsics.json", self.root))
        about = self._lens.about
        color, self._pose_folder = (about.color or "color", about.poses) if about else ("color", "poses")
        self._frames = self.root / color if is_folder(self.root / color) else self.root
        recordings: dict[str, list[str]] = {}
        for name in stems(inside(self._frames, self.root), self.root, COLOR_ENDINGS):
            recordings.setdefault(scene_of(name), []).append(name)
        if not recordings:
            wanted = f"expected frames NAME{', NAME'.join(COLOR_ENDINGS)}"
            raise ValueError(f"{self._frames}: {wanted}; {holding(self._frames)}")
        ordered = {folder: sorted(names, key=in_order) for folder, names in sorted(recordings.items())}
        self._check_sizes([names[0] for names in ordered.values()])
        self._rows = self._read_rows(ordered)
        super().__init__(self.root, ordered.values(), plan or ClipPlan())

    def picture(self, name: str) -> Color:
        path = self._path(name)
        return decode_color(read_bytes(path, MAX_PICTURE_BYTES), str(path))

    def camera(self, name: str, size: tuple[int, int]) -> Camera | None:
        return self._lens.camera(size, str(self._frames / name))

    def pose(self, name: str) -> Pose | None:
        if name in self._rows:
            rows, number, path = self._rows[name]
            return row_pose(rows, number, path)
        path = self.root / self._pose_folder / f"{name}.txt"
        return read_pose(inside(path, self.root)) if exists(path) else None

    def _path(self, name: str) -> Path:
        return found(self._frames / name, COLOR_ENDINGS, "picture")

    def _check_sizes(self, names: list[str]) -> None:
        first: tuple[int, int] | None = None
        for name in names:
            path = self._path(name)
            size = color_size(read_bytes(path), str(path))
            self.camera(name, size)
            if first is not None and size != first:
                wanted = f"expected frames of one size, {first[1]}x{first[0]} as {names[0]}"
                raise FrameError("size", f"{path}: {wanted}; got {size[1]}x{size[0]}", size[0] * size[1])
            first = size

    def _read_rows(self, recordings: dict[str, list[str]]) -> dict[str, tuple[list[str], int, Path]]:
        """For each frame of a recording with poses.txt: its rows, the frame's row, the file."""
        rows_of: dict[str, tuple[list[str], int, Path]] = {}
        for folder, names in recordings.items():
            own = self._frames / folder if folder else self._frames
            paths = [own / "poses.txt", *([own.parent / "poses.txt"] if len(recordings) == 1 else [])]
            path = next((path for path in paths if exists(path)), None)
            if path is None:
                continue
            rows = read_lines(path, "a pose a row, 12 numbers")
            if len(rows) != len(names):
                raise ValueError(f"{path}: expected a row for each of {len(names)} frames; it has {len(rows)}")
            rows_of.update({name: (rows, k, path) for k, name in enumerate(names)})
        return rows_of


def in_order(name: str) -> tuple[tuple[str, int], ...]:
    """A key that sorts names with the numbers in them by value: `a2` before `a10`."""
    parts = re.split(r"([0-9]{1,18})", name)
    return tuple((text, int(number)) for text, number in zip(parts[::2], [*parts[1::2], "0"], strict=True))
