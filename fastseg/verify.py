"""`fastseg verify OUT`: every problem of a label run on disk or in a store, named; repairs nothing.

Checks that manifest, label rows and rejected rows hold the same ids, each once; the seal, footer, schema, row count,
content hash, label values and histograms of every shard; the bytes of every file against SHA256SUMS; that run.json,
manifest and shards are of one run; and that nothing else lies among the shards.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from fastseg.data import run_check
from fastseg.data.places import place
from fastseg.data.run_check import Finding, Task

CHUNK = 64  # shards a worker checks between two answers
MAX_WORKERS = 8  # by default: beyond, the disk decides


@dataclass(frozen=True)
class VerifyConfig:
    """Options of `fastseg verify`.

    out      the folder that a label pipeline wrote, or its place in a store (s3://bucket/run)
    workers  processes that read shards; 0 = this one; by default one for each usable core, at most 8
    """

    out: str
    workers: int | None = None


def problems(out: str | Path, workers: int | None = 0) -> list[str]:
    """Every problem of the run in `out`, one sentence each; empty when all is well."""
    return list(found_problems(place(out), workers))


def found_problems(out: Path, workers: int | None = 0) -> Iterator[str]:
    """As `problems`, each as it is found."""
    try:
        claims = run_check.read_claims(out)
    except (OSError, ValueError) as error:
        text = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) and error.filename else str(error)
        yield f"{out} is not a readable label run: {text.splitlines()[0]}"
        return
    try:
        yield from run_check.claim_problems(out, claims)
        odd: list[Finding] = []
        counts: Counter[str] = Counter()
        for finding in _findings(claims.tasks(out), _processes(out, workers, len(claims.ids))):
            counts.update(finding.counts)
            yield from finding.problems
            yield from run_check.sum_problems(out, claims, finding)
            if finding.missing or finding.surplus:
                odd.append(finding)
        yield from run_check.id_problems(claims, odd)
        yield from run_check.count_problems(out, claims, counts)
    except OSError as error:
        yield f"{error.filename or out} cannot be read: {error.strerror or error}"


def _processes(out: Path, workers: int | None, ids: int) -> int:
    """How many processes to start: none where they would cost more than they save, or cannot see the store."""
    if str(out).startswith("memory:"):
        return 0
    if workers is None:
        return 0 if ids < 10_000 else min(len(os.sched_getaffinity(0)), MAX_WORKERS)
    return workers


def _findings(tasks: Iterator[Task], workers: int) -> Iterator[Finding]:
    """What every shard holds, in order; a bounded number of chunks is under way."""
    while chunk := list(islice(tasks, CHUNK)):
        if workers == 0:
            yield from run_check.check_tasks(chunk)
            continue
        waiting: deque[tuple[list[Task], Future[list[Finding]]]] = deque()
        try:
            with _pool(workers) as pool:
                while chunk or waiting:
                    if chunk:
                        waiting.append((chunk, _sent(pool, chunk)))
                        chunk = list(islice(tasks, CHUNK))
                    if len(waiting) > 2 * workers or not chunk:
                        yield from waiting[0][1].result()
                        waiting.popleft()
        except BrokenProcessPool:
            for lost in [*(tasks for tasks, _ in waiting), chunk]:
                yield from _alone(lost)


def _pool(workers: int) -> ProcessPoolExecutor:
    """Fresh processes: a fork of one that has read Parquet with threads may hang."""
    return ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"))


def _sent(pool: ProcessPoolExecutor, tasks: list[Task]) -> Future[list[Finding]]:
    """What the pool will find. Processes that it starts do not hear Ctrl-C: this one does, and ends them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        return pool.submit(run_check.check_tasks, tasks)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _alone(tasks: list[Task]) -> Iterator[Finding]:
    """What these shards hold, read in a process of their own; halved where it dies, until one shard is to blame."""
    try:
        with _pool(1) as pool:
            found = _sent(pool, tasks).result() if tasks else []
    except BrokenProcessPool:
        if len(tasks) > 1:
            yield from _alone(tasks[: len(tasks) // 2])
            yield from _alone(tasks[len(tasks) // 2 :])
            return
        name = Path(tasks[0].out) / run_check.shard_name("labels", tasks[0].number)
        found = [Finding(tasks[0].number, [f"{name} or its rejected rows end the process that reads them"])]
    yield from found


def main(config: VerifyConfig) -> int:
    """Print every problem as it is found; 0 when there is none, 1 otherwise."""
    if config.workers is not None and config.workers < 0:
        raise ValueError(f"--workers must be at least 0; got {config.workers}")
    found = 0
    for problem in found_problems(place(config.out), config.workers):
        found += 1
        print(problem, file=sys.stderr)
    if found:
        print(f"{config.out}: problems found: {found}", file=sys.stderr)
        return 1
    print(f"{config.out}: complete; every frame has one row and every file its bytes")
    return 0


def cli(argv: Sequence[str] | None = None) -> int:
    """The exit code of `fastseg verify`: 0 complete, 1 problems found, 2 a mistake in the command."""
    from fastseg.cli import run

    return run(VerifyConfig, main, argv, positional=("out",))


if __name__ == "__main__":
    sys.exit(cli())
