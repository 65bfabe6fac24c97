"""A data worker that dies or hangs ends the run with an error that names it, in time, and leaves no process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from multiprocessing import active_children
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from fastseg.data.augment import AugmentConfig
from fastseg.data.batches import Batch, Recipe, batches
from fastseg.data.workers import own_signals

pytestmark = pytest.mark.torch

ROOT = Path(__file__).parents[2]
RECIPE = Recipe((16, 24), 2, 7, AugmentConfig())


class Fated:
    """Twelve grey images; something happens on reading the one with the index of step 2's first."""

    class_names = ("a", "b")

    def __init__(self, fate: Callable[[], object]) -> None:
        self.fate = fate
        self.at = RECIPE.chosen(12, 2)[0][1]

    def ids(self) -> list[str]:
        return [f"grey/{index}" for index in range(12)]

    def __len__(self) -> int:
        return 12

    def __getitem__(self, index: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
        if index == self.at:
            self.fate()
        return np.full((20, 30, 3), 90, np.uint8), np.zeros((20, 30), np.uint8)

    @property
    def name(self) -> str:
        return f"grey/{self.at}"


def run(fate: Callable[[], object], workers: int, timeout_s: float = 60) -> list[Batch]:
    return list(batches(Fated(fate), RECIPE, 0, 6, workers, timeout_s=timeout_s))


def killed() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def fails() -> None:
    raise OSError("the disk is gone")


def stumbles() -> None:
    raise KeyError("colour")


@pytest.mark.parametrize("workers", [1, 2])
def test_a_worker_that_is_killed_is_an_error_that_names_it_and_what_was_read(workers: int) -> None:
    began = time.monotonic()
    with pytest.raises(
        ChildProcessError, match=rf"data worker \d+ was ended by SIGKILL while reading {Fated(killed).name} "
    ):
        run(killed, workers)
    assert time.monotonic() - began < 60
    assert not active_children()


def test_a_worker_that_ends_itself_is_an_error() -> None:
    with pytest.raises(ChildProcessError, match=f"ended with exit code 3 while reading {Fated(killed).name}$"):
        run(lambda: os._exit(3), 1)
    assert not active_children()


def test_workers_that_hang_are_an_error_within_the_time_out() -> None:
    began = time.monotonic()
    with pytest.raises(TimeoutError, match=f"no batch for 5 s; they are still reading {Fated(killed).name}$"):
        run(lambda: time.sleep(1000), 2, timeout_s=5)
    assert time.monotonic() - began < 60
    assert not active_children()


def test_a_death_between_two_steps_waits_for_the_next_one() -> None:
    """It must not burst into a training step or a save, which is where torch's own handler would raise."""
    stream = batches(Fated(lambda: None), RECIPE, 0, 400, 2)
    next(stream)
    for child in active_children():
        os.kill(child.pid or 0, signal.SIGKILL)
    time.sleep(0.5)
    with pytest.raises(ChildProcessError, match="SIGKILL"):
        next(stream)
    assert not active_children()


def test_the_handler_of_ended_children_is_put_back() -> None:
    list(batches(Fated(lambda: None), RECIPE, 0, 2, 1))  # torch's own comes with its first workers
    before = signal.getsignal(signal.SIGCHLD)
    stream = batches(Fated(lambda: None), RECIPE, 0, 400, 1)
    next(stream)
    assert signal.getsignal(signal.SIGCHLD) != before
    stream.close()  # type: ignore[attr-defined]
    assert signal.getsignal(signal.SIGCHLD) == before
    assert not active_children()


@pytest.mark.skipif(not hasattr(signal, "sigwaitinfo"), reason="this system does not say who sent a signal")
def test_a_worker_outlives_a_stop_that_is_meant_for_its_parent() -> None:
    stream = batches(Fated(lambda: None), RECIPE, 0, 12, 2)
    next(stream)
    workers = active_children()
    subprocess.run(["kill", "-TERM", *(str(child.pid) for child in workers)], check=True)
    assert len(list(stream)) == 11
    assert not active_children()


@pytest.mark.skipif(not hasattr(signal, "sigwaitinfo"), reason="this system does not say who sent a signal")
def test_a_worker_that_has_hardly_begun_outlives_it_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped_first(worker: int) -> None:
        subprocess.run(["kill", "-TERM", str(os.getpid())], check=True)
        own_signals(worker)

    monkeypatch.setattr("fastseg.data.batches.own_signals", stopped_first)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    assert len(list(batches(Fated(lambda: None), RECIPE, 0, 12, 2))) == 12
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before


@pytest.mark.skipif(not hasattr(signal, "sigwaitinfo"), reason="this system does not say who sent a signal")
def test_a_worker_ends_when_its_parent_says_so() -> None:
    stream = batches(Fated(lambda: None), RECIPE, 0, 400, 1)
    next(stream)
    (worker,) = active_children()
    worker.terminate()
    worker.join(10)
    assert worker.exitcode == 128 + signal.SIGTERM
    stream.close()  # type: ignore[attr-defined]


@pytest.mark.parametrize("workers", [0, 2])
def test_an_image_that_cannot_be_read_is_named_after_the_steps_before_it(workers: int) -> None:
    stream = batches(Fated(fails), RECIPE, 0, 6, workers)
    assert [next(stream).step for _ in range(2)] == [0, 1]
    with pytest.raises(ValueError, match=f"{Fated(fails).name}: the disk is gone"):
        next(stream)
    assert not active_children()


@pytest.mark.parametrize("workers", [0, 1])
def test_a_fault_of_the_reader_itself_tells_the_image(workers: int) -> None:
    with pytest.raises(KeyError) as caught:
        run(stumbles, workers)
    told = str(caught.value) + "".join(getattr(caught.value, "__notes__", []))
    assert f"while reading image {Fated(stumbles).name}" in told


ORPHANS = """
from multiprocessing import active_children
from tests.data.test_workers import Fated, RECIPE, batches
stream = batches(Fated(lambda: None), RECIPE, 0, 400, 2)
next(stream)
print(*(child.pid for child in active_children()), flush=True)
input()
"""


@pytest.mark.slow
def test_workers_end_with_a_parent_that_was_killed() -> None:
    parent = subprocess.Popen([sys.executable, "-c", ORPHANS], stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True)
    assert parent.stdout is not None and parent.stdin is not None
    workers = [int(pid) for pid in parent.stdout.readline().split()]
    parent.kill()
    parent.wait()
    assert len(workers) == 2
    until = time.monotonic() + 30
    while any(_runs(pid) for pid in workers):
        assert time.monotonic() < until, "a worker outlives its parent"
        time.sleep(0.2)


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    with open(f"/proc/{pid}/stat") as status:  # one that nobody has waited for is dead as well
        return status.read().rpartition(")")[2].split()[0] != "Z"
