"""Trainings that begin at once: forked from a process that has loaded the libraries, of which only one is needed.

A training's libraries take seconds to load, and a study of a hundred short trainings would spend longer on that than
on its steps.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Mapping
from multiprocessing import forkserver, get_context
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any, NoReturn

LOADED = ["fastseg.train", "fastseg.evaluate", "fastseg.methods.start", "fastseg.resume", "torchvision.transforms.v2"]


class Forked:
    """A program at work in a process of its own, with as much of subprocess.Popen as a study asks for."""

    def __init__(self, process: ForkServerProcess) -> None:
        self._process = process

    @property
    def returncode(self) -> int | None:
        """The exit code, -n after signal n, None while it runs."""
        return self._process.exitcode

    def poll(self) -> int | None:
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        """None; a program that has ended gets none."""
        if self._process.is_alive() and self._process.pid is not None:
            os.kill(self._process.pid, number)

    def wait(self) -> int | None:
        self._process.join()
        return self._process.exitcode


def forked(words: tuple[str, ...], log: Path, environment: Mapping[str, str], kept: int) -> Forked:
    """The program module `words[0]` begun with the other words, what it says appended to `log`.

    environment   of the program, but for what libraries read as they are loaded: that is the first program's
    kept          a file descriptor that the program holds open as long as it lives

    ChildProcessError: the process to fork from was ended, by whatever ends processes on this machine.
    """
    log.touch()  # it is looked into before the program lives
    context = get_context("forkserver")
    context.set_forkserver_preload(LOADED)
    before = dict(os.environ)
    try:
        os.environ.update(environment)
        forkserver.ensure_running()
    finally:
        os.environ.clear()
        os.environ.update(before)
    process = context.Process(target=_program, args=(words, log.absolute(), dict(environment), _Descriptor(kept)))
    try:
        process.start()
    except (EOFError, ConnectionError) as error:
        raise ChildProcessError("the process that begins trainings was ended; run the same command again") from error
    return Forked(process)


class _Descriptor:
    """A file descriptor on its way into a process that is being started: there it is one of that process."""

    def __init__(self, number: int) -> None:
        self._number = number

    def __reduce__(self) -> tuple[Callable[[Any], int], tuple[Any]]:
        from multiprocessing.reduction import DupFd

        return _detached, (DupFd(self._number),)


def _detached(sent: Any) -> int:
    return int(sent.detach())


def _program(words: tuple[str, ...], log: Path, environment: Mapping[str, str], kept: int) -> NoReturn:
    """The process exits with the program's code."""
    os.environ.update(environment)
    with log.open("ab") as file:
        for number in (1, 2):
            os.dup2(file.fileno(), number)
    sys.stdout, sys.stderr = (os.fdopen(number, "w", buffering=1, closefd=False) for number in (1, 2))
    import torch

    torch.set_num_threads(int(environment["OMP_NUM_THREADS"]))
    code = importlib.import_module(words[0]).cli(list(words[1:]))
    os.close(kept)  # held until here
    sys.exit(code)
