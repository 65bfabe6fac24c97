"""Running a study's tasks: some at a time, each its own process, stopped and resumed without losing a step."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from fastseg.compare_fork import Forked, forked
from fastseg.compare_plan import LABELS, TRAIN, Plan, Task
from fastseg.stop import StopRequest

SAY_EVERY_S = 60.0
LOOK_EVERY_S = 0.1


@dataclass
class Running:
    """A task at work."""

    task: Task
    process: subprocess.Popen[bytes] | Forked
    since: float


def run_plan(plan: Plan, jobs: int, threads: int, searches_only: bool = False) -> int:
    """The exit code once nothing is left to run: 0, or 128 + signal when told to stop (the trainings saved first).

    When a task failed, the others are stopped, saved, and go on when the study is run again: the exit code is 2 for a
    user's mistake in that task, 1 for anything else.
    """
    with ExitStack() as stack, StopRequest() as stop:
        lock = stack.enter_context(held(plan.out / "study.lock"))
        running: list[Running] = []
        stack.callback(_end_all, running)
        said = time.monotonic()
        while True:
            waiting = _waiting(plan, running, searches_only)
            while waiting and len(running) < jobs and not stop.signal:
                running.append(_start(plan, waiting.pop(0), threads, lock))
            if not running:
                return 128 + stop.signal if stop.signal else 0
            if stop.signal:
                _end_all(running)
                print(f"stopped by {stop.name}; the same command goes on from here", flush=True)
                return 128 + stop.signal
            while all(each.process.poll() is None for each in running) and not stop.signal:
                time.sleep(LOOK_EVERY_S)
                if time.monotonic() - said > SAY_EVERY_S:
                    said = time.monotonic()
                    for each in running:
                        print(f"   {each.task.name}: {last_line(plan, each.task)}", flush=True)
            for each in [each for each in running if each.process.poll() is not None]:
                running.remove(each)
                failed = _finish(plan, each)
                if failed and not stop.signal:
                    return failed


def _waiting(plan: Plan, running: list[Running], searches_only: bool) -> list[Task]:
    at_work = {each.task.name for each in running}
    ready = [task for task in plan.ready() if task.name not in at_work]
    return [task for task in ready if not (searches_only and task.name.startswith("cell-"))]


def held(path: Path) -> IO[bytes]:
    """The open file, locked for as long as this process or any task it started lives; ValueError when it is locked."""
    path.parent.mkdir(parents=True, exist_ok=True)
    file = path.open("wb")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise ValueError(
            f"{path.parent}: this study is being run already, or a task of an earlier run still is"
        ) from None
    return file


def command(task: Task, config: Path) -> list[str]:
    """The command that runs a task."""
    return [sys.executable, "-m", *task.program, "--config", str(config.absolute())]


def checkout() -> Path:
    """The folder that holds `pipelines`; ValueError when fastseg is installed without it."""
    for folder in (Path(__file__).parents[1], Path.cwd()):
        if (folder / "pipelines" / "make_hn_labels.py").is_file():
            return folder
    raise ValueError(
        "the study makes labels with pipelines/make_hn_labels.py, which comes with the repository and not with the "
        "installed package: run it from a clone of the repository"
    )


def _start(plan: Plan, task: Task, threads: int, lock: IO[bytes]) -> Running:
    config = plan.begin(task)
    environment = os.environ | {"OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "PASSIVE", "PYTHONUNBUFFERED": "1"}
    if task.program[0] == LABELS:
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(checkout()), os.environ.get("PYTHONPATH")]))
    log = plan.path(task.name).with_suffix(".txt")
    print(f"-- {task.name}", flush=True)
    if task.program[0] == TRAIN:
        words = (*task.program, "--config", str(config.absolute()))
        return Running(task, forked(words, log, environment, lock.fileno()), time.monotonic())
    with log.open("ab") as file:
        process = subprocess.Popen(
            command(task, config), env=environment, stdin=subprocess.DEVNULL, stdout=file, stderr=file,
            pass_fds=(lock.fileno(),),
        )  # fmt: skip
    return Running(task, process, time.monotonic())


def _finish(plan: Plan, each: Running) -> int:
    """0 after the task was written down as done; otherwise the study's exit code, after a sentence on stderr."""
    code, task = int(each.process.returncode or 0), each.task
    if code == 0 or (code == 1 and task.may_diverge):
        plan.end(task, code)
        ended = "done" if code == 0 else "diverged"
        print(f"   {task.name}: {ended} after {time.monotonic() - each.since:.0f} s", flush=True)
        return 0
    log = plan.path(task.name).with_suffix(".txt")
    said = f"{task.name} ended with exit code {code}: {last_line(plan, task)} (all it said is in {log})"
    print(f"fastseg compare: {said}", file=sys.stderr)
    return 2 if code == 2 else 1


def last_line(plan: Plan, task: Task) -> str:
    """What a task said last."""
    text = plan.path(task.name).with_suffix(".txt").read_text("utf-8", errors="replace")
    return next((line.strip() for line in reversed(text.split("\n")) if line.strip()), "nothing said yet")


def _end_all(running: list[Running]) -> None:
    """None once all processes have saved and ended."""
    for each in running:
        if each.process.poll() is None:
            each.process.send_signal(signal.SIGTERM)
    for each in running:
        each.process.wait()
