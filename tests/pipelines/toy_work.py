"""A toy work function for the pipeline's tests: what becomes of a frame is written in its id."""

from __future__ import annotations

import errno
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from fastseg.frames import FrameError
from pipelines import fan_out, ledger
from pipelines.one_shard import Clock

LOG = "TOY_LOG"  # a file that gets a line `pid id ppid` for every attempt
BIG = 100_000  # bytes that do not compress
HN = {"n_height": 3, "n_normal": 2, "height_edges": [0.5, 1.0]}


def _nofloor(frame_id: str) -> None:
    raise FrameError("no-floor", "no floor in view", 0.25)


def _bug(frame_id: str) -> None:
    raise KeyError("surprise\nsecond line")


def _stuck(frame_id: str) -> None:
    """Hang where no alarm of Python's reaches: inside native code that does not look up."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})
    time.sleep(600)


def _flaky(frame_id: str) -> None:
    """Fail as a network drive does, three times in each process."""
    if next(HICCUPS, None) is not None:
        raise OSError(errno.EIO, "Input/output error", "frame.png")


def _unreadable(frame_id: str) -> None:
    raise FrameError("missing", "frame.png: cannot be read") from TimeoutError("no answer")


HICCUPS = iter(range(3))
FAULTS: dict[str, Callable[[str], object]] = {
    "nofloor": _nofloor,
    "bug": _bug,
    "crash": lambda frame_id: os._exit(9),
    "segv": lambda frame_id: os.kill(os.getpid(), signal.SIGSEGV),
    "abort": lambda frame_id: os.abort(),
    "hang": lambda frame_id: time.sleep(600),
    "stuck": _stuck,
    "fat": lambda frame_id: np.ones(2**40, np.uint8),
    "flaky": _flaky,
    "unreadable": _unreadable,
    "fifo": lambda frame_id: Path(os.environ["TOY_FIFO"]).read_bytes(),
    "slow": lambda frame_id: time.sleep(0.05),
}


def work(frame_id: str, clock: Clock) -> dict[str, Any]:
    """A label made of the id; `nofloor`, `bug`, `crash`, `hang`, `fat`, `fifo=PATH` in the id do what they say."""
    if LOG in os.environ:
        with open(os.environ[LOG], "a") as log:
            log.write(f"{os.getpid()} {frame_id} {os.getppid()}\n")
    for fault, happen in FAULTS.items():
        if fault in frame_id:
            happen(frame_id)
    with clock("label"):
        label = np.random.default_rng(sum(frame_id.encode())).integers(0, 6, (6, 8)).astype(np.uint8)
    figures = {"floor_m": -1.0, "aligned_fraction": 1.0, "valid_fraction": 1.0, "disagreement_deg": 0.0}
    bins = np.bincount(label.ravel(), minlength=6).tolist()
    sizes = {"height": 6, "width": 8, "up": [0.0, -1.0, 0.0], "bins": bins}
    image = np.random.default_rng(len(frame_id)).bytes(BIG) if "big" in frame_id else b"colour"
    return {"id": frame_id, "image": image, "label": label.tobytes()} | sizes | figures


def plan(
    count: int = 20,
    special: tuple[str, ...] = (),
    stamp: str = "1",
    shard_size: int = 8,
    suffix: str = "",
    **config: Any,
) -> ledger.Plan:
    """`count` plain ids and the special ones, eight a shard."""
    ids = tuple(sorted([*(f"frame-{i:03}{suffix}" for i in range(count)), *special]))
    return ledger.Plan(ids, (stamp,) * len(ids), {"n_height": 3} | config, "1.0", {"hn": HN}, shard_size)


def kill_at_rename(number: int) -> None:
    """Make the process die (as by `kill -9`) just before its rename of that number."""
    replace = os.replace
    seen = [0]

    def fatal(*args: Any) -> None:
        seen[0] += 1
        if seen[0] == number:
            os.kill(os.getpid(), 9)
        replace(*args)

    setattr(os, "replace", fatal)  # noqa: B010 - typed as a replacement of the real one otherwise


MORTAL: list[int] = []  # this process, once it knows when it dies


def mortal(frame_id: str, clock: Clock) -> dict[str, Any]:
    """As `work`, by a process that dies just before its fifth or sixth rename: of a rejected or of a label shard."""
    if not MORTAL:
        MORTAL.append(os.getpid())
        kill_at_rename(5 + os.getpid() % 2)
        with open(os.environ[LOG], "a") as log:
            log.write(f"{os.getpid()} {frame_id} mortal\n")
    return work(frame_id, clock)


if __name__ == "__main__":
    # OUT RENAME WORKERS COUNT: a driver of its own, killed before its rename of that number (0: never, and slow)
    out, rename, workers, count = sys.argv[1], *map(int, sys.argv[2:])
    kill_at_rename(rename)
    sys.exit(fan_out.fan_out(plan(count, suffix="" if rename else "-slow"), work, out, workers=workers))
