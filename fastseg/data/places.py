"""Where data lies: a local folder or a store that fsspec reaches (`s3://`, `gs://`, `memory://`, ...), as one Path.

Keys and endpoints of a store come from its own environment variables (AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL, ...) or
from fsspec's (FSSPEC_S3_ENDPOINT_URL, ...): never from a path, which is written into every run.
"""

from __future__ import annotations

import errno
import functools
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, cast

from fastseg.data.listings import Listed, Listings, listed
from fastseg.frames import FrameError

LISTINGS = Listings()
STORE = re.compile(r"([a-z][a-z0-9+.]+)://")
NO_KEYS = {"NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError", "ProfileNotFound"}
PACKAGES = {"s3": "fastseg[s3]", "s3a": "fastseg[s3]", "gs": "fastseg[gcs]", "gcs": "fastseg[gcs]"}


def place(text: str | Path) -> Path:
    """The place that `text` names: a local path, absolute with its links resolved, or a UPath for `protocol://...`.

    A UPath has the methods of a Path (`/`, `name`, `exists`, `iterdir`, `open`, `read_bytes`, `stat().st_size`) and is
    typed as one here; `is_local` tells them apart. Raises ValueError for an unknown protocol or one written as
    `s3:/bucket`, ImportError when the protocol's package is not installed: one sentence each.
    """
    if not isinstance(text, str):
        return text.resolve() if is_local(text) else text
    if "\0" in text:
        raise ValueError(f"{text!r}: a path cannot hold a NUL character")
    match = STORE.match(text)
    if match is None:
        if lost := re.match(r"(s3a?|gc?s|memory):/", text):
            raise ValueError(f"{text}: expected two slashes, as in {lost[1]}://bucket/folder")
        return Path(text).resolve()
    if match[1] in ("file", "local"):
        return Path(text[match.end() :]).resolve()
    if "::" in text:
        raise ValueError(f"{text}: a chain of stores is not supported; unpack it or name the inner folder")
    return _store(text, match[1])


def _store(text: str, protocol: str) -> Path:
    from upath import UPath

    try:
        _check_protocol(protocol)
    except (ValueError, ImportError) as error:
        raise type(error)(f"{text}: {error}") from error
    return cast(Path, UPath(text, use_listings_cache=False))  # see LISTINGS; its own is slow when large


@functools.cache
def _check_protocol(protocol: str) -> None:
    from fsspec import available_protocols, get_filesystem_class

    if protocol not in available_protocols():
        raise ValueError(f"unknown protocol {protocol}; expected a folder, s3://, gs:// or one of fsspec's")
    try:
        get_filesystem_class(protocol)
    except ImportError as error:
        need = PACKAGES.get(protocol, "its package")
        raise ImportError(f"{protocol}:// needs a package; install {need} ({error})") from error


def is_local(path: Path) -> bool:
    """Whether `path` lies on this machine's file system."""
    return isinstance(path, Path)


def walk_files(folder: Path, root: Path | None = None) -> Iterator[tuple[str, str]]:
    """(name below `folder`, `/`-separated; the file's full name) of every file in it, in no order.

    Hidden files and folders are left out. Raises FrameError `id` for a link that leads out of `root` (`folder` when
    not given) or to a folder: what is listed must lie where it seems to. A store is listed with one call.
    """
    if is_local(folder):
        yield from _walk_local(str(folder), root or folder)
        return
    store, top = cast(Any, folder), str(folder).rstrip("/")
    with answered(folder):
        start = store.path.rstrip("/") + "/"
        entries = store.fs.find(store.path, detail=True).items()
    names = {key[len(start) :]: listed(about) for key, about in entries if key.startswith(start) and key[-1] != "/"}
    LISTINGS.remember(top, {f"{top}/{name}": about for name, about in names.items()})
    for name in names:
        if not any(part.startswith(".") and part.strip(".") for part in name.split("/")):  # `..` is for the id check
            yield name, f"{top}/{name}"


def _walk_local(top: str, root: Path) -> Iterator[tuple[str, str]]:
    rest = [("", top)]
    while rest:
        below, folder = rest.pop()
        with os.scandir(folder) as entries:  # plain strings: a corpus has a million files
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if entry.is_symlink():
                    _check_link(entry, root)
                if entry.is_dir(follow_symlinks=False):
                    rest.append((f"{below}{entry.name}/", entry.path))
                else:
                    yield below + entry.name, entry.path


def _check_link(entry: os.DirEntry[str], root: Path) -> None:
    if entry.is_dir() or not Path(entry.path).resolve().is_relative_to(root):
        name = ascii(entry.path)[1:-1]
        raise FrameError("id", f"{name}: a link to a folder or out of {root} is not followed; move it here")


def holding(folder: Path) -> str:
    """One clause on what lies in the folder, or in the nearest one above that exists, to end a sentence with."""
    with answered(folder):
        if not folder.is_dir():
            above = next((p for p in folder.parents if p.is_dir()), None)
            what = "it is a file" if folder.exists() else "there is none"
            return f"{what}; {above} {_holds(above)}" if above is not None and str(above) != "/" else what
    return f"{folder} {_holds(folder)}"


def _holds(folder: Path) -> str:
    try:
        with answered(folder):
            names = sorted(path.name for path in islice(folder.iterdir(), 1000))
    except OSError as error:
        return f"cannot be listed ({error.strerror})"
    shown = ", ".join(ascii(name) for name in names[:5])
    more = f" and {len(names) - 5}{' or' * (len(names) == 1000)} more" if len(names) > 5 else ""
    return f"holds {shown}{more}" if names else "is empty"


def size_of(name: str) -> int:
    """Bytes of the file of that full name (as `inputs` gives it); OSError when there is none."""
    return _about(name).size if STORE.match(name) else os.stat(name).st_size


def tag_of(name: str) -> str:
    """What a store says of the file's content (its ETag, checksum or time of change); `""` for a local file."""
    return _about(name).tag if STORE.match(name) else ""


def forget(folder: Path) -> None:
    """Ask a store anew about the files in the folder from now on."""
    if not is_local(folder):
        LISTINGS.forget(str(folder).rstrip("/"))


def present(path: Path) -> bool:
    """Whether there is such a file; OSError when that cannot be found out."""
    if not is_local(path) and LISTINGS.knows(str(path)):
        return LISTINGS.get(str(path)) is not None
    with answered(path):
        return path.exists()


def _about(name: str) -> Listed:
    if known := LISTINGS.get(name):
        return known
    path = cast(Any, place(name))
    with answered(path):
        return listed(path.fs.info(path.path))


def made_durable(path: Path) -> None:
    """Sync a local file's bytes, or the names in a folder (a rename lives in memory until its folder is synced)."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def read_whole(name: str) -> bytes:
    """All bytes of the file of that full name; OSError when it cannot be read."""
    return read_at_most(place(name) if STORE.match(name) else Path(name), None)


def read_at_most(path: Path, most: int | None) -> bytes:
    """The file's bytes; FrameError `too-large` above `most`, before they are read; OSError when it cannot be read."""
    with answered(path):
        size = path.stat().st_size
        _check_bytes(size, most, path)
        if not is_local(path):
            return bytes(cast(Any, path).fs.cat_file(cast(Any, path).path))
        with path.open("rb") as file:
            # A pipe or a device states no size: it is read up to the limit. Else one read of what is there.
            data = file.read() if size or most is None else file.read(most + 1)
    _check_bytes(len(data), most, path)
    return data


def _check_bytes(size: int, most: int | None, path: Path) -> None:
    if most is not None and size > most:
        raise FrameError("too-large", f"{path}: expected at most {most} bytes; got {size} or more", size)


@contextmanager
def answered(path: Path) -> Iterator[None]:
    """Turns what a store's client raises (no keys, no connection, ...) into an OSError that names the path."""
    try:
        yield
    except (OSError, FrameError, MemoryError) as error:
        if isinstance(error, OSError) and not is_local(path) and error.filename is None:
            raise _as_os_error(error, path) from error
        raise
    except Exception as error:
        if is_local(path):
            raise
        known = any(kind.__name__ in NO_KEYS for kind in type(error).__mro__)
        raise OSError(errno.EACCES if known else errno.EIO, _line(error), str(path)) from error


def _as_os_error(error: OSError, path: Path) -> OSError:
    codes = {FileNotFoundError: errno.ENOENT, PermissionError: errno.EACCES, IsADirectoryError: errno.EISDIR}
    code = error.errno or codes.get(type(error), errno.EIO)
    return OSError(code, os.strerror(code) if type(error) in codes else _line(error), str(path))


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
