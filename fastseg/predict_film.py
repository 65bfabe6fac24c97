"""A video read frame by frame, and the film that is made of what was seen in it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from fastseg.pictures import Picture


class Film:
    """A video's frames in order, and the film that is made of them at the same rate."""

    def __init__(self, path: Path, out: Path | None) -> None:
        try:
            import av
        except ImportError as error:
            raise ValueError("videos need PyAV: pip install 'fastseg[video]'") from error
        self._av: Any = av
        self.path = path
        try:
            self._source: Any = av.open(str(path))
            self._stream = self._source.streams.video[0]
        except (av.FFmpegError, IndexError, OSError) as error:
            raise ValueError(f"{path}: expected a video that can be decoded ({error})") from error
        self._out: Any = av.open(str(out), "w") if out else None
        self._film: Any = None

    def __enter__(self) -> Film:
        return self

    def __exit__(self, *error: object) -> None:
        if self._out is not None:
            if self._film is not None:
                self._out.mux(self._film.encode())
            self._out.close()
        self._source.close()

    def frames(self) -> Iterator[Picture]:
        """The frames (H, W, 3) uint8 RGB; a damaged end stops them, with a line that says so."""
        try:
            for frame in self._source.decode(self._stream):
                yield frame.to_ndarray(format="rgb24")
        except self._av.FFmpegError as error:
            print(f"{self.path}: decoding stopped ({error})", file=sys.stderr)

    def write(self, picture: Picture) -> None:
        """Append one picture, cut to even sides as the codec wants."""
        if self._out is None:
            return
        height, width = (side - side % 2 for side in picture.shape[:2])
        if self._film is None:
            self._film = self._out.add_stream("h264", rate=self._stream.average_rate or 25)
            self._film.width, self._film.height, self._film.pix_fmt = width, height, "yuv420p"
        frame = self._av.VideoFrame.from_ndarray(np.ascontiguousarray(picture[:height, :width]), format="rgb24")
        self._out.mux(self._film.encode(frame))
