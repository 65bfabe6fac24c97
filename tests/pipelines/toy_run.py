"""Runs of the toy work, and what is looked at in their output."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import toy_work

from fastseg.data import shards
from pipelines import fan_out, ledger


def run(out: Path, plan: ledger.Plan | None = None, workers: int = 0, **options: Any) -> int:
    """The exit code of a run of the toy work, inline unless workers are given."""
    return fan_out.fan_out(plan or toy_work.plan(), toy_work.work, out, workers=workers, **options)


def driver(out: Path, *numbers: int, **options: Any) -> subprocess.Popen[str]:
    """A driver in a process of its own, given RENAME, WORKERS and COUNT: see the end of toy_work.py."""
    roots = [str(Path(__file__).parent), str(Path(__file__).parents[2])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(roots)}
    command = [sys.executable, toy_work.__file__, str(out), *map(str, numbers)]
    return subprocess.Popen(command, env=environment, text=True, **options)


def rows(out: Path, folder: str = "labels") -> list[shards.Row]:
    return [row for path in sorted((out / folder).glob("*.parquet")) for row in shards.read_rows(path)]


def digest(out: Path) -> str:
    """One hash of all label rows, whatever the shards and their order."""
    return shards.content_hash({row["id"]: shards.row_digest(row) for row in rows(out)})


def snapshot(out: Path) -> dict[str, tuple[bytes, int]]:
    return {str(p): (p.read_bytes(), p.stat().st_mtime_ns) for p in out.rglob("*") if p.is_file()}


def killer(log: Path, every_s: float, kills: int, dead: list[int], until: threading.Event) -> threading.Thread:
    """A thread that ends a worker (of those that wrote into the log of late) by `kill -9` now and then."""

    def work() -> None:
        while len(dead) < kills and not until.wait(every_s):
            pids = {int(line.split()[0]) for line in log.read_text().splitlines()[-8:]} - set(dead)
            if pids:
                pid = random.Random(len(dead)).choice(sorted(pids))
                with suppress(ProcessLookupError):
                    os.kill(pid, 9)
                    dead.append(pid)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread
