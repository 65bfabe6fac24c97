"""metrics.jsonl and the progress of a run: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from fastseg.trackers import Tracker

PLAIN_EVERY_S = 5.0


class Journal:
    """Writes a line a record to `path` (None: nowhere); on resuming, drops the lines of steps after `start` first.

    tracker   is told the finite figures too
    """

    def __init__(self, path: Path | None, start: int, steps: int, what: str, tracker: Tracker | None = None) -> None:
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            _cut(path, start)
        self._path = path or Path(os.devnull)
        self._file = self._path.open("a", encoding="utf-8")
        self._what, self._steps, self._said = what, steps, 0.0
        self._tracker = tracker
        self._bar = _bar(what, start, steps) if sys.stdout.isatty() else None

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.stop()
        with suppress(OSError):  # each line was flushed as it was written, and told then if the disk was full
            self._file.close()

    def write(self, record: dict[str, Any]) -> None:
        """Append one record; NaN and infinity are written as null."""
        plain = {
            key: None if value != value or value in (float("inf"), -float("inf")) else value
            for key, value in record.items()
        }
        try:
            self._file.write(json.dumps(plain) + "\n")
            self._file.flush()
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(self._path)) from error
        if self._tracker is not None:
            figures = {key: value for key, value in plain.items() if value is not None and key != "step"}
            self._tracker.write(int(record["step"]), figures)

    def advance(self, step: int) -> None:
        """Move the bar, where there is one: a step may take seconds, and the next figures be far away."""
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=step)

    def show(self, step: int, figures: str, final: bool = False) -> None:
        """The state after `step` steps."""
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=step, figures=figures)
        elif final or time.monotonic() - self._said >= PLAIN_EVERY_S:
            self._said = time.monotonic()
            print(f"{self._what}: step {step} of {self._steps}, {figures}", flush=True)

    def say(self, line: str) -> None:
        """One line that stays."""
        (self._bar.console if self._bar is not None else Console(soft_wrap=True)).print(
            line, markup=False, highlight=False
        )


def records(path: Path) -> Iterator[dict[str, Any]]:
    """The records of a run's metrics.jsonl in order, none without a file; a line that a kill cut is left out."""
    if not path.is_file():
        return
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        if _step(line) < float("inf"):
            yield json.loads(line)


def scored(path: Path, step: int) -> bool:
    """Whether a run's metrics.jsonl holds the evaluation after so many steps."""
    return any(record["step"] == step and "loss" not in record for record in records(path))


def _bar(what: str, start: int, steps: int) -> Progress:
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    bar = Progress(*columns, TextColumn("{task.fields[figures]}"))
    bar.add_task(what, total=steps, completed=start, figures="")
    bar.start()
    return bar


def _cut(path: Path, start: int) -> None:
    """Keep the lines of steps up to `start`; a line that a kill cut short goes too."""
    if not path.exists():
        return
    kept = [line for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if _step(line) <= start]
    temp = path.with_name(f".{path.name}.tmp")
    temp.write_text("".join(line + "\n" for line in kept), encoding="utf-8")
    os.replace(temp, path)


def _step(line: str) -> float:
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return float("inf")
