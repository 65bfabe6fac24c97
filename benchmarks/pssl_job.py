"""PSSL labels of 20,000 small pictures while workers, drivers and Ray are killed: `python -m benchmarks.pssl_job`.

One command, `pipelines.make_pssl_labels`, is started again whenever it was killed, or could not start its Ray on a busy
machine (exit code 1, which says that the same command may do later), until it ends with 0 by itself. A worker
is killed each time that some more shards are there; between, the driver alone, the driver with all its processes, and
Ray's own raylet. One in eighteen files is odd: CMYK, grey, palette or with an EXIF rotation, which are labelled;
16-bit, animated, truncated, empty, a GIF by another name, a header of 400 million pixels, or in a folder that is no
class, which are not. Then every id must stand in exactly one row, labelled or rejected for the reason that is expected
(`fastseg verify`, and the ids themselves), and the first rows must be those of a run that nothing disturbed, bit by
bit. AssertionError or ValueError where one of it is not so. The classifiers' weights are random.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.bench_pipeline import verified
from benchmarks.pipeline_watch import CHECKOUT, descendants, title
from benchmarks.pssl_corpus import write_classifiers, write_pictures
from benchmarks.record import stamp, write_json
from benchmarks.threads import one_thread
from fastseg.cli import run
from fastseg.data import shards

RESTARTING = ("driver", "tree", "raylet")  # kills after which the command has to be given again
BUSY = 1  # the exit code of a run that may be given again
MOST_BUSY = 10  # such ends
ACTOR = "ray::_Labeller"  # how Ray calls a worker's process; others of its own begin with ray:: as well
ENDS_S = 300  # seconds in which a driver must end whose Ray was killed


@dataclass(frozen=True)
class Config:
    """What to run and what to kill.

    pictures       of the corpus, odd ones included
    side           pixels of a side of the pictures and of the classifiers' input
    samples        noisy copies of each
    workers        label processes
    worker_kills   how often a worker is killed
    other_kills    how often each of driver, tree and raylet is
    alike          the first so many pictures are labelled again, undisturbed, and compared
    folder         where everything lies while it runs, instead of the system's temporary folder
    json           where to write the figures
    """

    pictures: int = 20_000
    side: int = 32
    samples: int = 4
    workers: int = 2
    worker_kills: int = 20
    other_kills: int = 1
    alike: int = 1000
    folder: Path | None = None
    json: Path | None = None

    def __post_init__(self) -> None:
        if min(self.pictures, self.samples, self.workers, self.alike) < 1 or self.side < 32:
            raise ValueError("--pictures, --samples, --workers and --alike must be at least 1, --side at least 32")


@dataclass(frozen=True)
class Kill:
    """Once there are so many shards, who is killed: `worker`, `driver`, `tree` or `raylet`."""

    shards: int
    whom: str


def kills_of(config: Config, shard_size: int) -> list[Kill]:
    """All kills in order, evenly over the run but for its last tenth."""
    others = [whom for whom in RESTARTING for _ in range(config.other_kills)]
    order = ["worker"] * config.worker_kills + others
    random.Random(0).shuffle(order)
    last = 0.9 * config.pictures / shard_size
    return [Kill(int(last * (i + 1) / len(order)), whom) for i, whom in enumerate(order)]


def survived(words: Sequence[str], out: Path, kills: Sequence[Kill]) -> dict[str, Any]:
    """Counts of what was killed and of the command's starts, once it ended by itself; ValueError when it fails."""
    left, dead, starts, busy = list(kills), Counter[str](), 0, list[str]()
    while True:
        starts += 1
        with subprocess.Popen(
            [sys.executable, *words], cwd=CHECKOUT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        ) as driver:
            killed = _disturbed(driver, out, left, dead)
            told = driver.stderr.read() if driver.stderr is not None else ""
        if driver.returncode == 0 and not left:
            return {"kills": dict(dead), "starts": starts, "ended_with_1": busy}
        if killed:
            continue
        if driver.returncode not in (0, BUSY) or len(busy) == MOST_BUSY:
            raise ValueError(f"the run ended with exit code {driver.returncode}: {told.strip()[-500:]}")
        if driver.returncode == BUSY:
            busy.append((told.strip().splitlines() or ["nothing was said"])[-1])
            print(busy[-1], flush=True)
        elif left:
            raise ValueError(f"the run was over before {left[0].whom} could be killed at {left[0].shards} shards")


def _disturbed(driver: subprocess.Popen[str], out: Path, left: list[Kill], dead: Counter[str]) -> bool:
    """Whether the driver ended since it, or its Ray, was killed; takes what was killed out of `left`."""
    while driver.poll() is None:
        time.sleep(0.1)
        if not left or sum(1 for _ in out.glob("labels/shard-*.parquet")) < left[0].shards:
            continue
        whom = left[0].whom
        number = killed(driver.pid, whom)
        if number:
            dead[whom] += 1
            dead["processes"] += number
            del left[0]
            if whom in RESTARTING:
                driver.wait(ENDS_S)
                return True
    return False


def killed(driver: int, whom: str) -> int:
    """How many processes were ended by SIGKILL."""
    below = descendants(driver)
    if whom == "worker":
        chosen = [pid for pid in below if title(pid).startswith(ACTOR)][:1]
    elif whom == "raylet":
        chosen = [pid for pid in below if title(pid).endswith("/raylet")]
    else:
        chosen = [driver, *below] if whom == "tree" else [driver]
    for pid in chosen:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return len(chosen)


def checked(out: Path, expected: dict[str, str]) -> dict[str, Any]:
    """Rows, and rejections by reason; AssertionError where an id is not exactly once where it belongs."""
    found: Counter[tuple[str, str]] = Counter()
    for path in out.glob("labels/*.parquet"):
        found.update((row["id"], "") for row in shards.read_rows(path))
    for path in out.glob("rejected/*.parquet"):
        found.update((row["id"], row["reason"]) for row in shards.read_rows(path))
    wrong = {key for key, count in found.items() if count != 1} | (found.keys() ^ set(expected.items()))
    if wrong:
        raise AssertionError(f"{len(wrong)} rows are not what they should be, {min(wrong)} the first")
    reasons = Counter(reason for _, reason in found)
    return {"rows": reasons.pop(""), "rejected": dict(sorted(reasons.items()))}


def digests(out: Path) -> dict[str, bytes]:
    """The digest of each label row by its id."""
    paths = out.glob("labels/*.parquet")
    return {row["id"]: shards.row_digest(row, shards.PSSL_SCHEMA) for path in paths for row in shards.read_rows(path)}


def alike(one: Path, two: Path) -> int:
    """How many rows of the second run are in the first, bit by bit; AssertionError for one that is not."""
    first, second = digests(one), digests(two)
    if other := [name for name, digest in second.items() if first.get(name) != digest]:
        raise AssertionError(f"{len(other)} rows differ from those of an undisturbed run, {other[0]!r} the first")
    return len(second)


def job(config: Config, folder: Path) -> dict[str, Any]:
    """The figures of the whole job."""
    root, out, quiet = folder / "pictures", folder / "out", folder / "quiet"
    expected = write_pictures(root, config.pictures, config.side, odd_every=200)
    models = write_classifiers(folder / "models", config.side)
    words = ["-m", "pipelines.make_pssl_labels", "--layout", "imagefolder", "--root", str(root)]
    words += ["--models", str(models), "--classes", str(models.with_name("classes.txt"))]
    words += [f"--pssl.size={config.side}", f"--pssl.samples={config.samples}", "--pssl.pass_size=32"]
    words += ["--tuning.worker_mb=600", "--tuning.max_reject=1"]
    start = time.monotonic()
    told = survived([*words, "--out", str(out), "--workers", str(config.workers)], out, kills_of(config, shard_size=64))
    seconds = time.monotonic() - start
    verify_s, verify = verified(out)
    counts = checked(out, expected)
    again = [*words, "--out", str(quiet), "--workers", "0", "--limit", str(min(config.alike, config.pictures))]
    subprocess.run([sys.executable, *again], cwd=CHECKOUT, check=True, stderr=subprocess.DEVNULL)
    about = json.loads((quiet / "run.json").read_text("utf-8"))
    return {
        "pictures": config.pictures, "side": config.side, "samples": config.samples, "workers": config.workers,
        **told, **counts, "rows_like_an_undisturbed_run": alike(out, quiet),
        "wall_s": seconds, "pictures_per_second": config.pictures / seconds,
        "undisturbed_inline_pictures_per_second": about["frames_per_second"],
        "verify": verify, "verify_s": verify_s,
    }  # fmt: skip


def main(config: Config) -> int:
    """0 after printing (and writing) the figures."""
    folder = Path(tempfile.mkdtemp(prefix="pssl-job-", dir=config.folder))
    try:
        found = job(config, folder)
    finally:
        shutil.rmtree(folder)
    for name, value in found.items():
        print(f"  {name:40}{value}")
    if config.json is not None:
        print(f"written to {write_json(config.json, {'name': 'pssl-job', **stamp(), 'result': found})}")
    return 0


if __name__ == "__main__":
    one_thread()
    raise SystemExit(run(Config, main))
