"""What stands between a frame and the process that works on it: a deadline, a memory limit, another try, a note.

The note (`Flight`) says which frames are in work. It outlives the process: who finds it dead knows whom to suspect.
"""

from __future__ import annotations

import faulthandler
import os
import resource
import signal
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TypeVar

from fastseg.frames import FrameError
from pipelines.retry import TRIES, passing, persistently

T = TypeVar("T")

HEAD = struct.Struct("<ii")  # the first frame in work and how many; nobody while the count is 0
PAGE = resource.getpagesize()


class FrameTimeoutError(BaseException):
    """Raised inside a frame by its alarm; a BaseException, so that no reader's `except Exception` swallows it."""


class Flight:
    """A small file that names the frames in work by their places in the shard; written without a sync, 2 us a time.

    The kernel keeps what a killed process wrote. Where the file cannot be made there is no note, and no harm.
    """

    def __init__(self, path: str) -> None:
        self._path, self.handle = path, -1
        if path:
            with suppress(OSError):
                self.handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
                os.lseek(self.handle, HEAD.size, os.SEEK_SET)  # a dump of a stuck process goes behind the head

    def note(self, first: int, count: int) -> None:
        if self.handle >= 0:
            with suppress(OSError):
                os.pwrite(self.handle, HEAD.pack(first, count), 0)

    def close(self) -> None:
        """Remove the note: the shard came to its end."""
        if self.handle >= 0:
            os.close(self.handle)
            self.handle = -1
            with suppress(OSError):
                os.unlink(self._path)


def take_flight(path: str) -> tuple[int, int, bool] | None:
    """Read and remove a dead worker's note: the first frame in work, how many, and whether it was stuck; or None."""
    try:
        content = Path(path).read_bytes() if path else b""
        if path:
            os.unlink(path)
    except OSError:
        return None
    if len(content) < HEAD.size:
        return None
    first, count = HEAD.unpack_from(content)
    return first, count, b"Timeout" in content[HEAD.size :]


class Guard:
    """Runs the work of frames so that whatever happens ends in a FrameError; only a dying process gives no answer.

    timeout_s     seconds for one frame
    memory_mb     MiB that one frame may add to this process; None: no limit
    own_process   the process may end itself when a frame hangs beyond the alarm's reach (a driver may not)
    """

    def __init__(self, timeout_s: float, memory_mb: int | None, own_process: bool, flight: Flight) -> None:
        self._timeout_s, self._memory_mb, self._own = timeout_s, memory_mb, own_process
        self._flight = flight
        self.retries = 0

    def run(self, frame_ids: Sequence[str], first: int, call: Callable[[], T]) -> T:
        """What `call` returns for the frames, the first of which is number `first` of the shard.

        FrameError `timeout`, `memory` (both also from inside native code), `io` (a read that failed at every try),
        `error` (any surprise), or the frame's own.
        """
        self._flight.note(first, len(frame_ids))
        try:
            return persistently(partial(self._once, frame_ids, call), frame_ids[0], self.tried_again)
        except Exception as error:
            raise self._reason(frame_ids, error) from error
        finally:
            self._flight.note(first, 0)

    def tried_again(self) -> None:
        self.retries += 1

    def _once(self, frame_ids: Sequence[str], call: Callable[[], T]) -> T:
        seconds = self._timeout_s * len(frame_ids)
        try:
            with memory_limit(self._memory_mb), deadline(seconds, self._own, self._flight.handle):
                return call()
        except FrameTimeoutError:
            detail = f"{_named(frame_ids)} took longer than {seconds:g} s"
            raise FrameError("timeout", detail, seconds) from None

    def _reason(self, frame_ids: Sequence[str], error: Exception) -> FrameError:
        cause = passing(error)
        if cause is not None:
            return FrameError("io", f"{_named(frame_ids)} could not be read in {TRIES} tries: {_line(cause)}", TRIES)
        if isinstance(error, FrameError):
            return error
        if isinstance(error, MemoryError):
            limit = float("nan") if self._memory_mb is None else self._memory_mb
            return FrameError("memory", f"{_named(frame_ids)} needed more memory than the {limit:g} MB it may", limit)
        return FrameError("error", f"{type(error).__name__}: {_line(error)}")


def _named(frame_ids: Sequence[str]) -> str:
    more = f" and {len(frame_ids) - 1} more" if len(frame_ids) > 1 else ""
    return f"frame {frame_ids[0]!r}{more}"


def _line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


@contextmanager
def memory_limit(megabytes: int | None) -> Iterator[None]:
    """Let this process grow by so many MiB of address space in the block; beyond it, Python raises MemoryError."""
    if megabytes is None:
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    with open("/proc/self/statm", "rb") as file:
        now = int(file.read().split()[0]) * PAGE
    ceilings = [now + (megabytes << 20), *(limit for limit in (soft, hard) if limit != resource.RLIM_INFINITY)]
    resource.setrlimit(resource.RLIMIT_AS, (min(ceilings), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


@contextmanager
def deadline(seconds: float, own_process: bool, dump_to: int = -1) -> Iterator[None]:
    """Raise FrameTimeoutError in the block after `seconds`; a worker stuck in native code ends itself at twice that.

    The clock starts with the frame, not with the task, so a slow neighbour costs nobody their time. The stuck worker's
    last words ("Timeout", and where) go to the file descriptor `dump_to`.
    """
    if threading.current_thread() is not threading.main_thread():  # only the main thread can take an alarm
        yield
        return
    before = signal.signal(signal.SIGALRM, _alarm)
    if own_process:
        faulthandler.dump_traceback_later(2 * seconds, exit=True, file=dump_to if dump_to >= 0 else _nowhere())
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    finally:  # also when the alarm rang just before it was stopped: an armed watchdog would end the worker later
        if own_process:
            faulthandler.cancel_dump_traceback_later()
        signal.signal(signal.SIGALRM, before)


def _alarm(number: int, frame: object) -> None:
    raise FrameTimeoutError


_NOWHERE: list[int] = []


def _nowhere() -> int:
    """A file descriptor that swallows text, opened once in a process."""
    if not _NOWHERE:
        _NOWHERE.append(os.open(os.devnull, os.O_WRONLY))
    return _NOWHERE[0]
