"""Run a function over every frame of a plan, inline or over Ray, into shards that survive any kill.

Every id ends as exactly one label row or exactly one rejected row. A shard is a fixed range of the sorted ids, made
whole by one task; the driver keeps a bounded window of tasks and nothing else in memory. When a worker dies, the frame
it was at is tried alone; one that kills its worker three times is rejected, and the shard is made without it.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import fastseg
from fastseg.data.places import is_local, place
from pipelines import ledger
from pipelines.lock import locked
from pipelines.one_shard import AnyWork, BrokenRunError, OutputError, ShardJob, ShardResult, label_shard
from pipelines.retry import persistently
from pipelines.stop import Stop, StoppedError
from pipelines.tally import Tally
from pipelines.work import in_actors

DONE, FAILED, REFUSED, REJECTS = 0, 1, 2, 3
LONGEST_S = 1e6  # seconds for a frame; the clocks of the system take no more than some 1e9
UNPROTECTED = "no workers: a frame that kills or blocks its process in native code ends the run (--workers 1 protects)"


@dataclass(frozen=True)
class Crew:
    """Who works and what a frame may take; see `fan_out`."""

    workers: int
    address: str | None
    timeout_s: float
    frame_mb: int
    worker_mb: int


def fan_out(
    plan: ledger.Plan,
    work: AnyWork,
    out: str | Path,
    *,
    workers: int,
    address: str | None = None,
    timeout_s: float = 60.0,
    frame_mb: int = 2048,
    worker_mb: int = 600,
    max_reject: float = 0.9,
    about: dict[str, Any] | None = None,
) -> int:
    """Label every frame of `plan` into `out`; the exit code.

    0 done (also when it was done before: then nothing is written), 1 the output cannot be written, 2 refused (another
    run's folder, another driver at work), 3 done with more than `max_reject` of the frames rejected, 130 and 143
    stopped by SIGINT and SIGTERM.

    workers 0 runs inline, without Ray and without protection from a frame that kills its process. timeout_s seconds
    and frame_mb MiB of new memory are what a frame may take; worker_mb MiB are set aside for each worker, and no more
    run at once than there is memory for. about: what else run.json should say of the run (its whole configuration).
    """
    crew = Crew(workers, address, timeout_s, frame_mb, worker_mb)
    _check(crew, max_reject)
    out = place(out)
    try:
        _make_folders(out)
        with locked(out) as still_held:
            return _run(plan, work, out, crew, max_reject, about or {}, still_held)
    except Exception as error:
        return _broken_off(error, out)


def _run(
    plan: ledger.Plan,
    work: AnyWork,
    out: Path,
    crew: Crew,
    max_reject: float,
    about: dict[str, Any],
    still_held: Callable[[], None],
) -> int:
    earlier = ledger.check_same_run(out, plan)
    if earlier and earlier["finished"] and ledger.sums_hold(out):
        print(f"{out} is complete: {earlier['counts']['labels']} labels; nothing to do", file=sys.stderr)
        return _verdict(earlier["counts"], max_reject)
    run = _begin(out, plan, crew.workers, about, earlier)
    tally = Tally(len(plan.ids), sum(1 for _ in plan.ranges()))
    with Stop(crew.workers == 0) as stop, tally, _notes(out) as notes:
        # Address space says nothing of a process that maps a GPU's memory or loads networks: no limit there.
        memory_mb = None if in_actors(work) else crew.frame_mb
        jobs = _jobs(plan, out, notes, crew, memory_mb)
        with closing(_results(jobs, work, crew, stop)) as results:
            stopped = _count(results, tally, still_held)
    ledger.sweep(out)  # what dead workers left
    if stopped:
        return stopped
    _finish(out, run, tally)
    tally.summary()
    return _verdict(run["counts"], max_reject)


def _broken_off(error: Exception, out: Path) -> int:
    """The exit code of a run that ended early, said in a sentence; raises the caller's mistakes, and bugs as such."""
    if isinstance(error, ledger.RefusedError):
        return _sorry(str(error), REFUSED)
    if isinstance(error, OutputError):
        return _sorry(str(error), FAILED)
    if isinstance(error, OSError) and error.filename is not None and str(error.filename).startswith(str(out)):
        return _sorry(f"cannot write {error.filename}: {error.strerror}", FAILED)
    if isinstance(error, ValueError | OSError | ImportError):
        raise error
    raise BrokenRunError(error) from error


def _check(crew: Crew, max_reject: float) -> None:
    if crew.workers < 0 or not 0 < crew.timeout_s <= LONGEST_S or not 0 <= max_reject <= 1:
        found = f"got {crew.workers}, {crew.timeout_s:g} and {max_reject:g}"
        limits = f"timeout_s above 0 and at most {LONGEST_S:g} and max_reject between 0 and 1"
        raise ValueError(f"workers must be at least 0, {limits}; {found}")
    if min(crew.frame_mb, crew.worker_mb) < 1:
        raise ValueError(f"frame_mb and worker_mb must be at least 1; got {crew.frame_mb} and {crew.worker_mb}")
    if crew.workers == 0 and crew.address is not None:
        raise ValueError(f"--address {crew.address} needs workers; 0 of them run inline, without Ray")
    if crew.workers > 0 and find_spec("ray") is None:
        raise ValueError("more than 0 workers need Ray: install fastseg[ray], or give --workers 0")


def _count(results: Iterator[ShardResult], tally: Tally, still_held: Callable[[], None]) -> int:
    """Count every result; 0 at the end, or the exit code of the signal that stopped the run."""
    try:
        for result in results:
            tally.add(result)
            still_held()
    except StoppedError as stop:
        done, name = f"{tally.done_shards} of {tally.shards}", signal.Signals(stop.number).name
        return _sorry(f"stopped by {name}; {done} shards are complete; the same command resumes", 128 + stop.number)
    return 0


def _sorry(sentence: str, code: int) -> int:
    print(sentence, file=sys.stderr)
    return code


def _make_folders(out: Path) -> None:
    for folder in ledger.FOLDERS if is_local(out) else ():  # a store has no folders
        try:
            (out / folder).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"cannot write {out / folder}: {error.strerror}") from error


def _verdict(counts: dict[str, Any], max_reject: float) -> int:
    share = sum(counts["rejected"].values()) / counts["frames"]
    if share <= max_reject:
        return DONE
    print(f"{share:.1%} of the frames were rejected; --tuning.max_reject allows {max_reject:.1%}", file=sys.stderr)
    return REJECTS


def _begin(
    out: Path, plan: ledger.Plan, workers: int, about: dict[str, Any], earlier: dict[str, Any] | None
) -> dict[str, Any]:
    """Clear what a killed run left, write the manifest and an unfinished run.json; the latter's content."""
    ledger.sweep(out)
    persistently(lambda: ledger.write_manifest(out, plan), "manifest")
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
    persistently(lambda: ledger.write_run(out, run), "run")
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
    persistently(lambda: ledger.write_sums(out, tally.digests), "sums")
    persistently(lambda: ledger.write_run(out, run), "run")


def _jobs(plan: ledger.Plan, out: Path, notes: Path, crew: Crew, memory_mb: int | None) -> Iterator[ShardJob]:
    fingerprint = plan.fingerprint()
    limits: dict[str, Any] = {"timeout_s": crew.timeout_s, "memory_mb": memory_mb, "own_process": crew.workers > 0}
    for number, ids in plan.ranges():
        metadata = plan.metadata | {
            "fingerprint": fingerprint, "code": plan.code, "config": plan.config,
            "shard": number, "first": ids[0], "last": ids[-1],
        }  # fmt: skip
        yield ShardJob(number, ids, str(out), metadata, flight=str(notes / f".shard-{number:05}.flight.tmp"), **limits)


@contextmanager
def _notes(out: Path) -> Iterator[Path]:
    """Where workers note which frames they are at: beside the labels, or in a folder of this machine for a store."""
    if is_local(out):
        yield out / "labels"
        return
    with TemporaryDirectory(prefix="fastseg-") as folder:
        yield Path(folder)


def _results(jobs: Iterator[ShardJob], work: AnyWork, crew: Crew, stop: Stop) -> Generator[ShardResult, None, None]:
    if crew.workers == 0:
        print(UNPROTECTED, file=sys.stderr)
        return (label_shard(job, work) for job in jobs)
    from pipelines.ray_pool import RayPool

    return RayPool(work, crew.workers, crew.address, stop, crew.worker_mb).results(jobs)
