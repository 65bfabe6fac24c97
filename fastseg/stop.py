"""A request to stop (SIGTERM, Ctrl-C), kept until the loop is at a place where it can save."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any

from fastseg.frames import LabelledImages

SAME_REQUEST_S = 1.0


class Stopped(BaseException):
    """A stop was asked for where nothing is half done."""


class StopRequest:
    """A context in which SIGTERM and SIGINT only set `signal`; a second one interrupts at once.

    A second one within a second of the first is the same request, sent to the process group and passed on by a parent.
    """

    def __init__(self) -> None:
        self.signal = 0
        self._since = 0.0
        self._at_once = False
        self._before: dict[int, Any] = {}

    @property
    def name(self) -> str:
        return signal.Signals(self.signal).name if self.signal else ""

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in (signal.SIGTERM, signal.SIGINT)}
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if not self.signal:
            self.signal, self._since = number, time.monotonic()
            if self._at_once:
                raise Stopped
        elif time.monotonic() - self._since > SAME_REQUEST_S:
            raise KeyboardInterrupt

    @contextmanager
    def at_once(self, wanted: bool = True) -> Iterator[None]:
        """A context in which a request raises Stopped, if wanted: for waits, where nothing is half done."""
        self._at_once = wanted
        try:
            if wanted and self.signal:
                raise Stopped
            yield
        finally:
            self._at_once = False


class Watched:
    """Labelled images whose reading ends with Stopped once a stop was asked for."""

    def __init__(self, whole: LabelledImages, stop: StopRequest) -> None:
        self.whole, self.stop = whole, stop

    @property
    def class_names(self) -> Sequence[str]:
        return self.whole.class_names

    def ids(self) -> list[str]:
        return list(self.whole.ids())

    def __len__(self) -> int:
        return len(self.whole)

    def __getitem__(self, index: int) -> Any:
        if self.stop.signal:
            raise Stopped
        return self.whole[index]


class WatchedFrames(Watched):
    """The same of a set that has depth beside its images (LabelledFrames)."""

    def depth(self, index: int) -> Any:
        return self.whole.depth(index)  # type: ignore[attr-defined]

    def camera(self, index: int) -> Any:
        return self.whole.camera(index)  # type: ignore[attr-defined]
