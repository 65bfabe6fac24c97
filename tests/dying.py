"""Runs that kill themselves (SIGKILL) at a chosen point of a save: `python -m tests.dying OUT EVERY`, JSON to stdout.

Each run is a fork of this process, which has imported everything and computed nothing. A point lies before and after
each system call of a save, and inside each write.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fastseg import checkpoint
from fastseg.methods import OptimConfig
from fastseg.train import fit
from tests.squares import LOOP, Squares, digest, run_of

SAVE_EVERY, STEPS = 2, 6


class Points:
    """Counts the points of all saves and dies at one of them."""

    def __init__(self, fatal: int) -> None:
        self.fatal, self.passed = fatal, 0

    def __call__(self) -> None:
        self.passed += 1
        if self.passed == self.fatal:
            os.kill(os.getpid(), signal.SIGKILL)

    def around(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            self()
            result = real(*arguments, **options)
            self()
            return result

        return call

    def write(self, path: Path, content: bytes) -> None:
        """As fastseg.checkpoint writes, in two halves."""
        with path.open("wb") as file:
            self()
            file.write(content[: len(content) // 2])
            file.flush()
            self()
            file.write(content[len(content) // 2 :])
            file.flush()
            self()
            os.fsync(file.fileno())


def train(out: Path, fatal: int = 0, resume: bool = False) -> int:
    """The exit code of a run in a process of its own; -9 when it killed itself."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    points = Points(fatal)
    for name in ("fsync", "rename", "mkdir"):
        setattr(os, name, points.around(getattr(os, name)))
    shutil.rmtree = points.around(shutil.rmtree)  # type: ignore[assignment]
    checkpoint._write = points.write
    loop = {**vars(LOOP), "save_every": SAVE_EVERY}
    optim = OptimConfig(lr=0.01, optimizer="adamw", ema=0.9)
    os._exit(fit(run_of(out, steps=STEPS, resume=resume, optim=optim, loop=type(LOOP)(**loop)), Squares()))


def steps_lost(out: Path) -> int:
    """Steps that were done and are not in the last good checkpoint."""
    journal = out / "metrics.jsonl"
    lines = journal.read_text().splitlines() if journal.exists() else []
    found = checkpoint.latest(out, state=True)
    return len(lines) - (found.record.step if found else 0)


def outcome(out: Path, expected: str) -> dict[str, Any]:
    """What became of a killed run once it was resumed."""
    lost = steps_lost(out)
    code = train(out, resume=True)
    return {"lost": lost, "code": code, "same": digest(out) == expected, "left": [p.name for p in out.glob(".*")]}


def main(root: Path, every: int) -> int:
    """0; prints `{points: what became of the run killed there}`."""
    assert train(root / "whole") == 0
    expected, found, fatal = digest(root / "whole"), {}, 1
    while True:
        out = root / str(fatal)
        code = train(out, fatal)
        if code == 0:  # there are no more points
            break
        assert code == -signal.SIGKILL, code
        found[fatal] = outcome(out, expected)
        shutil.rmtree(out)
        fatal += every
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1]), int(sys.argv[2])))
