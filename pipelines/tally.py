"""What a run says while it works and when it ends: a progress bar or plain lines, and the summary table."""

from __future__ import annotations

import time
from collections import Counter
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from pipelines.one_shard import ShardResult

EVERY_S = 10.0  # between plain lines, where there is no terminal to redraw


class Tally:
    """Counts and seconds of a run, shown while it goes on. Use as a context manager."""

    def __init__(self, frames: int, shards: int, console: Console | None = None) -> None:
        self.frames, self.shards = frames, shards
        self.labels = self.done_shards = self.found = self.damaged = 0
        self.retries = 0
        self.digests: dict[str, str] = {}
        self.rejected: Counter[str] = Counter()
        self.seconds: Counter[str] = Counter()
        self._console = console or Console(stderr=True, highlight=False)
        self._progress = Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
            console=self._console, disable=not self._console.is_terminal,
        )  # fmt: skip
        self._bar = self._progress.add_task("frames", total=frames)
        self._start = self._said = time.monotonic()
        self._labelled_now = 0

    def __enter__(self) -> Tally:
        self._progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._progress.stop()

    def add(self, result: ShardResult) -> None:
        """Count a finished shard."""
        frames = result.labels + sum(result.rejected.values())
        self.done_shards += 1
        self.labels += result.labels
        self.rejected.update(result.rejected)
        self.seconds.update(result.seconds)
        self.found += result.found
        self.damaged += result.damaged
        self.retries += result.retries
        self.digests |= result.digests
        self._labelled_now += 0 if result.found else frames
        self._progress.advance(self._bar, frames)
        if not self._console.is_terminal and time.monotonic() - self._said > EVERY_S:
            self._said = time.monotonic()
            self._console.print(f"{self.labels + self.rejected.total()} of {self.frames} frames, {self.rate():.0f} a s")

    def rate(self) -> float:
        """Frames labelled or rejected a second by this driver (shards found complete do not count)."""
        return self._labelled_now / max(time.monotonic() - self._start, 1e-9)

    def rejected_share(self) -> float:
        """The share of all frames that were rejected."""
        return self.rejected.total() / self.frames

    def counts(self) -> dict[str, Any]:
        """The counts as run.json keeps them: they depend on the input alone."""
        return {"frames": self.frames, "labels": self.labels, "rejected": dict(sorted(self.rejected.items()))}

    def summary(self) -> None:
        """Print accepted and rejected frames, the rate, and where the workers' time went."""
        table = Table(title="labels", title_justify="left")
        for name in ("outcome", "frames", "share"):
            table.add_column(name, justify="left" if name == "outcome" else "right")
        rows = [("labelled", self.labels), *((f"rejected: {k}", n) for k, n in self.rejected.most_common())]
        for name, count in rows:
            table.add_row(name, str(count), f"{count / self.frames:.1%}")
        self._console.print(table)
        if self.found:
            self._console.print(f"{self.found} of {self.shards} shards were complete already")
        if self.damaged:
            self._console.print(f"{self.damaged} damaged shards were made again")
        if self.retries:
            self._console.print(f"{self.retries} reads or writes failed for a moment and were tried again")
        total = sum(self.seconds.values())
        if total:
            parts = ", ".join(f"{name} {s / total:.0%}" for name, s in self.seconds.most_common())
            per_frame = 1e3 * total / max(self._labelled_now, 1)
            self._console.print(f"{self.rate():.1f} frames/s; {per_frame:.1f} ms of worker time a frame: {parts}")
