"""Run a function over every frame of a plan, inline or over Ray, into shards that survive any kill.

Every id ends as exactly one label row or exactly one rejected row. A shard is a fixed range of the sorted ids, made
whole by one task; the driver keeps a bounded window of tasks and nothing else in memory. A task whose worker dies is
taken apart: each of its frames is tried alone, one that kills its worker again twice is rejected (three attempts in
all), and the shard is made without it.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Generator, Iterator
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import FrameType
from typing import Any

import fastseg
from pipelines import ledger
from pipelines.one_shard import OutputError, ShardJob, ShardResult, Work, label_shard
from pipelines.tally import Tally

DONE, FAILED, REFUSED, REJECTS = 0, 1, 2, 3
FOLDERS = ("labels", "rejected")


class StoppedError(BaseException):
    """SIGTERM or SIGINT reached the driver; a BaseException, so that no frame's `except Exception` swallows it."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def fan_out(
    plan: ledger.Plan,
    work: Work,
    out: Path,
    *,
    workers: int,
    address: str | None = None,
    timeout_s: float = 60.0,
    max_reject: float = 0.9,
    about: dict[str, Any] | None = None,
) -> int:
    """Label every frame of `plan` into `out`; the exit code.

    0 done (also when it was done before: then nothing is written), 1 the output cannot be written, 2 refused (another
    run's folder, another driver at work), 3 done with more than `max_reject` of the frames rejected, 130 and 143
    stopped by SIGINT and SIGTERM. workers 0 runs inline, without Ray and without protection from a frame that kills
    its process. about: what else run.json should say of the run (its whole configuration).
    """
    tally: Tally | None = None
    try:
        with ExitStack() as stack:
            _make_folders(out)
            stack.enter_context(ledger.locked(out))
            earlier = ledger.check_same_run(out, plan)
            if earlier and earlier["finished"] and ledger.sums_hold(out):
                print(f"{out} is complete: {earlier['counts']['labels']} labels; nothing to do", file=sys.stderr)
                return _verdict(earlier["counts"], max_reject)
            run = _begin(out, plan, workers, about or {}, earlier)
            stack.enter_context(_stoppable())
            tally = stack.enter_context(Tally(len(plan.ids), sum(1 for _ in plan.ranges())))
            jobs = _jobs(plan, out, timeout_s, workers > 0)
            for result in stack.enter_context(closing(_results(jobs, work, workers, address))):
                tally.add(result)
            _finish(out, run, tally)
        tally.summary()
        return _verdict(run["counts"], max_reject)
    except StoppedError as stop:
        done = f"{tally.done_shards} of {tally.shards}" if tally else "no"
        name = signal.Signals(stop.number).name
        print(f"stopped by {name}; {done} shards are complete; the same command resumes", file=sys.stderr)
        return 128 + stop.number
    except ledger.RefusedError as error:
        print(error, file=sys.stderr)
        return REFUSED
    except OutputError as error:
        print(error, file=sys.stderr)
        return FAILED
    except OSError as error:
        if error.filename is None or not str(error.filename).startswith(str(out)):
            raise
        print(f"cannot write {error.filename}: {error.strerror}", file=sys.stderr)
        return FAILED


def _make_folders(out: Path) -> None:
    for folder in FOLDERS:
        try:
            (out / folder).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"cannot write {out / folder}: {error.strerror}") from error


def _verdict(counts: dict[str, Any], max_reject: float) -> int:
    share = sum(counts["rejected"].values()) / counts["frames"]
    if share <= max_reject:
        return DONE
    print(f"{share:.1%} of the frames were rejected; --max-reject allows {max_reject:.1%}", file=sys.stderr)
    return REJECTS


def _begin(
    out: Path, plan: ledger.Plan, workers: int, about: dict[str, Any], earlier: dict[str, Any] | None
) -> dict[str, Any]:
    """Clear what a killed run left, write the manifest and an unfinished run.json; the latter's content."""
    ledger.sweep(out)
    ledger.write_manifest(out, plan)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    run = about | {
        "fingerprint": plan.fingerprint(),
        "parts": plan.parts(),
        "metadata": plan.metadata,
        "versions": _versions(),
        "workers": workers,
        "started": earlier["started"] if earlier else now,
        "finished": None,
    }
    ledger.write_run(out, run)
    return run


def _versions() -> dict[str, str]:
    found = {"fastseg": fastseg.__version__, "python": sys.version.split()[0]}
    for name in ("numpy", "pyarrow", "pillow", "ray"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def _finish(out: Path, run: dict[str, Any], tally: Tally) -> None:
    run["finished"] = datetime.now(UTC).isoformat(timespec="seconds")
    run["counts"] = tally.counts()
    run["seconds"] = {name: round(s, 3) for name, s in sorted(tally.seconds.items())}
    run["frames_per_second"] = round(tally.rate(), 2)
    ledger.write_sums(out)
    ledger.write_run(out, run)


def _jobs(plan: ledger.Plan, out: Path, timeout_s: float, own_process: bool) -> Iterator[ShardJob]:
    fingerprint = plan.fingerprint()
    for number, ids in plan.ranges():
        metadata = plan.metadata | {
            "fingerprint": fingerprint, "code": plan.code, "config": plan.config,
            "shard": number, "first": ids[0], "last": ids[-1],
        }  # fmt: skip
        yield ShardJob(number, ids, str(out.resolve()), metadata, timeout_s, own_process)


def _results(
    jobs: Iterator[ShardJob], work: Work, workers: int, address: str | None
) -> Generator[ShardResult, None, None]:
    if workers == 0:
        return (label_shard(job, work) for job in jobs)
    from pipelines.ray_pool import RayPool

    return RayPool(work, workers, address).results(jobs)


@contextmanager
def _stoppable() -> Iterator[None]:
    """Turn SIGTERM and SIGINT into StoppedError inside the block."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise StoppedError(number)

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
