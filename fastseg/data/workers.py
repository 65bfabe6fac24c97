"""A DataLoader's worker processes, watched: one that dies or hangs becomes an error with a name, and none is left."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess, parent_process
from types import FrameType
from typing import TypeVar

Read = TypeVar("Read")


def watched(loader: Iterable[Read], reading: Callable[[int], str], timeout_s: float) -> Generator[Read, None, None]:
    """What the loader gives, in its order.

    reading     the name of what worker 0, 1, ... has begun to read and not ended, for an error; "" = nothing
    timeout_s   the loader's own time-out

    ChildProcessError: a worker died; found at the next request, at once while one is under way (in the main thread).
    TimeoutError: nothing came within the loader's time-out. Errors of reading itself are raised as they come.
    However it ends, no worker outlives the iterator.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})  # workers begin with it held; see own_signals
    try:
        iterator = iter(loader)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    watch = _Watch(list(getattr(iterator, "_workers", ())))
    try:
        while True:
            asked = time.monotonic()
            try:
                found = watch.ask(iterator)
            except StopIteration:
                return
            except Exception as error:
                late = isinstance(error, RuntimeError) and time.monotonic() - asked >= timeout_s
                broken = isinstance(error, OSError | EOFError)  # a worker died while it handed something over
                raise watch.explained(reading, broken, timeout_s if late else 0.0) or error from None
            yield found
    finally:
        del iterator  # ends the workers that still listen, unless an error holds it
        watch.close()


class _Watch:
    """The workers, and the signal of their death.

    torch's handler of SIGCHLD raises wherever the program happens to be: inside a step, or inside a save. Between
    requests it is kept quiet; whoever died meanwhile is seen at the next one.
    """

    def __init__(self, workers: list[BaseProcess]) -> None:
        self.workers, self.asking = workers, False
        self.handler = signal.getsignal(signal.SIGCHLD)
        self.main = bool(workers) and threading.current_thread() is threading.main_thread()
        if self.main:
            signal.signal(signal.SIGCHLD, self._handle)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if callable(self.handler):
            try:
                self.handler(number, frame)
            except RuntimeError:
                if self.asking:
                    raise

    def ask(self, iterator: Iterator[Read]) -> Read:
        """The next item; RuntimeError when a worker is dead or the time is over."""
        self.asking = True
        try:
            if self.dead():
                raise RuntimeError
            return next(iterator)
        finally:
            self.asking = False

    def dead(self, soon: bool = False) -> list[int]:
        """The workers that have ended, or with `soon` are about to: none should while there is more to read."""
        if soon:
            ready = wait([worker.sentinel for worker in self.workers], 5)
            for worker in self.workers:
                if worker.sentinel in ready:
                    worker.join(5)
        return [number for number, worker in enumerate(self.workers) if worker.exitcode is not None]

    def explained(self, reading: Callable[[int], str], broken: bool, late_s: float) -> OSError | None:
        """The error in words, None when no worker died and the time was not over."""
        if not self.workers:
            return None
        for number in self.dead(broken):
            name, code = reading(number), self.workers[number].exitcode or 0
            how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
            hint = " (out of memory? fewer workers need less)" if code == -signal.SIGKILL else ""
            when = f"while reading {name}" if name else "between two images"
            return ChildProcessError(f"data worker {self.workers[number].pid} {how} {when}{hint}")
        if late_s:
            busy = [name for name in map(reading, range(len(self.workers))) if name]
            what = f"they are still reading {', '.join(busy)}" if busy else "they are reading nothing"
            return TimeoutError(f"the data workers gave no batch for {late_s:g} s; {what}")
        return None

    def close(self) -> None:
        """Ends the workers that the loader left: after an error all, else one that never came back from a read."""
        for worker in self.workers:
            if worker.is_alive():
                worker.kill()
                worker.join()
        if self.main:
            signal.signal(signal.SIGCHLD, self.handler)


def own_signals(worker: int) -> None:
    """None; the calling worker leaves Ctrl-C, and a SIGTERM that is not from its parent, to its parent.

    A batch system sends SIGTERM to every process of a job: the parent saves its work first, and needs its workers to
    get there.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if not hasattr(signal, "sigwaitinfo"):  # macOS does not say who sent a signal
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        return
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    parent = parent_process()
    threading.Thread(target=_heed, args=(parent.pid if parent else os.getppid(),), daemon=True).start()


def _heed(parent: int) -> None:
    """Ends the process when its parent says so."""
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != parent:
        continue
    os._exit(128 + signal.SIGTERM)
