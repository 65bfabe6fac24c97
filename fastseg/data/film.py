"""One video file as pictures by number, through PyAV: decoded whole when it is indexed, then from its key frames."""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fastseg.data.images import Color
from fastseg.data.png import MAX_PICTURE_PIXELS, check_pixels
from fastseg.frames import FrameError

FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,h264,hevc,ogg,flv,asf,ivf,m4v"
MOST_JITTER = 0.5  # of the median time between frames
REMEMBERED = 8  # pictures of one video


@dataclass(frozen=True)
class FilmIndex:
    """Where the frames of a video are: `times` of all in its own units, rising; `keys` the numbers of key frames."""

    path: Path
    times: tuple[int, ...]
    keys: tuple[int, ...]
    size: tuple[int, int]


def indexed(path: Path) -> FilmIndex:
    """The index of a video, every frame of which was decoded; one thread.

    Raises ValueError with one sentence, naming the file, when it is no video, corrupt or cut off, when its frames are
    of mixed sizes or its frame rate varies (steps beyond 0.5 to 1.5 of their median), or without PyAV.
    """
    times: list[int] = []
    keys: list[int] = []
    size: tuple[int, int] | None = None
    with Film(path) as film:
        for frame in film.decoded():
            if frame.pts is None or frame.is_corrupt or (times and frame.pts <= times[-1]):
                raise ValueError(f"{path}: expected a whole video; frame {len(times)} is corrupt or without a time")
            shape = turned_size(frame)
            if size not in (None, shape):
                wanted = f"expected frames of one size; frame {len(times)} is"
                raise ValueError(f"{path}: {wanted} {shape[1]}x{shape[0]} after {size and f'{size[1]}x{size[0]}'}")
            size = shape
            if frame.key_frame:
                keys.append(len(times))
            times.append(int(frame.pts))
        stated, seconds = film.stated(), np.asarray(times, np.float64) * film.unit()
    if size is None:
        raise ValueError(f"{path}: expected a video; it holds no frame that can be decoded")
    _check_rate(seconds, stated, path)
    return FilmIndex(path, tuple(times), tuple(keys), size)


class Film:
    """An open video; `frame(index, k)` is its k-th picture, cheapest in order of time."""

    def __init__(self, path: Path) -> None:
        try:
            import av
        except ImportError as error:
            raise ValueError("videos need PyAV: pip install 'fastseg[video]'") from error
        self._av: Any = av
        self.path = path
        self._frames: Iterator[Any] = iter(())
        self._next = -1  # the number of the frame that `_frames` gives next, -1: not known
        self._known: OrderedDict[int, Color] = OrderedDict()
        self._source: Any = None
        self._begin()

    def __enter__(self) -> Film:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        self._source.close()

    def _begin(self) -> None:
        """Open the file at its beginning."""
        if self._source is not None:
            self._source.close()
        options = {"protocol_whitelist": "file", "format_whitelist": FORMATS}  # a playlist could name other files
        try:
            self._source = self._av.open(str(self.path), options=options)
            self._stream: Any = self._source.streams.video[0]
        except (self._av.FFmpegError, IndexError, OSError) as error:
            raise ValueError(f"{self.path}: expected a video that can be decoded ({_line(error)})") from error
        self._stream.codec_context.thread_count = 1
        self._stream.codec_context.options = {"err_detect": "explode"}  # instead of pictures made up

    def stated(self) -> float:
        """The seconds that the file says it lasts, 0 when it does not or when it has sound, which may last longer."""
        alone = len(self._source.streams) == 1 and self._source.duration
        return float(self._source.duration) / self._av.time_base if alone else 0.0

    def unit(self) -> float:
        """Seconds of one unit of time."""
        return float(self._stream.time_base or 0)

    def decoded(self) -> Iterator[Any]:
        """The frames from where the file stands; ValueError naming the file when one cannot be decoded."""
        try:
            check_pixels(self._stream.height, self._stream.width, str(self.path), MAX_PICTURE_PIXELS)
            yield from self._source.decode(self._stream)
        except (self._av.FFmpegError, OSError) as error:
            raise ValueError(
                f"{self.path}: expected a whole video; it is corrupt or cut off ({_line(error)})"
            ) from error

    def frame(self, index: FilmIndex, number: int) -> Color:
        """The picture (H, W, 3) uint8 RGB of that number; FrameError `decode` when it cannot be decoded (any more)."""
        if number not in self._known:
            try:
                reached = self._reach(index, number)
            except ValueError as error:
                self._next = -1
                raise FrameError("decode", str(error), number) from error
            if not reached:
                raise FrameError("decode", f"{self.path}: frame {number} cannot be decoded; has the file changed?")
        self._known.move_to_end(number)
        return self._known[number]

    def _reach(self, index: FilmIndex, number: int) -> bool:
        """Whether the frame was decoded: from where the file stands, from the key frame before, or from the beginning.

        Some containers (MPEG-TS) begin later than they were asked to.
        """
        at = bisect_right(index.keys, number)
        key = index.keys[at - 1] if at else 0
        if key <= self._next <= number:
            return self._forward(index, number)
        if key:
            self._source.seek(index.times[key], stream=self._stream, backward=True)
            self._frames, self._next = self.decoded(), key
            if self._forward(index, number):
                return True
        self._begin()
        self._frames, self._next = self.decoded(), 0
        return self._forward(index, number)

    def _forward(self, index: FilmIndex, number: int) -> bool:
        """Decode up to the frame of that number, passing over what lies before `_next`; False when it is not there."""
        for frame in self._frames:
            if frame.pts is None or frame.pts < index.times[self._next]:
                continue
            if frame.pts > index.times[self._next]:
                break
            self._next += 1
            if number - self._next < REMEMBERED:
                self._remember(self._next - 1, turned(frame))
            if self._next > number:
                return True
        self._next = -1
        return False

    def _remember(self, number: int, picture: Color) -> None:
        self._known[number] = picture
        while len(self._known) > REMEMBERED:
            self._known.popitem(last=False)


def turned(frame: Any) -> Color:
    """The picture as players show it: turned as its display matrix says, in quarters counter-clockwise."""
    return np.ascontiguousarray(np.rot90(frame.to_ndarray(format="rgb24", threads=1), _quarters(frame)))


def turned_size(frame: Any) -> tuple[int, int]:
    """(height, width) of `turned(frame)`."""
    return (frame.width, frame.height) if _quarters(frame) % 2 else (frame.height, frame.width)


def _quarters(frame: Any) -> int:
    quarters: int = round(frame.rotation / 90)
    return quarters


def _check_rate(seconds: npt.NDArray[np.float64], stated: float, path: Path) -> None:
    """ValueError unless the frames follow at one rate for as long as the file says, `stated` seconds (0: unknown)."""
    steps = np.diff(seconds)
    if not steps.size:
        return
    median = float(np.median(steps))
    if (np.abs(steps - median) > MOST_JITTER * median).any():
        low, high = 1 / float(steps.max()), 1 / float(steps.min())
        rates = f"it varies from {low:.3g} to {high:.3g} a second, or frames are lost"
        raise ValueError(f"{path}: expected a constant frame rate; {rates}; write it anew at a constant rate")
    lasts = float(seconds[-1] - seconds[0]) + median
    if lasts < stated - 3 * median:
        cut = f"it is cut off: {lasts:.2f} of the {stated:.2f} seconds that it states can be decoded"
        raise ValueError(f"{path}: expected a whole video; {cut}")


def _line(error: Exception) -> str:
    return getattr(error, "strerror", None) or " ".join(str(error).split()) or type(error).__name__
