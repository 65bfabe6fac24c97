"""What stores said of their files when they were listed: asked file by file, a million names would take hours."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

TAGS = ("ETag", "etag", "md5Hash", "crc32c", "LastModified", "mtime", "created")  # by trust: content before time
MOST = 16  # folders remembered


@dataclass(frozen=True, slots=True)
class Listed:
    """A store's file: bytes, and what changes with its content (a checksum, or the time of its change)."""

    size: int
    tag: str


def listed(about: Mapping[str, Any]) -> Listed:
    """The size and tag in what a store says of a file."""
    found = (about.get(key) for key in TAGS)
    return Listed(int(about.get("size") or 0), next((str(value).strip('"') for value in found if value), ""))


class Listings:
    """The files of the folders that this process listed last, each until it is listed or opened anew."""

    def __init__(self) -> None:
        self._folders: OrderedDict[str, dict[str, Listed]] = OrderedDict()

    def remember(self, folder: str, files: dict[str, Listed]) -> None:
        """Keep the files (full name -> what is known of it) below the folder, instead of an earlier listing."""
        self._folders.pop(folder, None)
        self._folders[folder] = files
        while len(self._folders) > MOST:
            self._folders.popitem(last=False)

    def forget(self, folder: str) -> None:
        """Drop the listings of the folder, and of those above and below it."""
        for known in list(self._folders):
            if f"{known}/".startswith(f"{folder}/") or f"{folder}/".startswith(f"{known}/"):
                del self._folders[known]

    def knows(self, name: str) -> bool:
        """Whether a folder above the file was listed."""
        return self._above(name) is not None

    def get(self, name: str) -> Listed | None:
        """What is known of the file, None when it was not in its folder's listing (or there is none)."""
        files = self._above(name)
        return None if files is None else files.get(name)

    def _above(self, name: str) -> dict[str, Listed] | None:
        """The listing of the nearest folder above."""
        while "://" in name:
            name = name.rpartition("/")[0]
            if name in self._folders:
                return self._folders[name]
        return None
