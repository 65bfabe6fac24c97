"""Where scenes of NYU Depth v2's raw recordings lie: folders, or zip archives of them, which are never unpacked."""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

from fastseg.data.nyuv2_raw_files import MAX_RAW_BYTES
from fastseg.data.nyuv2_raw_scenes import INDEX, wanted
from fastseg.data.places import answered, walk_files
from fastseg.frames import FrameError

COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


class FolderScenes:
    """Scenes as folders anywhere below `where`."""

    def __init__(self, where: Path) -> None:
        self.where = where

    def depths(self) -> Iterator[tuple[str, list[str]]]:
        """Every scene once; FrameError `id` for a link to a folder or out of the root."""
        scenes: dict[str, list[str]] = {}
        for path, _ in walk_files(self.where):
            scene, _, name = path.rpartition("/")
            if name == INDEX or (wanted(name) and name[0] == "d"):
                scenes.setdefault(scene, []).append(name)
        yield from scenes.items()

    def names(self, scene: str) -> list[str]:
        folder = self.where / scene
        if not folder.is_dir():
            return []
        return [name for name, _ in walk_files(folder, self.where) if "/" not in name and wanted(name)]

    def read(self, scene: str, name: str, limit: int = MAX_RAW_BYTES) -> bytes:
        path = self.where / scene / name
        try:
            with answered(path), path.open("rb") as file:
                data = file.read(limit + 1)
        except OSError as error:
            raise FrameError("missing", f"{path}: cannot be read ({error.strerror})") from error
        if len(data) > limit:
            raise FrameError("too-large", f"{path}: expected at most {limit} bytes", len(data))
        return data

    def full_name(self, scene: str, name: str) -> str:
        return _joined(self.where, scene, name)

    def inputs(self, scene: str, names: Sequence[str]) -> list[str]:
        return [self.full_name(scene, name) for name in names]


class ZipScenes:
    """Scenes as folders in one zip archive, zip64 too; opened anew in each process, members read one at a time.

    Its directory takes about 1 KB of memory a member while it is open. Raises ValueError for a file that is no whole
    zip archive and FrameError `id` for a name that it holds twice.
    """

    def __init__(self, where: Path) -> None:
        self.where = where
        self._owner = 0
        self._zip: zipfile.ZipFile | None = None
        self._file: IO[bytes] | None = None
        self._members: dict[str, dict[str, zipfile.ZipInfo]] = {}

    def close(self) -> None:
        """Frees the archive's directory; what is read next opens it again."""
        if self._zip is not None:
            self._zip.close()
        if self._file is not None:
            self._file.close()
        self._owner, self._zip, self._file, self._members = 0, None, None, {}

    def depths(self) -> Iterator[tuple[str, list[str]]]:
        self._open()
        for scene, members in self._members.items():
            yield scene, [name for name in members if name[0] != "r" and name[0] != "a"]

    def names(self, scene: str) -> list[str]:
        self._open()
        return list(self._members.get(scene, ()))

    def read(self, scene: str, name: str, limit: int = MAX_RAW_BYTES) -> bytes:
        archive, where = self._open(), self.full_name(scene, name)
        member = self._members.get(scene, {}).get(name)
        if member is None:
            raise FrameError("missing", f"{where}: expected it in the archive; there is none")
        if member.file_size > limit:
            size = member.file_size
            raise FrameError("too-large", f"{where}: expected at most {limit} bytes; its entry says {size}", size)
        if member.compress_type not in COMPRESSIONS:  # zipfile unpacks the others without a bound
            raise FrameError(
                "decode", f"{where}: expected a member stored or deflated; got type {member.compress_type}"
            )
        try:
            with archive.open(member) as file:
                return file.read(limit + 1)  # never more than the entry says, whatever is packed; checks the CRC
        except OSError as error:
            raise FrameError("missing", f"{where}: cannot be read ({error.strerror})") from error
        except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, ValueError) as error:  # RuntimeError: encrypted
            raise FrameError("decode", f"{where}: expected a whole, readable zip member ({error})") from error

    def full_name(self, scene: str, name: str) -> str:
        return _joined(self.where, scene, name)

    def inputs(self, scene: str, names: Sequence[str]) -> list[str]:
        """The archive, which holds every frame of it."""
        return [str(self.where)]

    def _open(self) -> zipfile.ZipFile:
        if self._zip is None or self._owner != os.getpid():  # a fork shares the file's position with its parent
            self.close()
            try:
                with answered(self.where):
                    self._file = self.where.open("rb")
                    archive = zipfile.ZipFile(self._file)
            except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
                self.close()
                raise ValueError(f"{self.where}: expected a whole zip archive of scenes ({error})") from error
            self._members = self._sorted_in(archive)
            self._zip, self._owner = archive, os.getpid()
        return self._zip

    def _sorted_in(self, archive: zipfile.ZipFile) -> dict[str, dict[str, zipfile.ZipInfo]]:
        scenes: dict[str, dict[str, zipfile.ZipInfo]] = {}
        for member in archive.infolist():
            scene, _, name = member.filename.rpartition("/")
            if wanted(name):
                members = scenes.setdefault(scene, {})
                if name in members:
                    raise FrameError("id", f"{self.where}: holds {member.filename!a} twice")
                members[name] = member
        return scenes


def _joined(where: Path, scene: str, name: str) -> str:
    return f"{where}/{scene}/{name}" if scene else f"{where}/{name}"  # three times as fast as joining paths
