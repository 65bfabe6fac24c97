"""Where the pictures of a plain tar file lie in it, found from its headers alone: nothing is unpacked or followed."""

from __future__ import annotations

import tarfile
from dataclasses import dataclass
from pathlib import Path

from fastseg.data.checks import check_id
from fastseg.data.image_folder import ENDINGS
from fastseg.data.places import place

MOST_DIGITS = 9  # of a class number


@dataclass(frozen=True, slots=True)
class Member:
    """A picture in a tar file: its name, where its bytes start, how many they are, and the class of the whole."""

    name: str
    start: int
    size: int
    of: int | str


def members(full: str) -> list[Member]:
    """The pictures of the tar file of that full name, in its order.

    The class is the number in NAME.cls beside a picture, else the name of its folder, else that of the tar file.
    Links, devices and hidden files are left out. Raises FrameError `id` for a name that leads out of the file, and
    ValueError for a file that is no plain tar.
    """
    pictures: list[tuple[str, int, int]] = []
    numbers: dict[str, int] = {}
    path = place(full)
    try:
        with path.open("rb") as file, tarfile.open(fileobj=file, mode="r:") as tar:
            for info in tar:
                name = info.name.removeprefix("./")
                stem, dot, ending = name.rpartition(".")
                if not info.isreg() or info.issparse() or not dot or _is_hidden(name):
                    continue
                if ending == "cls":
                    numbers[stem] = _number(tar, info, full)
                elif f".{ending.lower()}" in ENDINGS:
                    check_id(name, path)
                    pictures.append((name, info.offset_data, info.size))
    except (tarfile.TarError, EOFError) as error:
        raise ValueError(f"{full}: expected a whole, plain tar file; {error}") from error
    return [
        Member(name, start, size, numbers.get(name.rpartition(".")[0], _folder(name, full)))
        for name, start, size in pictures
    ]


def _is_hidden(name: str) -> bool:
    return any(part.startswith(".") and part.strip(".") for part in name.split("/"))


def _number(tar: tarfile.TarFile, info: tarfile.TarInfo, full: str) -> int:
    file = tar.extractfile(info) if info.size <= MOST_DIGITS + 2 else None
    text = file.read().strip() if file is not None else b""
    if not text.isdigit():
        raise ValueError(f"{full}: {info.name} must hold a class number")
    return int(text)


def _folder(name: str, full: str) -> str:
    return name.split("/")[-2] if "/" in name else Path(full).stem
