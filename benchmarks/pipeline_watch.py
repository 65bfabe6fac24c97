"""A label run as a process that is watched: how far it is and how much memory its processes hold, over time."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

CHECKOUT = Path(__file__).parents[1]
MB = 1e6


@dataclass(frozen=True)
class Sample:
    """One look at a run: seconds since its start, shards on disk, resident megabytes (shared pages count in each).

    driver   the program that was started
    worker   the largest process that labels frames, 0 while there is none
    workers  how many of them there are
    others   Ray's own processes together
    cpu_s    processor seconds that the driver, the workers, and Ray's processes have used since their start
    """

    seconds: float
    shards: int
    driver: float
    worker: float
    workers: int
    others: float
    cpu_s: tuple[float, float, float]


def watched(words: Sequence[str], out: Path, every_s: float) -> tuple[float, list[Sample]]:
    """(wall seconds, samples) of `python WORDS`, a run that writes OUT/labels; ValueError when it fails."""
    start = time.monotonic()
    with subprocess.Popen(
        [sys.executable, *words], cwd=CHECKOUT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as run:
        samples, due = [], start + every_s
        while run.poll() is None:
            time.sleep(min(0.05, every_s))
            if time.monotonic() >= due:
                samples.append(_look(run.pid, out, time.monotonic() - start))
                due += every_s
        seconds = time.monotonic() - start
        told = run.stderr.read() if run.stderr is not None else ""
    if run.returncode:
        raise ValueError(f"{' '.join(words[:2])} ended with exit code {run.returncode}: {told.strip()[-500:]}")
    return seconds, samples


def _look(pid: int, out: Path, seconds: float) -> Sample:
    below = descendants(pid)
    workers = [process for process in below if title(process).startswith("ray::")]
    others = [process for process in below if process not in workers]
    sizes = [_resident_mb(process) for process in workers]
    folder = out / "labels"
    shards = sum(name.startswith("shard-") for name in os.listdir(folder)) if folder.is_dir() else 0
    return Sample(
        seconds=round(seconds, 2),
        shards=shards,
        driver=_resident_mb(pid),
        worker=max(sizes, default=0.0),
        workers=len(workers),
        others=round(sum(map(_resident_mb, others)), 1),
        cpu_s=(_cpu_s([pid]), _cpu_s(workers), _cpu_s(others)),
    )


def descendants(pid: int) -> list[int]:
    """The processes that a process started, and those that they started, from Linux's process table."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:  # it ended meanwhile
            continue
        parents.setdefault(parent, []).append(int(entry.name))
    found, rest = [], [pid]
    while rest:
        children = parents.get(rest.pop(), [])
        found += children
        rest += children
    return found


def _resident_mb(pid: int) -> float:
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except OSError:
        return 0.0
    return round(pages * os.sysconf("SC_PAGE_SIZE") / MB, 1)


def _cpu_s(pids: Sequence[int]) -> float:
    """Processor seconds, user and system, of processes that still run."""
    ticks = 0
    for pid in pids:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def title(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0].decode(errors="replace")
    except OSError:
        return ""


def slope(frames: Sequence[float], megabytes: Sequence[float]) -> float | None:
    """Megabytes gained in 10,000 frames: a straight line through the samples after the first fifth of the frames.

    None with fewer than five samples there.
    """
    at, held = np.asarray(frames, float), np.asarray(megabytes, float)
    late = (at > 0.2 * at.max(initial=0.0)) & (held > 0)
    if late.sum() < 5 or np.ptp(at[late]) == 0:
        return None
    return float(np.polyfit(at[late], held[late], 1)[0] * 1e4)


def steady_rate(samples: Sequence[Sample], shard_size: int) -> float | None:
    """Frames a second between the first and the last new shard that was seen; None when there were too few."""
    first: dict[int, float] = {}
    for sample in samples:
        first.setdefault(sample.shards, sample.seconds)
    first.pop(0, None)
    if len(first) < 3:
        return None
    (least, start), (most, end) = min(first.items()), max(first.items())
    return (most - least) * shard_size / (end - start)
