"""Timing of contestants in turn, and results written with the machine, the versions, the date and the commit."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

RESULTS = Path(__file__).parent / "results"
ONE_THREAD = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL", "NUMBA")}
VERSIONS = ("numpy", "opencv-contrib-python-headless", "opencv-python-headless", "open3d", "kornia", "torch", "ray",
            "pyarrow", "fastseg")  # fmt: skip


@dataclass(frozen=True)
class Timing:
    """Wall milliseconds of one contestant's calls."""

    median_ms: float
    min_ms: float
    max_ms: float
    calls: int


def one_thread() -> None:
    """Starts the program again under one-thread settings unless they hold: thread pools read them when they load.

    Called first thing under `if __name__ == "__main__"`; libraries with their own switch are set in `interleaved`.
    """
    if any(os.environ.get(name) != value for name, value in ONE_THREAD.items()):
        sys.stdout.flush()
        os.execve(sys.executable, sys.orig_argv, {**os.environ, **ONE_THREAD})


def _quieten() -> None:
    """One thread in the libraries already loaded that keep a pool of their own."""
    if "cv2" in sys.modules:
        sys.modules["cv2"].setNumThreads(1)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


def interleaved(
    functions: Mapping[str, Callable[[], object]], repeats: int, *, warm_up: int = 1, budget_s: float = 20.0
) -> dict[str, Timing]:
    """Each function's timing, one call each in turn, so that a busy moment of the machine falls on all alike.

    repeats rounds after `warm_up` untimed calls of each; a contestant that has used `budget_s` seconds after three
    calls sits out the rest (the slow ones need few calls and would starve the fast ones).
    """
    if repeats < 1 or not functions:
        raise ValueError(f"interleaved needs functions and at least 1 repeat; got {len(functions)} and {repeats}")
    _quieten()
    for function in functions.values():
        for _ in range(warm_up):
            function()
    times: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(repeats):
        for name, function in functions.items():
            if len(times[name]) >= 3 and sum(times[name]) > budget_s * 1e3:
                continue
            start = time.perf_counter()
            function()
            times[name].append((time.perf_counter() - start) * 1e3)
    return {name: Timing(float(np.median(t)), min(t), max(t), len(t)) for name, t in times.items()}


def _cpu_model() -> str:
    """The processor's own name."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _versions() -> dict[str, str]:
    found = {}
    for name in VERSIONS:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _commit() -> str:
    """The commit of this checkout, with "+" when tracked files differ from it."""
    folder = Path(__file__).parent
    try:
        head = subprocess.run(["git", "rev-parse", "--short=12", "HEAD"], cwd=folder, capture_output=True, text=True)
        changed = subprocess.run(["git", "diff", "--quiet", "HEAD"], cwd=folder, capture_output=True)
    except FileNotFoundError:
        return "unknown"
    if head.returncode:
        return "unknown"
    return head.stdout.strip() + ("+" if changed.returncode else "")


def machine() -> dict[str, Any]:
    """Processor, usable cores, load, threads; names neither the host nor a path."""
    gpu = None
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        gpu = torch.cuda.get_device_name()
    return {
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)),
        "load": round(os.getloadavg()[0], 2),
        "threads": os.environ.get("OMP_NUM_THREADS", "not set"),
        "gpu": gpu,
        "python": platform.python_version(),
    }


def _plain(value: Any) -> Any:
    """Dataclasses and numpy scalars as JSON; anything else is an error."""
    if isinstance(value, Timing):
        return asdict(value)
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    raise TypeError(f"cannot write a {type(value).__name__} into a result")


def write_result(name: str, payload: Mapping[str, Any], folder: Path = RESULTS) -> Path:
    """Where `payload` was written: folder/<name>-<date>.json, with machine, versions, date and commit beside it."""
    now = datetime.now(UTC)
    record = {
        "name": name,
        "date": now.strftime("%Y-%m-%d %H:%M UTC"),
        "commit": _commit(),
        "machine": machine(),
        "versions": _versions(),
        "result": payload,
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-{now:%Y-%m-%d}.json"
    temporary = path.with_suffix(".json.part")
    temporary.write_text(json.dumps(record, indent=1, default=_plain) + "\n")
    temporary.replace(path)
    return path
