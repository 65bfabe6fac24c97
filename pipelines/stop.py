"""A graceful end on SIGTERM and SIGINT."""

from __future__ import annotations

import signal
from types import FrameType, TracebackType

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StoppedError(BaseException):
    """SIGTERM or SIGINT reached the driver; a BaseException, so that no frame's `except Exception` swallows it."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class Stop:
    """Holds the two signals inside a `with` block.

    at_once: raise StoppedError where the program stands, even inside a frame. Otherwise the signal is only noted and
    `check` raises it: an exception out of a handler would break Ray's native calls. A second signal changes nothing.
    """

    def __init__(self, at_once: bool) -> None:
        self._at_once = at_once
        self._number = 0

    def __enter__(self) -> Stop:
        self._before = {number: signal.signal(number, self._note) for number in SIGNALS}
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def hold(self) -> None:
        """Take the signals again, after a library took them for itself."""
        for number in SIGNALS:
            signal.signal(number, self._note)

    @property
    def asked(self) -> bool:
        """Whether a signal came."""
        return self._number != 0

    def check(self) -> None:
        """Raise StoppedError if a signal came."""
        if self._number:
            raise StoppedError(self._number)

    def _note(self, number: int, frame: FrameType | None) -> None:
        first, self._number = not self._number, self._number or number
        if first and self._at_once:
            raise StoppedError(number)
