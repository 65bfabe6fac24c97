"""Figures of a run in other processes, as they come to its metrics.jsonl."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

EVERY_S = 2.0


@contextmanager
def followed(path: Path, what: str, steps: int) -> Iterator[None]:
    """A context in which the newest figures of the run that writes to `path` are printed, a line every two seconds."""
    done = threading.Event()
    start = path.stat().st_size if path.exists() else 0
    thread = threading.Thread(target=_follow, args=(path, start, what, steps, done), daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _follow(path: Path, start: int, what: str, steps: int, done: threading.Event) -> None:
    at, last = start, False
    while not last:
        last = done.wait(EVERY_S)
        size = path.stat().st_size if path.exists() else 0
        at = min(at, size)  # a run that goes on from a checkpoint cuts the file
        lines = _lines(path, at) if size > at else []
        at = size
        for record in lines[-1:]:
            print(f"{what}: step {record['step']} of {steps}, loss {record['loss']:.4f}", flush=True)


def _lines(path: Path, at: int) -> list[dict[str, float]]:
    """The whole records after byte `at`; one that is being written is left out."""
    found = []
    with path.open("rb") as file:
        file.seek(at)
        for line in file:
            try:
                record = json.loads(line)
            except ValueError:
                continue
            if isinstance(record, dict) and record.get("loss") is not None:
                found.append(record)
    return found
