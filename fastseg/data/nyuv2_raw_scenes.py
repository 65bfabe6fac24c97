"""What belongs together in a scene of NYU Depth v2's raw recordings: names, times, pairs.

A scene is a folder with files `d-SECONDS-TICKS.pgm`, `r-....ppm` and `a-....dump`; its INDEX.txt, when there is one,
lists their names, one a line, in any order. What is listed or present is in the scene: a name that INDEX.txt lists and
that is missing still counts, and so does a file that it forgets.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

from fastseg.data.nyuv2_raw_files import MAX_RAW_BYTES
from fastseg.frames import FrameError

INDEX = "INDEX.txt"
MAX_INDEX_BYTES = 2**26
KINDS = {"d": ".pgm", "r": ".ppm", "a": ".dump"}
_STAMPED = re.compile(r"[dra]-(\d{1,12}(?:\.\d{1,9})?)-\d{1,12}\.[a-z]+")


class Scenes(Protocol):
    """Scenes by name, `where` they lie: `depths` gives each with its depth images and INDEX.txt, `names` one's files.

    `read` raises FrameError `missing`, `decode` or `too-large`; `full_name` is what a sentence names, `inputs` what a
    fingerprint looks at.
    """

    @property
    def where(self) -> Path: ...

    def depths(self) -> Iterator[tuple[str, list[str]]]: ...

    def names(self, scene: str) -> list[str]: ...

    def read(self, scene: str, name: str, limit: int = MAX_RAW_BYTES) -> bytes: ...

    def full_name(self, scene: str, name: str) -> str: ...

    def inputs(self, scene: str, names: Sequence[str]) -> list[str]: ...


class Recording:
    """One scene's files in order of time: which colour and accelerometer record belong to a depth image."""

    def __init__(self, scenes: Scenes, scene: str) -> None:
        self.scenes, self.scene = scenes, scene
        present = scenes.names(scene)
        self.present = frozenset(present)
        self.depth = frozenset(of_kind("d", listed(scenes, scene, present)))
        self._color = _in_time(of_kind("r", present))
        self._accelerometer = _in_time(of_kind("a", present))

    def color(self, depth: str) -> tuple[str | None, float]:
        """(name, seconds away) of the colour image nearest in time to a depth image; (None, inf) without any."""
        return _nearest(self._color, self._time(depth))

    def accelerometer(self, depth: str) -> tuple[str | None, float]:
        """(name, seconds away) of the accelerometer record nearest in time to a depth image."""
        return _nearest(self._accelerometer, self._time(depth))

    def _time(self, depth: str) -> float:
        time = seconds(depth)
        if time is None:
            where = ascii(self.scenes.full_name(self.scene, depth))[1:-1]
            raise FrameError("id", f"{where}: expected a name such as d-1294886362.665769-3143255701.pgm")
        return time


def listed(scenes: Scenes, scene: str, present: Sequence[str]) -> list[str]:
    """The names of a scene's files, present or listed in its INDEX.txt, each as often as the folder has it.

    Raises FrameError `id` for a listed name that is a path, `decode` when INDEX.txt is no text.
    """
    if INDEX not in present:
        return list(present)
    where = scenes.full_name(scene, INDEX)
    try:
        lines = scenes.read(scene, INDEX, MAX_INDEX_BYTES).decode().splitlines()
    except UnicodeDecodeError as error:
        wanted_text = "expected file names, one a line; without it the folder's files are taken as they are"
        raise FrameError("decode", f"{where}: {wanted_text} ({error})") from error
    known, more = set(present), []
    for line in lines:
        name = line.strip()
        if "/" in name or "\\" in name:
            raise FrameError("id", f"{where}: expected names of files beside it, one a line; got {name!r:.80}")
        if name not in known and wanted(name):
            known.add(name)
            more.append(name)
    return [*present, *more]


def of_kind(kind: str, names: Sequence[str]) -> list[str]:
    """The names of depth images (kind d), colour images (r) or accelerometer records (a)."""
    start, ending = f"{kind}-", KINDS[kind]
    return [name for name in names if name.startswith(start) and name.endswith(ending)]


def seconds(name: str) -> float | None:
    """The time in a file's name; None when the name has none."""
    match = _STAMPED.fullmatch(name)
    return float(match[1]) if match else None


def wanted(name: str) -> bool:
    """Whether a file of this name belongs to a recording."""
    return name == INDEX or (name[1:2] == "-" and name.endswith(KINDS.get(name[0], "/")))


def _in_time(names: Sequence[str]) -> tuple[list[float], list[str]]:
    """(sorted times, names in that order); names without a time are left out: nothing can belong to them."""
    stamped = sorted((time, name) for name in names if (time := seconds(name)) is not None)
    return [time for time, _ in stamped], [name for _, name in stamped]


def _nearest(series: tuple[list[float], list[str]], time: float) -> tuple[str | None, float]:
    """The entry nearest to `time`: of two as near the later, of two at one time the later in the alphabet."""
    times, names = series
    if not names:
        return None, float("inf")
    at = bisect_left(times, time)
    if at == len(times) or (at > 0 and time - times[at - 1] < times[at] - time):
        at -= 1
    return names[bisect_right(times, times[at]) - 1], abs(times[at] - time)
